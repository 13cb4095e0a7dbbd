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


def plain_upsampled(x, kernel):
    return plain(x.repeat(2, axis=1).repeat(2, axis=2), kernel, 1, ONE)


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
    assert_same_convolution(
        lambda x, kernel: convolve(x, kernel, x.dtype, stride, padding),
        lambda x, kernel: plain(x, kernel, stride, padding),
        *(x, kernel),
    )


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])  # of odd ones the last tiles are half empty
@pytest.mark.parametrize("border", [0, 1, 2])
def test_winograds_convolution(size, border):
    padding = ((border, border),) * 2
    assert_same_convolution(
        lambda x, kernel: winograd.convolve(x, kernel, border),
        lambda x, kernel: plain(x, kernel, 1, padding),
        *((2, *size, 3), (3, 3, 3, 4)),
    )


@pytest.mark.parametrize("form", [winograd.convolve_upsampled, _convolve_by_parity])
def test_of_an_upsampled_image(form):
    assert_same_convolution(form, plain_upsampled, *((2, 5, 8, 3), (3, 3, 3, 4)))


def test_they_have_their_gradients_as_forms_of_a_platform(monkeypatch):
    monkeypatch.setattr(winograd, "pays", lambda *_: True)
    called = [count_calls(monkeypatch, winograd, name) for name in WINOGRADS]
    shapes = (2, 6, 7, 3), (3, 3, 3, 4)
    assert_same_convolution(
        lambda x, k: convolve(x, k, x.dtype), lambda x, k: plain(x, k, 1, ONE), *shapes
    )
    assert_same_convolution(
        lambda x, kernel: convolve_upsampled(x, kernel, x.dtype), plain_upsampled, *shapes
    )
    assert all(called)


LARGE = ((1, 32, 32, 32), (3, 3, 32, 1100))


@pytest.mark.parametrize(
    "x, kernel, options, large",
    [
        (*LARGE, {}, (True, True)),
        ((1, 34, 33, 32), (3, 3, 32, 1000), {"padding": "VALID"}, (True, True)),
        (*LARGE, {"stride": 2}, (False, True)),
        (*LARGE, {"padding": UNEVEN}, (False, True)),
        (*LARGE, {"padding": ((3, 3), (3, 3))}, (False, True)),
        (*LARGE, {"dtype": jnp.bfloat16}, (False, False)),
        ((1, 32, 32, 32), (3, 3, 32, 1000), {}, (False, False)),
        ((4, 31, 33, 32), (3, 3, 32, 1100), {}, (False, False)),  # few pixels
        ((2, 32, 32, 31), (3, 3, 31, 1100), {}, (False, False)),
        ((1, 32, 32, 32), (1, 3, 32, 1100), {}, (False, None)),
        ((1, 32, 32, 32), (4, 4, 32, 1100), {}, (False, None)),
    ],
)
def test_which_are_winograds(x, kernel, options, large, monkeypatch):
    called = [count_calls(monkeypatch, winograd, name) for name in WINOGRADS]
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (x, kernel)]
    dtype = options.get("dtype", jnp.float32)
    window = options.get("stride", 1), options.get("padding", ONE)
    y = jax.eval_shape(lambda x, kernel: convolve(x, kernel, dtype, *window), *arrays)
    assert y.shape == jax.eval_shape(lambda x, kernel: plain(x, kernel, *window), *arrays).shape
    assert bool(called[0]) == large[0]
    if large[1] is not None:
        jax.eval_shape(lambda x, kernel: convolve_upsampled(x, kernel, dtype), *arrays)
        assert bool(called[1]) == large[1]


def test_precision():
    """In float32 the errors are those of XLA's convolution, in the value and in both gradients."""
    rng = np.random.default_rng(0)
    arrays = [
        rng.normal(size=shape).astype(np.float32) for shape in ((2, 32, 32, 64), (3, 3, 64, 64))
    ]

    def everything(apply, dtype):
        x, kernel = (jnp.asarray(array, dtype) for array in arrays)
        y, gradients = jax.vjp(apply, x, kernel)
        return [np.asarray(value, np.float64) for value in (y, *gradients(y))]

    ways = [lambda x, kernel: winograd.convolve(x, kernel, 1), lambda *x: plain(*x, 1, ONE)]
    with jax.enable_x64(True):
        exact = everything(ways[1], jnp.float64)
    ours, theirs = (
        [np.abs(a - b).max() for a, b in zip(everything(way, jnp.float32), exact)] for way in ways
    )
    assert all(one < 5 * other for one, other in zip(ours, theirs)), (ours, theirs)


def count_calls(monkeypatch, module, name) -> list:
    """Calls of a function of a module from here on."""
    calls, original = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *x: (calls.append(name), original(*x))[1])
    return calls


def assert_same_convolution(ours, theirs, *shapes):
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
