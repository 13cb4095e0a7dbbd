"""Several processes as one run: who goes first, who writes, and when all of them stop.

Every process runs the same program. The first one alone builds data and writes metric files and
reports; a single process is the first of one, and nothing here makes it wait.
"""

import contextlib
import itertools
import json
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from flax import serialization
from jax.experimental import multihost_utils

from attngan_jax.errors import UserError

LONGEST_WAIT = 7 * 24 * 3600  # seconds for the others, while the first builds data or writes
SHUTDOWN_WAIT = 30  # seconds for the others, when a process ends
Result = TypeVar("Result")

_is_alone = False
_step_numbers = itertools.count()  # over both stages: a step's number must never come again


def initialise(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_index: int | None = None,
) -> None:
    """Joins this process to the others of its run; before anything else that jax does.

    Args:
      coordinator: HOST:PORT of the first process, reached by all. num_processes: of the run.
      process_index: this one's number, from 0. All three, or none where jax finds out by itself
        (TPU, Slurm, Kubernetes with its environment).
    """
    given = (coordinator, num_processes, process_index)
    if None in given and any(value is not None for value in given):
        raise UserError(
            "--coordinator, --num_processes and --process_index belong together: give "
            "all three, or --distributed alone where jax finds them by itself"
        )
    if num_processes is not None and not 0 <= process_index < num_processes:
        raise UserError(
            f"--process_index is {process_index} of --num_processes={num_processes}: "
            f"the processes are numbered from 0 to {num_processes - 1}"
        )
    try:
        jax.distributed.initialize(*given, shutdown_timeout_seconds=SHUTDOWN_WAIT)
    except (RuntimeError, ValueError) as error:
        message = " ".join(str(error).split())[:200]
        raise UserError(
            f"the processes did not find each other ({message}): start all of them, "
            "with one --coordinator=HOST:PORT that all can reach, or --distributed on "
            "a TPU"
        ) from error
    logging.info(
        "process %d of %d, %d of %d devices",
        jax.process_index(),
        jax.process_count(),
        jax.local_device_count(),
        jax.device_count(),
    )
    if not is_first():
        logging.set_verbosity(logging.WARNING)  # the first one tells what all of them do


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def is_alone() -> bool:
    """Whether this process works by itself, with others waiting: no collectives, no meeting.

    `parallel.make_mesh` then has this process's devices, and `Checkpoints` reads by itself.
    """
    return _is_alone


def index_and_count() -> tuple[int, int]:
    """Which share of the data this process reads, of how many: all of it where it is alone."""
    return (0, 1) if _is_alone else (jax.process_index(), jax.process_count())


def wait_for_all(name: str) -> None:
    """Returns when every process has come here."""
    ocp.multihost.get_barrier_sync_fn()(key=f"attngan_jax_{name}", timeout_ms=LONGEST_WAIT * 1000)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    global _is_alone
    _is_alone = jax.process_count() > 1
    try:
        yield
    finally:
        _is_alone = False


@contextlib.contextmanager
def first_goes_first(name: str) -> Iterator[None]:
    """The first process goes through the block, then all others do, each alone."""
    if not is_first():
        wait_for_all(name)
    try:
        with _alone():
            yield
    finally:  # what stops the first one stops the others in their turn
        if is_first():
            wait_for_all(name)


def on_first(function: Callable[[], Result], name: str) -> Result | None:
    """The result of `function` in the first process, alone; the others wait and return None.

    What it raises stops all: the others raise `UserError`.
    """
    return _in_step(function if is_first() else lambda: None, name)


def on_each(function: Callable[[], Result], name: str) -> Result:
    """The result of `function` in each process, alone, once all have theirs.

    What it raises in one of them stops all: those where it worked raise `UserError`.
    """
    return _in_step(function, name)


def from_first(function: Callable[[], Any], name: str) -> Any:
    """As `on_first`, but the others return the first one's result too, which is JSON's.

    For what is looked up in a folder, where two processes may see it differently.
    """
    return json.loads(_bytes_from_first(lambda: json.dumps(function()).encode(), name))


def arrays_from_first(function: Callable[[], dict], name: str) -> dict:
    """As `from_first`, for a dictionary of arrays, or of such dictionaries."""
    if jax.process_count() == 1:
        return function()
    return serialization.msgpack_restore(
        _bytes_from_first(lambda: serialization.msgpack_serialize(jax.device_get(function())), name)
    )


def _bytes_from_first(function: Callable[[], bytes], name: str) -> bytes:
    content = on_first(function, name)
    if jax.process_count() == 1:
        return content
    content = np.frombuffer(content or b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    content = content if is_first() else np.zeros(size, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(content)).tobytes()


def _in_step(function: Callable[[], Result], name: str) -> Result:
    if jax.process_count() == 1:
        return function()
    result = error = None
    try:
        with _alone():
            result = function()
    except Exception as caught:
        error = caught
    wait_for_all(name)
    failed = multihost_utils.process_allgather(np.array(error is not None))
    if error is not None:
        raise error
    if failed.any():
        raise UserError(f"process {int(np.argmax(failed))} has stopped: what it said last is why")
    return result


class StopSignal:
    """Notices SIGTERM, the notice that a machine is about to go, to whichever process it comes."""

    def __init__(self):
        self._noticed = False
        self._previous = None

    def __enter__(self) -> "StopSignal":
        # With several processes jax has a handler of its own, which tells the others.
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._notice)
        return self

    def _notice(self, *_) -> None:
        self._noticed = True

    def __exit__(self, *_) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def reached(self) -> bool:
        """Whether to save and stop now: True at the same call in all processes.

        Every process calls this after every step.
        """
        if jax.process_count() == 1:
            return self._noticed
        return multihost_utils.reached_preemption_sync_point(next(_step_numbers))
