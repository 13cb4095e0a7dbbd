"""Rows of the name tables: the original's name, our path, how the layout changes, the shape."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """How an array goes from the original's layout to ours, and back."""

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_theirs: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda x: x, lambda x: x)
# Fully connected and recurrent weights: [out, in] <-> [in, out].
DENSE = Layout(np.transpose, np.transpose)
# Convolutions: [out, in, H, W] <-> [H, W, in, out].
CONV = Layout(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))
# 1x1 convolutions that are a matrix here: [out, in, 1, 1] <-> [in, out].
MATRIX = Layout(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None])
# BatchNorm's count of batches, which nothing here has a use for (see state_dicts.py).
COUNTER = Layout(lambda x: x, lambda x: x)


class Row(NamedTuple):
    """One array of a network.

    Attributes:
      theirs: its name in the original's state_dict.
      ours: its path in the variables, "params/..." or "batch_stats/...".
      layout: one of the layouts above.
      shape: its shape in the original's layout.
    """

    theirs: str
    ours: str
    layout: Layout
    shape: tuple[int, ...]


def norm(theirs: str, ours: str, features: int) -> list[Row]:
    """BatchNorm, in PyTorch's order."""
    vector = (features,)
    return [
        Row(f"{theirs}.weight", f"params/{ours}/scale", SAME, vector),
        Row(f"{theirs}.bias", f"params/{ours}/bias", SAME, vector),
        Row(f"{theirs}.running_mean", f"batch_stats/{ours}/mean", SAME, vector),
        Row(f"{theirs}.running_var", f"batch_stats/{ours}/var", SAME, vector),
        Row(f"{theirs}.num_batches_tracked", "", COUNTER, ()),
    ]


def conv(theirs: str, ours: str, shape: tuple[int, ...], bias: bool = False) -> list[Row]:
    """A convolution; `shape` is [out, in, H, W]."""
    rows = [Row(f"{theirs}.weight", f"params/{ours}/kernel", CONV, shape)]
    if bias:
        rows.append(Row(f"{theirs}.bias", f"params/{ours}/bias", SAME, shape[:1]))
    return rows


def conv_norm(conv_name: str, norm_name: str, ours: str, shape: tuple[int, ...]) -> list[Row]:
    """`ConvNorm`: a convolution without bias, then BatchNorm."""
    return conv(conv_name, f"{ours}/conv", shape) + norm(norm_name, f"{ours}/norm", shape[0])


def dense(theirs: str, ours: str, shape: tuple[int, int], bias: bool = True) -> list[Row]:
    """A fully connected layer; `shape` is [out, in]."""
    rows = [Row(f"{theirs}.weight", f"params/{ours}/kernel", DENSE, shape)]
    if bias:
        rows.append(Row(f"{theirs}.bias", f"params/{ours}/bias", SAME, shape[:1]))
    return rows
