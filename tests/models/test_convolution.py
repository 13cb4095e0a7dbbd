"""Convolutions in other forms are convolutions, and pools by slices are pools, with gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.models import winograd
from attngan_jax.models.convolution import _convolve_by_parity, convolve, convolve_upsampled
from attngan_jax.models.inception import _pool

ONE = ((1, 1), (1, 1))
UNEVEN = ((1, 0), (0, 1))
WINOGRADS = ("convolve", "convolve_upsampled")


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
    compare(
        lambda x, kernel: convolve(x, kernel, x.dtype, stride, padding),
        lambda x, kernel: plain(x, kernel, stride, padding),
        *(x, kernel),
    )


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])  # of odd ones the last tiles are half empty
@pytest.mark.parametrize("border", [0, 1, 2])
def test_winograds_convolution(size, border):
    padding = ((border, border),) * 2
    compare(
        lambda x, kernel: winograd.convolve(x, kernel, border),
        lambda x, kernel: plain(x, kernel, 1, padding),
        *((2, *size, 3), (3, 3, 3, 4)),
    )


@pytest.mark.parametrize("form", [winograd.convolve_upsampled, _convolve_by_parity])
def test_of_an_upsampled_image(form):
    compare(
        form,
        lambda x, kernel: plain(x.repeat(2, axis=1).repeat(2, axis=2), kernel, 1, ONE),
        *((2, 5, 8, 3), (3, 3, 3, 4)),
    )


@pytest.mark.parametrize(
    "size, features, padding, large",
    [
        ((32, 32), 1100, "SAME", True),
        ((34, 33), 1000, "VALID", True),
        ((32, 32), 500, ONE, False),
        ((8, 16), 9000, ONE, False),  # a large kernel for few pixels
    ],
)
def test_large_ones_are_winograds(size, features, padding, large, monkeypatch):
    called = [count_calls(monkeypatch, winograd, name) for name in WINOGRADS]
    x, kernel = jnp.ones((1, *size, 32)), jnp.ones((3, 3, 32, features))
    jax.eval_shape(lambda: convolve(x, kernel, jnp.float32, 1, padding))
    jax.eval_shape(lambda: convolve_upsampled(x, kernel, jnp.float32))
    assert [bool(calls) for calls in called] == [large, large]


@pytest.mark.parametrize("dtype, bound", [(jnp.float32, 4e-6), (jnp.bfloat16, 2e-2)])
def test_precision(dtype, bound, monkeypatch):
    """As good as XLA's convolution in float32; bfloat16 is left to that."""
    called = count_calls(monkeypatch, winograd, "convolve")
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=shape) for shape in ((1, 32, 32, 64), (3, 3, 64, 1100)))
    y = convolve(jnp.asarray(x), jnp.asarray(kernel), dtype)
    with jax.enable_x64(True):
        exact = plain(jnp.asarray(x), jnp.asarray(kernel), 1, ONE)
    error = np.abs(np.asarray(y, np.float64) - exact).max() / np.abs(exact).max()
    assert error < bound and bool(called) == (dtype == jnp.float32)


def count_calls(monkeypatch, module, name) -> list:
    """Calls of a function of a module from here on."""
    calls, original = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *x: (calls.append(name), original(*x))[1])
    return calls


def compare(ours, theirs, *shapes):
    """Values, gradients, and gradients of a function of gradients, in float64."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        arrays = [jnp.asarray(rng.normal(size=shape) / 20) for shape in shapes]

        def everything(apply):
            def loss(x, kernel):
                return jnp.sin(apply(x, kernel)).sum()

            def penalty(x, kernel):  # as R1's
                return (jax.grad(loss)(x, kernel) ** 2).sum()

            gradients = [jax.grad(f, argnums=(0, 1))(*arrays) for f in (loss, penalty)]
            return jax.tree.leaves([apply(*arrays), gradients])

        for one, other in zip(everything(ours), everything(theirs), strict=True):
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
