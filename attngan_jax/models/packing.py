"""Neighbouring pixels side by side in the channels: how images of few channels fill a TPU's lanes.

A TPU moves and multiplies 128 channels at a time. An array of 32 takes the room and the time of
128, one of 3 as well; where memory traffic is what a step waits for, that is most of it. A packed
array `[B, H / rows, W / columns, rows * columns * C]` has the same values without the gaps, and a
convolution of it is a convolution again, with a kernel that has the same taps at more places and
zeros at the others. More multiplications, which would otherwise wait; no other numbers.

Channels are in groups, one after the other, each with all its pixels row by row and each pixel with
its channels of the group. One group is the plain order of pixels; two are what `glu` and
`jnp.concatenate` want, whose halves then are the halves of the packed channels too.

Images of the batch can lie side by side in the same way. Maps of odd sides are no obstacle then,
nor are windows that straddle; a kernel has one image's taps in blocks, and zeros between them.

All of it is for finite values: zero times infinity is NaN, and reaches what lies beside.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LANES = 128


class Packing(NamedTuple):
    """`rows * columns` pixels side by side."""

    rows: int = 1
    columns: int = 1

    @property
    def pixels(self) -> int:
        """How many."""
        return self.rows * self.columns


UNPACKED = Packing()
PAIRS = Packing(1, 2)
QUADS = Packing(2, 2)


def pack(x: jax.Array, packing: Packing) -> jax.Array:
    """`[B, H, W, C] -> [B, H / rows, W / columns, pixels C]`, in one group."""
    B, H, W, C = x.shape
    rows, columns = packing
    x = x.reshape(B, H // rows, rows, W // columns, columns, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, H // rows, W // columns, packing.pixels * C)


def unpack(x: jax.Array, packing: Packing) -> jax.Array:
    """Undoes `pack`."""
    B, H, W, channels = x.shape
    rows, columns = packing
    x = x.reshape(B, H, W, rows, columns, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, H * rows, W * columns, channels // packing.pixels)


def unpack_into(x: jax.Array, packing: Packing, into: Packing) -> jax.Array:
    """Undoes `pack` but for the packing `into`: pixels of one row, fewer than there were.

    The pixels are moved by a convolution with ones, which reads and writes whole lanes once. Where
    channels are reshaped, XLA cuts the lanes up and copies the pieces three times.
    """
    rows, columns = packing.rows, packing.columns // into.columns
    channels = x.shape[-1] // (rows * columns)
    kernel = np.eye(x.shape[-1]).reshape(rows, columns, channels, x.shape[-1])
    # Flipped, as the kernel of every convolution that spreads its input out.
    kernel = jnp.asarray(kernel[::-1, ::-1].transpose(0, 1, 3, 2), x.dtype)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        ((rows - 1,) * 2, (columns - 1,) * 2),
        lhs_dilation=(rows, columns),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )


def pack_images(x: jax.Array, images: int) -> jax.Array:
    """Neighbours of the batch side by side: `[images B, H, W, C] -> [B, H, W, images C]`."""
    B, H, W, C = x.shape
    x = x.reshape(B // images, images, H, W, C).transpose(0, 2, 3, 1, 4)
    return x.reshape(B // images, H, W, images * C)


def unpack_images(x: jax.Array, images: int, groups: int) -> jax.Array:
    """Undoes `pack_images`, of channels in `groups`."""
    B, H, W, channels = x.shape
    x = x.reshape(B, H, W, groups, images, -1).transpose(0, 4, 1, 2, 3, 5)
    return x.reshape(B * images, H, W, channels // images)


def kernel_of_images(kernel: jax.Array, images: int, groups: tuple[int, int]) -> jax.Array:
    """`[K, K, I, O] -> [K, K, images I, images O]`, for images side by side in the channels."""
    K, _, I, O = kernel.shape
    kernel = kernel.reshape(K, K, groups[0], I // groups[0], groups[1], O // groups[1])
    same = jnp.eye(images, dtype=kernel.dtype)
    kernel = jnp.einsum("nm,yxgchd->yxgnchmd", same, kernel, precision=jax.lax.Precision.HIGHEST)
    return kernel.reshape(K, K, images * I, images * O)


def packed_conv(
    x: jax.Array,
    kernel: jax.Array,
    of: Packing,
    to: Packing,
    *,
    stride: int = 1,
    upsample: bool = False,
    groups: tuple[int, int] = (1, 1),
    padding: int = 1,
) -> jax.Array:
    """Convolution of a packed image to a packed image.

    Args:
      x: `[B, H / of.rows, W / of.columns, of.pixels I]`.
      kernel: `[K, K, I, O]`, as for the unpacked image.
      upsample: convolve the image upsampled by two, by nearest neighbour, which is never made.
      groups: of the channels of `x` and of the result.
      padding: pixels of zeros around the image.

    Returns:
      `[B, H' / to.rows, W' / to.columns, to.pixels O]`, where H' x W' is the size of the
      convolution's result: with a padding of 1, H' is H / stride or 2 H.
    """
    K = len(kernel)
    steps = [_step(stride, upsample, *sides) for sides in zip(of, to)]
    taps = [_taps(K, stride, upsample, padding, *sides) for sides in zip(of, to)]
    edges = []
    for (first, tap), step, size, (read, made) in zip(taps, steps, x.shape[1:3], zip(of, to)):
        pixels = size * read * (2 if upsample else 1)
        results, rest = divmod((pixels + 2 * padding - K) // stride + 1, made)
        if rest:
            raise ValueError(f"{results * made + rest} pixels don't lie {made} side by side")
        edges.append((-first, (results - 1) * step + len(tap) + first - size))
    if (of, to, upsample) != (UNPACKED, UNPACKED, False):
        kernel = _packed_kernel(kernel, *(tap for _, tap in taps), groups)
    return jax.lax.conv_general_dilated(
        x, kernel, steps, edges, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _packed_kernel(kernel, row_taps, column_taps, groups):
    """`[K, K, I, O]`, taps of `_taps` -> `[rows, columns, of.pixels I, to.pixels O]`."""
    K, _, I, O = kernel.shape
    kernel = kernel.reshape(K, K, groups[0], I // groups[0], groups[1], O // groups[1])
    row_taps, column_taps = (jnp.asarray(taps, kernel.dtype) for taps in (row_taps, column_taps))
    # y, x: the kernel over packed pixels. i, p: row and column within one that is read; j, q:
    # within one that is made. s, t: taps. g, h: groups.
    kernel = jnp.einsum(
        "yijs,xpqt,stgchd->yxgipchjqd",
        row_taps,
        column_taps,
        kernel,
        precision=jax.lax.Precision.HIGHEST,
    )
    return kernel.reshape(
        *kernel.shape[:2],
        I * row_taps.shape[1] * column_taps.shape[1],
        O * row_taps.shape[2] * column_taps.shape[2],
    )


def _step(stride: int, upsample: bool, of: int, to: int) -> int:
    """Packed pixels that are read from one that is made to the next, along one axis."""
    step, rest = divmod(stride * to, 2 * of if upsample else of)
    if rest:
        raise ValueError(f"{to} side by side cannot be made of {of} with a stride of {stride}")
    return step


def _taps(
    K: int, stride: int, upsample: bool, padding: int, of: int, to: int
) -> tuple[int, np.ndarray]:
    """Where each tap of each packed result reads, along one axis.

    Returns:
      The first packed pixel that is read, 0 being where the result's reading would start without
      padding, and `[packed pixels, of, to, K]`: 1 where that tap falls.
    """
    reads = np.arange(to)[:, None] * stride + np.arange(K) - padding  # [to, K]
    if upsample:
        reads = reads // 2  # neighbours repeat
    place, pixel = reads // of, reads % of
    first = place.min()
    taps = np.zeros((place.max() - first + 1, of, to, K))
    made, tap = np.indices(reads.shape)
    taps[place - first, pixel, made, tap] = 1
    return int(first), taps
