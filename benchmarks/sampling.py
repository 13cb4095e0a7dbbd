"""Images a second at CUB's width, from sentence features to 256 pixels.

    python -m benchmarks.sampling [--batch_size N] [--seconds S]

Prints one line. On two cores and at a batch of 8, the original in PyTorch makes 16 a second.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from attngan_jax.sampling.trained_model import generate_in_chunks
from attngan_jax.training.networks import build_generator
from configs import cub

_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Images drawn together.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 10.0, "How long to draw, after compiling.")


def make_sampler(batch_size: int):
    """A function without arguments that draws a batch, the smaller stages' images included."""
    config = cub.get_config()
    generator, g = build_generator(config), config.generator
    T, D = config.data.max_words, config.text_encoder.embedding_dim
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    inputs = (
        normal(batch_size, g.z_dim),
        normal(batch_size, g.condition_dim),
        normal(batch_size, D),
        normal(batch_size, T, D),
        jnp.ones((batch_size, T), bool),
    )
    shapes = jax.eval_shape(lambda: generator.init(jax.random.key(0), *inputs, train=False))
    variables = jax.tree.map(  # orthogonal kernels would take long to draw
        lambda x: (
            0.5 + jnp.abs(normal(*x.shape))
            if x.ndim == 1
            else normal(*x.shape) / np.prod(x.shape[:-1]) ** 0.5
        ),
        shapes,
    )
    sample = jax.jit(
        lambda variables, *inputs: generate_in_chunks(generator, variables, *inputs).images
    )
    return lambda: sample(variables, *inputs)


def main(argv):
    """Draws for a while and prints the median rate."""
    del argv
    sample = make_sampler(_BATCH_SIZE.value)
    jax.block_until_ready(sample())
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < _SECONDS.value or len(times) < 2:
        begin = time.perf_counter()
        jax.block_until_ready(sample())
        times.append(time.perf_counter() - begin)
    median, best = np.median(times), min(times)
    print(
        f"{_BATCH_SIZE.value / median:.1f} images/s (median of {len(times)} batches of "
        f"{_BATCH_SIZE.value}; best {_BATCH_SIZE.value / best:.1f}) on "
        f"{jax.devices()[0].device_kind}"
    )


if __name__ == "__main__":
    app.run(main)
