"""Several processes as one run: which one writes, and when all of them stop.

All run the same program. Only the first builds data and writes metrics and reports; a single
process is the first of one, and never waits here.
"""

import contextlib
import itertools
import os
import signal
import sys
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

LONGEST_WAIT = 7 * 24 * 3600_000  # milliseconds, for the others while the first works alone
SHUTDOWN_WAIT = 30  # seconds for the others, when a process ends
Result = TypeVar("Result")

_is_alone = False
_step_numbers = itertools.count()  # over both stages: no number may come twice


def initialise(coordinator: str | None, num_processes: int | None, index: int | None) -> None:
    """Joins this process to the others of its run; before any other use of jax.

    Takes HOST:PORT of the first process, the number of processes and this one's number from 0; or
    three times None where jax finds them by itself (TPU, Slurm, Kubernetes).
    """
    given = (coordinator, num_processes, index)
    if None in given and given != (None, None, None):
        hint = "give all three, or --distributed alone where jax finds them by itself"
        flags = "--coordinator, --num_processes and --process_index"
        raise UserError(f"{flags} belong together: {hint}")
    if num_processes is not None and index not in range(num_processes):
        problem = f"--process_index is {index} of --num_processes={num_processes}"
        raise UserError(f"{problem}: the processes are numbered from 0 to {num_processes - 1}")
    try:
        jax.distributed.initialize(*given, shutdown_timeout_seconds=SHUTDOWN_WAIT)
    except (RuntimeError, ValueError) as error:
        problem = f"did not find each other ({' '.join(str(error).split())[:200]})"
        ways = "one --coordinator=HOST:PORT that all can reach, or --distributed on a TPU"
        raise UserError(f"the processes {problem}: start all of them, with {ways}") from error
    counts = jax.process_count(), jax.local_device_count(), jax.device_count()
    logging.info("process %d of %d, %d of %d devices", jax.process_index(), *counts)
    if not is_first():
        logging.set_verbosity(logging.WARNING)  # the first process logs for all of them


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def is_alone() -> bool:
    """Whether this process works by itself while others wait: no collectives, no barriers."""
    return _is_alone


def index_and_count() -> tuple[int, int]:
    """Which share of the data this process reads, of how many; all of it if it is alone."""
    return (0, 1) if _is_alone else (jax.process_index(), jax.process_count())


def _wait_for_all(name: str) -> None:
    ocp.multihost.get_barrier_sync_fn()(key=f"attngan_jax_{name}", timeout_ms=LONGEST_WAIT)


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
    """The first process runs the block, then all others do, each alone."""
    if not is_first():
        _wait_for_all(name)
    try:
        with _alone():
            yield
    finally:  # an error of the first process lets the others run, into the same error
        if is_first():
            _wait_for_all(name)


def on_each(function: Callable[[], Result], name: str) -> Result:
    """The result of `function` in each process, alone, once all processes have theirs.

    An error in one of them stops all: the others raise `UserError`.
    """
    if jax.process_count() == 1:
        return function()
    error = None
    try:
        with _alone():
            result = function()
    except Exception as caught:
        error = caught
    _wait_for_all(name)
    failed = multihost_utils.process_allgather(np.array(error is not None))
    if error:
        raise error
    if failed.any():
        raise UserError(
            f"process {int(np.argmax(failed))} has stopped: see the last line of its log"
        )
    return result


def on_first(function: Callable[[], Result], name: str) -> Result | None:
    """As `on_each`, but in the first process only; the others wait and return None."""
    return on_each(lambda: function() if is_first() else None, name)


def from_first(function: Callable[[], Any], name: str) -> Any:
    """As `on_first`, but every process returns the first one's result, its arrays on the host.

    The result is JSON-like or nested dicts of arrays; a tuple of such may arrive as a list. For
    what is looked up in a folder, where two processes may see different states of it.
    """
    if jax.process_count() == 1:
        return function()

    def serialised() -> bytes:
        result = jax.device_get(function())
        result = list(result) if isinstance(result, tuple) else result  # msgpack has no tuples
        return serialization.msgpack_serialize(result)

    content = np.frombuffer(on_first(serialised, name) or b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    content = content if is_first() else np.zeros(size, np.uint8)
    content = multihost_utils.broadcast_one_to_all(content)
    return serialization.msgpack_restore(np.asarray(content).tobytes())


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[], str]]:
    """Yields a function that names what asks to save and stop now: "SIGTERM", "Ctrl-C", or "".

    Every process calls it after every step, and it asks at the same call in all of them, whichever
    of them got the signal. A second Ctrl-C ends this process at once, whatever it is doing.
    """
    can_watch = threading.current_thread() is threading.main_thread()  # only that has handlers
    if jax.process_count() > 1:  # jax has a handler of its own, which tells the other processes
        numbers = (signal.SIGINT,) * can_watch
        with _watch(*numbers, act=lambda: os.kill(os.getpid(), signal.SIGTERM)):
            sync = multihost_utils.reached_preemption_sync_point
            yield lambda: "SIGTERM" if sync(next(_step_numbers)) else ""
        return
    with _watch(*(signal.SIGINT, signal.SIGTERM) * can_watch) as received:
        names: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
        yield lambda: names[received[0]] if received else ""


@contextlib.contextmanager
def _watch(*numbers: int, act: Callable[[], None] = lambda: None) -> Iterator[list[int]]:
    """Yields the list of signals of these `numbers` that have come so far; the first one acts.

    A thread reads them: Python runs handlers in the main thread, after the compilation or the wait
    for a device that it is in, which may take minutes.
    """
    received: list[int] = []
    # A job that a shell script started in the background is not to be stopped by Ctrl-C.
    numbers = tuple(n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def read() -> None:
        while byte := os.read(reading, 1):
            if byte[0] not in numbers:
                continue
            if byte[0] == signal.SIGINT and signal.SIGINT in received:
                print("\nstopped at once: the last checkpoint is kept", file=sys.stderr, flush=True)
                os._exit(1)
            received.append(byte[0])
            if byte[0] == signal.SIGINT:
                wait = "saving after this step, then stopping; Ctrl-C again ends it at once"
                print(f"\n{wait}", file=sys.stderr, flush=True)
            if len(received) == 1:
                act()
        os.close(reading)

    threading.Thread(target=read, name="signals", daemon=True).start()
    previous = {number: signal.signal(number, lambda *_: None) for number in numbers}
    previous_writing = signal.set_wakeup_fd(writing, warn_on_full_buffer=False) if numbers else -1
    try:
        yield received
    finally:
        if numbers:
            signal.set_wakeup_fd(previous_writing)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(writing)
