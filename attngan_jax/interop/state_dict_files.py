"""State dicts in files: `.pth`, `.npz` and `.safetensors` in, `.safetensors` out."""

import functools
import hashlib
from collections.abc import Mapping

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
from absl import logging

from attngan_jax import plain_files, storage
from attngan_jax.errors import UserError
from attngan_jax.interop.safe_pickle import Refused, require
from attngan_jax.interop.torch_files import MAX_EXPANSION, read_torch_state_dict

_DTYPES = dict(F64="f8", F32="f4", F16="f2", BF16=ml_dtypes.bfloat16)
_DTYPES |= dict(I64="i8", I32="i4", I16="i2", I8="i1", U8="u1", BOOL="?")


def read_state_dict(path: storage.PathLike) -> dict[str, np.ndarray]:
    """A network's weights by name, in the file's order, each with its own memory.

    The file is one of `numpy.savez` (`.npz`), `safetensors` (`.safetensors`) or, with any other
    ending, `torch.save(net.state_dict(), path)`, in either format, or a checkpoint that has it
    inside. DataParallel's `module.` before every name is left away. The log says both. Raises
    `UserError` for a file that can't be read, is damaged, or holds anything else; nothing in it
    was run.
    """
    readers = {".npz": _read_npz, ".safetensors": read_safetensors}
    try:
        path = storage.path(path)
        read = readers.get(path.suffix.lower(), functools.partial(read_torch_state_dict, path=path))
        weights = read(plain_files.read_bytes(path, plain_files.MAX_WEIGHTS_BYTES))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {storage.strerror(error)}") from error
    except Refused as error:
        advice = "Pass a state_dict as PyTorch's .pth, as .npz or as .safetensors"
        advice += ", and download it again if it is one"
        raise UserError(f"{path} is not read: {error}. {advice}") from error
    if weights and all(name.startswith("module.") for name in weights):
        logging.info(
            "%s: its names start with module., of DataParallel, and are read without", path
        )
        return {name.removeprefix("module."): array for name, array in weights.items()}
    return weights


def write_safetensors(
    path: storage.PathLike, state_dict: Mapping[str, np.ndarray], **metadata: object
) -> None:
    """Writes weights by name; the file is either whole or not there.

    Of `metadata` one entry makes the same file each time: safetensors writes several in any order.
    """
    # safetensors writes memory as it lies, whatever the strides.
    arrays = {name: np.asarray(array, order="C") for name, array in state_dict.items()}
    texts = {name: str(value) for name, value in metadata.items()} or {"format": "pt"}
    storage.write_bytes(storage.path(path), safetensors.numpy.save(arrays, texts))


def sha256(path: storage.PathLike) -> str:
    """The file's SHA-256 in hexadecimal digits, as published beside weights."""
    plain_files.check_plain(storage.path(path))
    with storage.path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_npz(data: bytes) -> dict[str, np.ndarray]:
    try:
        return plain_files.read_arrays(data, kinds="biuf", at_most=MAX_EXPANSION * len(data))
    except plain_files.DAMAGED_ARRAYS as error:
        raise Refused(f"it is no .npz file of plain arrays ({error})") from error


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a `.safetensors` file by name; `Refused` for one that is damaged."""
    arrays = {}
    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise Refused(f"it is no whole .safetensors file ({error})") from error
    for name, tensor in tensors:
        dtype = tensor["dtype"]
        require(dtype in _DTYPES, f"it holds numbers of the type {dtype}")
        numbers = np.frombuffer(tensor["data"], _DTYPES[dtype])
        arrays[name] = numbers.reshape(tensor["shape"]).copy()
    return arrays
