"""Inception-v3 in torchvision's layout, up to the pooled features (Szegedy et al., 2016).

It serves the image encoder and the metrics. Modules carry torchvision's names, so that its
weights map one to one; the auxiliary classifier and the last layer are not built.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax.models import layers
from attngan_jax.models.batch_norm import BatchNorm, Dtype, relu
from attngan_jax.models.packing import QUADS, UNPACKED, Packing, pack_images, unpack_images

INPUT_SIZE = 299

# A convolution: name, features, kernel (rows, columns), stride, padding ("VALID" or "SAME"; with
# stride 1, "SAME" is the symmetric padding that torchvision writes out).
Conv = tuple[str, int, tuple[int, int], int, str]


def conv(name: str, features: int, kernel=(1, 1), stride: int = 1, padding: str = "SAME") -> Conv:
    """A row of the tables below."""
    return name, features, kernel, stride, padding


def _block_a(pool: int) -> list[list[Conv]]:
    return [
        [conv("branch1x1", 64)],
        [conv("branch5x5_1", 48), conv("branch5x5_2", 64, (5, 5))],
        [
            conv("branch3x3dbl_1", 64),
            conv("branch3x3dbl_2", 96, (3, 3)),
            conv("branch3x3dbl_3", 96, (3, 3)),
        ],
        ["average", conv("branch_pool", pool)],
    ]


def _block_c(width: int) -> list[list[Conv]]:
    row, column = (1, 7), (7, 1)
    return [
        [conv("branch1x1", 192)],
        [
            conv("branch7x7_1", width),
            conv("branch7x7_2", width, row),
            conv("branch7x7_3", 192, column),
        ],
        [
            conv("branch7x7dbl_1", width),
            conv("branch7x7dbl_2", width, column),
            conv("branch7x7dbl_3", width, row),
            conv("branch7x7dbl_4", width, column),
            conv("branch7x7dbl_5", 192, row),
        ],
        ["average", conv("branch_pool", 192)],
    ]


# A fork: two convolutions side by side on the same input, joined.
_BLOCK_E = [
    [conv("branch1x1", 320)],
    [
        conv("branch3x3_1", 384),
        (conv("branch3x3_2a", 384, (1, 3)), conv("branch3x3_2b", 384, (3, 1))),
    ],
    [
        conv("branch3x3dbl_1", 448),
        conv("branch3x3dbl_2", 384, (3, 3)),
        (conv("branch3x3dbl_3a", 384, (1, 3)), conv("branch3x3dbl_3b", 384, (3, 1))),
    ],
    ["average", conv("branch_pool", 192)],
]

_TO_FIRST_POOL = [
    conv("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
    conv("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
    conv("Conv2d_2b_3x3", 64, (3, 3)),
    "max",
]

_TO_SECOND_POOL = [conv("Conv2d_3b_1x1", 80), conv("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"), "max"]

_IMAGES_TOGETHER = 4  # of the first layers' 32 channels, as many as a TPU's lanes hold

_TO_MIXED_6E = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": [
        [conv("branch3x3", 384, (3, 3), 2, "VALID")],
        [
            conv("branch3x3dbl_1", 64),
            conv("branch3x3dbl_2", 96, (3, 3)),
            conv("branch3x3dbl_3", 96, (3, 3), 2, "VALID"),
        ],
        ["max"],
    ],
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
}

_TO_POOL = {
    "Mixed_7a": [
        [conv("branch3x3_1", 192), conv("branch3x3_2", 320, (3, 3), 2, "VALID")],
        [
            conv("branch7x7x3_1", 192),
            conv("branch7x7x3_2", 192, (1, 7)),
            conv("branch7x7x3_3", 192, (7, 1)),
            conv("branch7x7x3_4", 192, (3, 3), 2, "VALID"),
        ],
        ["max"],
    ],
    "Mixed_7b": _BLOCK_E,
    "Mixed_7c": _BLOCK_E,
}


class Unit(nn.Module):
    """Convolution without bias, BatchNorm with epsilon 1e-3, ReLU (`BasicConv2d`).

    Attributes:
      images: that lie side by side in the channels; in two groups in what is made.
      of: packing of the pixels that come. groups: of the channels that come.
    """

    table_row: Conv
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    images: int = 1
    of: Packing = UNPACKED
    groups: int = 1

    @nn.compact
    def __call__(self, x, *, train: bool):
        """`[B, H, W, C] -> [B, H', W', features]`."""
        _, features, kernel, stride, padding = self.table_row
        if self.images > 1:
            x = layers.Conv(
                features,
                kernel[0],
                stride,
                self.of,
                groups=(self.groups, 2),
                dtype=self.dtype,
                padding=1 if padding == "SAME" else 0,
                images=self.images,
                kernel_init=nn.initializers.lecun_normal(),
                name="conv",
            )(x)
        else:
            x = nn.Conv(
                features,
                kernel,
                (stride, stride),
                padding,
                use_bias=False,
                dtype=self.dtype,
                name="conv",
            )(x)
        return BatchNorm(
            self.axis_name,
            epsilon=1e-3,
            dtype=self.dtype,
            scale_init=nn.initializers.ones,
            activation=relu,
            packed=self.images,
            name="norm",
        )(x, train=train)


class Block(nn.Module):
    """Branches side by side, each a chain of a table's rows, joined along the channels."""

    branches: list
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    padding_counts: bool = True

    @nn.compact
    def __call__(self, x, *, train: bool):
        """`[B, H, W, C] -> [B, H', W', sum of the branches' features]`."""

        def unit(row):
            return Unit(row, self.axis_name, self.dtype, name=row[0])

        outputs = []
        for branch in self.branches:
            h = [x]
            for link in branch:
                if isinstance(link, str):
                    h = [_pool(link, h[0], self.padding_counts)]
                elif isinstance(link[0], tuple):
                    h = [unit(row)(h[0], train=train) for row in link]
                else:
                    h = [unit(link)(h[0], train=train)]
            outputs.extend(h)
        return jnp.concatenate(outputs, axis=-1)


class InceptionV3(nn.Module):
    """The network from the resized image to its region and pooled features.

    Attributes:
      padding_counts: whether the average pools' zero padding counts, as in PyTorch; not in
        TensorFlow.
      last_pool_max: whether Mixed_7c takes the maximum where the others average: the 2015 graph.
      packed: whether images lie side by side in the channels up to the first max pool, as is best
        on TPUs (see `models/packing.py`); the same numbers. Not in training.
    """

    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    padding_counts: bool = True
    last_pool_max: bool = False
    packed: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, S, S, 3]` in [-1, 1] -> Mixed_6e `[B, 17, 17, 768]`, pooled `[B, 2048]`.

        Images are resized to 299 x 299 bilinearly, without antialiasing or corner alignment
        (`nn.Upsample` of the released code).
        """
        common = dict(axis_name=self.axis_name, dtype=self.dtype)
        pools = dict(padding_counts=self.padding_counts)
        together = math.gcd(len(images), _IMAGES_TOGETHER)
        if self.packed and together > 1 and not train:
            x, links = self._packed_to_first_pool(images, together), _TO_SECOND_POOL
        else:
            x = resize(images, INPUT_SIZE).astype(self.dtype)
            links = _TO_FIRST_POOL + _TO_SECOND_POOL
        for link in links:
            if isinstance(link, str):
                x = _pool(link, x)
            else:
                x = Unit(link, **common, name=link[0])(x, train=train)
        for name, branches in _TO_MIXED_6E.items():
            x = Block(branches, **common, **pools, name=name)(x, train=train)
        mixed_6e = x
        for name, branches in _TO_POOL.items():
            if name == "Mixed_7c" and self.last_pool_max:
                branches = [*branches[:-1], ["same_max", *branches[-1][1:]]]
            x = Block(branches, **common, **pools, name=name)(x, train=train)
        return mixed_6e, x.mean((1, 2), dtype=jnp.float32)

    def _packed_to_first_pool(self, images, together):
        """`[B, S, S, 3]` to the first max pool's `[B, 73, 73, 64]`, `together` side by side."""
        # Or XLA would merge this packing with whatever made the images, and pad them 32 times.
        images = jax.lax.optimization_barrier(images)
        x = _resized_quads(pack_images(images, together)).astype(self.dtype)
        first, *others, pool = _TO_FIRST_POOL
        common = dict(axis_name=self.axis_name, dtype=self.dtype, images=together)
        x = Unit(first, **common, of=QUADS, name=first[0])(x, train=False)
        for row in others:
            x = Unit(row, **common, groups=2, name=row[0])(x, train=False)
        # Or XLA would pool, and keep, the larger array with the images apart.
        x = jax.lax.optimization_barrier(_pool(pool, x))
        return unpack_images(x, together, groups=2)


def resize(images: jax.Array, size: int) -> jax.Array:
    """Bilinear resize of `[B, S, S, C]` to `[B, size, size, C]`, without antialiasing."""
    B, S, _, C = images.shape
    if S == size:
        return images
    return jax.image.resize(images, (B, size, size, C), "bilinear", antialias=False)


def _resized_quads(images):
    """`resize` to 299, packed by `QUADS`: `[B, S, S, C] -> [B, 150, 150, 4 C]`.

    The last row and the last column of pixels are zeros, which no convolution reads. Packed as part
    of the resizing, the large image is never written in another layout; one of 299 is multiplied
    by ones.
    """
    S, half = images.shape[1], INPUT_SIZE // 2 + 1
    unit = jnp.eye(S, dtype=images.dtype)
    weights = jax.image.resize(unit, (INPUT_SIZE, S), "bilinear", antialias=False)
    weights = jnp.pad(weights, ((0, 1), (0, 0))).reshape(half, 2, S)
    # y, x: packed pixels. i, j: row and column within one.
    x = jnp.einsum("bhwc,yih->bywic", images, weights, precision=jax.lax.Precision.HIGHEST)
    x = jnp.einsum("bywic,xjw->byxijc", x, weights, precision=jax.lax.Precision.HIGHEST)
    return x.reshape(-1, half, half, 4 * images.shape[-1])


def _pool(kind: str, x, padding_counts: bool = True):
    if kind == "max":
        return nn.max_pool(x, (3, 3), (2, 2))
    if kind == "same_max":
        return nn.max_pool(x, (3, 3), (1, 1), "SAME")
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=padding_counts)
