"""A discriminator per stage, built from its resolution (`D_NET64`, `D_NET128`, `D_NET256`)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax.models.batch_norm import BatchNorm, Dtype, leaky_relu
from attngan_jax.models.layers import Conv, ConvNorm, kernel_init
from attngan_jax.models.packing import LANES, PAIRS, UNPACKED, Packing, pack


class SentenceConv(nn.Module):
    """3x3 convolution, without bias, of image features joined by sentences tiled over the map.

    A tiled sentence is the same at every pixel, so its share of the convolution is one product with
    each of the nine taps, summed over the taps that fall inside the map. The image's share is
    computed once for all sentences. The numbers are those of the convolution written out.
    """

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, sentences: tuple[jax.Array, ...]) -> list[jax.Array]:
        """`images [B, H, W, C]`, each sentence `[B, D]` -> a `[B, H, W, features]` for each."""
        _, H, W, C = images.shape
        shape = (3, 3, C + sentences[0].shape[-1], self.features)
        kernel = self.param("kernel", kernel_init, shape, jnp.float32).astype(self.dtype)
        of_images = jax.lax.conv_general_dilated(
            images.astype(self.dtype),
            kernel[:, :, :C],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        rows, columns = _taps_inside(H, self.dtype), _taps_inside(W, self.dtype)

        def of_sentence(sentence):
            taps = jnp.einsum("bd,ijdf->bijf", sentence.astype(self.dtype), kernel[:, :, C:])
            return jnp.einsum("yi,xj,bijf->byxf", rows, columns, taps)

        return [of_images + of_sentence(sentence) for sentence in sentences]


def _taps_inside(size: int, dtype) -> jax.Array:
    """`[size, 3]`: 1 where the tap, from -1 to 1, of a position falls inside the map."""
    position = jnp.arange(size)[:, None] + jnp.arange(-1, 2)
    return ((position >= 0) & (position < size)).astype(dtype)


class JointBlock(nn.Module):
    """Image features and a sentence to joint features (`jointConv`): `SentenceConv`, BatchNorm."""

    features: int
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    def setup(self):
        self.conv = SentenceConv(self.features, self.dtype)
        self.norm = BatchNorm(self.axis_name, dtype=self.dtype, activation=leaky_relu)


class Discriminator(nn.Module):
    """Is the image real, and does it fit the sentence? Logits of both heads (Eq. 5).

    The image is halved down to 4 x 4. At 64 pixels the width doubles from df_dim to 8 df_dim in
    four steps; larger images go on doubling it and are brought back to 8 df_dim by 3x3
    convolutions; smaller ones (not in the released code) start wider, to end at 8 df_dim too.

    Attributes:
      df_dim: channels after the first convolution at 64 pixels and more.
      image_size: side of the images, a power of two from 8.
      unconditional: whether there is a head that ignores the sentence (AttnDCGAN has none).
      packed: as the generator's.
    """

    df_dim: int
    image_size: int
    unconditional: bool = True
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    packed: bool = False

    def setup(self):
        common = dict(axis_name=self.axis_name, dtype=self.dtype)
        block = common | dict(activation=leaky_relu)
        num_downs = self.image_size.bit_length() - 3
        if 4 * 2**num_downs != self.image_size or num_downs < 1:
            raise ValueError(f"image_size is a power of two from 8, not {self.image_size}")
        first = self.df_dim * 2 ** max(0, 4 - num_downs)
        widths = [first * 2**i for i in range(num_downs)]
        self.packing, to = UNPACKED, UNPACKED
        if self.packed and num_downs > 1 and 2 * widths[0] <= LANES:
            self.packing, to = Packing(2, 4), PAIRS
        self.stem = Conv(widths[0], 4, 2, self.packing, to, dtype=self.dtype)
        self.down = [
            ConvNorm(width, 4, 2, **block, of=UNPACKED if i else to)
            for i, width in enumerate(widths[1:])
        ]
        squeezed = [8 * self.df_dim * 2**i for i in reversed(range(max(0, num_downs - 4)))]
        self.squeeze = [ConvNorm(width, **block) for width in squeezed]
        self.joint = JointBlock(8 * self.df_dim, **common)
        self.conditional_head = self._head()
        if self.unconditional:
            self.unconditional_head = self._head()

    def _head(self):
        return nn.Conv(1, (4, 4), padding="VALID", dtype=self.dtype, kernel_init=kernel_init)

    def features(self, images: jax.Array, *, train: bool, batches: int = 1) -> jax.Array:
        """`[B, S, S, 3]` in [-1, 1] -> `[B, 4, 4, 8 df_dim]`.

        With `batches`, of that many batches one behind the other, each normalised by itself: one
        convolution reads the weights, of which a discriminator has many, for all of them.
        """
        h = leaky_relu(self.stem(pack(images.astype(self.dtype), self.packing)))
        for block in (*self.down, *self.squeeze):
            h = block(h, train=train, batches=batches)
        return h

    def joint_maps(self, features: jax.Array, *sentences: jax.Array) -> list[jax.Array]:
        """Features `[B, 4, 4, C]` joined with each sentence `[B, D]`, for `joint_logits`."""
        return self.joint.conv(features, sentences)

    def joint_logits(self, joint_map: jax.Array, *, train: bool, mask=None) -> jax.Array:
        """Logits `[B]` that image and sentence belong together, from one of `joint_maps`.

        `mask` bool `[B]` leaves examples out of the BatchNorm statistics.
        """
        h = self.joint.norm(joint_map, train=train, mask=mask)
        return self.conditional_head(h).astype(jnp.float32)[:, 0, 0, 0]

    def conditional_logits(self, features, sentence, *, train: bool, mask=None) -> jax.Array:
        """Logits `[B]` that features `[B, 4, 4, C]` and `sentence [B, D]` belong together.

        `mask` bool `[B]` leaves examples out of the BatchNorm statistics.
        """
        (joint_map,) = self.joint_maps(features, sentence)
        return self.joint_logits(joint_map, train=train, mask=mask)

    def unconditional_logits(self, features) -> jax.Array:
        """Logits `[B]` that the image is real."""
        return self.unconditional_head(features).astype(jnp.float32)[:, 0, 0, 0]

    def __call__(self, images, sentence, *, train: bool):
        """Logits of both heads, `(conditional [B], unconditional [B] or None)`."""
        features = self.features(images, train=train)
        conditional = self.conditional_logits(features, sentence, train=train)
        return conditional, self.unconditional_logits(features) if self.unconditional else None
