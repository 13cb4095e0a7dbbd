"""Seconds that each part of a run took, over all its starts, in `WORKDIR/wall_seconds.json`."""

import json
import time

from attngan_jax import storage
from attngan_jax.training import multihost

PARTS = ("prepare", "damsm", "attngan", "evaluate")


def read(workdir: storage.PathLike) -> dict[str, float]:
    """Seconds of those `PARTS` that have been started."""
    path = storage.path(workdir) / "wall_seconds.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


class Clock:
    """Counts from its making, on top of what earlier starts spent."""

    def __init__(self, workdir: storage.PathLike, part: str, spent: float = 0.0):
        self._workdir, self._part, self.spent = workdir, part, spent
        self._start = time.monotonic()

    def save(self) -> float:
        """Returns the seconds so far; the first process writes them."""
        seconds = self.spent + time.monotonic() - self._start
        path = storage.path(self._workdir) / "wall_seconds.json"
        if not multihost.is_first():
            return seconds
        spent = read(self._workdir) | {self._part: round(seconds, 1)}
        storage.write_text(path, json.dumps(spent) + "\n")
        return seconds
