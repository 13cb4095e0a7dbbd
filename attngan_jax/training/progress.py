"""How far a stage is: a bar on a terminal, a line in a log, one figure of the time left."""

import collections
import sys
import time
from typing import Any

import jax
from absl import logging
from tqdm import tqdm

from attngan_jax import storage
from attngan_jax.reporting.metric_rows import duration
from attngan_jax.training import multihost
from attngan_jax.training.checkpoints import wall_seconds

AHEAD = 4  # steps that may be dispatched before the devices have finished the first of them
BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
STAGES = {  # what each is called, and what comes after it
    "damsm": ("DAMSM (stage 1 of 3)", "stage 1, then stage 2 and the scores"),
    "attngan": ("AttnGAN (stage 2 of 3)", "stage 2, then the scores"),
}


class Progress:
    """Counts the steps of a stage that the devices have finished; dispatched are some more.

    The rate is that over the later half of the time since the first finished step: compilation is
    left out, pauses for checkpoints and scores are not.
    """

    def __init__(self, workdir: storage.PathLike, stage: str, num_train_steps: int):
        self.finished = 0
        self._name, self._after = STAGES.get(stage, (stage, ""))
        self._total = num_train_steps
        # Known is only what an earlier start of this run took to score it.
        self._scoring = wall_seconds(workdir).get("evaluate") if stage == "attngan" else None
        self._running: collections.deque[tuple[int, Any]] = collections.deque()
        self._seen: collections.deque[tuple[float, int]] = collections.deque()
        self._first: float | None = None
        hidden = not (num_train_steps and multihost.is_first() and sys.stderr.isatty())
        options: dict = dict(disable=hidden, bar_format=BAR, file=sys.stderr)
        self._bar = tqdm(desc=self._name, total=num_train_steps, **options)

    def add(self, step: int, arrays: Any) -> bool:
        """Takes the arrays that the dispatched `step` gives; True if further steps have finished.

        Waits where more than `AHEAD` steps are under way.
        """
        self._running.append((step, jax.tree.leaves(arrays)))
        if len(self._running) > AHEAD:
            jax.block_until_ready(self._running[0][1])
        finished = self.finished
        while self._running and all(array.is_ready() for array in self._running[0][1]):
            finished = self._running.popleft()[0]
        return self._advance(finished)

    def wait(self) -> bool:
        """Waits for all steps; True if further ones have finished."""
        if not self._running:
            return False
        step, arrays = self._running[-1]
        jax.block_until_ready(arrays)
        self._running.clear()
        return self._advance(step)

    def _advance(self, finished: int) -> bool:
        if finished == self.finished:
            return False
        now = time.monotonic()
        self._first = self._first or now
        self._seen.append((now, finished))
        while len(self._seen) > 2 and self._seen[1][0] <= (self._first + now) / 2:
            self._seen.popleft()
        self.finished = finished
        self._bar.set_postfix_str(self.time_left(), refresh=False)
        self._bar.update(finished - self._bar.n)
        return True

    def time_left(self) -> str:
        """Such as `2.5 steps/s, 3 min 10 s left of stage 2, then the scores`."""
        if len(self._seen) < 2:
            return "the time left is not known yet"
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        rate = (after - before) / max(end - start, 1e-9)
        seconds = (self._total - self.finished) / rate
        pace = f"{rate:.3g} steps/s" if rate >= 1 else f"{1 / rate:.3g} s a step"
        if self._scoring is not None:
            return f"{pace}, {duration(seconds + self._scoring)} left of the whole run"
        return f"{pace}, {duration(seconds)} left of {self._after}"

    def say(self, values: str) -> None:
        """Writes a line of `values` above the bar, or with the time left to the log."""
        line = f"{self._name} step {self.finished:,} of {self._total:,}: {values}"
        if self._bar.disable:
            logging.info("%s (%s)", line, self.time_left())
        else:
            tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()
