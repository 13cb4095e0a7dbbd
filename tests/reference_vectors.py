"""Outputs of the original in `tests/data/reference/`, and its weights and inputs from a seed.

A weight follows from its name alone, so that any implementation can make the same ones; see
`spec.json` for the names, the shapes and the dimensions. Layouts are PyTorch's: images
`[B, C, H, W]`, words `[B, D, T]`; `nhwc` and `btd` convert them to the package's.
"""

import functools
import inspect
import json
import zlib
from pathlib import Path

import numpy as np

from attngan_jax.interop import dimensions_from_state_dict, variables_from_state_dict
from attngan_jax.models.discriminator import Discriminator
from attngan_jax.models.generator import Generator
from attngan_jax.models.image_encoder import ImageEncoder
from attngan_jax.models.text_encoder import TextEncoder

FOLDER = Path(__file__).parent / "data" / "reference"
SPEC = json.loads((FOLDER / "spec.json").read_text(encoding="utf-8"))
BATCH = SPEC["batch"]
KINDS = {name: name for name in ("generator", "generator_dcgan", "image_encoder")}
KINDS |= {"generator_2stage": "generator"}
KINDS |= {f"discriminator_{size}": "discriminator" for size in (64, 128, 256)}
KINDS |= {f"text_encoder_{rnn_type}": "text_encoder" for rnn_type in ("lstm", "gru")}
MODULES = {
    "generator": Generator,
    "generator_dcgan": functools.partial(Generator, single_image=True),
    "discriminator": Discriminator,
    "text_encoder": TextEncoder,
    "image_encoder": ImageEncoder,
}
FORWARD, GRADIENT = 1e-4, 1e-3  # relative errors allowed to float32 in another framework


def recorded(name: str) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def normal(tag: str, shape, seed: int = SPEC["seed"]) -> np.ndarray:
    """Standard normal float32 numbers for `tag`: float64 rounded, not NumPy's float32 stream."""
    rng = np.random.default_rng([seed, zlib.crc32(tag.encode())])
    return rng.standard_normal(shape).astype(np.float32)


def images(tag: str, size: int) -> np.ndarray:
    """`[B, S, S, 3]` in [-1, 1]."""
    return nhwc(np.tanh(normal(tag, (BATCH, 3, size, size))))


def weight(name: str, shape, seed: int = SPEC["seed"]) -> np.ndarray:
    """The seeded weight of that name."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    n = normal(name, shape, seed)
    if name.endswith("running_var"):
        return 1 + np.float32(0.2) * np.abs(n)
    if name.endswith("running_mean"):
        return np.float32(0.1) * n
    if n.ndim == 1:
        return 1 + np.float32(0.1) * n if name.endswith("weight") else np.float32(0.05) * n
    gain = 2**0.5 if n.ndim == 4 else 1.0
    return n * np.float32(gain / np.prod(shape[1:]) ** 0.5)


def state_dict(names_and_shapes, seed: int = SPEC["seed"]) -> dict[str, np.ndarray]:
    """Seeded weights for a list of (name, shape)."""
    return {name: weight(name, tuple(shape), seed) for name, shape in names_and_shapes}


def network(name: str, **fields):
    """A network of `spec.json` as (module, seeded variables); `fields` of the module on top."""
    kind, weights = KINDS[name], state_dict(SPEC["specs"][name])
    return module(kind, weights, **fields), variables_from_state_dict(kind, weights)


def module(kind: str, weights, **fields):
    """A module of the package with the dimensions that the weights have; `fields` on top."""
    dimensions = dimensions_from_state_dict(kind, weights)
    names = inspect.signature(MODULES[kind]).parameters.keys() & dimensions.keys()
    return MODULES[kind](**{name: dimensions[name] for name in names}, **fields)


def nhwc(array: np.ndarray) -> np.ndarray:
    """`[B, C, H, W] -> [B, H, W, C]`."""
    return np.moveaxis(array, 1, -1)


def btd(array: np.ndarray) -> np.ndarray:
    """`[B, D, T] -> [B, T, D]`."""
    return np.swapaxes(array, 1, 2)


def assert_close(actual, expected, tolerance: float = FORWARD) -> None:
    """The largest difference is at most `tolerance` of the largest number."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def assert_each_close(actual, expected, tolerance: float = GRADIENT) -> None:
    """Every number to within `tolerance` of itself, or of a hundredth of the largest."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    scale = np.maximum(np.abs(expected), 0.01 * np.abs(expected).max())
    assert (np.abs(actual - expected) / scale).max() <= tolerance


def norms(state: dict[str, np.ndarray], endings: tuple[str, ...] = ("",)) -> np.ndarray:
    """L2 norms of a state_dict's arrays by sorted name, of those with one of the endings."""
    arrays = [state[name] for name in sorted(state) if name.endswith(endings)]
    return np.array([np.linalg.norm(np.asarray(array, np.float64)) for array in arrays])
