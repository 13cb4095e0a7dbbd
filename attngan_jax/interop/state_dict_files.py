"""State dicts in files: `.pth`, `.npz` and `.safetensors` in, `.safetensors` out."""

import hashlib
import io
import zipfile
from collections.abc import Mapping

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.interop.safe_pickle import Refused
from attngan_jax.interop.torch_files import MAX_EXPANSION, ZIP_ERRORS, read_torch_state_dict

_SAFETENSORS_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read_state_dict(path: storage.PathLike) -> dict[str, np.ndarray]:
    """Reads a network's weights, by name.

    Args:
      path: a file of `torch.save(net.state_dict(), path)` (either format; any ending but the
        following two), `numpy.savez` (`.npz`) or `safetensors` (`.safetensors`).

    Returns:
      name -> array, in the file's order, each with its own memory.

    Raises:
      UserError: the file can't be read, is damaged, or holds anything else. Nothing in it was run.
    """
    try:
        path = storage.path(path)
        data = path.read_bytes()
        return _READERS.get(path.suffix.lower(), read_torch_state_dict)(data)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {storage.strerror(error)}") from error
    except Refused as error:
        raise UserError(
            f"{path} is not read: {error}. Pass a state_dict as PyTorch's .pth, as "
            ".npz or as .safetensors, and download it again if it is one"
        ) from error


def write_safetensors(path: storage.PathLike, state_dict: Mapping[str, np.ndarray]) -> None:
    """Writes weights by name; the file is either whole or not there."""
    # safetensors writes memory as it lies, whatever the strides.
    arrays = {name: np.asarray(array, order="C") for name, array in state_dict.items()}
    storage.write_bytes(storage.path(path), safetensors.numpy.save(arrays, {"format": "pt"}))


def sha256(path: storage.PathLike) -> str:
    """The file's SHA-256 in hexadecimal digits, as published beside weights."""
    with storage.path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_npz(data: bytes) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(m.file_size for m in archive.infolist()) > MAX_EXPANSION * len(data):
                raise Refused(
                    f"its arrays are more than {MAX_EXPANSION} times larger than the file"
                )
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    except Refused:
        raise
    except (*ZIP_ERRORS, MemoryError) as error:
        raise Refused(f"it is no .npz file of plain arrays ({error})") from error


def _read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise Refused(f"it is no whole .safetensors file ({error})") from error
    unknown = {tensor["dtype"] for _, tensor in tensors} - set(_SAFETENSORS_DTYPES)
    if unknown:
        raise Refused(f"it holds numbers of the type {unknown.pop()}")
    return {
        name: np.frombuffer(tensor["data"], _SAFETENSORS_DTYPES[tensor["dtype"]])
        .reshape(tensor["shape"])
        .copy()
        for name, tensor in tensors
    }


_READERS = {".npz": _read_npz, ".safetensors": _read_safetensors}
