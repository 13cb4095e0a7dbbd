"""Discriminators, built from the resolution of their images (`D_NET64`, `D_NET128`, `D_NET256`)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from attngan_jax.models.convolution import convolve
from attngan_jax.models.layers import (
    BatchNorm,
    ConvNorm,
    Dtype,
    Kernel,
    SpectralNorm,
    conv,
    leaky_relu,
)


class JointBlock(nn.Module):
    """3x3 convolution of features and a sentence together, and its norm (`jointConv`).

    A sentence is the same at every pixel: its part of the sums is a matrix product, less the taps
    that lie outside the image. The features' part serves all sentences that they are judged with.
    """

    features: int
    norm_kind: str = "batch"
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    def setup(self):
        self.conv = Kernel(self.features)
        batch_norm = functools.partial(BatchNorm, self.axis_name, dtype=self.dtype)
        self.norm = SpectralNorm() if self.norm_kind == "spectral" else batch_norm()

    def part(self, features: jax.Array, D: int) -> jax.Array:
        """The part of features `[B, H, W, C]` in the sums with sentences of `D` values."""
        C = features.shape[-1]
        return convolve(features, self.conv(C + D)[:, :, :C], self.dtype)

    def __call__(self, features, sentence, part, *, train: bool, mask=None) -> jax.Array:
        """Features, their `part`, and `sentence [B, D]` -> `[B, H, W, features]`."""
        (_, H, W, C), D = features.shape, sentence.shape[-1]
        kernel = self.conv(C + D)
        of_sentence = kernel[:, :, C:].astype(self.dtype)
        taps = jnp.einsum("bd,ijdf->bijf", sentence.astype(self.dtype), of_sentence)
        rows, columns = (_is_inside(n).astype(self.dtype) for n in (H, W))
        y = part + jnp.einsum("hi,wj,bijf->bhwf", rows, columns, taps)
        if self.norm_kind == "spectral":
            return self.norm(y, kernel, train=train)
        return self.norm(y, train=train, mask=mask)


def _is_inside(n: int) -> np.ndarray:
    """Bool `[n, 3]`: does tap j of a kernel that is centred on pixel i fall on one of n pixels?"""
    at = np.arange(n)[:, None] + np.arange(-1, 2)
    return (at >= 0) & (at < n)


class Discriminator(nn.Module):
    """Is the image real, and does it fit the sentence? Logits of both heads (Eq. 5).

    The image is halved down to 4 x 4. At 64 pixels the width doubles from df_dim to 8 df_dim in
    four steps; larger images go on doubling it and are brought back to 8 df_dim by 3x3
    convolutions; smaller ones (not in the released code) start wider, to end at 8 df_dim too.

    Attributes:
      df_dim: channels after the first convolution at 64 pixels and more.
      image_size: side of the images, a power of two from 8.
      unconditional: whether there is a head that ignores the sentence (AttnDCGAN has none).
      max_width: no layer has more channels; None as in the released code, whose parameters grow
        fourfold with the side of the image: at df_dim 64, 72 M for 256 pixels, 282 M for 512.
      norm: "batch", as in the released code, or "spectral", for `SpectralNorm` after every layer
        but the heads.
    """

    df_dim: int
    image_size: int
    unconditional: bool = True
    max_width: int | None = None
    norm: str = "batch"
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    def setup(self):
        num_downs = self.image_size.bit_length() - 3
        if 4 * 2**num_downs != self.image_size or num_downs < 1:
            raise ValueError(f"image_size is a power of two from 8, not {self.image_size}")
        # Times df_dim, for 64 pixels: 1, 2, 4, 8. For 256: 1, 2, 4, 8, 16, 32, then 16, 8.
        first = max(0, 4 - num_downs)
        down = [self._width(2**i) for i in range(first, first + num_downs)]
        squeeze = [self._width(2**i) for i in reversed(range(3, num_downs - 1))]
        fields = dict(axis_name=self.axis_name, dtype=self.dtype)
        block = functools.partial(ConvNorm, norm=self.norm, **fields)
        # The released code's first layer has no BatchNorm.
        spectral = self.norm == "spectral"
        self.stem = block(down[0], 4, 2) if spectral else conv(down[0], (4, 4), 2, dtype=self.dtype)
        self.down = [block(width, 4, 2) for width in down[1:]]
        self.squeeze = [block(width) for width in squeeze]
        self.joint = JointBlock(self._width(8), self.norm, **fields)
        head = dict(padding="VALID", use_bias=True, dtype=self.dtype)
        self.conditional_head = conv(1, (4, 4), **head)
        if self.unconditional:
            self.unconditional_head = conv(1, (4, 4), **head)

    def _width(self, times: int) -> int:
        return min(times * self.df_dim, self.max_width or times * self.df_dim)

    def features(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Images `[B, S, S, 3]` in [-1, 1], or regions `[B, S, S, D]` -> `[B, 4, 4, 8 df_dim]`."""
        h = self.stem(images, train=train) if self.norm == "spectral" else self.stem(images)
        h = leaky_relu(h)
        for block in (*self.down, *self.squeeze):
            h = leaky_relu(block(h, train=train))
        return h

    def joint_part(self, features: jax.Array, D: int) -> jax.Array:
        """What is the same in `conditional_logits` of features with all sentences `[B, D]`."""
        return self.joint.part(features, D)

    def conditional_logits(self, features, sentence, *, train: bool, mask=None, part=None):
        """Logits `[B]` that features `[B, 4, 4, C]` and `sentence [B, D]` belong together.

        `mask` bool `[B]` leaves examples out of the BatchNorm statistics. `part` is `joint_part`'s,
        where it is known.
        """
        part = self.joint_part(features, sentence.shape[-1]) if part is None else part
        h = leaky_relu(self.joint(features, sentence, part, train=train, mask=mask))
        return self.conditional_head(h).astype(jnp.float32)[:, 0, 0, 0]

    def unconditional_logits(self, features) -> jax.Array:
        """Logits `[B]` that the image is real."""
        return self.unconditional_head(features).astype(jnp.float32)[:, 0, 0, 0]

    def __call__(self, images, sentence, *, train: bool):
        """Logits of both heads, `(conditional [B], unconditional [B] or None)`."""
        features = self.features(images, train=train)
        conditional = self.conditional_logits(features, sentence, train=train)
        return conditional, self.unconditional_logits(features) if self.unconditional else None
