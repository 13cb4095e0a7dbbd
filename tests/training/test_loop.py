"""The loop: it counts right, resumes exactly, and stops at what is not finite."""

import itertools
import json
import pathlib

import numpy as np
import pytest

from attngan_jax.data.swapped_words import COLORS, KINDS
from attngan_jax.errors import UserError
from attngan_jax.sampling.sample_writer import SampleWriter
from attngan_jax.training import loop, parallel
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from tests.training import one_device


class Killed(BaseException):
    """What ends a run in its middle."""


def train(stage, config, dataset, workdir, kill_at=None):
    """Trains a stage; with `kill_at`, dies when it has made that many updates."""
    pathlib.Path(workdir).mkdir(exist_ok=True)
    task, encoders = one_device.make_task(stage, config, dataset)
    on_sample = SampleWriter(task, dataset, encoders, workdir) if encoders else None
    batches = itertools.count()

    def shard_batch(batch, mesh, original=parallel.shard_batch):
        if next(batches) == kill_at:
            raise Killed
        return original(batch, mesh)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "shard_batch", shard_batch)
        return loop.train(task, dataset, workdir, frozen=encoders, on_sample=on_sample)


def logged(workdir):
    """(stage, step) -> scalars except those of time, the last line of a step winning."""
    scalars = {}
    for line in map(json.loads, pathlib.Path(workdir, "metrics.jsonl").read_text().splitlines()):
        assert 0 <= line["scalars"].pop("train/data_wait_fraction") <= 1
        scalars[line["stage"], line["step"]] = line["scalars"]
    return scalars


def assert_equal_trees(a, b):
    a, b = one_device.by_path(a), one_device.by_path(b)
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("task, at_most", [(DamsmTask, 4), (AttnganTask, 1)])
def test_stage_2_alone_has_few_swapped_colors(task, at_most, tiny_config, tiny_dataset):
    """Counted in captions that have a word to exchange which is no colour."""
    tiny_config.damsm.swapped_captions = 4
    tiny_config.attngan.few_swapped_colors = True
    vocabulary, most = tiny_dataset.vocabulary, 0
    colors, all_words = (vocabulary.encode(" ".join(k).split()) for k in (COLORS, sum(KINDS, ())))
    (batch,) = one_device.batches(task(tiny_config, len(vocabulary)), tiny_dataset, 1)
    for caption, copies in zip(batch["caption"], batch["swapped_caption"]):
        if set(caption) & (set(all_words) - set(colors)):
            changed = caption[np.nonzero(copies != caption)[1]]
            assert len(changed) == 4
            most = max(most, int(np.isin(changed, colors).sum()))
    assert (most > 1, most <= at_most) == (at_most > 1, True)


@pytest.mark.parametrize("stage", ["damsm", "attngan"])
def test_a_killed_run_resumes_exactly(stage, tiny_config, tiny_dataset, tmp_path):
    tiny_config[stage].update(num_train_steps=5, checkpoint_every_steps=2)
    run = (stage, tiny_config, tiny_dataset)
    straight = train(*run, tmp_path / "straight")
    with pytest.raises(Killed):
        train(*run, tmp_path / "killed", kill_at=3)
    # The third update is lost and made again.
    assert Checkpoints.steps_in(tmp_path / "killed", stage) == [2]
    resumed = train(*run, tmp_path / "killed")

    assert_equal_trees(straight, resumed)
    assert logged(tmp_path / "straight") == logged(tmp_path / "killed")
    assert sorted(logged(tmp_path / "killed")) == [(stage, 2), (stage, 4), (stage, 5)]
    with Checkpoints(tmp_path / "killed", stage) as checkpoints:
        step, (saved, kept) = checkpoints.latest_step(), checkpoints.restore(resumed)
    assert step == int(saved.step) == 5  # the last step is saved, though 5 is no multiple of 2
    assert_equal_trees(saved, resumed)
    assert kept["iterator"] == {"global_next_index": 5 * tiny_config[stage].batch_size}
    if stage == "attngan":
        names = sorted(path.name for path in (tmp_path / "killed" / "samples").iterdir())
        assert names == ["fixed.npz", *(f"step_{n:08d}.npz" for n in (2, 4, 5))]
        for name in names:
            files = (tmp_path / run / "samples" / name for run in ("straight", "killed"))
            assert_equal_trees(*(dict(np.load(file)) for file in files))


def test_a_finished_stage_is_known_and_makes_no_update(tiny_config, tiny_dataset, tmp_path):
    def is_finished(num_train_steps):
        tiny_config.damsm.num_train_steps = num_train_steps
        task, _ = one_device.make_task("damsm", tiny_config, tiny_dataset)
        return loop.is_finished(task, tmp_path)

    assert not is_finished(2)
    state = train("damsm", tiny_config, tiny_dataset, tmp_path)
    assert is_finished(2)
    again = train("damsm", tiny_config, tiny_dataset, tmp_path, kill_at=0)
    assert_equal_trees(state, again)
    assert not is_finished(3)


TOO_FAST = {"learning_rate": 1e39, "adam_b1": 0.0}  # the losses are finite, the update is not


@pytest.mark.parametrize(
    "settings, message, saved",
    [
        (
            {"learning_rate": 1e30},
            r"^\w+_loss became (nan|inf) at step 2 of stage damsm: nothing is saved after step 1",
            [1],
        ),
        (TOO_FAST, r"^(text|image)\.params\..* step 1 of stage damsm: there is no checkpoint", []),
        ({"batch_size": 6}, "config.damsm.batch_size is 6, which 4 devices", []),
    ],
)
def test_what_stops_a_run(settings, message, saved, tiny_config, tiny_dataset, tmp_path):
    """A loss or parameters that are not finite, and a batch that the devices do not divide."""
    tiny_config.damsm.update(checkpoint_every_steps=1, **settings)
    with pytest.raises(UserError, match=message):
        train("damsm", tiny_config, tiny_dataset, tmp_path)
    assert Checkpoints.steps_in(tmp_path, "damsm") == saved
    if saved:
        assert list(logged(tmp_path)) == [("damsm", 1)]
