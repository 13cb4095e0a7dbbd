"""A reader of PyTorch's `.pth` files without PyTorch: a state_dict's tensors as NumPy arrays.

Both formats: today's zip (`data.pkl` and a member per storage), and that of 2018, in which the
released weights were published (five pickles, then each storage's element count and bytes).
Nothing in a file can run, and memory stays within a few times the file's size.
"""

import io
import math
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from absl import logging

from attngan_jax.interop.safe_pickle import Refused, read_pickle, require

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the format of 2018
# Names may share a storage, and a stride of 0 repeats numbers; in a state_dict both are rare.
MAX_EXPANSION = 16
MAX_AXES = 32
# Under what training scripts keep a state_dict beside other things, and what it is.
WRAPPERS = {
    "netG_avg": "the generator's averaged weights",
    "netG": "the generator's weights",
    "state_dict": "the network's weights",
    "model": "the network's weights",
}
# What zipfile raises for damaged archives, depending on where the damage is.
DAMAGE: tuple[type[Exception], ...] = (zipfile.BadZipFile, struct.error, EOFError, OSError)
DAMAGE += (RuntimeError, ValueError, LookupError, ArithmeticError, MemoryError)

_DTYPES = dict(Float="f4", Double="f8", Half="f2", Long="i8", Int="i4", Short="i2", Char="i1")
_DTYPES |= {"Byte": "u1", "Bool": "?", "BFloat16": ml_dtypes.bfloat16}
Storages = dict[str, tuple[np.dtype, int]]  # key -> type and number of its numbers


class Storage(NamedTuple):
    """`size` numbers from `start` on, of those that the file keeps under `key`."""

    key: str
    dtype: np.dtype
    start: int
    size: int


class Tensor:
    """How a tensor looks into its storage; offset and strides count numbers, not bytes."""

    def __init__(self, storage, offset, shape, strides, requires_grad=False, hooks=(), metadata=()):
        is_view = [type(part) for part in (storage, shape, strides)] == [Storage, tuple, tuple]
        is_view = is_view and len(shape) == len(strides) <= MAX_AXES
        message = "it holds a tensor that is not made of a storage, a shape and strides"
        require(is_view and _are_counts(offset, *shape, *strides), message)
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides
        self.nbytes = math.prod(shape) * storage.dtype.itemsize
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides))
        beyond = f"that reaches beyond its storage of {storage.size} numbers"
        require(not self.nbytes or last < storage.size, f"it holds a tensor {shape} {beyond}")

    def __setstate__(self, state) -> None:
        """Attributes of a parameter mean nothing here."""

    def array(self, contents: Mapping[str, bytes]) -> np.ndarray:
        """A copy of the tensor's numbers."""
        key, dtype, start, _ = self.storage
        offset = (start + self.offset) * dtype.itemsize if self.nbytes else 0
        strides = [stride * dtype.itemsize for stride in self.strides]
        return np.ndarray(self.shape, dtype, contents[key], offset, strides).copy()


class StateDict(dict):
    """An OrderedDict. Python 2 writes its items as an argument, Python 3 sets them one by one."""

    def __init__(self, pairs: list | None = None):
        for name, value in pairs or []:
            require(isinstance(name, str), "it holds a dict whose keys are not names")
            self[name] = value
        if pairs:
            pairs.clear()  # so that a file can't have one long list copied many times

    def __setstate__(self, state) -> None:
        """Attributes (`_metadata`) are dropped."""


def _parameter(tensor, requires_grad=True, hooks=()) -> Tensor:
    require(isinstance(tensor, Tensor), "it holds a parameter that is no tensor")
    return tensor


_FUNCTIONS = {
    "collections.OrderedDict": StateDict,
    "torch._utils._rebuild_tensor": Tensor,
    "torch._utils._rebuild_tensor_v2": Tensor,
    "torch._utils._rebuild_parameter": _parameter,
    # Storages are only named, in persistent ids; a dtype can't be called.
    **{f"torch.{kind}Storage": np.dtype(dtype) for kind, dtype in _DTYPES.items()},
}


def read_torch_state_dict(data: bytes, path: object = "the file") -> dict[str, np.ndarray]:
    """The tensors of a file that `torch.save(module.state_dict(), file)` wrote, by name.

    Of a training script's checkpoint, the state_dict under the first of `WRAPPERS` that it has;
    the log says which, of `path`. Raises `Refused` for bytes that are damaged, or hold anything
    else.
    """
    value, storages, contents = (_read_zip if data[:4] == b"PK\x03\x04" else _read_legacy)(data)
    if isinstance(value, dict):
        for name in (name for name in WRAPPERS if isinstance(value.get(name), dict)):
            others = ", ".join(str(key)[:80] for key in value if key != name)
            of = f", not {others}" if others else ""
            logging.info("%s: %s (%s) is read%s", path, name, WRAPPERS[name], of)
            value = value[name]
            break
    message = f"it holds a {type(value).__name__}, not a state_dict"
    require(isinstance(value, dict) and value, message)
    for name, tensor in value.items():
        found = f"it holds more than a state_dict: {str(name)[:80]!r} is no tensor"
        is_tensor = isinstance(name, str) and isinstance(tensor, Tensor)
        require(is_tensor, f"{found}; save the network's state_dict() alone")
    size = sum(tensor.nbytes for tensor in value.values())
    message = f"its tensors are more than {MAX_EXPANSION} times larger than the file"
    require(size <= MAX_EXPANSION * len(data), message)
    for key, (dtype, total) in storages.items():
        size = len(contents[key])
        message = f"its storage {key!r} has {size} bytes, which are not {total} numbers"
        require(size == total * dtype.itemsize, message)
    try:
        return {name: tensor.array(contents) for name, tensor in value.items()}
    except (ValueError, OverflowError) as error:  # of axes or strides beyond NumPy's
        raise Refused(f"it holds a tensor that no array can hold ({error})") from error


def _read_zip(data: bytes) -> tuple[Any, Storages, dict[str, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members, names = archive.infolist(), archive.namelist()
            is_compressed = any(member.compress_type for member in members)
            require(not is_compressed, "its members are compressed, which PyTorch's never are")
            size = sum(member.file_size for member in members)
            require(size <= len(data), "its members claim to be larger than the file")
            pickles = [name for name in names if f"/{name}".endswith("/data.pkl")]
            require(len(pickles) == 1, "it is a zip file, but not one that torch.save wrote")
            folder = pickles[0].removesuffix("data.pkl")
            order = f"{folder}byteorder"
            is_big = order in names and archive.read(order) != b"little"
            require(not is_big, "its numbers are big-endian")
            value, storages, _ = _read_tensors(archive.read(pickles[0]))
            return value, storages, {key: archive.read(f"{folder}data/{key}") for key in storages}
    except DAMAGE as error:
        raise Refused(f"it is a truncated or damaged zip file ({error})") from error


def _read_legacy(data: bytes) -> tuple[Any, Storages, dict[str, bytes]]:
    magic = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little")
    require(data.startswith(magic), "it is not a file that torch.save wrote")
    _, position = read_pickle(data)
    protocol, position = read_pickle(data, position)
    require(protocol == PROTOCOL, f"it is not in PyTorch's protocol {PROTOCOL}")
    _, position = read_pickle(data, position)  # the sizes of types in C
    value, storages, position = _read_tensors(data, position)
    keys, position = read_pickle(data, position)
    are_names = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    message = "its list of storages does not fit its tensors"
    require(are_names and set(keys) == set(storages), message)
    contents = {}
    for key in keys:
        dtype, announced = storages[key]
        begin = position + 8
        total = int.from_bytes(data[position:begin], "little", signed=True)
        message = f"a storage has {total} numbers where {announced} were announced"
        require(total == announced, message)
        position = begin + total * dtype.itemsize
        contents[key] = data[begin:position]
    return value, storages, contents


def _read_tensors(data: bytes, position: int = 0) -> tuple[Any, Storages, int]:
    """The pickle of tensors, the storages that it names, and where it ends."""
    storages: Storages = {}

    def load_storage(pid: tuple) -> Storage:
        tag, dtype, key, _, total = pid[:5]
        are_typed = isinstance(dtype, np.dtype) and isinstance(key, str)
        is_storage = tag == "storage" and are_typed and len(pid) <= 6
        require(is_storage, "it refers to something else than a tensor's storage")
        # Before PyTorch 0.4 a tensor's storage could be a part of another.
        _, start, size = pid[5] if len(pid) == 6 and pid[5] else (None, 0, total)
        is_part = _are_counts(total, start, size) and start + size <= total
        require(is_part, f"its storage {key!r} has an impossible size")
        known = storages.setdefault(key, (dtype, total))
        require(known == (dtype, total), f"it describes its storage {key!r} in two ways")
        return Storage(key, dtype, start, size)

    value, end = read_pickle(data, position, functions=_FUNCTIONS, persistent_load=load_storage)
    return value, storages, end


def _are_counts(*values) -> bool:
    return all(isinstance(value, int) and 0 <= value < 2**63 for value in values)
