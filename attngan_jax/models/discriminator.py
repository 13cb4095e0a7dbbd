"""A discriminator per stage, built from its resolution (`D_NET64`, `D_NET128`, `D_NET256`)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax.models.layers import ConvNorm, Dtype, conv, leaky_relu


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
    """

    df_dim: int
    image_size: int
    unconditional: bool = True
    max_width: int | None = None
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
        self.stem = conv(down[0], (4, 4), 2, dtype=self.dtype)
        self.down = [ConvNorm(width, 4, 2, **fields) for width in down[1:]]
        self.squeeze = [ConvNorm(width, **fields) for width in squeeze]
        self.joint = ConvNorm(self._width(8), **fields)
        head = dict(padding="VALID", use_bias=True, dtype=self.dtype)
        self.conditional_head = conv(1, (4, 4), **head)
        if self.unconditional:
            self.unconditional_head = conv(1, (4, 4), **head)

    def _width(self, times: int) -> int:
        return min(times * self.df_dim, self.max_width or times * self.df_dim)

    def features(self, images: jax.Array, *, train: bool) -> jax.Array:
        """`[B, S, S, 3]` in [-1, 1] -> `[B, 4, 4, 8 df_dim]`."""
        h = leaky_relu(self.stem(images))
        for block in (*self.down, *self.squeeze):
            h = leaky_relu(block(h, train=train))
        return h

    def conditional_logits(self, features, sentence, *, train: bool, mask=None) -> jax.Array:
        """Logits `[B]` that features `[B, 4, 4, C]` and `sentence [B, D]` belong together.

        `mask` bool `[B]` leaves examples out of the BatchNorm statistics.
        """
        (B, H, W, _), D = features.shape, sentence.shape[-1]
        # The sentence is the same at every pixel.
        tiled = jnp.broadcast_to(sentence[:, None, None, :], (B, H, W, D))
        h = jnp.concatenate([features, tiled.astype(features.dtype)], axis=-1)
        h = leaky_relu(self.joint(h, train=train, mask=mask))  # `jointConv`
        return self.conditional_head(h).astype(jnp.float32)[:, 0, 0, 0]

    def unconditional_logits(self, features) -> jax.Array:
        """Logits `[B]` that the image is real."""
        return self.unconditional_head(features).astype(jnp.float32)[:, 0, 0, 0]

    def __call__(self, images, sentence, *, train: bool):
        """Logits of both heads, `(conditional [B], unconditional [B] or None)`."""
        features = self.features(images, train=train)
        conditional = self.conditional_logits(features, sentence, train=train)
        return conditional, self.unconditional_logits(features) if self.unconditional else None
