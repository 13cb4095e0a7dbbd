"""One training at a time in a workdir: the second one is told who is at work there.

In a folder the kernel keeps the lock, and ends it with its process. A bucket has no locks: there
the holder writes an object anew every few seconds, and one that stays as it is has no holder.
"""

import contextlib
import datetime
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator

from absl import logging

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.locks import locked
from attngan_jax.workdir import Workdir

BEAT_SECONDS = 10.0  # between two signs of life
LAPSE_SECONDS = 60.0  # without one, after which a bucket's workdir is free
POLL_SECONDS = 1.0


@contextlib.contextmanager
def held(workdir: storage.PathLike) -> Iterator[None]:
    """Holds the lock of a workdir, whose folder is made; `UserError` if another process has it."""
    path = Workdir(workdir).lock
    with _lease(path) if storage.is_address(path) else _file_lock(path):
        yield


@contextlib.contextmanager
def _file_lock(path: storage.Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():  # nobody's lock, and what it leads to is not to be overwritten
        path.unlink()
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(locked(path, wait=False))
        except BlockingIOError as error:
            raise _refusal(path, path.read_bytes()) from error
        file.truncate(0)
        file.write(_signature())
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # if nothing was written there


@contextlib.contextmanager
def _lease(path: storage.Path) -> Iterator[None]:
    from google.api_core.exceptions import GoogleAPIError

    lease, ended = _Lease(path), threading.Event()
    lease.acquire()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            with contextlib.suppress(GoogleAPIError, OSError):  # the next one may get through
                if not lease.renew():
                    _stop_at_once(f"another process has taken over {path.parent}")

    thread = threading.Thread(target=beat, name="workdir_lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(GoogleAPIError, OSError):
            storage.blob(path).delete(if_generation_match=lease.generation)


class _Lease:
    """An object that says who has a workdir in a bucket; its generation changes with every beat."""

    def __init__(self, path: storage.Path):
        self._path, self._text, self.generation = path, _signature(), 0

    def acquire(self) -> None:
        """Makes the object, or replaces one whose holder is gone; `UserError` if it isn't."""
        from google.api_core.exceptions import NotFound

        while not self.renew():
            there = storage.blob(self._path)
            try:
                text = there.download_as_bytes()
                if not _has_ended(text) and self._changes(there.generation, text):
                    raise _refusal(self._path, text)
                self.generation = there.generation
            except NotFound:
                self.generation = 0

    def renew(self) -> bool:
        """Writes the object anew; False if its generation is another than the last one known."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        written = storage.blob(self._path)
        try:
            written.upload_from_string(self._text, if_generation_match=self.generation)
        except PreconditionFailed:
            with contextlib.suppress(NotFound):
                if written.download_as_bytes() == self._text:  # it was the response that got lost
                    self.generation = written.generation
                    return True
            return False
        self.generation = written.generation
        return True

    def _changes(self, generation: int, text: bytes) -> bool:
        """Whether the holder of another lease gives a sign of life."""
        there, start = storage.blob(self._path), time.monotonic()
        where = f"{self._path.parent} is in use by {_describe(text)}"
        logging.info("%s, or was: looking for a sign of life", where)
        while time.monotonic() - start < LAPSE_SECONDS:
            time.sleep(POLL_SECONDS)
            there.reload()
            if there.generation != generation:
                return True
        return False


def _signature() -> bytes:
    since = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    values = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
    return json.dumps(values | {"machine": _machine()}).encode() + b"\n"


def _machine() -> str:
    """What tells apart the numbers of processes: a machine since its start, and a container."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _has_ended(text: bytes) -> bool:
    """Whether a lock is known to be that of a process which is no more."""
    try:
        holder = json.loads(text)
        if not holder["machine"] or holder["machine"] != _machine():
            return False
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return False


def _describe(text: bytes) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _refusal(path: storage.Path, text: bytes) -> UserError:
    hint = "wait for it, stop it, or choose another --workdir"
    return UserError(f"{path.parent} is being trained by {_describe(text)}: {hint}")


def _stop_at_once(why: str) -> None:
    print(f"error: {why}: this one has stopped", file=sys.stderr, flush=True)
    os._exit(1)
