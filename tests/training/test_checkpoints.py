"""Checkpoints: complete or not there, whatever happens while one is written."""

import errno
import os
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint._src.metadata import checkpoint as metadata

from attngan_jax.errors import UserError
from attngan_jax.training import digests
from attngan_jax.training.checkpoints import Checkpoints
from tests import tiny_runs

KILLED_WHILE_SAVING = """
import os, signal, sys
import jax.numpy as jnp
from attngan_jax.training.checkpoints import Checkpoints
checkpoints = Checkpoints(sys.argv[1], "damsm")
state = lambda step: {"x": jnp.full((4_000_000,), float(step)), "step": jnp.int32(step)}
checkpoints.save(1, state(1), {"at": 1})
checkpoints._manager.wait_until_finished()
checkpoints.save(2, state(2), {"at": 2})
os.kill(os.getpid(), signal.SIGKILL)
"""


def small(step):
    return {"x": jnp.arange(3.0) * step, "step": jnp.int32(step)}


def save(workdir, *steps):
    with Checkpoints(workdir, "damsm") as checkpoints:
        for step in steps:
            checkpoints.save(step, small(step), {"iterator": {"n": step}})


def latest(workdir):
    with Checkpoints(workdir, "damsm") as checkpoints:
        return checkpoints.latest_step(), *checkpoints.restore(jax.eval_shape(lambda: small(0)))


def test_what_is_saved_comes_back(tmp_path):
    save(tmp_path, 1, 2, 3)
    step, state, progress = latest(tmp_path)
    np.testing.assert_array_equal(state["x"], [0, 3, 6])
    assert step == int(state["step"]) == 3 and progress == {"iterator": {"n": 3}}
    assert sorted(path.name for path in (tmp_path / "damsm").iterdir()) == ["2", "3"]


@pytest.fixture
def late_metadata(monkeypatch):
    """Orbax writes a checkpoint's metadata in a thread of its own: here late."""
    store = metadata._MetadataStoreImpl

    def late(*arguments, original=store.update, **given):
        time.sleep(0.3)
        original(*arguments, **given)

    monkeypatch.setattr(store, "update", late)


def test_digests_wait_for_the_metadata(tmp_path, late_metadata):
    save(tmp_path, 1)
    assert digests.find_damage(tmp_path / "damsm/1") == ""


def test_metadata_that_does_not_come_is_an_error(tmp_path, late_metadata, monkeypatch):
    monkeypatch.setattr(digests, "METADATA_SECONDS", 0.05)
    with pytest.raises(TimeoutError, match="_CHECKPOINT_METADATA was not written"):
        save(tmp_path, 1)
    assert Checkpoints.steps_in(tmp_path, "damsm") == []


def test_kill_9_while_saving_leaves_the_one_before(tmp_path):
    killed = tiny_runs.start_python("-c", KILLED_WHILE_SAVING, tmp_path)
    assert killed.returncode == -9, killed.stderr
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        step = checkpoints.latest_step()
        state, progress = checkpoints.restore({"x": jnp.zeros(4_000_000), "step": jnp.int32(0)})
        assert step in (1, 2) and progress == {"at": step}
        assert (np.asarray(state["x"]) == step).all()
        checkpoints.save(3, state, {"at": 3})  # what the killed save left does no harm
    assert Checkpoints.steps_in(tmp_path, "damsm")[-1] == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named_and_not_saved(value, tmp_path):
    state = {"generator": {"kernel": jnp.array([1.0, value])}, "step": jnp.int32(7)}
    with Checkpoints(tmp_path, "attngan") as checkpoints:
        with pytest.raises(UserError, match=r"generator\.kernel .* step 7 of stage attngan"):
            checkpoints.save(7, state, {})
        assert checkpoints.latest_step() is None


def test_what_cannot_be_restored_says_why(tmp_path):
    def restore(state=None):
        with Checkpoints(tmp_path, "damsm") as checkpoints:
            checkpoints.restore(state or small(0))

    with pytest.raises(UserError, match="holds no checkpoint: train this stage first"):
        restore()
    save(tmp_path, 1)
    message = "damsm/1 does not fit this config or is damaged"
    with pytest.raises(UserError, match=message):
        restore({"y": jnp.zeros(3), "step": jnp.int32(0)})
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        part, _ = checkpoints.restore({"x": jnp.zeros(3)}, partial=True)
        np.testing.assert_array_equal(part["x"], [0, 1, 2])
        for other in ({"x": jnp.zeros(3), "y": jnp.zeros(3)}, {"x": jnp.zeros(4)}):
            with pytest.raises(UserError, match=message):
                checkpoints.restore(other, partial=True)
    for path in filter(os.path.isfile, (tmp_path / "damsm" / "1" / "state").rglob("*")):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="damsm/1 is damaged .state/.* has changed"):
        restore()


def test_a_disk_without_room_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    state = {"x": jnp.zeros(2**20)}  # 4 MiB
    disk = types.SimpleNamespace(free=4.5 * 2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: disk)
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        with pytest.raises(OSError, match="No space left on device: .*damsm"):
            checkpoints.save(1, state, {})
        assert list((tmp_path / "damsm").iterdir()) == []
        disk.free = 6 * 2**20
        checkpoints.save(1, state, {})
    assert (tmp_path / "damsm" / "1").exists()


def test_a_full_disk_is_not_taken_for_a_checkpoint(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save(tmp_path, 1)
    with pytest.raises(OSError, match="No space left"):
        with Checkpoints(tmp_path, "damsm") as checkpoints:
            monkeypatch.setattr(os, "rename", full)
            monkeypatch.setattr(os, "replace", full)
            checkpoints.save(2, small(2), {})
    monkeypatch.undo()
    step, state, _ = latest(tmp_path)
    assert step == 1
    np.testing.assert_array_equal(state["x"], [0, 1, 2])
