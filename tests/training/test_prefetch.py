"""Batches on the devices, one ahead: exact states, and only lost time is counted as waiting."""

import threading
import time

import numpy as np
import pytest

from attngan_jax.training import parallel
from attngan_jax.training.prefetch import DeviceBatches


class Numbers:
    """A data iterator of [k, k, k, k], k = 0, 1, ...; each takes `seconds` to make."""

    def __init__(self, seconds=0.0):
        self.seconds, self.k, self.closed = seconds, 0, False

    def __next__(self):
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
    """Stands for a step's output, which is there `seconds` from now."""

    def __init__(self, seconds):
        self.at = time.monotonic() + seconds

    def is_ready(self):
        return time.monotonic() >= self.at


@pytest.fixture
def make():
    made = []

    def make_batches(iterator):
        made.append(DeviceBatches(iterator, parallel.make_mesh()))
        return made[-1]

    yield make_batches
    for batches in made:
        batches.close()


def number(batch):
    assert len(batch["number"].sharding.device_set) == 4
    return int(batch["number"][0])


def test_the_state_is_that_after_the_last_batch_given(make):
    batches = make(Numbers())
    assert batches.get_state() == {"k": 0}
    assert [number(batches.next()) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.05)  # the fourth is made by now
    state = batches.get_state()
    assert state == {"k": 3}
    assert [number(batches.next()) for _ in range(2)] == [3, 4]
    batches.set_state(state)
    assert batches.get_state() == state
    assert [number(batches.next()) for _ in range(2)] == [3, 4]


def test_the_next_batch_is_made_while_the_step_runs(make):
    numbers = Numbers(seconds=0.1)
    batches = make(numbers)
    batches.next()
    time.sleep(0.25)  # a step
    assert numbers.k == 2  # one more, and no second one
    start = time.monotonic()
    assert number(batches.next()) == 1
    assert time.monotonic() - start < 0.08


@pytest.mark.parametrize(
    "step_seconds, low, high",
    [
        (60.0, 0.0, 0.0),  # the batch comes while the devices work, whatever `next` waits
        (0.3, 0.08, 0.6),  # they work for three quarters of the time
        (0.0, 0.7, 1.0),
    ],
)
def test_waiting_is_what_the_devices_are_idle_for(step_seconds, low, high, make):
    batches = make(Numbers(seconds=0.4))
    batches.next()
    assert batches.wait_fraction() > 0.7  # there was nothing to do before the first
    batches.next(after=Step(step_seconds))
    assert low <= batches.wait_fraction() <= high
    assert batches.wait_fraction() == 0.0  # a new count


def test_what_goes_wrong_in_making_a_batch_comes_out_of_next(make):
    class Broken(Numbers):
        def __next__(self):
            if self.k == 1:
                raise KeyboardInterrupt
            return super().__next__()

    batches = make(Broken())
    assert number(batches.next()) == 0
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
