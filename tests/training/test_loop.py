"""The loop: it counts right, goes on exactly where it stopped, and stops at what is not finite."""

import json
import pathlib

import jax
import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.sampling.sample_writer import SampleWriter
from attngan_jax.training import loop, parallel
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.state import stage_key


class Killed(BaseException):
    """What ends a run in its middle."""


def train(stage, config, dataset, workdir, monkeypatch=None, kill_at=None):
    """Trains a stage; with `kill_at`, dies when it has made that many updates."""
    pathlib.Path(workdir).mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        if kill_at is not None:
            patch.setattr(loop.parallel, "shard_batch", dies_after(kill_at))
        if stage == "damsm":
            task = DamsmTask(config, len(dataset.vocabulary))
            return loop.train(task, dataset, workdir)
        task = AttnganTask(config, len(dataset.vocabulary))
        encoders = fresh_encoders(config, dataset)
        return loop.train(
            task,
            dataset,
            workdir,
            frozen=encoders,
            on_sample=SampleWriter(task, dataset, encoders, workdir),
        )


def dies_after(count, shard_batch=parallel.shard_batch):
    calls = iter(range(count))

    def shard_or_die(batch, mesh):
        if next(calls, None) is None:
            raise Killed
        return shard_batch(batch, mesh)

    return shard_or_die


def fresh_encoders(config, dataset):
    task = DamsmTask(config, len(dataset.vocabulary))
    state = jax.jit(task.create_train_state)(stage_key(0, "damsm", -1))
    return {"text": {"params": state.text.params}, "image": state.image.variables}


def logged(workdir):
    """(stage, step) -> scalars but those of time, the last line of a step winning."""
    scalars = {}
    for line in map(json.loads, pathlib.Path(workdir, "metrics.jsonl").read_text().splitlines()):
        assert 0 <= line["scalars"].pop("train/data_wait_fraction") <= 1
        scalars[line["stage"], line["step"]] = line["scalars"]
    return scalars


def progress(stage, workdir, state):
    with Checkpoints(workdir, stage) as checkpoints:
        return checkpoints.latest_step(), *checkpoints.restore(state)


def assert_equal_trees(a, b):
    a, b = (jax.tree_util.tree_leaves_with_path(jax.device_get(tree)) for tree in (a, b))
    assert [path for path, _ in a] == [path for path, _ in b]
    for (path, x), (_, y) in zip(a, b):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("stage", ["damsm", "attngan"])
def test_a_killed_run_goes_on_exactly(stage, tiny_config, tiny_dataset, tmp_path):
    config = tiny_config
    config[stage].num_train_steps, config[stage].checkpoint_every_steps = 5, 2
    straight = train(stage, config, tiny_dataset, tmp_path / "straight")
    with pytest.raises(Killed):
        train(stage, config, tiny_dataset, tmp_path / "killed", kill_at=3)
    with Checkpoints(tmp_path / "killed", stage) as checkpoints:
        assert checkpoints.latest_step() == 2  # the third update is lost and made again
    resumed = train(stage, config, tiny_dataset, tmp_path / "killed")

    assert_equal_trees(straight, resumed)
    assert logged(tmp_path / "straight") == logged(tmp_path / "killed")
    assert sorted(logged(tmp_path / "killed")) == [(stage, 2), (stage, 4), (stage, 5)]
    step, saved, kept = progress(stage, tmp_path / "killed", resumed)
    assert step == int(saved.step) == 5  # the last step is saved, though 5 is no multiple of 2
    assert_equal_trees(saved, resumed)
    assert kept["iterator"] == {"global_next_index": 5 * config[stage].batch_size}
    if stage == "attngan":
        names = [path.name for path in sorted((tmp_path / "killed" / "samples").iterdir())]
        assert names == ["fixed.npz", *(f"step_{n:08d}.npz" for n in (2, 4, 5))]
        for name in names:
            straight_images, images = (
                np.load(tmp_path / run / "samples" / name) for run in ("straight", "killed")
            )
            assert all((straight_images[key] == images[key]).all() for key in images.files)


def test_a_finished_stage_is_known_and_makes_no_update(tiny_config, tiny_dataset, tmp_path):
    tiny_config.damsm.num_train_steps = 2
    task = DamsmTask(tiny_config, len(tiny_dataset.vocabulary))
    assert not loop.is_finished(task, tmp_path)
    state = train("damsm", tiny_config, tiny_dataset, tmp_path)
    assert loop.is_finished(task, tmp_path)
    again = train("damsm", tiny_config, tiny_dataset, tmp_path, kill_at=0)
    assert_equal_trees(state, again)
    tiny_config.damsm.num_train_steps = 3
    assert not loop.is_finished(DamsmTask(tiny_config, len(tiny_dataset.vocabulary)), tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(tiny_config, tiny_dataset, tmp_path):
    tiny_config.damsm.learning_rate = 1e30
    tiny_config.damsm.checkpoint_every_steps = 1
    with pytest.raises(UserError, match=r"^\w+_loss became (nan|inf) at step 2 of stage damsm"):
        train("damsm", tiny_config, tiny_dataset, tmp_path)
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        assert checkpoints.latest_step() == 1
    assert list(logged(tmp_path)) == [("damsm", 1)]


def test_parameters_that_are_not_finite_are_not_saved(tiny_config, tiny_dataset, tmp_path):
    # The first losses are finite; the update that follows from them is not.
    tiny_config.damsm.learning_rate = 1e39
    tiny_config.damsm.adam_b1 = 0.0
    tiny_config.damsm.checkpoint_every_steps = 1
    with pytest.raises(UserError, match=r"^(text|image)\.params\..* step 1 of stage damsm"):
        train("damsm", tiny_config, tiny_dataset, tmp_path)
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        assert checkpoints.latest_step() is None


def test_a_batch_that_the_devices_do_not_divide_is_an_error(tiny_config, tiny_dataset, tmp_path):
    tiny_config.damsm.batch_size = 6
    with pytest.raises(UserError, match="config.damsm.batch_size is 6, which 4 devices"):
        train("damsm", tiny_config, tiny_dataset, tmp_path)
