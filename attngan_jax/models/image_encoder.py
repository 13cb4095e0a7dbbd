"""Image encoder: a trunk and two projections into the joint space (Sec. 3.2; `CNN_ENCODER`)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax.models.batch_norm import Dtype, leaky_relu
from attngan_jax.models.inception import InceptionV3, resize
from attngan_jax.models.layers import ConvNorm
from attngan_jax.models.text_encoder import embedding_init


class SmallTrunk(nn.Module):
    """Strided convolutions for small images: regions at an eighth of the side, and their summary.

    Not in the paper: at 64 pixels, and in minutes, it does for procedural birds what ImageNet's
    Inception-v3 does for photographs at 299.
    """

    width: int
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, S, S, 3] -> local [B, S/8, S/8, 4 width], pooled [B, 8 width]`."""
        block = dict(axis_name=self.axis_name, dtype=self.dtype, activation=leaky_relu)
        h = images.astype(self.dtype)
        for i in range(3):
            h = ConvNorm(self.width * 2**i, 4, 2, **block, name=f"down_{i}")(h, train=train)
        summary = ConvNorm(4 * self.width, 4, 2, **block, name="summary")(h, train=train)
        return h, summary.reshape(len(summary), -1)


class ImageEncoder(nn.Module):
    """Region features v and global feature of images.

    Attributes:
      trunk: "cnn" or "inception_v3". embedding_dim: D. cnn_dim: first width of the cnn trunk.
      cnn_image_size: side that the cnn trunk resizes images to, as Inception does to 299; None for
        images that come in one size.
      packed: of `InceptionV3`.
    """

    trunk: str
    embedding_dim: int
    cnn_dim: int = 32
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    cnn_image_size: int | None = None
    packed: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, S, S, 3]` in [-1, 1] -> regions `[B, R, D]` and code `[B, D]`, float32.

        R is row-major over the trunk's map: 17 x 17 for Inception-v3, S/8 x S/8 for the cnn.
        """
        if self.trunk == "cnn" and self.cnn_image_size:
            images = resize(images, self.cnn_image_size)
        local, pooled = self._trunk()(images, train=train)
        regions = nn.Dense(
            self.embedding_dim,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=embedding_init,
            name="regions",
        )(local)
        code = nn.Dense(
            self.embedding_dim, dtype=self.dtype, kernel_init=embedding_init, name="code"
        )(pooled)
        B, _, _, D = regions.shape
        return regions.reshape(B, -1, D).astype(jnp.float32), code.astype(jnp.float32)

    def _trunk(self):
        if self.trunk == "cnn":
            return SmallTrunk(self.cnn_dim, self.axis_name, self.dtype, name="cnn")
        if self.trunk == "inception_v3":
            return InceptionV3(self.axis_name, self.dtype, packed=self.packed, name="inception")
        raise ValueError(f"image encoder trunk is 'cnn' or 'inception_v3', not {self.trunk!r}")
