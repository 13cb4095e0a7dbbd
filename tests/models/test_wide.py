"""The layout of the generator for TPUs: the same numbers, gradients and statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.models import layers
from attngan_jax.models.generator import Generator


def test_a_wide_convolution_is_the_convolution_of_the_upsampled_image():
    x, kernel = (jax.random.normal(jax.random.key(i), shape)
                 for i, shape in enumerate(((2, 5, 7, 3), (3, 3, 3, 8))))
    upsampled = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    expected = jax.lax.conv_general_dilated(upsampled, kernel, (1, 1), "SAME",
                                            dimension_numbers=("NHWC", "HWIO", "NHWC"))
    value, gate = jnp.split(layers.upsampled_conv_wide(x, kernel), 2, axis=-1)
    made = jnp.concatenate([layers.interleave_wide(value), layers.interleave_wide(gate)], -1)
    np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.fixture(scope="module")
def both():
    """Images, new statistics and gradients of a generator, by the usual layout and the wide one."""
    fields = dict(num_stages=2, base_size=8, gf_dim=4, condition_dim=5, num_residual_blocks=1)
    z, noise, sentence, words = (jax.random.normal(jax.random.key(i), shape) for i, shape in
                                 enumerate(((3, 6), (3, 5), (3, 8), (3, 4, 8))))
    mask = jnp.ones((3, 4), bool)
    inputs = (z, noise, sentence, words, mask)
    variables = Generator(**fields).init(jax.random.key(9), *inputs, train=False)

    def results(wide):
        def loss(params):
            output, updated = Generator(**fields, wide=wide).apply(
                variables | {"params": params}, *inputs, train=True, mutable=["batch_stats"])
            return sum((image**2).mean() for image in output.images), (output.images, updated)

        (_, made), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
        return made, grads

    return results(False), results(True)


def test_the_wide_layout_changes_no_number(both):
    usual, wide = both
    assert jax.tree.structure(usual) == jax.tree.structure(wide)
    for a, b in zip(jax.tree.leaves(usual), jax.tree.leaves(wide)):
        assert np.linalg.norm(a - b) <= 2e-4 * np.linalg.norm(a) + 1e-7
