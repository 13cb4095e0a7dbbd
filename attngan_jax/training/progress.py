"""How far a run is, and how long its parts took: a bar or lines of a log, the time left, clocks."""

import collections
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from absl import logging
from tqdm import tqdm

from attngan_jax import plain_files, storage
from attngan_jax.configuration import Config
from attngan_jax.training import ahead_of_time, multihost
from attngan_jax.workdir import Workdir

AHEAD = 4  # steps that may be dispatched before the devices have finished the first of them
WARM_UP = 10.0  # seconds of steps that the pace is known from
BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
PARTS = ("prepare", "damsm", "attngan", "evaluate")  # of a run, each with a clock
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


def wall_seconds(workdir: storage.PathLike) -> dict[str, float]:
    """Seconds that each part of a run took over all its starts, of those that have started."""
    path = Workdir(workdir).wall_seconds
    try:
        noted = dict(json.loads(plain_files.read_bytes(path, plain_files.MAX_JSON_BYTES)))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, RecursionError):
        logging.warning("%s is damaged: what it held is counted from 0 again", path)
        return {}
    return {part: float(noted[part]) for part in PARTS if isinstance(noted.get(part), int | float)}


class StageClock:
    """Counts a part's seconds from its creation, on top of those `spent` by earlier starts."""

    def __init__(self, workdir: storage.PathLike, part: str, spent: float = 0.0):
        self._workdir, self._part = workdir, part
        self.spent, self._start = spent, time.monotonic()

    def save(self) -> float:
        """Returns the seconds so far; the first process writes them."""
        seconds = self.spent + time.monotonic() - self._start
        if multihost.is_first():
            spent = wall_seconds(self._workdir) | {self._part: round(seconds, 1)}
            storage.write_text(Workdir(self._workdir).wall_seconds, json.dumps(spent) + "\n")
        return seconds
