"""Metric files: means over the steps since the last flush, every value checked."""

import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attngan_jax.errors import UserError
from attngan_jax.training import wall_clock
from attngan_jax.training.metric_writer import Metrics


@pytest.fixture
def metrics(tmp_path):
    metrics = Metrics(tmp_path, "damsm", num_train_steps=10)
    yield metrics
    metrics.close()


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_flush_writes_the_means_since_the_last_one(metrics, tmp_path):
    for step, loss in ((1, 1.0), (2, 5.0), (3, 7.0)):
        metrics.add(step, {"loss": jnp.float32(loss), "twice": jnp.float32(2 * loss)})
        if step != 1:
            metrics.flush({"data_wait_fraction": step / 10})
    metrics.flush({"data_wait_fraction": 0.5})  # nothing new: writes nothing
    metrics.close()
    assert [(line["step"], line["stage"], line["scalars"]) for line in lines(tmp_path)] == [
        (2, "damsm", {"train/loss": 3.0, "train/twice": 6.0, "train/data_wait_fraction": 0.2}),
        (3, "damsm", {"train/loss": 7.0, "train/twice": 14.0, "train/data_wait_fraction": 0.3}),
    ]
    events = EventAccumulator(str(tmp_path / "damsm" / "events"))
    events.Reload()
    assert {"train/loss", "train/twice"} <= set(events.Tags()["tensors"]) | set(
        events.Tags()["scalars"]
    )


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_the_first_value_that_is_not_finite_is_named_with_its_step(value, metrics, tmp_path):
    metrics.add(4, {"d_loss_64": jnp.float32(1.0), "g_loss": jnp.float32(2.0)})
    metrics.add(5, {"d_loss_64": jnp.float32(1.0), "g_loss": jnp.float32(value)})
    metrics.add(6, {"d_loss_64": jnp.float32("nan"), "g_loss": jnp.float32("nan")})
    with pytest.raises(UserError, match=f"^g_loss became {value} at step 5 of stage damsm"):
        metrics.flush()
    assert not (tmp_path / "metrics.jsonl").exists()


def test_clocks_add_up_over_starts_and_parts(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(wall_clock.time, "monotonic", lambda: now[0])
    clock = wall_clock.Clock(tmp_path, "damsm")
    now[0] += 7.25
    spent = clock.save()
    wall_clock.Clock(tmp_path, "prepare", 1.0).save()
    later = wall_clock.Clock(tmp_path, "damsm", spent)
    now[0] += 2.0
    assert later.save() == 9.25
    assert wall_clock.read(tmp_path) == {"damsm": 9.2, "prepare": 1.0}
    assert wall_clock.read(tmp_path / "nowhere") == {}


def test_a_line_torn_by_a_kill_is_cut_before_the_next(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = '{"step": 1, "stage": "damsm", "time": 0.0, "scalars": {"train/a": 1.0}}\n'
    path.write_text(whole + '{"step": 2, "sta')
    metrics = Metrics(tmp_path, "damsm", 4)
    metrics.write(2, {"train/a": 2.0})
    metrics.close()
    first, second = path.read_text().splitlines()
    assert first + "\n" == whole and json.loads(second)["scalars"] == {"train/a": 2.0}


def test_pictures_and_the_config_are_in_the_event_files(metrics, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    metrics.write_config(0, {"seed": 3, "damsm": {"gamma1": 4.0}})
    metrics.write_pictures(2, {"samples/16": picture})
    metrics.close()
    events = EventAccumulator(str(tmp_path / "damsm" / "events"), size_guidance={"tensors": 0})
    events.Reload()
    width, height, png = events.Tensors("samples/16")[0].tensor_proto.string_val
    assert (int(width), int(height)) == (7, 5) and events.Tensors("samples/16")[0].step == 2
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), picture)
    (text,) = events.Tensors("config")[0].tensor_proto.string_val
    assert '    "seed": 3' in text.decode() and '"gamma1": 4.0' in text.decode()
