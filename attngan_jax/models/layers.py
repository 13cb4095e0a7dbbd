"""Blocks that generator and discriminators share (the released code's `model.py`)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax.models.batch_norm import BatchNorm, Dtype, glu
from attngan_jax.models.packing import UNPACKED, Packing, kernel_of_images, packed_conv

# The released code's `weights_init`: orthogonal kernels, BatchNorm scales N(1, 0.02).
kernel_init = nn.initializers.orthogonal()


def upsampled_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """3x3 convolution of the image upsampled by nearest neighbour, without making that image.

    In the upsampled image neighbours repeat, so that an output pixel sees only 2 x 2 input pixels;
    which kernel taps fall together depends on the parity of its row and column. Four 2x2
    convolutions at the low resolution, interleaved, thus give the same numbers with 4/9 of the
    multiplications and none of the memory of the upsampled image.

    `x [B, H, W, C]`, `kernel [3, 3, C, O]` -> `[B, 2H, 2W, O]`.
    """
    return _interleave(
        [
            [
                _conv(x, parity_kernel, ((1 - row, row), (1 - column, column)))
                for column, parity_kernel in enumerate(_parity_kernels(row_kernel, axis=1))
            ]
            for row, row_kernel in enumerate(_parity_kernels(kernel, axis=0))
        ]
    )


def upsampled_conv_parities(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same by one wide convolution, not yet interleaved; `interleave_parities` does that.

    On the CPU a third faster than the four, but its gradients are many times slower.

    `x [B, H, W, C]`, `kernel [3, 3, C, O]` -> `[B, H + 1, W + 1, 4, O]`, where the parities of an
    output pixel come from neighbouring windows: a row and a column of each parity are surplus.
    """
    (B, H, W, _), O = x.shape, kernel.shape[-1]
    kernels = [
        parity_kernel
        for row_kernel in _parity_kernels(kernel, axis=0)
        for parity_kernel in _parity_kernels(row_kernel, axis=1)
    ]
    parities = _conv(x, jnp.concatenate(kernels, axis=-1), ((1, 1), (1, 1)))
    return parities.reshape(B, H + 1, W + 1, 4, O)


def interleave_parities(x: jax.Array) -> jax.Array:
    """`[B, H + 1, W + 1, 4, O] -> [B, 2H, 2W, O]`; see `upsampled_conv_parities`."""
    H, W = x.shape[1] - 1, x.shape[2] - 1
    return _interleave(
        [
            [x[:, row : row + H, column : column + W, 2 * row + column] for column in (0, 1)]
            for row in (0, 1)
        ]
    )


def _interleave(parities):
    """Images `[B, H, W, O]` by parity of row and column -> `[B, 2H, 2W, O]`."""
    B, H, W, O = parities[0][0].shape
    rows = [jnp.stack(columns, axis=3) for columns in parities]
    return jnp.stack(rows, axis=2).reshape(B, 2 * H, 2 * W, O)


def _conv(x, kernel, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _parity_kernels(kernel, axis):
    """Kernels of the even and the odd outputs along `axis`: 3 taps become 2."""
    first, middle, last = jnp.split(kernel, 3, axis)
    return (
        jnp.concatenate([first, middle + last], axis),
        jnp.concatenate([first + middle, last], axis),
    )


class Conv(nn.Module):
    """Convolution without bias, of packed pixels to packed pixels (`packed_conv`).

    Attributes:
      groups: of the channels of `x` and of the result. images: that lie side by side in both.
      padding: pixels of zeros around the image.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    of: Packing = UNPACKED
    to: Packing = UNPACKED
    groups: tuple[int, int] = (1, 1)
    dtype: Dtype = jnp.float32
    padding: int = 1
    images: int = 1
    kernel_init: Callable = kernel_init

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C] -> [B, H', W', features]`, both packed."""
        channels = x.shape[-1] // self.of.pixels // self.images
        shape = (self.kernel_size,) * 2 + (channels, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        groups = self.groups
        if self.images > 1:
            kernel, groups = kernel_of_images(kernel, self.images, groups), (1, 1)
        return packed_conv(
            x.astype(self.dtype),
            kernel,
            self.of,
            self.to,
            stride=self.stride,
            groups=groups,
            padding=self.padding,
        )


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm, activation: what most blocks are made of.

    A stride of 2 goes with a kernel of 4, a stride of 1 with a kernel of 3; both pad by 1.

    Attributes:
      of, to: packings of what comes and of what is made. groups: of the channels that come; those
        that are made are in two, if they are packed.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    activation: Callable | None = None
    of: Packing = UNPACKED
    to: Packing = UNPACKED
    groups: int = 1

    @nn.compact
    def __call__(self, x, *, train: bool, batches: int = 1):
        """`[B, H, W, C] -> [B, H/stride, W/stride, features]`, half of them after `glu`.

        For `batches` see `BatchNorm.__call__`.
        """
        groups = (self.groups, 1 if self.to == UNPACKED else 2)
        x = Conv(
            self.features,
            self.kernel_size,
            self.stride,
            self.of,
            self.to,
            groups,
            self.dtype,
            name="conv",
        )(x)
        return BatchNorm(
            self.axis_name,
            dtype=self.dtype,
            activation=self.activation,
            packed=self.to.pixels,
            name="norm",
        )(x, train=train, batches=batches)


class UpConv(nn.Module):
    """Nearest upsampling by two and a 3x3 convolution, by one of the functions above."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, convolve: Callable, channels: int) -> jax.Array:
        """`[B, H, W, C]` with `channels` a pixel, to what `convolve` makes of it and a kernel."""
        kernel = self.param("kernel", kernel_init, (3, 3, channels, self.features), jnp.float32)
        return convolve(x.astype(self.dtype), kernel.astype(self.dtype))


class UpBlock(nn.Module):
    """Doubles the resolution: nearest upsampling, 3x3 convolution, BatchNorm, GLU.

    Attributes:
      packing: of what comes; None where nothing is packed. groups: of its channels.
    """

    features: int
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    packing: Packing | None = None
    groups: int = 1

    @nn.compact
    def __call__(self, x, *, train: bool):
        """`[B, H, W, C] -> [B, 2H, 2W, features]`, with `packing` packed by `made`."""
        if self.packing is not None:
            packing = made_by(self.packing)
            x = UpConv(2 * self.features, self.dtype, name="conv")(
                x,
                lambda x, kernel: packed_conv(
                    x, kernel, self.packing, packing, upsample=True, groups=(self.groups, 2)
                ),
                x.shape[-1] // self.packing.pixels,
            )
            return BatchNorm(
                self.axis_name, dtype=self.dtype, activation=glu, packed=packing.pixels, name="norm"
            )(x, train=train)
        convolve = upsampled_conv if train else upsampled_conv_parities
        x = UpConv(2 * self.features, self.dtype, name="conv")(x, convolve, x.shape[-1])
        x = BatchNorm(self.axis_name, dtype=self.dtype, activation=glu, name="norm")(x, train=train)
        return x if train else interleave_parities(x)


def made_by(packing: Packing) -> Packing:
    """The packing of what an `UpBlock` makes of a packed image: each pixel became four."""
    return Packing(2 * packing.rows, 2 * packing.columns)


class ResidualBlock(nn.Module):
    """`x + BN(conv(GLU(BN(conv(x)))))`, the width kept; packed channels come and go in two groups."""

    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    packing: Packing = UNPACKED

    @nn.compact
    def __call__(self, x, *, train: bool):
        """`[B, H, W, C] -> [B, H, W, C]`."""
        C = x.shape[-1] // self.packing.pixels
        block = dict(axis_name=self.axis_name, dtype=self.dtype, of=self.packing, to=self.packing)
        groups = 1 if self.packing == UNPACKED else 2
        h = ConvNorm(2 * C, **block, activation=glu, groups=groups, name="conv_0")(x, train=train)
        return x + ConvNorm(C, **block, name="conv_1")(h, train=train)
