"""Winograd's 3x3 convolutions, of an image and of one upsampled by two: fewer multiplications.

Along one axis the two results of a tile are A^T [(G g) * (B^T d)], elementwise, of the pixels `d`
that it sees and the kernel `g` (Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", CVPR 2016, section 4). In two dimensions each element of the bracket is, over all tiles
and channels, a matrix product. A and B hold only 0, 1 and -1. The results equal a convolution's
except for rounding.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Matrix = list[list[int]]
Grid = list[list[jax.Array]]  # arrays of equal shape, by row and column


class _Algorithm(NamedTuple):
    data: Matrix  # B^T
    kernel: list[list[float]]  # G
    results: Matrix  # A^T
    step: int  # pixels from a tile to the next


# 16 products in place of 36.
_PLAIN = _Algorithm(
    data=[[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    kernel=[[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]],
    results=[[1, 1, 1, 0], [0, 1, -1, -1]],
    step=2,
)
# 9 in place of 36. Pixel b, between a and c, becomes
#   a g0 + b (g1 + g2) = (a - b) g0 + b (g0 + g1 + g2)  and
#   b (g0 + g1) + c g2 = b (g0 + g1 + g2) + (c - b) g2.
_UPSAMPLED = _Algorithm(
    data=[[1, -1, 0], [0, 1, 0], [0, -1, 1]],
    kernel=[[1, 0, 0], [1, 1, 1], [0, 0, 1]],
    results=[[1, 1, 0], [0, 1, 1]],
    step=1,
)


def pays(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether these forms are faster on a CPU, as measured (docs/performance.md).

    With 32 channels or more, images of 1,024 pixels or more, which share the transform of the
    kernel, and more than 2^25 multiplications for each of its taps, of which there are four times
    as many where the image is upsampled. Not below float32: sums of pixels would lose digits.
    """
    B, H, W, C = x.shape
    *size, _, features = kernel.shape
    if not isinstance(B, int):  # an export for any batch
        return False
    large = C >= 32 and H * W >= 1024 and x.size * features > 2**25
    return size == [3, 3] and large and jnp.finfo(x.dtype).bits >= 32


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, border: int) -> jax.Array:
    """`[B, H, W, C]` by `[3, 3, C, features]` -> `[B, H', W', features]`, H' = H + 2 border - 2.

    The border is of zeros, `border` pixels wide.
    """
    H, W = (side + 2 * border - 2 for side in x.shape[1:3])
    return _tiles(_even(_pad(x, border)), kernel, _PLAIN)[:, :H, :W]


def _forward(x, kernel, border):
    return convolve(x, kernel, border), (x, kernel)


def _backward(border, inputs, gradient):
    x, kernel = inputs
    of_x = convolve(gradient, kernel[::-1, ::-1].swapaxes(2, 3), 2 - border)
    return of_x, _kernel_gradient(_even(_pad(x, border)), _even(gradient), _PLAIN)


convolve.defvjp(_forward, _backward)


@jax.custom_vjp
def convolve_upsampled(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`[B, H, W, C]`, each pixel as four, by `[3, 3, C, features]` -> `[B, 2H, 2W, features]`."""
    return _tiles(_pad(x, 1), kernel, _UPSAMPLED)


def _upsampled_forward(x, kernel):
    return convolve_upsampled(x, kernel), (x, kernel)


def _upsampled_backward(inputs, gradient):
    x, kernel = inputs
    of_kernel = _kernel_gradient(_pad(x, 1), gradient, _UPSAMPLED)
    return _upsampled_transposed(gradient, kernel), of_kernel


convolve_upsampled.defvjp(_upsampled_forward, _upsampled_backward)


def _upsampled_transposed(gradient: jax.Array, kernel: jax.Array) -> jax.Array:
    """The gradient of the image: every step of the way back, from results to pixels."""
    _, H, W, _ = gradient.shape
    kernels = _transform_kernel(kernel, _UPSAMPLED).swapaxes(2, 3)
    spread = _spread_results(_pad(gradient, 2), _UPSAMPLED)  # a tile more on each side
    seen = _transform(_transposed(_UPSAMPLED.data), _products(spread, kernels))
    # The pixel in place i of a tile is in place i - 1 of the next.
    parts = [(part, 2 - i, 2 - j) for i, row in enumerate(seen) for j, part in enumerate(row)]
    return functools.reduce(
        jnp.add, [part[:, i : i + H // 2, j : j + W // 2] for part, i, j in parts]
    )


def _tiles(x: jax.Array, kernel: jax.Array, algorithm: _Algorithm) -> jax.Array:
    """Results of all tiles of an image that has its border, `[B, 2 rows, 2 columns, features]`."""
    kernels = _transform_kernel(kernel, algorithm)
    products = _products(_transform_data(x, algorithm), kernels)
    return interleave(_transform(algorithm.results, products))


def _products(grid: Grid, kernels: jax.Array) -> Grid:
    return [[part @ kernels[i, j] for j, part in enumerate(row)] for i, row in enumerate(grid)]


def interleave(results: Grid) -> jax.Array:
    """Results `[B, H, W, C]` of even and odd rows and columns -> `[B, 2H, 2W, C]`."""
    y = jnp.stack([jnp.stack(row, axis=3) for row in results], axis=2)
    B, H, _, W, _, C = y.shape
    return y.reshape(B, 2 * H, 2 * W, C)


def _kernel_gradient(x: jax.Array, gradient: jax.Array, algorithm: _Algorithm) -> jax.Array:
    """An image that has its border, and the results' gradient -> `[3, 3, C, features]`."""
    data, spread = _transform_data(x, algorithm), _spread_results(gradient, algorithm)
    pairs = [list(zip(*rows)) for rows in zip(data, spread)]
    products = jnp.stack([jnp.stack([_over_pixels(*pair) for pair in row]) for row in pairs])
    return _of_kernel("ia,jb,ijcf->abcf", products, algorithm)


def _over_pixels(data: jax.Array, gradient: jax.Array) -> jax.Array:
    """`[B, H, W, C]` and `[B, H, W, features]` -> `[C, features]`.

    Image by image, which XLA fuses with the sums before and after; for one sum over all of them it
    writes every operand to memory first.
    """
    return jnp.einsum("bhwc,bhwf->bcf", data, gradient).sum(axis=0)


def _transform_kernel(kernel: jax.Array, algorithm: _Algorithm) -> jax.Array:
    """G g G^T of all channels: `[3, 3, C, features]` -> `[n, n, C, features]`."""
    return _of_kernel("ia,jb,abcf->ijcf", kernel, algorithm)


def _of_kernel(subscripts: str, kernel: jax.Array, algorithm: _Algorithm) -> jax.Array:
    G = np.asarray(algorithm.kernel, kernel.dtype)
    return jnp.einsum(subscripts, G, G, kernel, precision=jax.lax.Precision.HIGHEST)


def _transform_data(x: jax.Array, algorithm: _Algorithm) -> Grid:
    """B^T d B of all tiles."""
    step, n = algorithm.step, len(algorithm.data[0])
    rows, columns = (1 + (side - n) // step for side in x.shape[1:3])
    bottom, right = step * (rows - 1) + 1, step * (columns - 1) + 1
    seen = [[x[:, i : i + bottom : step, j : j + right : step] for j in range(n)] for i in range(n)]
    return _transform(algorithm.data, seen)


def _spread_results(y: jax.Array, algorithm: _Algorithm) -> Grid:
    """A y A^T of all tiles' results: what is done last, transposed."""
    tiles = [[y[:, i::2, j::2] for j in range(2)] for i in range(2)]
    return _transform(_transposed(algorithm.results), tiles)


def _transform(matrix: Matrix, grid: Grid) -> Grid:
    """`matrix` on both sides of a grid of arrays."""
    columns = [[_sum(row, column) for row in matrix] for column in zip(*grid)]
    return [[_sum(row, of_row) for row in matrix] for of_row in zip(*columns)]


def _sum(weights: list[int], arrays) -> jax.Array:
    """Of arrays with weights of 0, 1 and -1, as additions alone."""
    pairs = zip(weights, arrays, strict=True)
    return functools.reduce(jnp.add, [x if weight > 0 else -x for weight, x in pairs if weight])


def _transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix)]


def _pad(x: jax.Array, width: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (width, width), (width, width), (0, 0)))


def _even(x: jax.Array) -> jax.Array:
    """With zeros below and at the right of odd sides, so that tiles fill it."""
    return jnp.pad(x, ((0, 0), *((0, side % 2) for side in x.shape[1:3]), (0, 0)))
