"""Metric files of a run: CLU's event files, and the same scalars as JSON lines."""

import functools
import json
import pathlib
import shutil
import tempfile
import textwrap
import time

import jax
import numpy as np
from absl import logging

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.log_file import Log
from attngan_jax.training import multihost
from attngan_jax.training.checkpoints import start_anew
from attngan_jax.training.event_files import metric_writers, periodic_actions
from attngan_jax.training.progress import Progress
from attngan_jax.workdir import Workdir

COPY_SECONDS = 300.0  # between copies to a bucket; a kill loses the events since the last one


class Metrics:
    """Collects every step's scalars on the device, writes their means at log steps.

    The first process writes; all check for values that are not finite, and stop together. A bucket
    gets copies of the event files, which are written to `event_folder` on this machine.
    """

    def __init__(self, workdir: storage.PathLike, stage: str, progress: Progress | None = None):
        """Of a stage whose `progress` is shown, or that is only scored."""
        self.stage = stage
        self.saved_step: int | None = None  # of the newest checkpoint, as of now
        self._zeros = set[str]()  # losses that were warned of
        self._pending: list[tuple[int, dict]] = []
        self._sizes: dict[str, int] = {}  # of event files in a bucket
        self._copied = time.monotonic()
        self._is_copied = multihost.is_first() and storage.is_address(workdir)
        self._writer = metric_writers.MultiWriter([])
        if multihost.is_first():
            self._log = Log(Workdir(workdir).metrics_log)
            self._target = self.event_folder = Workdir(workdir).events(stage)
            if self._is_copied:
                self.event_folder = pathlib.Path(tempfile.mkdtemp(prefix="events-"))
            self._writer = metric_writers.create_default_writer(str(self.event_folder))
        self.progress = progress or Progress(stage, 0)
        options: dict = dict(num_train_steps=self.progress.total or None, writer=self._writer)
        self._pace = periodic_actions.ReportProgress(every_secs=20, **options)  # in event files

    def add(self, step: int, metrics: dict) -> None:
        """Adds the scalars of a step, which the devices may be a few steps away from."""
        self._pending.append((step, metrics))
        if self.progress.add(step, metrics):
            self._pace(self.progress.finished)

    def flush(self, since_last: dict[str, float] | None = None) -> None:
        """Writes the means since the last flush; `UserError` at the first non-finite value.

        `since_last` are further scalars of that time, which are not averaged.
        """
        if not self._pending:
            return
        if self.progress.wait():
            self._pace(self.progress.finished)
        rows, self._pending = jax.device_get(self._pending), []
        for step, name, value in ((step, *item) for step, row in rows for item in row.items()):
            if not np.isfinite(value):
                problem = f"{name} became {value} at step {step} of stage {self.stage}"
                raise UserError(f"{problem}: {start_anew(self.stage, self.saved_step)}")
        step, last = rows[-1]
        means = {name: float(np.mean([row[name] for _, row in rows])) for name in last}
        self._warn_of_zeros(step, means)
        means |= since_last or {}
        self.write(step, {f"train/{name}": value for name, value in means.items()})
        values = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        self.progress.say(values)

    def _warn_of_zeros(self, step: int, means: dict[str, float]) -> None:
        """Warns once of each loss that is exactly 0, which is no sign of success."""
        for name in {key for key in means if "loss" in key and means[key] == 0} - self._zeros:
            self._zeros.add(name)
            logging.warning(
                "%s is exactly 0 up to step %d of stage %s: nothing is learned from it. Its weight "
                "is 0, or it has nothing to tell apart, such as captions of one class alone",
                *(name, step, self.stage),
            )

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes scalars under their full names."""
        if not multihost.is_first() or not scalars:
            return
        self._writer.write_scalars(step, scalars)
        line = {"step": step, "stage": self.stage, "time": time.time(), "scalars": scalars}
        self._log.append(json.dumps(line))
        if time.monotonic() - self._copied >= COPY_SECONDS:
            self._copy_events()

    def forget_after(self, step: int) -> None:
        """Removes what an earlier start logged of this stage's later steps: they come again."""
        if multihost.is_first():
            self._log.keep_lines(functools.partial(_is_known, stage=self.stage, last=step))

    def write_images(self, step: int, images: dict[str, np.ndarray]) -> None:
        """Writes uint8 `[H, W, 3]` images to the event files, under their full names."""
        self._writer.write_images(step, {name: image[None] for name, image in images.items()})

    def write_config(self, step: int, config: dict) -> None:
        """Writes a config to the event files, as text with a value a line."""
        text = textwrap.indent(json.dumps(config, indent=2), "    ")  # preformatted, in Markdown
        self._writer.write_texts(step, {"config": text})

    def _copy_events(self) -> None:
        """Copies to a bucket the event files that have grown since the last copy."""
        self._writer.flush()
        for file in sorted(self.event_folder.iterdir()) if self._is_copied else ():
            size = file.stat().st_size
            if self._sizes.get(file.name) != size:
                storage.write_bytes(self._target / file.name, file.read_bytes())
                self._sizes[file.name] = size
        self._copied = time.monotonic()

    def close(self) -> None:
        """Flushes the event files and ends the bar."""
        self.progress.close()
        if multihost.is_first():
            self._copy_events()
        self._writer.close()
        if self._is_copied:
            shutil.rmtree(self.event_folder, ignore_errors=True)


def _is_known(line: bytes, stage: str, last: int) -> bool:
    """Whether a line is a log entry, and none of this stage's after the `last` step."""
    try:
        entry = json.loads(line)
        return entry["stage"] != stage or entry["step"] <= last
    except (ValueError, KeyError, TypeError):
        logging.warning("a line of metrics.jsonl is no log entry and is removed: %r", line[:80])
        return False
