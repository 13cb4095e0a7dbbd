"""A lock on a file of this machine or of a file system that it shares."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from typing import BinaryIO

from attngan_jax import plain_files

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of a file system


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], *, wait: bool = True) -> Iterator[BinaryIO]:
    """Opens a file, made if it is missing, while no other process has it open in this way.

    The kernel ends the lock with its process, however that ends. Whoever has the lock may remove or
    replace the file. Raises `BlockingIOError` where another process has it and this doesn't `wait`,
    `RefusedFile` where it is no plain file.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            plain_files.check_plain(path)
        file = open(path, "a+b")
        try:
            # Not flock, whose lock a forked process would keep.
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise BlockingIOError(*error.args) from error
                raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                break
        file.close()
    with file:
        yield file
