"""Metric files of a run: CLU's event files, and the same scalars as JSON lines.

The one place that imports `clu.metric_writers` and `clu.periodic_actions`, and with them TensorFlow
and its seconds of start-up.
"""

import json
import pathlib
import shutil
import tempfile
import time

import jax
import numpy as np
from absl import logging
from clu import metric_writers, periodic_actions

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.training import multihost


class Metrics:
    """Collects every step's scalars on the device, writes their means at log steps.

    The first process writes; the others look for what is not finite, and so stop with it.
    """

    def __init__(self, workdir: storage.PathLike, stage: str, num_train_steps: int):
        self.stage = stage
        workdir = storage.path(workdir)
        self._log = self._events = None
        if multihost.is_first():
            self._log = storage.Log(workdir / "metrics.jsonl")
            self._events = EventFiles(workdir / stage / "events")
        self._writer = (
            metric_writers.create_default_writer(str(self._events.folder), asynchronous=True)
            if multihost.is_first()
            else metric_writers.MultiWriter([])
        )
        self._progress = periodic_actions.ReportProgress(
            num_train_steps=num_train_steps, every_secs=20, writer=self._writer
        )
        self._pending: list[tuple[int, dict]] = []

    def add(self, step: int, metrics: dict) -> None:
        """Notes the scalars of a step, without waiting for the device."""
        self._pending.append((step, metrics))
        self._progress(step)

    def flush(self, since_last: dict[str, float] | None = None) -> None:
        """Writes the means since the last flush; `UserError` at the first non-finite value.

        Args:
          since_last: further scalars of the time since the last flush, as they are.
        """
        if not self._pending:
            return
        rows, self._pending = jax.device_get(self._pending), []
        for step, row in rows:
            for name, value in row.items():
                if not np.isfinite(value):
                    raise UserError(
                        f"{name} became {value} at step {step} of stage {self.stage}: the last "
                        "checkpoint is from before; lower the learning rate or change the seed, "
                        "and start in a new --workdir"
                    )
        means = {
            f"train/{name}": float(np.mean([row[name] for _, row in rows])) for name in rows[0][1]
        }
        means |= {f"train/{name}": value for name, value in (since_last or {}).items()}
        step = rows[-1][0]
        self.write(step, means)
        logging.info(
            "%s step %d: %s",
            self.stage,
            step,
            "  ".join(
                f"{name.removeprefix('train/')} {value:.3f}" for name, value in means.items()
            ),
        )

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes scalars under their full names."""
        if not multihost.is_first():
            return
        self._writer.write_scalars(step, scalars)
        line = {"step": step, "stage": self.stage, "time": time.time(), "scalars": scalars}
        self._log.append(json.dumps(line))
        if self._events.are_due():
            self._writer.flush()
            self._events.copy()

    def write_pictures(self, step: int, pictures: dict[str, np.ndarray]) -> None:
        """Writes uint8 `[H, W, 3]` images to the event files, under their full names."""
        self._writer.write_images(step, {name: picture[None] for name, picture in pictures.items()})

    def write_config(self, step: int, config: dict) -> None:
        """Writes a start's config to the event files, as text with a value a line."""
        lines = json.dumps(config, indent=2).splitlines()
        text = "\n".join(f"    {line}" for line in lines)  # Markdown's plain text
        self._writer.write_texts(step, {"config": text})

    def close(self) -> None:
        """Flushes the event files."""
        self._writer.flush()
        self._writer.close()
        if self._events:
            self._events.close()


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
