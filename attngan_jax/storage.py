"""Files in a folder of this machine or under an address in a bucket of Google Cloud Storage.

A folder is a `pathlib.Path`, an address an `etils.epath.Path`, which joins, lists, opens and reads
files the same way, through gcsfs. Orbax and jax's compilation cache take addresses as they are.
An object store neither appends nor renames, but an object appears whole or not at all: the
functions here write to one with Google's own client.
"""

import base64
import errno
import functools
import importlib.metadata
import io
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import google_crc32c
import numpy as np
from etils import epath

from attngan_jax import plain_files
from attngan_jax.errors import UserError

SCHEME = "gs://"
_CLIENTS = ("google.api_core", "google.auth", "google.cloud", "gcsfs", "aiohttp")
_COMMIT_MARKER = "commit_success.txt"  # Orbax takes a checkpoint in a bucket for whole with it

PathLike: TypeAlias = str | os.PathLike[str]
Path: TypeAlias = pathlib.Path | epath.Path


def is_address(path: PathLike) -> bool:
    """Whether a path is in a bucket."""
    return os.fspath(path).startswith(SCHEME)


def path(name: PathLike) -> Path:
    """A folder or an address as a path, ~ as one's home; `UserError` for other schemes."""
    text = os.path.expanduser(os.fspath(name))
    if is_address(text) and text.removeprefix(SCHEME).strip("/"):
        _require_packages()
        return epath.Path(text)
    if "://" in text:
        raise UserError(
            f"{text} is an address that nothing here can read: give a folder or {SCHEME}BUCKET/PATH"
        )
    return pathlib.Path(text)


def check_is_reachable(flag: str, name: PathLike | None) -> None:
    """Raises `UserError`, naming the flag, for an unsupported address or an unreachable bucket."""
    if name and "://" in os.fspath(name):
        try:
            _check_bucket(os.fspath(path(name)).split("/")[2])
        except UserError as error:
            raise UserError(f"--{flag}: {error}") from error


def check_is_local(flag: str, name: PathLike | None) -> None:
    """Raises `UserError`, naming the flag, for an address where a folder is needed."""
    if name and "://" in os.fspath(name):
        raise UserError(f"--{flag} is {name}, not a folder: copy it to this machine first")


def is_writable(folder: Path) -> bool:
    """Whether files can be written to a folder that may yet have to be made; of an address, yes."""
    if is_address(folder):
        return True
    here = pathlib.Path(folder).absolute()
    while not here.exists() and here != here.parent:
        here = here.parent
    return here.is_dir() and os.access(here, os.W_OK | os.X_OK)


def check_is_writable(flag: str, folder: Path) -> None:
    """Raises `UserError`, naming the flag, for a folder to which nothing can be written."""
    if not is_writable(folder):
        raise UserError(f"--{flag} is {folder}, where nothing can be written: choose another")


@functools.cache
def _require_packages() -> None:
    try:
        for package in ("gcsfs", "google-cloud-storage"):
            importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(
            f"{SCHEME} needs {package}, which is not installed: pip install -r requirements-gcs.txt"
        ) from error


@functools.cache
def _client():
    from google.cloud import storage

    return storage.Client()


@functools.cache
def _check_bucket(bucket: str) -> None:
    """One request without a retry; gcsfs and TensorStore would retry for minutes."""
    from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, Unauthorized
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    where, login = SCHEME + bucket, "gcloud auth application-default login"
    try:
        list(_client().list_blobs(bucket, max_results=1, timeout=15.0, retry=None))
    except (GoogleAuthError, GoogleAPIError, RequestException, ValueError) as error:
        detail = _one_line(error)
        if isinstance(error, GoogleAuthError):  # first, for some of them are ValueErrors
            text = f"there are no usable credentials for {where} ({detail}): {login}"
        elif isinstance(error, NotFound | ValueError):
            create = f"gcloud storage buckets create {where}"
            text = f"there is no bucket {where}: make it ({create}), or correct its name"
        elif isinstance(error, Forbidden | Unauthorized):
            text = (
                f"the bucket {where} may not be read ({detail}): give this account the role "
                f"Storage Admin there, or log in with another ({login})"
            )
        else:
            text = f"the bucket {where} cannot be reached ({detail}): check the network and retry"
        raise UserError(text) from error


def describe_error(error: BaseException | None) -> str | None:
    """A message for an error of the object store, or with one as its cause; None for others."""
    while error is not None:
        text = str(error)
        if (
            type(error).__module__.startswith(_CLIENTS)
            or (isinstance(error, OSError) and error.errno is None and text.startswith("Forbidden"))
            or (SCHEME in text and re.match(r"[A-Z_]{5,}: ", text))  # TensorStore
        ):
            return (
                f"Google Cloud Storage refused or was not reached ({_one_line(error)}): check "
                "the network and the account's permissions (Storage Admin), and run the same "
                "command again; what was finished is kept"
            )
        error = error.__cause__  # not __context__: this error would be a bug of ours
    return None


def strerror(error: OSError) -> str:
    """An error in a few words; gcsfs's errors have no `strerror` of their own."""
    if error.strerror:
        return error.strerror
    return os.strerror(errno.ENOENT) if isinstance(error, FileNotFoundError) else _one_line(error)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def blob(address: Path):
    """The handle that Google's client has for an object, which need not exist."""
    from google.cloud import storage

    return storage.Blob.from_uri(os.fspath(address), client=_client())


def blobs(address: Path) -> Iterator:
    """The objects under an address, with size, hash and generation; `.name` is without bucket."""
    bucket, _, name = os.fspath(address).removeprefix(SCHEME).partition("/")
    found = _client().list_blobs(bucket, prefix=f"{name.rstrip('/')}/" if name else None)
    return (item for item in found if not item.name.endswith("/"))  # without folders' placeholders


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; makes its folder."""
    if is_address(path):
        blob(path).upload_from_string(content, content_type="application/octet-stream")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text whole or not at all; makes its folder."""
    write_bytes(path, text.encode("utf-8"))


def save_arrays(path: Path, **arrays: Any) -> None:
    """Writes an `.npz` whole or not at all; makes its folder."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_bytes(path, content.getvalue())


def copy_tree(source: Path, target: Path) -> None:
    """Copies all files under `source`, one of the two being an address.

    Orbax's commit markers are copied last: a copy that is interrupted holds no whole checkpoint.
    """
    files = sorted(walk(source), key=lambda file: (file.name == _COMMIT_MARKER, os.fspath(file)))
    for file in files:
        write_bytes(target / file.relative_to(source).as_posix(), file.read_bytes())


def rename_tree(source: Path, target: Path) -> None:
    """Renames a folder of the same file system, or all objects under an address."""
    if not is_address(source):
        os.rename(source, target)
        return
    copy_tree(source, target)
    # First the marker, without which the rest is no checkpoint.
    for item in sorted(blobs(source), key=lambda item: not item.name.endswith(_COMMIT_MARKER)):
        item.delete()


def walk(folder: Path) -> Iterator[Path]:
    """All files under a folder."""
    if is_address(folder):
        return (epath.Path(f"{SCHEME}{file.bucket.name}/{file.name}") for file in blobs(folder))
    return (file for file in folder.rglob("*") if file.is_file())


def is_unchanged(path: Path, noted: Any) -> bool:
    """Whether a file is plain, and as `file_digest` noted; of another size it is not read."""
    try:
        plain_files.check_plain(path, noted[0])
        return file_digest(path) == noted
    except (FileNotFoundError, plain_files.RefusedFile, LookupError, TypeError):
        return False


def file_digest(path: Path) -> list:
    """Size and CRC-32C, in base64, of a file: what Cloud Storage states of an object."""
    plain_files.check_plain(path)
    with path.open("rb") as file:
        return digest(iter(lambda: file.read(2**22), b""))


def digest(chunks: Iterable[bytes]) -> list:
    """As `file_digest`, of what the chunks make together."""
    size, checksum = 0, google_crc32c.Checksum()
    for chunk in chunks:
        size += len(chunk)
        checksum.update(chunk)
    return [size, base64.b64encode(checksum.digest()).decode()]
