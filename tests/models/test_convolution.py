"""Convolutions by products are convolutions, and pools by slices are pools, gradients included."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.models.convolution import convolve
from attngan_jax.models.inception import _pool

ONE = ((1, 1), (1, 1))
UNEVEN = ((1, 0), (0, 1))


def plain(x, kernel, stride, padding):
    """XLA's own."""
    strides, layout = (stride, stride), ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)


@pytest.mark.parametrize(
    "x, kernel, stride, padding",
    [
        ((2, 23, 25, 64), (3, 3, 64, 5), 1, ONE),  # wide: the kernel's gradient by products
        ((2, 46, 48, 64), (4, 4, 64, 5), 2, ONE),
        ((2, 49, 47, 64), (3, 3, 64, 5), 2, "VALID"),
        ((2, 25, 23, 64), (2, 2, 64, 5), 1, UNEVEN),
        ((2, 25, 23, 70), (7, 1, 70, 5), 1, "SAME"),
        ((1, 4, 4, 256), (4, 4, 256, 256), 2, ONE),  # a kernel that is larger than the image
        ((1, 3, 4, 300), (3, 3, 300, 400), 1, "SAME"),
        ((2, 5, 6, 6), (1, 1, 6, 9), 1, "SAME"),
        ((2, 5, 6, 6), (3, 3, 6, 9), 1, ONE),  # as it is
    ],
)
def test_values_and_gradients_are_a_convolutions(x, kernel, stride, padding):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        arrays = [jnp.asarray(rng.normal(size=shape) / 20) for shape in (x, kernel)]

        def everything(apply):
            def loss(x, kernel):
                return jnp.sin(apply(x, kernel)).sum()

            def penalty(x, kernel):  # as R1's, a function of a gradient
                return (jax.grad(loss)(x, kernel) ** 2).sum()

            gradients = [jax.grad(f, argnums=(0, 1))(*arrays) for f in (loss, penalty)]
            return jax.tree.leaves([apply(*arrays), gradients])

        ours = everything(lambda x, kernel: convolve(x, kernel, x.dtype, stride, padding))
        theirs = everything(lambda x, kernel: plain(x, kernel, stride, padding))
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "kind, padding_counts, plain_pool",
    [
        ("max", True, lambda x: nn.max_pool(x, (3, 3), (2, 2))),
        ("same_max", True, lambda x: nn.max_pool(x, (3, 3), (1, 1), "SAME")),
        ("average", True, lambda x: nn.avg_pool(x, (3, 3), (1, 1), "SAME")),
        (
            "average",
            False,
            lambda x: nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False),
        ),
    ],
)
@pytest.mark.parametrize("side", [8, 9])
def test_pools_and_their_gradients(kind, padding_counts, plain_pool, side):
    """Of few values, so that many are equal, and the first of them has the gradient."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 4, (2, side, side, 3)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=plain_pool(x).shape), jnp.float32)

    def value_and_gradient(pool):
        return jax.value_and_grad(lambda x: (pool(x) * weights).sum())(x)

    ours = value_and_gradient(lambda x: _pool(kind, x, padding_counts))
    for one, other in zip(ours, value_and_gradient(plain_pool)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(_pool(kind, x, padding_counts), plain_pool(x), rtol=1e-6)
