"""ImageNet weights of Inception-v3, as torchvision publishes them."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.interop.inception_table import inception_rows
from attngan_jax.interop.state_dict_files import read_state_dict, sha256
from attngan_jax.interop.state_dicts import COUNTERS, variables_from_rows

PUBLISHED = "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth"
RANDOM = "random"  # the config value that asks for an untrained trunk by name
CLASSES = 1000
_NOT_THE_TRUNK = ("AuxLogits.", "fc.")


class InceptionWeights(NamedTuple):
    """What a file of torchvision's `inception_v3` holds.

    Attributes:
      variables: {"params", "batch_stats"} of `models.inception.InceptionV3`, float32.
      classifier: kernel `[2048, 1000]` and bias `[1000]` of the last layer, if it is there.
      sha256: of the file, in hexadecimal digits.
    """

    variables: dict[str, dict[str, Any]]
    classifier: tuple[np.ndarray, np.ndarray] | None
    sha256: str


def read_inception_weights(path: storage.PathLike) -> InceptionWeights:
    """Reads a `.pth`, `.npz` or `.safetensors` with the names of torchvision's `inception_v3`.

    Raises:
      UserError: the file can't be read, was cut short in the download, or is of another network.
    """
    digest = _checked_digest(path)
    state_dict = read_state_dict(path)
    trunk = {
        name: array.astype(np.float32) if array.dtype.kind != "i" else array
        for name, array in state_dict.items()
        if not name.startswith(_NOT_THE_TRUNK)
    }
    variables = variables_from_rows("torchvision Inception-v3", inception_rows(below=""), trunk)
    variables.pop(COUNTERS, None)
    return InceptionWeights(variables, _classifier(path, state_dict), digest)


def chosen_inception_weights(choice: str) -> InceptionWeights | None:
    """The weights that `config.image_encoder.weights` asks for; None for an untrained trunk.

    Raises:
      UserError: nothing is chosen, or the file is not what it should be.
    """
    if choice == RANDOM:
        return None
    if choice:
        return read_inception_weights(choice)
    raise UserError(
        "the image encoder starts from ImageNet's Inception-v3: download "
        f"{PUBLISHED} and pass --config.image_encoder.weights=FILE "
        f"(--config.image_encoder.weights={RANDOM} trains it from nothing)"
    )


def _checked_digest(path: storage.PathLike) -> str:
    """The file's SHA-256, whose first digits PyTorch's own downloads carry in their name."""
    try:
        digest = sha256(path)
    except OSError as error:
        raise UserError(
            f"the Inception weights {path} cannot be read ({storage.strerror(error)}): "
            f"download {PUBLISHED}"
        ) from error
    named = re.search(r"-([0-9a-f]{8})\.pth$", str(path))
    if named and not digest.startswith(named[1]):
        raise UserError(
            f"the Inception weights {path} are damaged: their SHA-256 starts with "
            f"{digest[:8]}; download {PUBLISHED} again"
        )
    return digest


def _classifier(path, state_dict: Mapping[str, np.ndarray]):
    if "fc.weight" not in state_dict and "fc.bias" not in state_dict:
        return None
    kernel, bias = (state_dict.get(f"fc.{name}", np.zeros(0)) for name in ("weight", "bias"))
    if kernel.shape != (CLASSES, 2048) or bias.shape != (CLASSES,):
        raise UserError(
            f"{path}: fc.weight and fc.bias have the shapes {list(kernel.shape)} and "
            f"{list(bias.shape)}, not those of {CLASSES} classes"
        )
    return kernel.astype(np.float32).T.copy(), bias.astype(np.float32)
