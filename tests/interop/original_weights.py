"""Weights of the released networks, with their names and shapes and seeded numbers."""

import functools
import types
from collections.abc import Mapping
from pathlib import Path

from attngan_jax.interop.name_tables import inception_rows
from tests.reference_vectors import KINDS, SPEC, state_dict  # noqa: F401

FILES = Path(__file__).parent / "files"


@functools.cache
def weights(network: str) -> Mapping:
    """A network of `spec.json` as a state_dict, which the tests share."""
    return types.MappingProxyType(state_dict(SPEC["specs"][network]))


def assert_same(first, second):
    """The same names in the same order, types, shapes and bits."""
    assert list(first) == list(second)
    for name, array in first.items():
        other = second[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape), name
        assert array.tobytes() == other.tobytes(), name


@functools.cache
def torchvision():
    """A state_dict of torchvision's `inception_v3`, auxiliary classifier and all."""
    rest = [("AuxLogits.conv0.conv.weight", (128, 768, 1, 1)), ("AuxLogits.fc.weight", (1000, 768))]
    rest += [("fc.weight", (1000, 2048)), ("fc.bias", (1000,))]
    return state_dict([(row.pt, row.shape) for row in inception_rows()] + rest)
