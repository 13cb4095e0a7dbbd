"""Archives to folders: images, texts and lists, and nothing that reaches outside."""

import errno
import functools
import gzip
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from attngan_jax.bars import Bar
from attngan_jax.data.source_files import IMAGE_SUFFIXES
from attngan_jax.errors import UserError

MAX_BYTES = 20_000_000_000  # unpacked, of one archive; CUB's images are 1.2 GB
_MAX_DEPTH = 3  # archives in archives
ARCHIVE_SUFFIXES = (".tgz", ".tar.gz", ".tar", ".zip")
_WANTED_SUFFIXES = (*IMAGE_SUFFIXES, ".txt", ".pickle", ".zip")
_UNWANTED_FOLDERS = {"attributes", "parts", "segmentations", "__MACOSX"}
_DAMAGE: tuple[type[Exception], ...] = (tarfile.TarError, zipfile.BadZipFile, zlib.error)
_DAMAGE += (gzip.BadGzipFile, lzma.LZMAError)
# And what their readers raise over a member without a name, a wrong date, or a password.
_DAMAGE += (struct.error, LookupError, ValueError, ArithmeticError, EOFError, RuntimeError)
# Names that can't be, or not beside each other: too long, a file where a folder is.
_BAD_NAMES = (errno.ENAMETOOLONG, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)


def unpack(archives: list[Path], target: Path, hint: str, depth: int = 1) -> None:
    """Unpacks each archive into a folder of its name under `target`, and zips inside them, too.

    Links, and names that lead out of the folder, are passed over. `UserError`, with a `hint` where
    to get good ones, if one is damaged or locked, or holds too many bytes or archives in archives.
    """
    for archive in archives:
        what = f"the archive {archive}"
        if depth > _MAX_DEPTH:
            repair = "unpack it yourself, or leave it out"
            raise UserError(f"{what} lies in {_MAX_DEPTH} others: {repair}. {hint}")
        folder = target / archive.name.partition(".")[0]
        try:
            _unpack_one(archive, folder, hint)
        except _DAMAGE as error:
            reason = f"damaged or cut short ({type(error).__name__}: {error})"
            raise UserError(f"{what} is {reason}: get it again. {hint}") from error
        except OSError as error:
            if error.errno not in _BAD_NAMES:
                raise
            name = Path(error.filename or "").name[:80]
            reason = f"a file that cannot be unpacked ({error.strerror}: {name})"
            raise UserError(f"{what} holds {reason}: get it again. {hint}") from error
        inner = [path for path in sorted(folder.rglob("*.zip")) if path.is_file()]
        unpack(inner, folder, hint, depth + 1)
        for path in inner:
            path.unlink()


def _unpack_one(archive: Path, folder: Path, hint: str) -> None:
    size = 0
    for name, member_size, open_member in Bar(
        _files(archive), f"Unpacking {archive.name}", unit=" files"
    ):
        path = PurePosixPath(name.replace("\\", "/"))
        leads_out = path.is_absolute() or ".." in path.parts or "\0" in name
        is_wanted = path.suffix.lower() in _WANTED_SUFFIXES and not path.name.startswith("._")
        if leads_out or not is_wanted or _UNWANTED_FOLDERS & {*path.parts}:
            continue
        size += member_size  # as declared, which no member exceeds
        if size > MAX_BYTES:
            limit = f"{MAX_BYTES / 1e9:g} GB: it is none of those that are needed"
            raise UserError(f"the archive {archive} unpacks to more than {limit}. {hint}")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with open_member() as stream, open(folder / path, "wb") as file:
            shutil.copyfileobj(stream, file)


def _files(archive: Path) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Each file's name, its size, and a function that opens it."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as zipped:
            for info in (info for info in zipped.infolist() if not info.is_dir()):
                yield info.filename, info.file_size, functools.partial(zipped.open, info)
    else:
        with tarfile.open(archive, "r|*") as tarred:
            for member in (member for member in tarred if member.isfile()):
                yield member.name, member.size, functools.partial(tarred.extractfile, member)
