"""Time and memory of DAMSM's word loss, forward and backward, at CUB's sizes.

    python -m benchmarks.damsm [--batch_size N ...] [--repeats N]

Prints a line for each batch size and way: in blocks of images, as training does it; and in one
piece. With the environment variable TORCH_PYTHON naming a Python that has PyTorch, also the
released code's way, a loop over captions (`benchmarks/damsm_loop.py`). T is 18, R 289, D 256.
"""

import os
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from attngan_jax.losses import damsm

_BATCH_SIZES = flags.DEFINE_multi_integer("batch_size", [48, 128, 512], "Images, and captions.")
_REPEATS = flags.DEFINE_integer(
    "repeats", 10, "Runs to take the median of; fewer once they have taken 10 s.", lower_bound=1
)
WHOLE_UP_TO = 128  # images; its maps grow with the square
T, R, D = 18, 289, 256


def word_loss(regions, words, block_size):
    """L_1^w + L_2^w, every pair a negative but the true ones."""
    classes = jnp.full(len(regions), -1)
    mask = jnp.ones(words.shape[:2], bool)
    scores = damsm.word_scores(regions, words, mask, gamma1=4.0, gamma2=5.0, block_size=block_size)
    return sum(damsm.matching_loss(10.0 * scores, classes, classes))


def measure(batch_size: int, block_size: int | None) -> tuple[float, float]:
    """Median seconds, and MiB of temporary memory."""
    rng = np.random.default_rng(0)
    arrays = [
        jnp.asarray(rng.standard_normal((batch_size, *shape)), jnp.float32)
        for shape in ((R, D), (T, D))
    ]
    run = (
        jax.jit(jax.grad(lambda *arrays: word_loss(*arrays, block_size), argnums=(0, 1)))
        .lower(*arrays)
        .compile()
    )
    jax.block_until_ready(run(*arrays))
    times = []
    while len(times) < _REPEATS.value and sum(times) < 10:
        begin = time.perf_counter()
        jax.block_until_ready(run(*arrays))
        times.append(time.perf_counter() - begin)
    return float(np.median(times)), run.memory_analysis().temp_size_in_bytes / 2**20


def main(argv):
    """Measures and prints."""
    del argv
    for batch_size in _BATCH_SIZES.value:
        ways = {"in blocks": None}
        if batch_size <= WHOLE_UP_TO:
            ways["in one piece"] = batch_size
        for way, block_size in ways.items():
            seconds, memory = measure(batch_size, block_size)
            print(
                f"batch {batch_size}, {way}: {seconds:.3f} s, {memory:.0f} MiB of temporaries, "
                f"on {jax.devices()[0].device_kind}, jax {jax.__version__}",
                flush=True,
            )
    if python := os.environ.get("TORCH_PYTHON"):
        loop = os.path.join(os.path.dirname(__file__), "damsm_loop.py")
        subprocess.run([python, loop, "48", str(_REPEATS.value)], check=True)


if __name__ == "__main__":
    app.run(main)
