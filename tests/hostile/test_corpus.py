"""Hostile files and values: none hangs, fills memory, starts anything, or ends in a traceback.

`ATTNGAN_HOSTILE=20` makes the long form: so many damages of each file.
"""

import os
import resource
import signal
import time

import pytest

from attngan_jax.data.source_files import LeftOut
from attngan_jax.errors import UserError
from attngan_jax.plain_files import RefusedFile
from tests.hostile import corpus

ROUNDS = int(os.environ.get("ATTNGAN_HOSTILE", "2"))
# Of this process's time, of the clock, which other processes share, and of memory.
SECONDS, WAIT, MEGABYTES = 10, 120, 500
ONE_LINE = (UserError, RefusedFile, LeftOut, OSError)


def _too_long(*_):
    raise TimeoutError


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("make", corpus.KINDS, ids=lambda make: make.__name__)
def test_every_input_ends_soon_with_a_result_or_one_line(make, tmp_path, monkeypatch):
    if make is corpus.tensorflow:
        pytest.importorskip("tensorflow")
    starter = tmp_path / "bin" / "gs"
    starter.parent.mkdir()
    starter.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    starter.chmod(0o755)
    monkeypatch.setenv("PATH", f"{starter.parent}:{os.environ['PATH']}")
    previous = signal.signal(signal.SIGALRM, _too_long)
    wrong, count, slowest, peak = [], 0, (0.0, ""), _peak()
    for name, call in make(tmp_path / "inputs", ROUNDS):
        count, start = count + 1, time.process_time()
        signal.alarm(WAIT)
        try:
            call()
        except ONE_LINE as error:
            if isinstance(error, UserError) and "\n" in str(error):
                wrong.append(f"{name}: more than one line")
        except BaseException as error:
            wrong.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
        finally:
            signal.alarm(0)
        slowest = max(slowest, (time.process_time() - start, name))
        if (more := _peak() - peak) > MEGABYTES:
            wrong.append(f"{name}: {more:.0f} MB more")
            peak = _peak()
    signal.signal(signal.SIGALRM, previous)
    print(f"{make.__name__}: {count} inputs, the slowest {slowest[0]:.1f} s: {slowest[1]:.60}")
    assert slowest[0] < SECONDS, slowest
    assert not wrong, "\n".join([f"{len(wrong)} of {count}", *wrong[:100]])
    assert not (tmp_path / "started").exists() and not (tmp_path / "inputs" / "mark").exists()
