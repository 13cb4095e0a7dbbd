"""State dicts of the original's networks, with its names and shapes and seeded numbers."""

import zlib
from pathlib import Path

import numpy as np

from tests.reference_vectors import KINDS, SPEC  # noqa: F401

FILES = Path(__file__).parent / "files"
NAMES = SPEC["specs"]  # network -> [[name, shape], ...], at small widths


def state_dict(network: str, dtype=np.float32) -> dict[str, np.ndarray]:
    """Every number of the network is another one, and depends on the array's name alone."""
    return seeded(NAMES[network], dtype)


def seeded(names_and_shapes, dtype=np.float32) -> dict[str, np.ndarray]:
    """The same for a list of names and shapes."""
    return {name: _numbers(name, shape, dtype) for name, shape in names_and_shapes}


def _numbers(name, shape, dtype):
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    numbers = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    return (np.abs(numbers) if name.endswith("running_var") else numbers).astype(dtype)


def assert_same(first, second):
    """The same names in the same order, types, shapes and bits."""
    assert list(first) == list(second)
    for name, array in first.items():
        other = second[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape), name
        assert array.tobytes() == other.tobytes(), name
