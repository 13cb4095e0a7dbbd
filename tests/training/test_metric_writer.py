"""Metric files: means over the steps since the last flush, every value checked."""

import contextlib
import io
import json
import logging

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attngan_jax.errors import UserError
from attngan_jax.training.metric_writer import Metrics
from attngan_jax.training.progress import Progress


@pytest.fixture
def metrics(tmp_path):
    with contextlib.closing(Metrics(tmp_path, "damsm", Progress("damsm", 10))) as metrics:
        yield metrics


def events(workdir):
    return EventAccumulator(str(workdir / "damsm" / "events"), {"tensors": 0}).Reload()


def test_a_flush_writes_the_means_since_the_last_one(metrics, tmp_path):
    for step, loss in ((1, 1.0), (2, 5.0), (3, 7.0)):
        metrics.add(step, {"loss": jnp.float32(loss), "twice": jnp.float32(2 * loss)})
        if step != 1:
            metrics.flush({"data_wait_fraction": step / 10})
    metrics.flush({"data_wait_fraction": 0.5})  # nothing new: writes nothing
    metrics.close()
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert [(line["step"], line["stage"], line["scalars"]) for line in lines] == [
        (2, "damsm", {"train/loss": 3.0, "train/twice": 6.0, "train/data_wait_fraction": 0.2}),
        (3, "damsm", {"train/loss": 7.0, "train/twice": 14.0, "train/data_wait_fraction": 0.3}),
    ]
    assert {"train/loss", "train/twice"} <= set(events(tmp_path).Tags()["tensors"])


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_the_first_value_that_is_not_finite_is_named_with_its_step(value, metrics, tmp_path):
    for step, d_loss, g_loss in ((4, 1.0, 2.0), (5, 1.0, value), (6, "nan", "nan")):
        metrics.add(step, {"d_loss_64": jnp.float32(d_loss), "g_loss": jnp.float32(g_loss)})
    with pytest.raises(UserError, match=f"^g_loss became {value} at step 5 of stage damsm: there"):
        metrics.flush()
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_line_torn_by_a_kill_is_cut_before_the_next(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = '{"step": 1, "stage": "damsm", "time": 0.0, "scalars": {"train/a": 1.0}}\n'
    path.write_text(whole + '{"step": 2, "sta')
    with contextlib.closing(Metrics(tmp_path, "damsm", Progress("damsm", 4))) as metrics:
        metrics.write(2, {"train/a": 2.0})
    first, second = path.read_text().splitlines()
    assert first + "\n" == whole and json.loads(second)["scalars"] == {"train/a": 2.0}


def test_what_was_logged_after_the_last_checkpoint_is_logged_once(tmp_path):
    with contextlib.closing(Metrics(tmp_path, "attngan", Progress("attngan", 4))) as metrics:
        for step in (2, 4, 6):
            metrics.write(step, {"train/a": float(step)})
    with contextlib.closing(Metrics(tmp_path, "eval")) as metrics:
        metrics.write(6, {"eval/a": 1.0})
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b"\0\0\0\n")
    with contextlib.closing(Metrics(tmp_path, "attngan", Progress("attngan", 4))) as metrics:
        metrics.forget_after(4)
        metrics.write(6, {"train/a": 7.0})
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    rows = [(line["stage"], line["step"]) for line in lines]
    assert rows == [("attngan", 2), ("attngan", 4), ("eval", 6), ("attngan", 6)]


def test_the_second_stage_says_how_the_first_is_kept(tmp_path):
    with contextlib.closing(Metrics(tmp_path, "attngan", Progress("attngan", 4))) as metrics:
        metrics.saved_step = 3
        metrics.add(4, {"g_loss": jnp.float32("nan")})
        message = "nothing is saved after step 3, .*generator_learning_rate.* --damsm_from"
        with pytest.raises(UserError, match=message):
            metrics.flush()


def test_images_and_the_config_are_in_the_event_files(metrics, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    metrics.write_config(0, {"seed": 3, "damsm": {"gamma1": 4.0}})
    metrics.write_images(2, {"samples/16": image})
    metrics.close()
    (written,) = events(tmp_path).Tensors("samples/16")
    width, height, png = written.tensor_proto.string_val
    assert (int(width), int(height)) == (7, 5) and written.step == 2
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), image)
    (text,) = events(tmp_path).Tensors("config")[0].tensor_proto.string_val
    assert '    "seed": 3' in text.decode() and '"gamma1": 4.0' in text.decode()


def test_a_loss_that_is_exactly_zero_is_warned_of_once(metrics, caplog):
    with caplog.at_level(logging.WARNING):
        for step in (1, 2):
            metrics.add(step, {"damsm_loss": jnp.float32(0), "word_loss": jnp.float32(step)})
            metrics.flush()
    assert caplog.text.count("damsm_loss is exactly 0 up to step 1 of stage damsm") == 1
    assert "word_loss" not in caplog.text and "step 2" not in caplog.text
