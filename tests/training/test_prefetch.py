"""Batches on the devices, one ahead: exact states, and only lost time is counted as waiting."""

import contextlib
import threading
import time

import numpy as np
import pytest

from attngan_jax.training import parallel
from attngan_jax.training.prefetch import DeviceBatches


class Numbers:
    """A data iterator of [k, k, k, k], k = 0, 1, ...; each takes `seconds` to make."""

    def __init__(self, seconds=0.0, broken_at=None):
        self.seconds, self.broken_at, self.k, self.closed = seconds, broken_at, 0, False
        self.allowed = threading.Event()
        self.allowed.set()

    def __next__(self):
        self.allowed.wait()
        if self.k == self.broken_at:
            raise KeyboardInterrupt
        time.sleep(self.seconds)
        self.k += 1
        return {"number": np.full(4, self.k - 1, np.int32)}

    def get_state(self):
        return {"k": self.k}

    def set_state(self, state):
        self.k = state["k"]

    def close(self):
        self.closed = True


class Step:
    """Stands for a step's output, which is ready `seconds` from now."""

    def __init__(self, seconds):
        at = time.monotonic() + seconds
        self.is_ready = lambda: time.monotonic() >= at


@pytest.fixture
def make():
    with contextlib.ExitStack() as stack:
        mesh = parallel.make_mesh()
        yield lambda numbers: stack.enter_context(contextlib.closing(DeviceBatches(numbers, mesh)))


def next_number(batches):
    number = batches.next()["number"]
    assert len(number.sharding.device_set) == 4
    return int(number[0])


def test_the_state_is_that_after_the_last_batch_given(make):
    batches = make(Numbers())
    assert batches.get_state() == {"k": 0}
    assert [next_number(batches) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.05)  # the fourth is ready by now
    for _ in range(2):
        assert batches.get_state() == {"k": 3}
        assert [next_number(batches) for _ in range(2)] == [3, 4]
        batches.set_state({"k": 3})


def test_the_next_batch_is_made_while_the_step_runs(make):
    numbers = Numbers()
    batches = make(numbers)
    batches.next()
    deadline = time.monotonic() + 30
    while numbers.k < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert numbers.k == 2  # one more, and no second one
    numbers.allowed.clear()
    assert next_number(batches) == 1  # it is there, though no other can be made
    numbers.allowed.set()


# The batch comes while the devices work; they work for three quarters of the time; not at all.
@pytest.mark.parametrize("seconds, low, high", [(60.0, 0, 0), (0.3, 0.08, 0.6), (0.0, 0.7, 1)])
def test_waiting_is_what_the_devices_are_idle_for(seconds, low, high, make):
    batches = make(Numbers(seconds=0.4))
    batches.next()
    assert batches.wait_fraction() > 0.7  # there was nothing to do before the first
    batches.next(after=Step(seconds))
    assert low <= batches.wait_fraction() <= high
    assert batches.wait_fraction() == 0.0  # a new count


def test_an_error_in_making_a_batch_comes_out_of_next(make):
    batches = make(Numbers(broken_at=1))
    assert next_number(batches) == 0
    with pytest.raises(KeyboardInterrupt):
        batches.next()
    assert batches.get_state() == {"k": 1}


def test_closing_ends_the_thread_and_the_iterator():
    numbers = Numbers()
    batches = DeviceBatches(numbers, parallel.make_mesh())
    batches.next()
    batches.close()
    assert numbers.closed
    assert not any(thread.name.startswith("device_batches") for thread in threading.enumerate())
