"""Archives to folders: images, texts and lists, and nothing that reaches outside."""

import errno
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from attngan_jax.data.image_checks import SUFFIXES
from attngan_jax.errors import UserError

ARCHIVES = (".tgz", ".tar.gz", ".tar", ".zip")
_WANTED = (*SUFFIXES, ".txt", ".pickle", ".zip")
_UNWANTED_FOLDERS = ("attributes", "parts", "segmentations", "__MACOSX")
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,
)  # RuntimeError: a zip with a password, or packed in a rare way
# Names that can't be, or not beside each other: too long, a file where a folder is.
_BAD_NAMES = (errno.ENAMETOOLONG, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)
_CHUNK = 1 << 20  # bytes
MAX_BYTES = 20_000_000_000  # unpacked, of one archive; CUB's images are 1.2 GB
_MAX_DEPTH = 3  # archives in archives


def find_archives(folder: Path) -> list[Path]:
    """The archives that lie in `folder` itself."""
    return sorted(
        path for path in folder.iterdir() if path.is_file() and path.name.lower().endswith(ARCHIVES)
    )


def unpack(archives: list[Path], target: Path, hint: str, depth: int = 1) -> None:
    """Unpacks each archive into a folder of its name under `target`, and zips inside them, too.

    Links, and names that lead out of the folder, are passed over.

    Args:
      hint: where good archives are to be had, for the error's message.
      depth: 1 for archives of the source, 2 for those in them, and so on.
    Raises:
      UserError: an archive is damaged, cut short or locked, unpacks to more than `MAX_BYTES`, or
        holds archives in archives without end.
    """
    if archives and depth > _MAX_DEPTH:
        raise UserError(
            f"the archive {archives[0]} lies in {_MAX_DEPTH} others: unpack it "
            f"yourself, or leave it away. {hint}"
        )
    for archive in archives:
        folder = target / archive.name.partition(".")[0]
        left = MAX_BYTES
        try:
            with tqdm(desc=f"Unpacking {archive.name}", unit=" files") as progress:
                for name, stream in _members(archive):
                    path = folder.joinpath(*name.parts)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with stream, open(path, "wb") as file:
                        while chunk := stream.read(_CHUNK):
                            left -= len(chunk)
                            if left < 0:
                                raise UserError(
                                    f"the archive {archive} unpacks to more than "
                                    f"{MAX_BYTES / 1e9:g} GB: it is none of those that are "
                                    f"needed. {hint}"
                                )
                            file.write(chunk)
                    progress.update()
        except _DAMAGE as error:
            raise UserError(
                f"the archive {archive} is damaged or cut short "
                f"({type(error).__name__}: {error}): get it again. {hint}"
            ) from error
        except OSError as error:
            if error.errno not in _BAD_NAMES:
                raise
            raise UserError(
                f"the archive {archive} holds a file that cannot be unpacked "
                f"({error.strerror}: {Path(error.filename or '').name[:80]}): get it "
                f"again. {hint}"
            ) from error
        inner = [path for path in sorted(folder.rglob("*.zip")) if path.is_file()]
        unpack(inner, folder, hint, depth + 1)
        for path in inner:
            path.unlink()


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                name = _wanted(info.filename)
                if name and not info.is_dir():
                    yield name, packed.open(info)
    else:
        with tarfile.open(archive, "r|*") as packed:
            for member in packed:
                name = _wanted(member.name)
                if name and member.isfile():
                    yield name, packed.extractfile(member)


def _wanted(name: str) -> PurePosixPath | None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        return None
    if path.suffix.lower() not in _WANTED or path.name.startswith("._"):
        return None
    return None if set(path.parts) & set(_UNWANTED_FOLDERS) else path
