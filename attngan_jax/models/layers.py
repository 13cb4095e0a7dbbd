"""Blocks that generator and discriminators share (the released code's `model.py`)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Dtype = Any

# The released code's `weights_init`: orthogonal kernels, BatchNorm scales N(1, 0.02).
kernel_init = nn.initializers.orthogonal()


def scale_init(key, shape, dtype=jnp.float32):
    """BatchNorm scales drawn from N(1, 0.02)."""
    return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


def glu(x: jax.Array) -> jax.Array:
    """Gated linear unit over the last axis: `[..., 2C] -> [..., C]`, first half gated by second."""
    value, gate = jnp.split(x, 2, axis=-1)
    return value * nn.sigmoid(gate)


def leaky_relu(x: jax.Array) -> jax.Array:
    """LeakyReLU with the released code's slope of 0.2."""
    return nn.leaky_relu(x, 0.2)


def upsampled_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """3x3 convolution of the image upsampled by nearest neighbour, without making that image.

    In the upsampled image neighbours repeat, so that an output pixel sees only 2 x 2 input pixels;
    which kernel taps fall together depends on the parity of its row and column. Four 2x2
    convolutions at the low resolution, interleaved, thus give the same numbers with 4/9 of the
    multiplications and none of the memory of the upsampled image.

    `x [B, H, W, C]`, `kernel [3, 3, C, O]` -> `[B, 2H, 2W, O]`.
    """
    return _interleave([
        [_conv(x, parity_kernel, ((1 - row, row), (1 - column, column)))
         for column, parity_kernel in enumerate(_parity_kernels(row_kernel, axis=1))]
        for row, row_kernel in enumerate(_parity_kernels(kernel, axis=0))])


def upsampled_conv_parities(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same by one wide convolution, not yet interleaved; `interleave_parities` does that.

    On the CPU a third faster than the four, but its gradients are many times slower.

    `x [B, H, W, C]`, `kernel [3, 3, C, O]` -> `[B, H + 1, W + 1, 4, O]`, where the parities of an
    output pixel come from neighbouring windows: a row and a column of each parity are surplus.
    """
    (B, H, W, _), O = x.shape, kernel.shape[-1]
    kernels = [parity_kernel for row_kernel in _parity_kernels(kernel, axis=0)
               for parity_kernel in _parity_kernels(row_kernel, axis=1)]
    parities = _conv(x, jnp.concatenate(kernels, axis=-1), ((1, 1), (1, 1)))
    return parities.reshape(B, H + 1, W + 1, 4, O)


def interleave_parities(x: jax.Array) -> jax.Array:
    """`[B, H + 1, W + 1, 4, O] -> [B, 2H, 2W, O]`; see `upsampled_conv_parities`."""
    H, W = x.shape[1] - 1, x.shape[2] - 1
    return _interleave([[x[:, row : row + H, column : column + W, 2 * row + column]
                         for column in (0, 1)] for row in (0, 1)])


PARITIES = 4  # of row and column: even and even, even and odd, odd and even, odd and odd


def upsampled_conv_wide(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same by one 3x3 convolution whose kernel is zero where a parity has no tap.

    More multiplications, but on a TPU its many output channels fill the matrix unit and the lanes,
    and what follows moves half of them; `interleave_wide` makes pixels of the rest. A third less
    memory traffic of the whole generator.

    `x [B, H, W, C]`, `kernel [3, 3, C, 2 O]` -> `[B, H, W, 2 PARITIES O]`: every parity of the first
    half of the channels, then of the second, as `glu` wants them.
    """
    halves = []
    for row, row_kernel in enumerate(_parity_kernels(kernel, axis=0)):
        for column, parity_kernel in enumerate(_parity_kernels(row_kernel, axis=1)):
            padding = ((row, 1 - row), (column, 1 - column), (0, 0), (0, 0))
            halves.append(jnp.split(jnp.pad(parity_kernel, padding), 2, axis=-1))
    kernel = jnp.concatenate([half for side in zip(*halves) for half in side], axis=-1)
    return _conv(x, kernel, "SAME")


def interleave_wide(x: jax.Array) -> jax.Array:
    """`[B, H, W, PARITIES O] -> [B, 2H, 2W, O]`; see `upsampled_conv_wide`."""
    B, H, W, _ = x.shape
    return x.reshape(B, H, W, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5).reshape(B, 2 * H, 2 * W, -1)


def _interleave(parities):
    """Images `[B, H, W, O]` by parity of row and column -> `[B, 2H, 2W, O]`."""
    B, H, W, O = parities[0][0].shape
    rows = [jnp.stack(columns, axis=3) for columns in parities]
    return jnp.stack(rows, axis=2).reshape(B, 2 * H, 2 * W, O)


def _conv(x, kernel, padding):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding,
                                        dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _parity_kernels(kernel, axis):
    """Kernels of the even and the odd outputs along `axis`: 3 taps become 2."""
    first, middle, last = jnp.split(kernel, 3, axis)
    return (jnp.concatenate([first, middle + last], axis),
            jnp.concatenate([first + middle, last], axis))


class BatchNorm(nn.Module):
    """Batch normalisation with PyTorch's conventions, over one device or the whole mesh.

    Differs from `flax.linen.BatchNorm`: the running variance is the unbiased one, and a `mask`
    leaves examples out of the statistics. All statistics are float32.

    With an `activation` the normalised `x` is computed again in the backward pass: a product and a
    sum, where keeping it would cost more memory traffic than anything else in these networks.

    Attributes:
      axis_name: mesh axis to take the batch statistics over; None for this device's share alone.
      momentum: share of the old running statistics that stays (PyTorch's 1 - momentum).
      activation: function of the normalised `x`, or None.
      parities: PARITIES for the result of `upsampled_conv_wide`, whose channels each stand there so
        often; else 1.
    """

    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Dtype = jnp.float32
    scale_init: Any = scale_init
    activation: Callable | None = None
    parities: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Normalises `x` `[B, ..., C]`; `mask` bool `[B]` says which examples count."""
        C = x.shape[-1] // self.parities
        scale = self.param("scale", self.scale_init, (C,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (C,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (C,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (C,), jnp.float32)
        if train:
            mean, var, count = self._batch_statistics(x, mask)
            if not self.is_initializing():
                unbiased = var * (count / jnp.maximum(count - 1.0, 1.0))
                running_mean.value = _blend(running_mean.value, mean, self.momentum)
                running_var.value = _blend(running_var.value, unbiased, self.momentum)
        else:
            mean, var = running_mean.value, running_var.value
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        shift = bias - mean * gain
        gain, shift = (self._spread(v).astype(self.dtype) for v in (gain, shift))
        x = x.astype(self.dtype)
        if self.activation is None:
            return x * gain + shift
        return jax.checkpoint(self._activated)(x, gain, shift)

    def _activated(self, x, gain, shift):
        if self.activation is not glu:
            return self.activation(x * gain + shift)
        # Halves first: XLA would write the whole normalised array to memory before it splits it.
        value, gate = (x * gain + shift for x, gain, shift in zip(
            *(jnp.split(array, 2, axis=-1) for array in (x, gain, shift))))
        return value * nn.sigmoid(gate)

    def _spread(self, channels):
        """`[C]` to the channels of `x`: first and second half, each once for every parity."""
        if self.parities == 1:
            return channels
        return jnp.tile(channels.reshape(2, 1, -1), (1, self.parities, 1)).reshape(-1)

    def _fold(self, sums):
        """Sums over the channels of `x` to `[C]`; undoes `_spread`."""
        if self.parities == 1:
            return sums
        return sums.reshape(2, self.parities, -1).sum(1).reshape(-1)

    def _batch_statistics(self, x, mask):
        axes = tuple(range(x.ndim - 1))
        x = x.astype(jnp.float32)
        per_example = x.size // x.shape[-1] // x.shape[0] * self.parities
        if mask is None:
            count = jnp.float32(per_example * x.shape[0])
            total, squares = x.sum(axes), (x * x).sum(axes)
        else:
            weight = mask.astype(jnp.float32).reshape((-1,) + (1,) * (x.ndim - 1))
            count = per_example * weight.sum()
            total, squares = (weight * x).sum(axes), (weight * x * x).sum(axes)
        total, squares = self._fold(total), self._fold(squares)
        if self.axis_name is not None and not self.is_initializing():
            total, squares, count = jax.lax.psum((total, squares, count), self.axis_name)
        mean = total / count
        return mean, jnp.maximum(squares / count - mean * mean, 0.0), count


def _blend(old, new, momentum):
    return momentum * old + (1.0 - momentum) * jax.lax.stop_gradient(new)


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm, activation: what most blocks are made of.

    A stride of 2 goes with a kernel of 4, a stride of 1 with a kernel of 3; both pad by 1.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    activation: Callable | None = None

    @nn.compact
    def __call__(self, x, *, train: bool, mask=None):
        """`[B, H, W, C] -> [B, H/stride, W/stride, features]`, half of them after `glu`."""
        x = nn.Conv(self.features, (self.kernel_size,) * 2, (self.stride,) * 2, padding=1,
                    use_bias=False, dtype=self.dtype, kernel_init=kernel_init, name="conv")(x)
        return BatchNorm(self.axis_name, dtype=self.dtype, activation=self.activation,
                         name="norm")(x, train=train, mask=mask)


class UpConv(nn.Module):
    """Nearest upsampling by two and a 3x3 convolution, by one of the three functions above."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, convolve: Callable = upsampled_conv) -> jax.Array:
        """`[B, H, W, C]` to what `convolve` gives."""
        kernel = self.param("kernel", kernel_init, (3, 3, x.shape[-1], self.features),
                            jnp.float32)
        return convolve(x.astype(self.dtype), kernel.astype(self.dtype))


class UpBlock(nn.Module):
    """Doubles the resolution: nearest upsampling, 3x3 convolution, BatchNorm, GLU.

    Attributes:
      wide: train by `upsampled_conv_wide`, as is best on TPUs; the same numbers.
    """

    features: int
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    wide: bool = False

    @nn.compact
    def __call__(self, x, *, train: bool):
        """`[B, H, W, C] -> [B, 2H, 2W, features]`."""
        wide = self.wide and train
        convolve = (upsampled_conv_wide if wide else upsampled_conv if train
                    else upsampled_conv_parities)
        x = UpConv(2 * self.features, self.dtype, name="conv")(x, convolve)
        x = BatchNorm(self.axis_name, dtype=self.dtype, activation=glu,
                      parities=PARITIES if wide else 1, name="norm")(x, train=train)
        if wide:
            return interleave_wide(x)
        return x if train else interleave_parities(x)


class ResidualBlock(nn.Module):
    """`x + BN(conv(GLU(BN(conv(x)))))`, the width kept."""

    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x, *, train: bool):
        """`[B, H, W, C] -> [B, H, W, C]`."""
        C = x.shape[-1]
        block = dict(axis_name=self.axis_name, dtype=self.dtype)
        h = ConvNorm(2 * C, **block, activation=glu, name="conv_0")(x, train=train)
        return x + ConvNorm(C, **block, name="conv_1")(h, train=train)
