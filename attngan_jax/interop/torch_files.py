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

from attngan_jax.interop.safe_pickle import Name, PickleReader, Refused, Unfinished

LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# Names may share a storage, and a stride of 0 repeats numbers; in a state_dict both are rare.
MAX_EXPANSION = 16
# What zipfile raises for damaged archives, depending on where the damage is.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
)

_STORAGE_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class Storage(NamedTuple):
    """`count` numbers from `start` on, of the `total` numbers that the file keeps under `key`."""

    key: str
    dtype: np.dtype
    total: int
    start: int
    count: int


class Tensor(Unfinished):
    """How a tensor looks into its storage; offset and strides count numbers, not bytes."""

    def __init__(self, storage: Storage, offset: int, shape: tuple, strides: tuple):
        if not (
            isinstance(storage, Storage)
            and isinstance(shape, tuple)
            and isinstance(strides, tuple)
            and len(shape) == len(strides)
            and _are_counts(offset, *shape, *strides)
        ):
            raise Refused("it holds a tensor that is not made of a storage, a shape and strides")
        self.storage, self.shape, self.strides = storage, shape, strides
        self.start = storage.start + offset
        self.nbytes = math.prod(shape) * storage.dtype.itemsize
        reach = offset + sum((n - 1) * stride for n, stride in zip(shape, strides))
        if self.nbytes and reach >= storage.count:
            raise Refused(
                f"it holds a tensor {list(shape)} that reaches beyond its storage of "
                f"{storage.count} numbers"
            )

    def complete(self, state: Any) -> None:
        """Does nothing: attributes of a parameter mean nothing here."""

    def array(self, storages: Mapping[str, np.ndarray]) -> np.ndarray:
        """A copy of the tensor's numbers."""
        if not self.nbytes:
            return np.zeros(self.shape, self.storage.dtype)
        numbers = storages[self.storage.key][self.start :]
        strides = [stride * numbers.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(numbers, self.shape, strides, writeable=False)
        return np.array(view, order="C")


def read_torch_state_dict(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a file that `torch.save(module.state_dict(), file)` wrote, by name.

    Raises:
      Refused: the bytes are damaged, or hold anything else.
    """
    value, storages = (_read_zip if data[:4] == b"PK\x03\x04" else _read_legacy)(data)
    if not isinstance(value, dict) or not value:
        raise Refused(f"it holds a {type(value).__name__}, not a state_dict")
    others = [name for name, tensor in value.items() if not isinstance(tensor, Tensor)]
    if others:
        raise Refused(
            f"it holds more than a state_dict: {str(others[0])!r} is no tensor; save the "
            "network's state_dict() alone"
        )
    if sum(tensor.nbytes for tensor in value.values()) > MAX_EXPANSION * len(data):
        raise Refused(f"its tensors are more than {MAX_EXPANSION} times larger than the file")
    return {str(name): tensor.array(storages) for name, tensor in value.items()}


def _read_zip(data: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, len(data))
            folder = _folder(members)
            if folder + "byteorder" in archive.namelist() and (
                archive.read(folder + "byteorder") != b"little"
            ):
                raise Refused("its numbers are big-endian")
            announced: dict[str, Storage] = {}
            value, _ = _tensor_pickle(archive.read(folder + "data.pkl"), 0, announced)
            return value, {
                key: _numbers(archive.read(f"{folder}data/{key}"), storage)
                for key, storage in announced.items()
            }
    except Refused:
        raise
    except ZIP_ERRORS as error:
        raise Refused(f"it is a truncated or damaged zip file ({error})") from error


def _check_members(members: list[zipfile.ZipInfo], file_size: int) -> None:
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise Refused("its members are compressed, which those that PyTorch writes never are")
    if sum(member.file_size for member in members) > file_size:
        raise Refused("its members claim to be larger than the file")


def _folder(members: list[zipfile.ZipInfo]) -> str:
    folders = [
        member.filename.removesuffix("data.pkl")
        for member in members
        if f"/{member.filename}".endswith("/data.pkl")
    ]
    if len(folders) != 1:
        raise Refused("it is a zip file, but not one that torch.save wrote")
    return folders[0]


def _read_legacy(data: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    if not data.startswith(b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")):
        raise Refused("it is not a file that torch.save wrote")
    header = PickleReader(data)
    header.read()
    protocol = PickleReader(data, header.position)
    if protocol.read() != LEGACY_PROTOCOL:
        raise Refused(f"it is not in PyTorch's protocol {LEGACY_PROTOCOL}")
    system = PickleReader(data, protocol.position)
    system.read()
    announced: dict[str, Storage] = {}
    value, position = _tensor_pickle(data, system.position, announced)
    rest = PickleReader(data, position)
    keys = rest.read()
    if not isinstance(keys, list) or set(map(str, keys)) != set(announced):
        raise Refused("its list of storages does not fit its tensors")
    storages = {}
    for key in keys:
        storage = announced[key]
        count = int.from_bytes(rest.take(8), "little", signed=True)
        if count != storage.total:
            raise Refused(f"a storage has {count} numbers where {storage.total} were announced")
        storages[key] = _numbers(rest.take(count * storage.dtype.itemsize), storage)
    return value, storages


def _tensor_pickle(data: bytes, position: int, announced: dict[str, Storage]) -> tuple[Any, int]:
    """The pickle with the tensors, and where it ends; the storages it names go into `announced`."""

    def persistent_load(identifier) -> Storage:
        storage = _storage(*identifier)
        known = announced.setdefault(storage.key, storage)
        if (known.dtype, known.total) != (storage.dtype, storage.total):
            raise Refused(f"it describes its storage {storage.key!r} in two ways")
        return storage

    reader = PickleReader(data, position, names=_NAMES, persistent_load=persistent_load)
    return reader.read(), reader.position


def _storage(tag, kind, key, location, total, view=None) -> Storage:
    """A storage from its persistent id; before PyTorch 0.4, `view` could be a part of it."""
    if tag != "storage" or not isinstance(kind, Name) or not isinstance(key, str):
        raise Refused("it refers to something else than a tensor's storage")
    _, start, count = (None, 0, total) if view is None else view
    if not _are_counts(total, start, count) or start + count > total:
        raise Refused(f"its storage {key!r} has an impossible size")
    return Storage(key, np.dtype(_STORAGE_DTYPES[kind.name]), total, start, count)


def _numbers(data: bytes, storage: Storage) -> np.ndarray:
    if len(data) != storage.total * storage.dtype.itemsize:
        raise Refused(
            f"its storage {storage.key!r} has {len(data)} bytes, which are not "
            f"{storage.total} numbers"
        )
    return np.frombuffer(data, storage.dtype)


def _are_counts(*values) -> bool:
    return all(isinstance(value, int) and value >= 0 for value in values)


def _ordered_dict(pairs=()) -> dict:
    """Python 2 writes the pairs of an OrderedDict as its argument, Python 3 sets them one by one."""
    result = {}
    for name, value in pairs:
        if not isinstance(name, str):
            raise Refused("it holds a dict whose keys are not names")
        result[name] = value
    return result


def _parameter(tensor, requires_grad=True, hooks=None):
    return tensor


def _tensor(storage, offset, shape, strides, *gradient_and_hooks):
    return Tensor(storage, offset, shape, strides)


def _not_a_function(*_):
    raise Refused("it makes a storage of its own")


_NAMES = {
    Name("collections", "OrderedDict"): _ordered_dict,
    Name("torch._utils", "_rebuild_tensor"): _tensor,
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Name("torch._utils", "_rebuild_parameter"): _parameter,
    **{Name("torch", kind): _not_a_function for kind in _STORAGE_DTYPES},
}
