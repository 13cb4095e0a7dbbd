"""Where event files are written: in the workdir, or, for one in a bucket, here and copied there.

TensorFlow writes them piece by piece through a file system of its own, which no other part of a
run uses; so that the whole run reaches its bucket in one way, with one set of credentials, the
files of this start lie in a temporary folder and are copied when they have grown.
"""

import pathlib
import shutil
import tempfile
import time

from attngan_jax import storage

COPY_SECONDS = 300.0  # between copies, while a stage trains; a kill loses the events since the last


class EventFiles:
    """The folder for a stage's event files.

    Attributes:
      folder: to write to, on this machine.
    """

    def __init__(self, place: storage.Path):
        self._place = place
        self._is_copied = storage.is_address(place)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="events-")) if self._is_copied else place
        self._sizes: dict[str, int] = {}
        self._last = time.monotonic()

    def are_due(self) -> bool:
        """Whether it is time for a copy."""
        return self._is_copied and time.monotonic() - self._last >= COPY_SECONDS

    def copy(self) -> None:
        """Copies what has grown since the last time, once it is flushed."""
        if self._is_copied:
            for file in sorted(self.folder.iterdir()):
                size = file.stat().st_size
                if self._sizes.get(file.name) != size:
                    storage.write_bytes(self._place / file.name, file.read_bytes())
                    self._sizes[file.name] = size
            self._last = time.monotonic()

    def close(self) -> None:
        """The last copy."""
        self.copy()
        if self._is_copied:
            shutil.rmtree(self.folder, ignore_errors=True)
