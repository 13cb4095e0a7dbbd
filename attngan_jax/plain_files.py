"""Reads files that anybody may have written: plain files alone, and only as much as is right.

A pipe would be waited for without end and a device has no end; both are refused before they are
opened, as is a file that is larger than its kind ever is. Everything raises `RefusedFile`, an
`OSError`, so that whoever explains a file that cannot be read explains these, too.
"""

import errno
import io
import itertools
import math
import os
import pathlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

MAX_TEXT_BYTES = 2**28  # of a vocabulary, a log, a list of files: a quarter of a gigabyte
MAX_WEIGHTS_BYTES = 2**32  # of networks
MAX_JSON_BYTES = 2**24  # of a config and of what a run notes of itself
MAX_EXPANSION = 16  # of compressed arrays, beyond a number of bytes that does no harm
_HARMLESS_BYTES = 2**27
# What `read_arrays` raises, depending on where the damage is.
DAMAGED_ARRAYS: tuple[type[Exception], ...] = (zipfile.BadZipFile, zlib.error, EOFError, OSError)
DAMAGED_ARRAYS += (struct.error, ValueError, RuntimeError, LookupError, ArithmeticError, TypeError)
_SCHEME = "gs://"  # addresses name objects, which are plain and have a size
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}

PathLike = str | os.PathLike[str]


class RefusedFile(OSError):
    """What is there is not read; `strerror` says why."""

    def __init__(self, reason: str, path: PathLike):
        super().__init__(errno.EINVAL, reason, os.fspath(path))


def check_plain(path: PathLike, at_most: int | None = None) -> None:
    """Raises `RefusedFile` for what is no plain file, or has more than `at_most` bytes.

    Other `OSError`s for a path that is not there, is a folder, or leads round in a circle.
    """
    if os.fspath(path).startswith(_SCHEME):
        return
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise RefusedFile(f"it is {kind}, not a plain file", path)
    if at_most is not None and found.st_size > at_most:
        raise RefusedFile(f"it has {found.st_size:,} bytes, more than {at_most:,}", path)


def check_plain_tree(folder: PathLike) -> None:
    """`check_plain` of every file below a folder; does nothing where there is none."""
    if os.fspath(folder).startswith(_SCHEME):
        return
    for place, _, files in os.walk(folder):
        for name in files:
            check_plain(os.path.join(place, name))


def read_bytes(path: PathLike, at_most: int = MAX_TEXT_BYTES) -> bytes:
    """The content of a plain file of at most so many bytes."""
    check_plain(path, at_most)
    return (pathlib.Path(path) if isinstance(path, str) else _as_path(path)).read_bytes()


def _as_path(path: Any) -> Any:
    return path if hasattr(path, "read_bytes") else pathlib.Path(path)


def read_text(path: PathLike, at_most: int = MAX_TEXT_BYTES, *, encoding: str = "utf-8") -> str:
    """The text of a plain file of at most so many bytes."""
    return read_bytes(path, at_most).decode(encoding)


def read_arrays(content: bytes, *, kinds: str = "biufcU", at_most: int = 0) -> dict[str, Any]:
    """The arrays of an `.npz` by name; what they declare is checked before memory is taken.

    `kinds` are NumPy's letters of the allowed types, and `at_most` is how many bytes all arrays may
    have (0: `MAX_EXPANSION` times those of the file, or what does no harm). Raises `ValueError` for
    arrays of other types or of another size than the file's, and one of `DAMAGED_ARRAYS` for what
    is damaged.
    """
    at_most = at_most or max(MAX_EXPANSION * len(content), _HARMLESS_BYTES)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > at_most:
            raise ValueError(
                f"its arrays are many times larger than the file: over {at_most:,} bytes"
            )
        return dict(_read_array(archive, member, kinds) for member in members)


def _read_array(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, kinds: str
) -> tuple[str, np.ndarray]:
    name = member.filename
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name!r:.80} is of a version of .npy that is not read")
        read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, is_fortran, dtype = read_header(file)
        if dtype.kind not in kinds:
            raise ValueError(f"{name!r:.80} holds values of the type {dtype!s:.40}")
        if min(shape, default=0) < 0:
            raise ValueError(f"{name!r:.80} has a negative size")
        size, there = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        if size != there:
            raise ValueError(f"{name!r:.80} declares {size:,} bytes and has {there:,}")
        numbers = np.frombuffer(bytearray(file.read()), dtype) if size else np.zeros(0, dtype)
    order: Any = "F" if is_fortran else "C"
    return name.removesuffix(".npy"), numbers.reshape(shape, order=order)


def lines(path: PathLike, longest: int) -> Iterator[str]:
    """The lines of a UTF-8 text, one after the other, without their ends; a mark is left away.

    `RefusedFile` for a line of more than `longest` characters, `UnicodeDecodeError` for other
    bytes.
    """
    check_plain(path)
    with open(path, encoding="utf-8-sig") as file:
        for number in itertools.count(1):
            line = file.readline(longest + 1)
            if len(line) > longest and not line.endswith("\n"):
                raise RefusedFile(f"line {number} has more than {longest:,} characters", path)
            if not line:
                return
            yield line.rstrip("\n")
