"""The generator in a layout that fills a TPU's lanes: the same parameters, the same images.

A TPU moves and multiplies 128 channels at a time: an array of 32 channels takes the room and the
time of 128, an image of 3 as well. Here neighbouring pixels lie side by side in the channels. Of a
`Packed` image with R rows and S columns side by side the values are `[B, H/R, W/S, G R S C/G]`:
channels come in G groups, each with all its pixels row by row, so that the halves of the channels
(which `glu` splits and concatenation makes) stay halves.

A convolution of packed images is a convolution, whose kernel has the same taps at more places and
zeros between them: more multiplications, which on a TPU would be spent on empty lanes otherwise.
The zeros ask for finite values: zero times infinity is NaN.

Nothing here is needed to understand AttnGAN; `models/generator.py` is the paper.
"""

import dataclasses

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from attngan_jax.models.generator import Generator, ImageHead, RefinementStage, upsampling_from
from attngan_jax.models.layers import (
    BatchNorm,
    Dtype,
    batch_statistics,
    glu,
    kernel_init,
    scale_init,
    update_running_statistics,
    upsampled_taps,
)

LANES = 128


@flax.struct.dataclass
class Packed:
    """`[B, H/rows, W/columns, channels]`, of `rows * columns` pixels and `groups`."""

    values: jax.Array
    rows: int = flax.struct.field(pytree_node=False)
    columns: int = flax.struct.field(pytree_node=False)
    groups: int = flax.struct.field(default=1, pytree_node=False)

    @property
    def pixels(self) -> int:
        return self.rows * self.columns


def pack(x: jax.Array, rows: int, columns: int) -> Packed:
    """`[B, H, W, C]` with pixels side by side."""
    B, H, W, C = x.shape
    x = x.reshape(B, H // rows, rows, W // columns, columns, C).transpose(0, 1, 3, 2, 4, 5)
    return Packed(x.reshape(B, H // rows, W // columns, -1), rows, columns)


def unpack(x: Packed) -> jax.Array:
    """`[B, H, W, C]`, of one group."""
    B, H, W, channels = x.values.shape
    values = x.values.reshape(B, H, W, x.rows, x.columns, -1).transpose(0, 1, 3, 2, 4, 5)
    return values.reshape(B, H * x.rows, W * x.columns, channels // x.pixels)


class PackedConv(nn.Module):
    """3x3 convolution, padded by 1, with the kernel `[3, 3, I, O]` of the plain image.

    The result has `groups`, and is packed as `x` is; with `upsampling`, of the image upsampled by
    two, twice as much in both directions, so that its size stays.
    """

    features: int
    groups: int = 1
    upsampling: str = ""
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Packed) -> Packed:
        I, O, G = x.values.shape[-1] // x.pixels, self.features, self.groups
        scale = 2 if self.upsampling else 1
        kernel = self.param("kernel", kernel_init, (3, 3, I, O), jnp.float32)
        row_taps, rows = upsampled_taps(self.upsampling, x.rows)
        column_taps, columns = upsampled_taps(self.upsampling, x.columns)
        # y, x: packed pixels of the new kernel. i, p: row and column in one that is read; j, q: in
        # one that is made. s, t: taps of the given kernel. g, h: groups; c, d: their channels.
        new = jnp.einsum(
            "yijs,xpqt,stgchd->yxgipchjqd",
            jnp.asarray(row_taps, kernel.dtype),
            jnp.asarray(column_taps, kernel.dtype),
            kernel.reshape(3, 3, x.groups, I // x.groups, G, O // G),
            precision=jax.lax.Precision.HIGHEST,
        ).reshape(len(row_taps), len(column_taps), x.values.shape[-1], -1)
        new = new.astype(self.dtype)
        order, values = ("NHWC", "HWIO", "NHWC"), x.values.astype(self.dtype)
        values = jax.lax.conv_general_dilated(
            values, new, (1, 1), (rows, columns), dimension_numbers=order
        )
        return Packed(values, scale * x.rows, scale * x.columns, G)


class PackedBatchNorm(nn.Module):
    """`BatchNorm`, each of whose channels stands once for each pixel."""

    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Packed, *, train: bool) -> Packed:
        C = x.values.shape[-1] // x.pixels
        scale = self.param("scale", scale_init, (C,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (C,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (C,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (C,), jnp.float32)
        values = x.values.astype(jnp.promote_types(self.dtype, jnp.float32))
        if train:
            axis_name = None if self.is_initializing() else self.axis_name
            means, variances, count = batch_statistics(values, None, axis_name)
            mean = _over_pixels(means, x)
            var = jnp.maximum(_over_pixels(variances + means**2, x) - mean**2, 0.0)
        else:
            mean, var = running_mean.value, running_var.value
        if train and not self.is_initializing():
            count, momentum = x.pixels * count, BatchNorm.momentum
            update_running_statistics(running_mean, running_var, mean, var, count, momentum)
        gain = scale * jax.lax.rsqrt(var + BatchNorm.epsilon)
        gain, offset = (_for_each_pixel(v, x) for v in (gain, bias - mean * gain))
        return dataclasses.replace(x, values=(values * gain + offset).astype(self.dtype))


def _over_pixels(vector: jax.Array, x: Packed) -> jax.Array:
    """The mean over the pixels side by side, `[pixels C] -> [C]`."""
    return vector.reshape(x.groups, x.pixels, -1).mean(1).reshape(-1)


def _for_each_pixel(vector: jax.Array, x: Packed) -> jax.Array:
    """`[C] -> [pixels C]`."""
    return jnp.repeat(vector.reshape(x.groups, 1, -1), x.pixels, axis=1).reshape(-1)


class PackedConvNorm(nn.Module):
    """Convolution and BatchNorm, with a GLU behind them where `gated`."""

    features: int
    groups: int
    gated: bool = False
    upsampling: str = ""
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Packed, *, train: bool) -> Packed:
        x = PackedConv(self.features, self.groups, self.upsampling, self.dtype, name="conv")(x)
        x = PackedBatchNorm(self.axis_name, dtype=self.dtype, name="norm")(x, train=train)
        return dataclasses.replace(x, values=glu(x.values), groups=1) if self.gated else x


class PackedResidualBlock(nn.Module):
    """`ResidualBlock`."""

    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Packed, *, train: bool) -> Packed:
        C, fields = x.values.shape[-1] // x.pixels, dict(axis_name=self.axis_name, dtype=self.dtype)
        h = PackedConvNorm(2 * C, 2, gated=True, **fields, name="conv_0")(x, train=train)
        h = PackedConvNorm(C, x.groups, **fields, name="conv_1")(h, train=train)
        return dataclasses.replace(x, values=x.values + h.values)


class PackedRefinementStage(RefinementStage):
    """`RefinementStage`, whose result is packed; attention is the plain one's."""

    def __call__(self, hidden, condition, words, word_mask, *, train: bool):
        hidden = unpack(hidden) if isinstance(hidden, Packed) else hidden
        return super().__call__(hidden, condition, words, word_mask, train=train)

    def refine(self, hidden, context, *, train: bool):
        fields = dict(axis_name=self.axis_name, dtype=self.dtype)
        # Hidden features and context are packed as far as there are lanes for both.
        columns = 2 if 2 * 2 * self.gf_dim <= LANES else 1
        parts = [pack(part, 1, columns).values for part in (hidden, context)]
        h = Packed(jnp.concatenate(parts, axis=-1), 1, columns, groups=2)
        for i in range(self.num_residual_blocks):
            h = PackedResidualBlock(**fields, name=f"residual_{i}")(h, train=train)
        upsampling = upsampling_from(hidden.shape[1], self.bilinear_up_to)
        up = PackedConvNorm(2 * self.gf_dim, 2, True, upsampling, **fields, name="upsample")
        return up(h, train=train)


class PackedImageHead(ImageHead):
    """`ImageHead` of a packed image."""

    @nn.compact
    def __call__(self, hidden) -> jax.Array:
        if not isinstance(hidden, Packed):
            hidden = pack(hidden, 1, 1)
        x = PackedConv(3, 1, dtype=self.dtype, name="conv")(hidden)
        return unpack(dataclasses.replace(x, values=jnp.tanh(x.values.astype(jnp.float32))))


class PackedGenerator(Generator):
    """`Generator`; its first stage, of the smallest image, is the plain one."""

    refinement_stage, image_head = PackedRefinementStage, PackedImageHead
