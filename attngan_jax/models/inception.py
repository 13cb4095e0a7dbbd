"""Inception-v3 in torchvision's layout, up to the pooled features (Szegedy et al., 2016).

It serves the image encoder and the metrics. Modules carry torchvision's names, so that its
weights map one to one; the auxiliary classifier and the last layer are not built.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax.models.convolution import convolve
from attngan_jax.models.layers import BatchNorm, Dtype, Kernel

INPUT_SIZE = 299

# The tables below: a block is a list of branches side by side, a branch a list of links in a chain.
# A link is a pool by its name, or a convolution (name, features, kernel rows = 1, columns = 1,
# stride = 1, padding). By default stride 1 keeps the size of the image, stride 2 pads nothing.
Branch = list[Any]


def _block_a(pool: int) -> list[Branch]:
    return [
        [("branch1x1", 64)],
        [("branch5x5_1", 48), ("branch5x5_2", 64, 5, 5)],
        [("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)],
        ["average", ("branch_pool", pool)],
    ]


def _block_c(width: int) -> list[Branch]:
    return [
        [("branch1x1", 192)],
        [("branch7x7_1", width), ("branch7x7_2", width, 1, 7), ("branch7x7_3", 192, 7, 1)],
        [
            ("branch7x7dbl_1", width),
            ("branch7x7dbl_2", width, 7, 1),
            ("branch7x7dbl_3", width, 1, 7),
            ("branch7x7dbl_4", width, 7, 1),
            ("branch7x7dbl_5", 192, 1, 7),
        ],
        ["average", ("branch_pool", 192)],
    ]


def _block_e(pool: str) -> list[Branch]:
    # A tuple of convolutions is a fork: they have the same input, and are concatenated.
    fork_3x3 = ("branch3x3_2a", 384, 1, 3), ("branch3x3_2b", 384, 3, 1)
    fork_dbl = ("branch3x3dbl_3a", 384, 1, 3), ("branch3x3dbl_3b", 384, 3, 1)
    return [
        [("branch1x1", 320)],
        [("branch3x3_1", 384), fork_3x3],
        [("branch3x3dbl_1", 448), ("branch3x3dbl_2", 384, 3, 3), fork_dbl],
        [pool, ("branch_pool", 192)],
    ]


_STEM: Branch = [
    ("Conv2d_1a_3x3", 32, 3, 3, 2),
    ("Conv2d_2a_3x3", 32, 3, 3, 1, "VALID"),
    ("Conv2d_2b_3x3", 64, 3, 3),
    "max",
    ("Conv2d_3b_1x1", 80),
    ("Conv2d_4a_3x3", 192, 3, 3, 1, "VALID"),
    "max",
]
_BLOCKS: dict[str, list[Branch]] = {
    "Mixed_5b": _block_a(32),  # 35 x 35 pixels
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": [
        [("branch3x3", 384, 3, 3, 2)],
        [("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3, 2)],
        ["max"],
    ],
    "Mixed_6b": _block_c(128),  # 17 x 17 pixels from here
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": [
        [("branch3x3_1", 192), ("branch3x3_2", 320, 3, 3, 2)],
        [
            ("branch7x7x3_1", 192),
            ("branch7x7x3_2", 192, 1, 7),
            ("branch7x7x3_3", 192, 7, 1),
            ("branch7x7x3_4", 192, 3, 3, 2),
        ],
        ["max"],
    ],
    "Mixed_7b": _block_e("average"),  # 8 x 8 pixels; Mixed_7c is the same, or with another pool
}


class Unit(nn.Module):
    """Convolution without bias, BatchNorm with epsilon 1e-3, ReLU (`BasicConv2d`)."""

    features: int
    rows: int = 1
    columns: int = 1
    stride: int = 1
    padding: str | None = None
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x, *, train: bool):
        """`[B, H, W, C] -> [B, H', W', features]`."""
        # With stride 1 "SAME" is the symmetric padding that torchvision writes out.
        padding = self.padding or ("SAME" if self.stride == 1 else "VALID")
        size, init = (self.rows, self.columns), nn.initializers.lecun_normal()
        kernel = Kernel(self.features, size, init, name="conv")(x.shape[-1])
        x = convolve(x, kernel, self.dtype, self.stride, padding)
        norm = dict(epsilon=1e-3, scale_init=nn.initializers.ones, dtype=self.dtype)
        return nn.relu(BatchNorm(self.axis_name, **norm, name="norm")(x, train=train))


class Block(nn.Module):
    """Branches of a table, concatenated."""

    branches: list[Branch]
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    padding_counts: bool = True

    @nn.compact
    def __call__(self, x, *, train: bool):
        """`[B, H, W, C] -> [B, H', W', sum of the branches' features]`."""
        fields = dict(
            axis_name=self.axis_name, dtype=self.dtype, padding_counts=self.padding_counts
        )
        return jnp.concatenate([_chain(b, x, train, **fields) for b in self.branches], axis=-1)


def _chain(branch: Branch, x: jax.Array, train: bool, padding_counts: bool, **fields) -> jax.Array:
    """The links of a branch, each behind the one before, as submodules of the caller."""
    for link in branch:
        if isinstance(link, str):
            x = _pool(link, x, padding_counts)
        else:
            units = [link] if isinstance(link[0], str) else link  # or a fork
            made = [Unit(*row, **fields, name=name)(x, train=train) for name, *row in units]
            x = jnp.concatenate(made, axis=-1)
    return x


class InceptionV3(nn.Module):
    """The network from the resized image to its region and pooled features.

    Attributes:
      padding_counts: whether the average pools' zero padding counts, as in PyTorch; not in
        TensorFlow.
      last_pool_max: whether Mixed_7c takes the maximum where the others average: the 2015 graph.
    """

    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    padding_counts: bool = True
    last_pool_max: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, S, S, 3]` in [-1, 1] -> Mixed_6e `[B, 17, 17, 768]`, pooled `[B, 2048]`.

        Images are resized to 299 x 299 bilinearly, without antialiasing or corner alignment
        (`nn.Upsample` of the released code).
        """
        fields = dict(
            axis_name=self.axis_name, dtype=self.dtype, padding_counts=self.padding_counts
        )
        x = resize(images, INPUT_SIZE).astype(self.dtype)
        x = _chain(_STEM, x, train, **fields)  # [B, 35, 35, 192]
        last = _block_e("same_max" if self.last_pool_max else "average")
        features = {}
        for name, branches in (_BLOCKS | {"Mixed_7c": last}).items():
            x = features[name] = Block(branches, **fields, name=name)(x, train=train)
        return features["Mixed_6e"], x.mean((1, 2), dtype=jnp.float32)


def resize(images: jax.Array, size: int) -> jax.Array:
    """Bilinear resize of `[B, S, S, C]` to `[B, size, size, C]`, without antialiasing."""
    B, S, _, C = images.shape
    if S == size:
        return images
    return jax.image.resize(images, (B, size, size, C), "bilinear", antialias=False)


def _pool(kind: str, x: jax.Array, padding_counts: bool = True) -> jax.Array:
    """Windows of 3 x 3: "max" with a stride of 2; "same_max" and "average" keep the size."""
    plain: Callable = {
        "max": lambda x: nn.max_pool(x, (3, 3), (2, 2)),
        "same_max": lambda x: nn.max_pool(x, (3, 3), (1, 1), "SAME"),
        "average": lambda x: nn.avg_pool(
            x, (3, 3), (1, 1), "SAME", count_include_pad=padding_counts
        ),
    }[kind]
    by_slices = functools.partial(_pool_by_slices, kind, padding_counts=padding_counts)
    return jax.lax.platform_dependent(x, cpu=by_slices, default=plain)


def _pool_by_slices(kind: str, x: jax.Array, padding_counts: bool = True) -> jax.Array:
    """The same, for a CPU, on which XLA's windowed reductions take four times as long, and seven
    times for the maximum's gradient; here too it goes to the first of equals.
    """
    if kind == "max":
        return _windows(x, _first_max, stride=2)
    padding = [(0, 0), (1, 1), (1, 1), (0, 0)]
    if kind == "same_max":
        return _windows(jnp.pad(x, padding, constant_values=-jnp.inf), _first_max)
    sums = _windows(jnp.pad(x, padding), jnp.add)
    if padding_counts:
        return sums / 9
    return sums / _windows(jnp.pad(jnp.ones_like(x[:1, ..., :1]), padding), jnp.add)


def _windows(x: jax.Array, combine: Callable, stride: int = 1) -> jax.Array:
    """Three columns combined, then three rows."""
    for axis in (2, 1):
        end = (x.shape[axis] - 3) // stride * stride + 1
        taps = [jax.lax.slice_in_dim(x, i, i + end, stride, axis) for i in range(3)]
        x = functools.reduce(combine, taps)
    return x


def _first_max(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(b > a, b, a)
