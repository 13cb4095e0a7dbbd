"""Image encoder: a trunk and two projections into the joint space (Sec. 3.2; `CNN_ENCODER`)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax.models.inception import InceptionV3, resize
from attngan_jax.models.layers import ConvNorm, Dtype, embedding_init, leaky_relu


class SmallTrunk(nn.Module):
    """Strided convolutions for small images: a map at an eighth of the side, and its summary.

    Not in the paper: it takes the place of ImageNet's Inception-v3 for procedural birds, at 64
    pixels instead of 299, and trains in minutes.

    Attributes:
      width: channels of the first layer.
      depth: 3x3 convolutions after each of the first three, which add their results to their input.
      antialias: smooth each layer's result before every second pixel is taken, in place of strides,
        through which patterns of two pixels pass as if they were coarse ones.
    """

    width: int
    depth: int = 0
    antialias: bool = False
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, S, S, 3] -> local [B, S/8, S/8, 4 width], pooled [B, (S/16)^2 4 width]`."""

        def block(h, features, kernel_size, stride, name):
            fields = (kernel_size, stride, self.axis_name, self.dtype)
            return leaky_relu(ConvNorm(features, *fields, name=name)(h, train=train))

        def down(h, features, name):
            if self.antialias:
                return halve(block(h, features, 3, 1, name))
            return block(h, features, 4, 2, name)

        h = images
        for i in range(3):
            h = down(h, self.width * 2**i, f"down_{i}")
            for k in range(self.depth):
                h = h + block(h, self.width * 2**i, 3, 1, f"residual_{i}_{k}")
        summary = down(h, 4 * self.width, "summary")
        # Not averaged over the pixels: where a colour stands says whose colour it is.
        return h, summary.reshape(len(summary), -1)


def halve(x: jax.Array) -> jax.Array:
    """`[B, H, W, C] -> [B, H/2, W/2, C]` by the kernel (1, 3, 3, 1) / 8 down and across.

    Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019); the edge is repeated.
    """
    for axis in (1, 2):
        width = [(int(i == axis),) * 2 for i in range(x.ndim)]
        padded, end = jnp.pad(x, width, mode="edge"), x.shape[axis] - 1
        taps = [jax.lax.slice_in_dim(padded, i, i + end, 2, axis) for i in range(4)]
        x = 0.125 * (taps[0] + taps[3]) + 0.375 * (taps[1] + taps[2])
    return x


class ImageEncoder(nn.Module):
    """Region features v and global image embedding of images (Sec. 3.2).

    Attributes:
      trunk: "cnn" or "inception_v3". embedding_dim: D.
      cnn_dim, cnn_depth, antialias: of the cnn trunk, see `SmallTrunk`.
      cnn_image_size: side that the cnn trunk resizes images to, as Inception does to 299; None for
        images that come in one size.
    """

    trunk: str
    embedding_dim: int
    cnn_dim: int = 32
    cnn_depth: int = 0
    antialias: bool = False
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    cnn_image_size: int | None = None

    @property
    def region_side(self) -> int:
        """Side of the square of regions, whose R is this squared; for one size of images."""
        if self.trunk == "inception_v3":
            return 17
        assert self.cnn_image_size is not None
        return self.cnn_image_size // 8

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, S, S, 3]` in [-1, 1] -> region_features `[B, R, D]`, image_embedding `[B, D]`.

        Both float32. R is row-major over the trunk's map: 17 x 17 for Inception-v3 (`emb_features`
        of its `Mixed_6e`), S/8 x S/8 for the cnn.
        """
        fields = dict(axis_name=self.axis_name, dtype=self.dtype)
        if self.trunk == "cnn":
            images = resize(images, self.cnn_image_size or images.shape[1])
            settings = (self.cnn_dim, self.cnn_depth, self.antialias)
            trunk: nn.Module = SmallTrunk(*settings, **fields, name="cnn")
        elif self.trunk == "inception_v3":
            trunk = InceptionV3(**fields, name="inception")
        else:
            raise ValueError(f"image encoder trunk is 'cnn' or 'inception_v3', not {self.trunk!r}")
        local, pooled = trunk(images, train=train)
        D, dense = self.embedding_dim, dict(dtype=self.dtype, kernel_init=embedding_init)
        # At every pixel: the 1x1 convolution `emb_features`. Once: the layer `emb_cnn_code`.
        region_features = nn.Dense(D, use_bias=False, **dense, name="regions")(local)
        image_embedding = nn.Dense(D, **dense, name="code")(pooled)
        region_features = region_features.reshape(len(images), -1, D)  # [B, R, D]
        return region_features.astype(jnp.float32), image_embedding.astype(jnp.float32)
