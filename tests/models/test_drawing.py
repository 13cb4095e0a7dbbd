"""Upsampling and convolution as one wide convolution."""

import jax
import pytest

from attngan_jax.models import layers
from tests.reference_vectors import assert_close, normal


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
