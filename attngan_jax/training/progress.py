"""How far a run is: a bar on a terminal, a line in a log, one figure of the time left of it."""

import collections
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from absl import logging
from tqdm import tqdm

from attngan_jax.configuration import Config
from attngan_jax.training import ahead_of_time, multihost

AHEAD = 4  # steps that may be dispatched before the devices have finished the first of them
WARM_UP = 10.0  # seconds of steps that the pace is known from
BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
STAGES = {"damsm": "DAMSM (stage 1 of 3)", "attngan": "AttnGAN (stage 2 of 3)"}


class Progress:
    """Counts the steps of a stage that the devices have finished; dispatched are some more.

    The pace is that of the later half of the time since the first finished step, which leaves out
    compilation, as well as pauses. All pauses but the first, in which programs are compiled, are
    expected to come as often again.

    Args:
      after: counts, once the pace is known, how many more steps of this stage would take as long
        as what comes after it.
    """

    def __init__(self, stage: str, num_train_steps: int, after: Callable[[], float] = lambda: 0.0):
        self.finished = 0
        self._name, self.total = STAGES.get(stage, stage), num_train_steps
        self._count_after, self._after = after, -1.0
        self._paused, self._pauses = 0.0, list[tuple[int, float]]()
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
        now = time.monotonic() - self._paused
        self._first = self._first or now
        self._seen.append((now, finished))
        while len(self._seen) > 2 and self._seen[1][0] <= (self._first + now) / 2:
            self._seen.popleft()
        self.finished = finished
        if not self._bar.disable:
            self._bar.set_postfix_str(self.time_left(), refresh=False)
            self._bar.update(finished - self._bar.n)
        return True

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Around what is no step: samples, scores, a checkpoint."""
        self.wait()  # or the steps under way would count as a pause
        start = time.monotonic()
        yield
        self._pauses.append((self.finished, time.monotonic() - start))
        self._paused += self._pauses[-1][1]

    def time_left(self) -> str:
        """Such as `2.5 steps/s, about 12 min left in all`."""
        if not self._seen or self._seen[-1][0] - self._seen[0][0] < WARM_UP:
            return "the time left is not known yet"
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        pace = (end - start) / (after - before)
        if self._after < 0:
            now = time.monotonic()
            self._after = self._count_after()
            self._paused += time.monotonic() - now
        (first, _), *later = self._pauses or [(0, 0.0)]
        pauses = sum(seconds for _, seconds in later) / (later[-1][0] - first) if later else 0.0
        seconds = (self.total - self.finished) * (pace + pauses) + self._after * pace
        speed = f"{1 / pace:.3g} steps/s" if pace <= 1 else f"{pace:.3g} s a step"
        return f"{speed}, about {_roughly(seconds)} left in all"

    def say(self, values: str) -> None:
        """Writes a line of `values` above the bar, or with the time left to the log."""
        line = f"{self._name} step {self.finished:,} of {self.total:,}: {values}"
        if not self._bar.disable:
            tqdm.write(line, file=sys.stderr)
        elif multihost.is_first():
            logging.info("%s (%s)", line, self.time_left())

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()


def _roughly(seconds: float) -> str:
    """A duration in one unit."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def steps_after(config: Config, stage: str, newest: int, num_words: int) -> float:
    """How many steps of `stage` take as long as the rest of the run after it, as a rough guess.

    `newest` is the step that stage 2 is at. Scoring images is taken to last as long as training on
    as many, which it did in the quickstart.
    """
    left = config.eval.num_images / config.attngan.batch_size
    if stage == "attngan":
        return left
    left += max(config.attngan.num_train_steps - newest, 0)
    return left * ahead_of_time.relative_cost(config, num_words)
