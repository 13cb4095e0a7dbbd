"""What disks do to files, and a small checkpoint to do it to."""

import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np

from attngan_jax.training.checkpoints import Checkpoints

STEPS = (2, 4)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def remove(path):
    path.unlink()


def flip(path, bit=None):
    """Changes one bit, by default the middle one."""
    content = bytearray(path.read_bytes())
    bit = 4 * len(content) if bit is None else bit
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


WAYS = (cut, empty, zero, remove, flip)


def state_at(step: int) -> dict:
    """Arrays that differ in all their bytes from those of another step, and its number."""
    key = jax.random.key(step)
    kernel = jax.random.normal(key, (40, 50))
    return {"kernel": kernel, "bias": jnp.full(7, step / 3), "step": jnp.int32(step)}


def save_all(workdir, stage="damsm", steps=STEPS) -> None:
    """Saves `state_at` and a position in the data of each of the steps."""
    with Checkpoints(workdir, stage) as checkpoints:
        for step in steps:
            checkpoints.save(step, state_at(step), {"iterator": {"n": 100 + step}})


def restore(workdir, stage="damsm") -> int:
    """The step that a stage goes on from; an assertion fails where not all of it is as saved."""
    with Checkpoints(workdir, stage) as checkpoints:
        state, progress = checkpoints.restore(jax.eval_shape(lambda: state_at(0)))
    step = int(state["step"])
    for name, array in state_at(step).items():
        np.testing.assert_array_equal(state[name], array, err_msg=name)
    assert progress["iterator"] == {"n": 100 + step}
    return step


def files_of(workdir, step, stage="damsm"):
    """The files of a checkpoint, sorted."""
    folder = workdir / stage / str(step)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def random_bits(files, count, seed=0):
    """(file, bit) pairs, each bit of all files as likely as the next."""
    sizes = [8 * path.stat().st_size for path in files]
    numbers = random.Random(seed)
    for path in numbers.choices(files, sizes, k=count):
        yield path, numbers.randrange(8 * path.stat().st_size)


def fresh_copy(source, target):
    """`target` as a copy of the folder `source`, whatever it was before."""
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(source, target)
