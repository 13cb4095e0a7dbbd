"""State dicts of the original's networks, with its names and shapes and seeded numbers."""

import json
import zlib
from pathlib import Path

import numpy as np

FILES = Path(__file__).parent / "files"
# Network -> [[name, shape], ...], recorded from the original at small widths.
NAMES = json.loads((FILES / "original_names.json").read_text(encoding="utf-8"))
KINDS = {
    "generator": "generator", "generator_2stage": "generator",
    "generator_dcgan": "generator_dcgan", "discriminator_64": "discriminator",
    "discriminator_128": "discriminator", "discriminator_256": "discriminator",
    "text_encoder_lstm": "text_encoder", "text_encoder_gru": "text_encoder",
    "image_encoder": "image_encoder",
}


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
