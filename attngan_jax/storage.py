"""Where files lie: a folder of this machine, or an address in a bucket of Google Cloud Storage.

A folder is a `pathlib.Path`, an address an `etils.epath.Path`, which joins, lists, opens and reads
like one, through gcsfs. Orbax and jax's compilation cache take addresses as they are. An object
store appends to no file and renames none, but an object appears whole or not at all: what has to
be done in another way is here, through Google's own client.
"""

import errno
import functools
import importlib.util
import io
import os
import pathlib
import re
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from etils import epath

from attngan_jax import storage
from attngan_jax.errors import UserError

SCHEME = "gs://"
REQUIREMENTS = "requirements-gcs.txt"
_PACKAGES = ("gcsfs", "google.cloud.storage")
_CLIENTS = ("google.api_core", "google.auth", "google.cloud", "gcsfs", "aiohttp")
_SECONDS = 15.0  # for the first question to a bucket
_LAST = "commit_success.txt"  # by which Orbax knows a checkpoint as whole

PathLike: TypeAlias = str | os.PathLike[str]
Path: TypeAlias = pathlib.Path | epath.Path


def is_address(place: PathLike) -> bool:
    """Whether a place is one in a bucket."""
    return os.fspath(place).startswith(SCHEME)


def path(place: PathLike) -> Path:
    """A folder or an address as a path; asks nobody. `UserError` for addresses of another kind."""
    text = os.fspath(place)
    if is_address(text) and text.removeprefix(SCHEME).strip("/"):
        _require_packages()
        return epath.Path(text)
    if "://" in text:
        raise UserError(
            f"{text} is an address that nothing here can read: give a folder, or "
            f"{SCHEME}BUCKET/PATH"
        )
    return pathlib.Path(text)


def check(name: str, place: PathLike | None) -> None:
    """Raises `UserError`, naming the flag, for an address of another kind or a bucket out of reach."""
    if not place or "://" not in os.fspath(place):
        return
    try:
        path(place)
        _ask_bucket(os.fspath(place).removeprefix(SCHEME).partition("/")[0])
    except UserError as error:
        raise UserError(f"--{name}: {error}") from error


def check_is_folder(name: str, place: PathLike | None) -> None:
    """Raises `UserError` for what has to be on this machine and is an address."""
    if place and "://" in os.fspath(place):
        raise UserError(
            f"--{name} is {place}, and only folders will do: copy it to this machine first"
        )


@functools.cache
def _require_packages() -> None:
    for package in _PACKAGES:
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # of the package around it
            found = None
        if not found:
            raise UserError(
                f"{SCHEME} needs {package}, which is not installed: pip install -r {REQUIREMENTS}"
            )


@functools.cache
def _client():
    from google.cloud import storage

    return storage.Client()


@functools.cache
def _ask_bucket(bucket: str) -> None:
    """One question without a second try, where gcsfs and TensorStore would try for minutes."""
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    where = f"{SCHEME}{bucket}"
    try:
        list(_client().list_blobs(bucket, max_results=1, timeout=_SECONDS, retry=None))
    except GoogleAuthError as error:  # of which some are ValueErrors
        raise UserError(
            f"there are no usable credentials for {where} ({_one_line(error)}): "
            "gcloud auth application-default login"
        ) from error
    except (exceptions.NotFound, ValueError) as error:
        raise UserError(
            f"there is no bucket {where}: make it (gcloud storage buckets create "
            f"{where}), or mend its name"
        ) from error
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise UserError(
            f"the bucket {where} may not be read ({_one_line(error)}): give this "
            "account the role Storage Admin there, or log in with another "
            "(gcloud auth application-default login)"
        ) from error
    except (exceptions.GoogleAPIError, requests.exceptions.RequestException) as error:
        raise UserError(
            f"the bucket {where} cannot be reached ({_one_line(error)}): check the "
            "network and try again"
        ) from error


def describe_error(error: BaseException | None) -> str | None:
    """What to say of an error, or its cause, that came from the object store; None of others.

    An error that is raised while one of the store's is dealt with is the program's own.
    """
    while error is not None:
        if _is_of_store(error):
            return (
                f"Google Cloud Storage refused or was not reached ({_one_line(error)}): check "
                "the network and the account's permissions (Storage Admin), and run the same "
                "command again; what was finished is kept"
            )
        error = error.__cause__
    return None


def _is_of_store(error: BaseException) -> bool:
    if type(error).__module__.startswith(_CLIENTS):
        return True
    text = str(error)
    if isinstance(error, OSError):  # gcsfs, of a 403
        return error.errno is None and text.startswith("Forbidden")
    return bool(re.match(r"[A-Z_]{5,}: ", text)) and SCHEME in text  # TensorStore


def reason(error: OSError) -> str:
    """An error in a few words; gcsfs's errors have no `strerror`."""
    if error.strerror:
        return error.strerror
    return os.strerror(errno.ENOENT) if isinstance(error, FileNotFoundError) else _one_line(error)


def _one_line(error) -> str:
    return " ".join(str(error).split())[:200]


def blob(address: Path):
    """Google's client's handle of an object, which need not be there."""
    bucket, _, name = os.fspath(address).removeprefix(SCHEME).partition("/")
    return _client().bucket(bucket).blob(name)


def blobs(address: Path) -> Iterator:
    """The objects under an address, with size, hash and generation; `.name` is the whole one."""
    bucket, _, name = os.fspath(address).removeprefix(SCHEME).partition("/")
    return iter(_client().list_blobs(bucket, prefix=f"{name.rstrip('/')}/" if name else None))


def write_bytes(place: Path, content: bytes) -> None:
    """Writes a file whole or not at all; makes its folder."""
    if is_address(place):
        blob(place).upload_from_string(content, content_type="application/octet-stream")
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(place: Path, text: str) -> None:
    """Writes UTF-8 text whole or not at all; makes its folder."""
    write_bytes(place, text.encode("utf-8"))


def copy_tree(source: Path, target: Path) -> None:
    """Copies all files under `source`, those last by which Orbax knows checkpoints as whole.

    Needs one of them to be an address; a copy that ends early holds no whole checkpoint.
    """
    names = sorted(
        (file.relative_to(source) for file in walk(source)),
        key=lambda name: (name.name == _LAST, name.as_posix()),
    )
    for name in names:
        write_bytes(target / name.as_posix(), (source / name.as_posix()).read_bytes())


def walk(folder: Path) -> Iterator[Path]:
    """All files under a folder."""
    if is_address(folder):
        bucket = os.fspath(folder).removeprefix(SCHEME).partition("/")[0]
        yield from (
            epath.Path(f"{SCHEME}{bucket}/{found.name}")
            for found in blobs(folder)
            if not found.name.endswith("/")
        )
        return
    yield from (file for file in folder.rglob("*") if file.is_file())


class Log:
    """A text file that grows by lines, which other processes may write to as well.

    On this machine lines are appended, and a last line that a kill left without its end is
    removed first; the next one would be glued to it. In a bucket the whole text is written anew
    for each line, unless somebody else has written since: then it is read again before.
    """

    def __init__(self, place: Path):
        self._place = place
        if is_address(place):
            self._read()
        elif place.exists():
            content = place.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                with place.open("rb+") as file:
                    file.truncate(whole)

    def append(self, line: str) -> None:
        """Writes one line, without its end."""
        if not is_address(self._place):
            with self._place.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            return
        from google.api_core.exceptions import PreconditionFailed

        added = (line + "\n").encode("utf-8")
        while True:
            text, written = self._text + added, blob(self._place)
            try:
                written.upload_from_string(
                    text, content_type="text/plain", if_generation_match=self._generation
                )
            except PreconditionFailed:
                self._read()
                if self._text.endswith(added):  # it was written; its answer was lost
                    return
            else:
                self._text, self._generation = text, written.generation
                return

    def _read(self) -> None:
        from google.api_core.exceptions import NotFound, PreconditionFailed

        while True:
            there = blob(self._place)  # a new one: a handle asks for the generation it saw first
            try:
                there.reload()
            except NotFound:
                self._text, self._generation = b"", 0
                return
            self._generation = there.generation
            try:
                text = there.download_as_bytes(if_generation_match=self._generation)
            except (NotFound, PreconditionFailed):
                continue  # written between the two questions
            self._text = text[: text.rfind(b"\n") + 1]
            return


def save_arrays(path: storage.Path, **arrays: np.ndarray) -> None:
    """Writes an `.npz` whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    storage.write_bytes(path, content.getvalue())
