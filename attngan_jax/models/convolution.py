"""Convolutions, and other forms of those for which XLA is slow on a CPU.

A product of matrices runs at nearly the machine's rate. XLA's weight gradients take three to ten
times as long as the forward pass, and a kernel larger than the image that it meets has to be
transposed, value by value, for the image's gradient. Large 3x3 convolutions use
Winograd's algorithm.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attngan_jax.models import winograd


def convolve(
    x: jax.Array, kernel: jax.Array, dtype: Any, stride: int = 1, padding: Any = ((1, 1), (1, 1))
) -> jax.Array:
    """`[B, H, W, C]` by `[rows, columns, C, features]` -> `[B, H', W', features]`.

    `padding` is "SAME", "VALID", or two pairs: above and below, left and right.
    """
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    if isinstance(padding, str):
        strides = (stride, stride)
        padding = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    padding = tuple((int(before), int(after)) for before, after in padding)
    window: dict = dict(stride=stride, padding=padding)
    on_cpu = _form_on_cpu(x, kernel, **window)
    if on_cpu is _convolve:
        return _convolve(x, kernel, **window)
    forms = dict(cpu=on_cpu, default=_convolve)
    forms = {name: functools.partial(form, **window) for name, form in forms.items()}
    return jax.lax.platform_dependent(x, kernel, **forms)


def convolve_upsampled(x: jax.Array, kernel: jax.Array, dtype: Any) -> jax.Array:
    """`[B, H, W, C]`, each pixel as four, by `[3, 3, C, features]` -> `[B, 2H, 2W, features]`."""
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    if not winograd.pays(x, kernel):
        return _convolve_by_parity(x, kernel)
    forms: dict = dict(cpu=winograd.convolve_upsampled, default=_convolve_by_parity)
    return jax.lax.platform_dependent(x, kernel, **forms)


def _convolve_by_parity(x, kernel):
    """Which taps fall together depends on the parity of a result's row and column.

    Four 2x2 convolutions, interleaved, give the same sums with 4/9 of the multiplications.
    """

    def fold(kernel, axis):
        # Result 2i sees pixels i - 1, i, i; result 2i + 1 sees i, i, i + 1.
        first, middle, last = jnp.split(kernel, 3, axis)
        even, odd = [first, middle + last], [first + middle, last]
        return jnp.concatenate(even, axis), jnp.concatenate(odd, axis)

    def results(row, column, taps):
        # Zeros above even rows and below odd ones, left and right in the same way.
        padding = ((1 - row, row), (1 - column, column))
        return convolve(x, taps, x.dtype, padding=padding)

    rows = [fold(of_rows, 1) for of_rows in fold(kernel, 0)]
    return winograd.interleave(
        [[results(i, j, taps) for j, taps in enumerate(row)] for i, row in enumerate(rows)]
    )


def _form_on_cpu(x, kernel, stride, padding) -> Callable[..., jax.Array]:
    """The fastest on a CPU, by measure: see docs/performance.md."""
    *size, C, features = kernel.shape
    if size == [1, 1]:
        return _convolve_by_product
    if not isinstance(x.shape[0], int):  # an export for any batch
        return _convolve
    pixels = math.prod((len(x), *_output_size(x, size, stride, padding)))
    if kernel.size >= 2**20 and features >= pixels:
        return _convolve_by_product
    border = padding[0][0]
    is_even = padding == ((border, border),) * 2 and border <= 2  # the gradient's is 2 - border
    if stride == 1 and is_even and winograd.pays(x, kernel):
        return _convolve_by_winograd
    return _convolve_wide if C >= 64 and pixels >= 1024 else _convolve


def _convolve(x, kernel, stride, padding):
    strides, layout = (stride, stride), ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)


def _convolve_by_product(x, kernel, stride, padding):
    taps = _taps(x, kernel.shape[:2], stride, padding)
    patches = jnp.concatenate([tap for row in taps for tap in row], axis=-1)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def _convolve_by_winograd(x, kernel, stride, padding):
    return winograd.convolve(x, kernel, padding[0][0])


# The same as `_convolve`, but for the kernel's gradient.
_convolve_wide = jax.custom_vjp(_convolve, nondiff_argnums=(2, 3))


def _forward(x, kernel, stride, padding):
    return _convolve(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, inputs, gradient):
    x, kernel = inputs
    _, of_x = jax.vjp(lambda x: _convolve(x, kernel, stride, padding), x)
    # For each row of the kernel: what its taps see, side by side, times the gradient.
    rows = [jnp.concatenate(row, -1) for row in _taps(x, kernel.shape[:2], stride, padding)]
    products = [jnp.einsum("bhwc,bhwf->cf", row, gradient) for row in rows]
    return *of_x(gradient), jnp.stack(products).reshape(kernel.shape)


_convolve_wide.defvjp(_forward, _backward)


def _output_size(x, size, stride, padding) -> list[int]:
    sides = zip(x.shape[1:3], size, padding)
    return [(side + sum(pad) - taps) // stride + 1 for side, taps, pad in sides]


def _taps(x, size, stride, padding) -> list[list[jax.Array]]:
    """What each tap of a kernel sees, `[B, H', W', C]`: a list for each of its rows."""
    height, width = _output_size(x, size, stride, padding)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    bottom, right = stride * (height - 1) + 1, stride * (width - 1) + 1
    rows, columns = (range(n) for n in size)
    return [[x[:, i : i + bottom : stride, j : j + right : stride] for j in columns] for i in rows]
