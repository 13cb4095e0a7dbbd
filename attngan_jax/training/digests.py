"""Digests of a checkpoint's files: written after all others, checked before one is used.

CRC-32C finds every changed bit and every burst of up to 32; a processor computes it as fast as it
reads memory, and a bucket states that of each object, so that none is downloaded for it.
"""

import errno
import json
import os
import time
from typing import Any

from attngan_jax import plain_files, storage

FILE = "digests.json"  # in a checkpoint's folder
MARK = {"digests": FILE}  # in Orbax's metadata of a checkpoint that has that file
METADATA = "_CHECKPOINT_METADATA"  # Orbax's; it notes there when the checkpoint was complete
COMMITTED = "commit_success.txt"  # and writes this after it
METADATA_SECONDS = 60.0  # that a slow disk or bucket may need to write it
# EINVAL: of `RefusedFile`.
_BAD_DISK = (errno.EIO, errno.EUCLEAN, errno.EISDIR, errno.ENOTDIR, errno.EINVAL)


def write(folder: storage.Path, step: int) -> None:
    """Writes the digests of all files in `folder`, which is or becomes that of `step`.

    Waits until its metadata, which Orbax writes in a thread of its own, has `MARK`; `TimeoutError`
    after `METADATA_SECONDS`.
    """
    deadline = time.monotonic() + METADATA_SECONDS
    while not _is_marked(folder):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{folder / METADATA} was not written in {METADATA_SECONDS:.0f} s")
        time.sleep(0.01)
    files = {name: _fact(name, file) for name, file in _files(folder).items()}
    storage.write_text(folder / FILE, json.dumps({"step": step, "files": files}) + "\n")


def find_damage(folder: storage.Path, part: str = "") -> str:
    """What is damaged of a checkpoint, or of its files whose names begin with `part`; "": nothing.

    Of a checkpoint that was written before there were digests nothing is known, which is "", too.
    """
    if not (folder / FILE).is_file():
        return f"{FILE} is gone" if _had_digests(folder) else ""
    name = FILE
    try:
        noted = json.loads(plain_files.read_bytes(folder / FILE, plain_files.MAX_JSON_BYTES))
        step, files = noted["step"], dict(noted["files"])
        if str(step) != folder.name:
            return f"it is that of step {step}"
        found = _files(folder)
        for name in sorted(name for name in files if name.startswith(part)):
            if name not in found:
                return f"{name} is gone"
            if name != METADATA and isinstance(found[name], os.PathLike):
                plain_files.check_plain(found[name], files[name][0])  # or it could take hours
            if _fact(name, found[name]) != files[name]:
                return f"{name} has changed since it was written"
    except (OSError, ValueError, LookupError, TypeError) as error:
        if isinstance(error, OSError) and error.errno not in _BAD_DISK:
            raise  # such as want of permission, or of a network
        return f"{name} cannot be read"
    return ""


def _had_digests(folder: storage.Path) -> bool:
    """Whether a checkpoint without them has lost them."""
    marked = _is_marked(folder)
    return folder.is_dir() if marked is None else marked


def _is_marked(folder: storage.Path) -> bool | None:
    """Whether the metadata of a checkpoint has `MARK`; None where it cannot be read."""
    try:
        return json.loads(_metadata(folder / METADATA)).get("custom_metadata") == MARK
    except (FileNotFoundError, plain_files.RefusedFile, ValueError, AttributeError):
        return None


def _metadata(path: storage.Path) -> bytes:
    return plain_files.read_bytes(path, plain_files.MAX_JSON_BYTES)


def _files(folder: storage.Path) -> dict[str, Any]:
    """Paths, or objects of a bucket, by their names below `folder`, whose digests are kept."""
    if storage.is_address(folder):
        start = len(os.fspath(folder).removeprefix(storage.SCHEME).partition("/")[2]) + 1
        found = {blob.name[start:]: blob for blob in storage.blobs(folder)}
    else:
        found = {path.relative_to(folder).as_posix(): path for path in storage.walk(folder)}
    return {name: file for name, file in found.items() if name not in (FILE, COMMITTED)}


def _fact(name: str, file: Any) -> list:
    """Size and CRC-32C (in base64, as Cloud Storage states it) of a path or an object."""
    is_path = isinstance(file, os.PathLike)
    if name == METADATA:  # but when the checkpoint was complete, which is not known as yet
        values = json.loads(_metadata(file) if is_path else file.download_as_bytes())
        values.pop("commit_timestamp_nsecs", None)
        return storage.digest([json.dumps(values, sort_keys=True).encode()])
    return storage.file_digest(file) if is_path else [file.size, file.crc32c]
