"""Drawing with running statistics: one wide convolution, and a few examples at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.models import generator, layers
from tests.reference_vectors import FORWARD, assert_close, network, normal


@pytest.mark.parametrize(
    "convolve",
    [
        layers.upsampled_conv,
        lambda x, kernel: layers.interleave_parities(layers.upsampled_conv_parities(x, kernel)),
    ],
)
def test_upsampled_convolution(convolve):
    x, kernel = normal("x", (2, 5, 3, 4)), normal("kernel", (3, 3, 4, 6))
    large = x.repeat(2, axis=1).repeat(2, axis=2)
    expected = jax.lax.conv_general_dilated(
        large, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert_close(jax.jit(convolve)(x, kernel), expected, 1e-6)


@pytest.mark.parametrize("legacy_mask", [False, True])
@pytest.mark.parametrize("at_once", [1, 3, 4, None])
def test_a_few_examples_at_a_time(at_once, legacy_mask):
    module, variables = network("generator", legacy_mask=legacy_mask)
    B, T = 6, 5
    z_dim = variables["params"]["initial"]["dense"]["kernel"].shape[0] - module.condition_dim
    D = variables["params"]["conditioning"]["dense"]["kernel"].shape[0]
    mask = np.arange(T)[None] < np.array([5, 1, 2, 3, 4, 5])[:, None]
    inputs = (
        normal("z", (B, z_dim)),
        normal("e", (B, module.condition_dim)),
        normal("s", (B, D)),
        normal("w", (B, T, D)),
        mask,
    )
    whole = jax.jit(lambda v: module.apply(v, *inputs, train=False))(variables)
    parts = jax.jit(
        lambda v: generator.draw(module, v, *map(jnp.asarray, inputs), at_once=at_once)
    )(variables)
    for one, other in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        assert_close(one, other, FORWARD)
