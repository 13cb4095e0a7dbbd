"""Checkpoints: whole or not there, whatever happens while one is written."""

import errno
import os
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.training.checkpoints import Checkpoints

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


def test_what_is_saved_comes_back(tmp_path):
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        assert checkpoints.latest_step() is None
        for step in (1, 2, 3):
            checkpoints.save(step, small(step), {"iterator": {"n": step}})
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        assert checkpoints.latest_step() == 3
        state, progress = checkpoints.restore(jax.eval_shape(lambda: small(0)))
    np.testing.assert_array_equal(state["x"], [0, 3, 6])
    assert int(state["step"]) == 3 and progress == {"iterator": {"n": 3}}
    assert sorted(path.name for path in (tmp_path / "damsm").iterdir()) == ["2", "3"]


def test_kill_9_while_saving_leaves_the_one_before(tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
    )
    assert killed.returncode == -9, killed.stderr
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        step = checkpoints.latest_step()
        abstract = {
            "x": jax.ShapeDtypeStruct((4_000_000,), jnp.float32),
            "step": jax.ShapeDtypeStruct((), jnp.int32),
        }
        state, progress = checkpoints.restore(abstract)
        assert step in (1, 2) and progress == {"at": step}
        assert (np.asarray(state["x"]) == step).all()
        checkpoints.save(3, state, {"at": 3})  # what the killed save left is in nobody's way
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        assert checkpoints.latest_step() == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named_and_not_saved(value, tmp_path):
    with Checkpoints(tmp_path, "attngan") as checkpoints:
        state = {"generator": {"kernel": jnp.array([1.0, value])}, "step": jnp.int32(7)}
        with pytest.raises(UserError, match=r"generator\.kernel .* step 7 of stage attngan"):
            checkpoints.save(7, state, {})
        assert checkpoints.latest_step() is None


def test_no_checkpoint_says_what_to_run(tmp_path):
    with Checkpoints(tmp_path, "attngan") as checkpoints:
        with pytest.raises(UserError, match="holds no checkpoint: train this stage first"):
            checkpoints.restore(small(0))


def test_a_checkpoint_of_other_shapes_says_so(tmp_path):
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        checkpoints.save(1, small(1), {})
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        with pytest.raises(UserError, match="damsm/1 does not fit this config or is damaged"):
            checkpoints.restore({"y": jnp.zeros(3), "step": jnp.int32(0)})


def test_a_damaged_checkpoint_says_so(tmp_path):
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        checkpoints.save(1, small(1), {})
    for path in (tmp_path / "damsm" / "1" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        with pytest.raises(UserError, match="does not fit this config or is damaged"):
            checkpoints.restore(small(0))


def test_a_disk_without_room_is_found_out_before_anything_is_written(tmp_path, monkeypatch):
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        state = {"x": jnp.zeros(2**20)}  # 4 MiB
        for free, saved in ((4.5 * 2**20, False), (6 * 2**20, True)):
            monkeypatch.setattr(
                "shutil.disk_usage", lambda _, free=free: types.SimpleNamespace(free=free)
            )
            if not saved:
                with pytest.raises(OSError, match="No space left on device: .*damsm"):
                    checkpoints.save(1, state, {})
                assert list((tmp_path / "damsm").iterdir()) == []
            else:
                checkpoints.save(1, state, {})
    assert (tmp_path / "damsm" / "1").exists()


def test_a_full_disk_is_not_taken_for_a_checkpoint(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Checkpoints(tmp_path, "damsm") as checkpoints:
        checkpoints.save(1, small(1), {})
    checkpoints = Checkpoints(tmp_path, "damsm")
    monkeypatch.setattr(os, "rename", full)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(2, small(2), {})
        checkpoints.close()
    monkeypatch.undo()
    with Checkpoints(tmp_path, "damsm") as checkpoints:
        assert checkpoints.latest_step() == 1
        np.testing.assert_array_equal(checkpoints.restore(small(0))[0]["x"], [0, 1, 2])
