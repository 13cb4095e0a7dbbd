"""A log of lines that survives kills and other writers, in a folder or in a bucket."""

import contextlib
import io
import os
from collections.abc import Callable
from typing import BinaryIO

from attngan_jax import storage
from attngan_jax.locks import locked


class Log:
    """A text file that grows by lines, to which other processes may write as well.

    An unfinished last line, which a killed process left in a folder, is removed before the next
    would continue it. In a bucket a line is an object of its own for a moment and then composed
    with what is there, provided that its generation is still the one last seen.
    """

    def __init__(self, path: storage.Path):
        self._path, self._generation = path, 0
        if storage.is_address(path):
            self._look(0)
        else:
            self.keep_lines(lambda line: True)

    def append(self, line: str) -> None:
        """Writes one line, given without its end."""
        content = (line + "\n").encode("utf-8")
        if storage.is_address(self._path):
            self._compose(content)
            return
        with locked(self._path) as file:
            file.truncate(_end_of_lines(file))
            file.write(content)

    def keep_lines(self, is_kept: Callable[[bytes], bool]) -> None:
        """Removes the other lines, all at once."""

        def remaining(text: bytes) -> bytes:
            return b"".join(line for line in text.splitlines(keepends=True) if is_kept(line))

        if storage.is_address(self._path):
            self._replace(remaining)
        elif self._path.exists():
            with locked(self._path) as file:
                file.truncate(_end_of_lines(file))
                file.seek(0)  # not by another handle, whose end would end the lock
                text = file.read()
                if (kept := remaining(text)) != text:
                    storage.write_bytes(self._path, kept)

    def _compose(self, content: bytes) -> None:
        from google.api_core.exceptions import NotFound, PreconditionFailed

        def with_line(text: bytes) -> bytes:
            return text if text.endswith(content) else text + content

        if not self._generation:
            self._replace(with_line)
            return
        part, whole = storage.blob(self._path.with_name(f".{self._path.name}.{os.getpid()}")), None
        part.upload_from_string(content)
        try:
            while whole is None or self._look(len(content)) != content:
                whole = storage.blob(self._path)
                with contextlib.suppress(PreconditionFailed):  # written by another process, or by
                    sources = [
                        storage.blob(self._path),
                        part,
                    ]  # this one, and the response got lost
                    whole.compose(sources, if_generation_match=self._generation)
                    self._generation = whole.generation
                    return
        except NotFound:  # somebody has deleted the log
            self._replace(with_line)
        finally:
            part.delete()

    def _replace(self, change: Callable[[bytes], bytes]) -> None:
        from google.api_core.exceptions import NotFound, PreconditionFailed

        while True:
            there, text = storage.blob(self._path), b""
            with contextlib.suppress(NotFound):
                text = there.download_as_bytes()
            self._generation = there.generation or 0
            if (changed := change(text)) == text:
                return
            with contextlib.suppress(PreconditionFailed):
                there.upload_from_string(changed, if_generation_match=self._generation)
                self._generation = there.generation
                return

    def _look(self, count: int) -> bytes:
        """Notes the object's generation, and returns its last `count` bytes."""
        from google.api_core.exceptions import NotFound

        there, self._generation = storage.blob(self._path), 0
        with contextlib.suppress(NotFound):
            there.reload()
            self._generation = there.generation
            if count:
                return there.download_as_bytes(start=max(0, there.size - count))
        return b""


def _end_of_lines(file: BinaryIO) -> int:
    """Where the last whole line of a file ends; reads no more than the line after it."""
    end = position = file.seek(0, io.SEEK_END)
    tail = b""
    while position and b"\n" not in tail:
        position = max(0, position - 4096)
        file.seek(position)
        tail = file.read(end - position)
    return position + tail.rfind(b"\n") + 1
