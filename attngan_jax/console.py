"""What a command has from the system: its streams, its log, and the signal that ends it."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

STOPPED = "stopped by SIGTERM; run the same command again to go on"


def prepare_streams() -> None:
    """Makes printing safe on any terminal: of another encoding, closed, or a pipe that ends early.

    What a terminal cannot show is escaped; what nobody reads is lost, and no error.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # else the next file to be opened would have this number, and be printed to
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
            for method in ("write", "flush"):
                setattr(stream, method, _unless_broken(getattr(stream, method), number))


def _unless_broken(method: Callable, number: int) -> Callable:
    """`method` of a stream; once nobody reads the other end, the stream leads nowhere."""

    def call(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
            return 0

    return call


def end_at_sigterm() -> None:
    """From now on SIGTERM ends the process at once, with one line; files are as after a kill.

    By a thread: Python runs handlers in the main thread, after the compilation or the reading that
    it is in, which may take minutes, and an exception there can come amid an import or a callback.
    It leaves alone what another handler is there for, such as that of training, which saves first.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    process, (reading, writing) = os.getpid(), os.pipe()
    os.set_blocking(writing, False)

    def handler(*_: Any) -> None:
        if os.getpid() != process:  # a worker that was forked
            os._exit(1)
        time.sleep(60)  # until the thread has ended all

    def watch() -> None:
        while byte := os.read(reading, 1):
            if byte[0] == signal.SIGTERM and signal.getsignal(signal.SIGTERM) is handler:
                print(f"\nerror: {STOPPED}", file=sys.stderr, flush=True)
                for worker in multiprocessing.active_children():
                    worker.terminate()
                os._exit(1)

    signal.signal(signal.SIGTERM, handler)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=watch, name="sigterm", daemon=True).start()


class PlainLines(logging.Formatter):
    """The message alone; a warning says that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        text = super().format(record)
        return f"warning: {text}" if record.levelno >= logging.WARNING else text


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Warnings, and the package's own information.

    Orbax and TFDS log every step they take. What a library logs with a traceback it also raises,
    and that is where it is handled.
    """
    if os.path.dirname(__file__) in record.pathname:
        return True
    return (
        record.levelno > logging.INFO
        and not record.exc_info
        and "tensorflow_datasets" not in record.pathname
    )
