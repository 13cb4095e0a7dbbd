"""Classifiers for IS and FID: three kinds of file in, one small format out, and its reader.

The format is a safetensors file with torchvision's names and layouts, whose metadata says the
family and the SHA-256 of the file that it came from.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.interop.inception_table import inception_rows
from attngan_jax.interop.state_dict_files import read_state_dict
from attngan_jax.interop.state_dicts import COUNTERS, variables_from_rows
from attngan_jax.interop.weight_mapping import COUNTER

FAMILIES = {"torchvision": 1000, "tf-2015": 1008, "cub-50": 50}  # and how many classes each has
FEATURES = 2048


class ClassifierWeights(NamedTuple):
    """Inception-v3 with its last layer.

    Attributes:
      family: one of `FAMILIES`.
      variables: {"params", "batch_stats"} of `models.inception.InceptionV3`, float32.
      kernel: `[2048, classes]`. bias: `[classes]`, zeros for "tf-2015", which is used without.
      sha256: of all these numbers, whichever file they came in.
    """

    family: str
    variables: dict[str, dict[str, Any]]
    kernel: np.ndarray
    bias: np.ndarray
    sha256: str


def convert_classifier(source: str | Path, out: storage.PathLike) -> str:
    """Converts torchvision's .pth, the graph of 2015-12-05 (.pb) or a TF-slim checkpoint.

    Args:
      source: the file; of a checkpoint its prefix, such as `model.ckpt-5000`.
      out: the file to write, whole or not at all.

    Returns:
      The family.

    Raises:
      UserError: the file can't be read, or is none of these.
    """
    source, out = Path(source), storage.path(out)
    if source.suffix == ".pb":
        from attngan_jax.interop.tensorflow_files import read_graph

        family, state_dict = "tf-2015", read_graph(source)
    elif source.with_name(source.name + ".index").exists() or _is_old_checkpoint(source):
        from attngan_jax.interop.tensorflow_files import read_slim_checkpoint

        family, state_dict = "cub-50", read_slim_checkpoint(source)
    else:
        family, state_dict = "torchvision", read_state_dict(source)
    wanted = _shapes(family)
    arrays = {
        name: np.ascontiguousarray(array, np.float32)
        for name, array in state_dict.items()
        if name in wanted
    }
    _check(family, arrays, source)
    _write(out, arrays, {"family": family, "source": source.name})
    return family


def read_classifier(path: storage.PathLike) -> ClassifierWeights:
    """Reads a file of `convert_classifier`; `UserError` if it is none."""
    advice = (
        "make it with: python -m attngan_jax.convert classifier --source FILE "
        "--out FILE.safetensors"
    )
    try:
        data = storage.path(path).read_bytes()
        tensors = safetensors.numpy.load(data)
        family = _metadata(data).get("family")
    except OSError as error:
        raise UserError(
            f"the classifier {path} cannot be read ({storage.strerror(error)}): {advice}"
        ) from error
    except (safetensors.SafetensorError, ValueError) as error:
        raise UserError(f"the classifier {path} is no whole .safetensors file: {advice}") from error
    if family not in FAMILIES:
        raise UserError(f"the file {path} does not say which classifier it is: {advice}")
    _check(family, tensors, path)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].tobytes())
    trunk = {name: array for name, array in tensors.items() if not name.startswith("fc.")}
    variables = variables_from_rows("Inception-v3 classifier", inception_rows(below=""), trunk)
    variables.pop(COUNTERS, None)
    return ClassifierWeights(
        family, variables, tensors["fc.weight"].T.copy(), tensors["fc.bias"], digest.hexdigest()
    )


def _shapes(family: str) -> dict[str, tuple[int, ...]]:
    shapes = {
        row.theirs: row.shape for row in inception_rows(below="") if row.layout is not COUNTER
    }
    return shapes | {"fc.weight": (FAMILIES[family], FEATURES), "fc.bias": (FAMILIES[family],)}


def _check(family: str, arrays: dict[str, np.ndarray], path) -> None:
    for name, shape in _shapes(family).items():
        if name not in arrays:
            raise UserError(f"{path} is not a {family} Inception-v3 classifier: {name} is missing")
        if arrays[name].shape != shape:
            raise UserError(
                f"{path} is not a {family} Inception-v3 classifier: {name} has the "
                f"shape {list(arrays[name].shape)}, not {list(shape)}"
            )


def _write(path: storage.Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    try:
        storage.write_bytes(path, safetensors.numpy.save(arrays, metadata))
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({storage.strerror(error)}): choose another --out"
        ) from error


def _metadata(data: bytes) -> dict[str, str]:
    """The header is JSON behind its length in eight bytes."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]).get("__metadata__", {})


def _is_old_checkpoint(path: Path) -> bool:
    """A TF-slim checkpoint of before 2016 is one file, a table that starts with no zip's bytes."""
    try:
        with open(path, "rb") as file:
            file.seek(-8, os.SEEK_END)
            return file.read() == (0xDB4775248B80FB57).to_bytes(8, "little")  # a table's last bytes
    except OSError:
        return False
