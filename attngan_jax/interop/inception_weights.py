"""Inception-v3's weights in files: ImageNet's for the image encoder, classifiers for IS and FID.

A classifier is converted to a safetensors file with torchvision's names and layouts, whose metadata
says the family and the file that it came from.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy

from attngan_jax import plain_files, storage
from attngan_jax.errors import UserError
from attngan_jax.interop.name_tables import POOLED_FEATURES, inception_rows, layer
from attngan_jax.interop.safe_pickle import Refused
from attngan_jax.interop.state_dict_files import read_safetensors, read_state_dict, sha256
from attngan_jax.interop.state_dicts import COUNTERS, Variables, variables_from_rows

PUBLISHED = "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth"
RANDOM = "random"  # the config value that asks for an untrained trunk by name
FAMILIES = {"torchvision": 1000, "tf-2015": 1008, "cub-50": 50}  # and how many classes each has
_COMMAND = "python -m attngan_jax.convert classifier --source FILE --out FILE.safetensors"
_ADVICE = f"make it with: {_COMMAND}"


class InceptionWeights(NamedTuple):
    """The trunk of a file of torchvision's `inception_v3`, float32, and the file's SHA-256."""

    variables: Variables
    sha256: str


class ClassifierWeights(NamedTuple):
    """Inception-v3 with its last layer, float32."""

    family: str  # one of `FAMILIES`
    variables: Variables  # of `models.inception.InceptionV3`
    kernel: np.ndarray  # [2048, classes]
    bias: np.ndarray  # [classes], zeros for "tf-2015", which is used without
    sha256: str  # of all these numbers, whichever file they came in


def read_inception_weights(path: storage.PathLike) -> InceptionWeights:
    """Reads a `.pth`, `.npz` or `.safetensors` with the names of torchvision's `inception_v3`.

    Raises `UserError` for a file that can't be read, is damaged, or is of another network.
    """
    what = f"the Inception weights {path}"
    try:
        digest = sha256(path)
    except OSError as error:
        why = storage.strerror(error)
        raise UserError(f"{what} cannot be read ({why}): download {PUBLISHED}") from error
    named = re.search(r"-([0-9a-f]{8})\.pth$", str(path))  # as PyTorch's own downloads are
    if named and not digest.startswith(named[1]):
        begin = f"their SHA-256 starts with {digest[:8]}"
        raise UserError(f"{what} are damaged: {begin}; download {PUBLISHED} again")
    state_dict = read_state_dict(path)
    shapes = {name: np.shape(state_dict[name]) for name in state_dict if name.startswith("fc.")}
    if shapes and shapes != {"fc.weight": (1000, 2048), "fc.bias": (1000,)}:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))
        raise UserError(f"{path}: {found}: these are not the shapes of 1000 classes")
    return InceptionWeights(_trunk("torchvision Inception-v3", state_dict), digest)


def chosen_inception_weights(choice: str) -> InceptionWeights | None:
    """The weights that `config.image_encoder.weights` asks for; None for an untrained trunk.

    Raises `UserError` if nothing is chosen, or the file is not what it should be.
    """
    if choice == RANDOM:
        return None
    if choice:
        return read_inception_weights(choice)
    flag = "--config.image_encoder.weights"
    advice = (
        f"download {PUBLISHED} and pass {flag}=FILE ({flag}={RANDOM} trains it from nothing); or "
        "use the small trunk, which needs no file: --config.image_encoder.trunk=cnn, as "
        "configs/folder_small.py has it for images of one's own at 64 pixels"
    )
    raise UserError(f"the image encoder starts from ImageNet's Inception-v3: {advice}")


def _trunk(what: str, state_dict: Mapping[str, np.ndarray]) -> Variables:
    """The variables of all but the classifier and the auxiliary classifier."""
    names = [name for name in state_dict if not name.startswith(("AuxLogits.", "fc."))]
    trunk = variables_from_rows(what, inception_rows(), {name: state_dict[name] for name in names})
    trunk.pop(COUNTERS, None)
    return jax.tree.map(lambda array: array.astype(np.float32), trunk)


def convert_classifier(source: str | Path, out: storage.PathLike) -> str:
    """Converts torchvision's .pth, the graph of 2015-12-05 (.pb) or a TF-slim checkpoint.

    The graph's weights may also be those that pytorch-fid has converted to torchvision's names
    (.pth). A checkpoint's `source` is its prefix, such as `model.ckpt-5000`. Returns the family.
    Raises `UserError` for a file that can't be read, or is none of these.
    """
    from attngan_jax.interop import tensorflow_files

    source = Path(storage.path(source))
    if source.suffix == ".pb":
        family, state_dict = "tf-2015", tensorflow_files.read_graph(source)
    elif source.with_name(source.name + ".index").exists() or _is_old_checkpoint(source):
        family, state_dict = "cub-50", tensorflow_files.read_slim_checkpoint(source)
    else:
        state_dict = read_state_dict(source)
        family = _family_of(state_dict)
    arrays = _classifier_arrays(family, state_dict, source)
    content = safetensors.numpy.save(arrays, {"family": family, "source": source.name})
    try:
        storage.write_bytes(storage.path(out), content)
    except OSError as error:
        why = storage.strerror(error)
        raise UserError(f"{out} cannot be written ({why}): choose another --out") from error
    return family


def _family_of(state_dict: Mapping[str, np.ndarray]) -> str:
    """Whose weights these are, under torchvision's names: by the number of outputs."""
    outputs = np.shape(state_dict["fc.weight"])[:1] if "fc.weight" in state_dict else ()
    return "tf-2015" if outputs == (FAMILIES["tf-2015"],) else "torchvision"


def read_classifier(path: storage.PathLike) -> ClassifierWeights:
    """Reads a file of `convert_classifier`; `UserError` if it is none."""
    try:
        data = plain_files.read_bytes(storage.path(path), plain_files.MAX_WEIGHTS_BYTES)
        tensors = read_safetensors(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except OSError as error:
        why = f"cannot be read ({storage.strerror(error)})"
        raise UserError(f"the classifier {path} {why}: {_ADVICE}") from error
    except (Refused, ValueError) as error:
        why = f"is no whole .safetensors file ({error})"
        raise UserError(f"the classifier {path} {why}: {_ADVICE}") from error
    family = header.get("__metadata__", {}).get("family")
    if family not in FAMILIES:
        raise UserError(f"the file {path} does not say which classifier it is: {_ADVICE}")
    arrays = _classifier_arrays(family, tensors, path)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].tobytes())
    variables = _trunk("Inception-v3 classifier", tensors)
    kernel, bias = arrays["fc.weight"].T.copy(), arrays["fc.bias"]
    return ClassifierWeights(family, variables, kernel, bias, digest.hexdigest())


def _classifier_arrays(
    family: str, state_dict: Mapping[str, np.ndarray], path: storage.PathLike
) -> dict[str, np.ndarray]:
    """The arrays of this classifier alone, float32; `UserError` if one is missing or misshapen."""
    rows = inception_rows() + layer("fc", "fc", (FAMILIES[family], POOLED_FEATURES), bias=True)
    wanted = {row.pt: row.shape for row in rows if row.flax}
    for name, shape in wanted.items():
        found = list(state_dict[name].shape) if name in state_dict else None
        if found != list(shape):
            what = "is missing" if found is None else f"has the shape {found}, not {list(shape)}"
            raise UserError(f"{path} is not a {family} Inception-v3 classifier: {name} {what}")
    arrays = {name: np.ascontiguousarray(state_dict[name], np.float32) for name in wanted}
    if family == "tf-2015":
        arrays["fc.bias"] = np.zeros_like(arrays["fc.bias"])  # which the scores are taken without
    return arrays


def _is_old_checkpoint(path: Path) -> bool:
    """A TF-slim checkpoint of before 2016 is one file, a table, which ends with this number."""
    try:
        plain_files.check_plain(path)
        with open(path, "rb") as file:
            file.seek(-8, 2)
            return file.read() == (0xDB4775248B80FB57).to_bytes(8, "little")
    except OSError:
        return False
