"""The comparison with PyTorch: what it makes of times. The times themselves are no test."""

import time

import pytest

from benchmarks.against_pytorch import __main__ as on_cpu
from benchmarks.against_pytorch import gpu, worker


class Sleeper:
    """A case whose run takes a known time."""

    def __init__(self, seconds):
        self.seconds, self.calls = seconds, []

    def run(self, times):
        self.calls.append(times)
        time.sleep(times * self.seconds)


def test_single_runs_and_runs_in_a_row_are_timed():
    case = Sleeper(0.01)
    found = worker.measure(case, seconds=0.1, least=3)
    *single, in_a_row = case.calls
    assert single == [1] * len(found["seconds"]) and len(single) >= 3 and in_a_row >= 2
    assert min(found["seconds"]) >= 0.01 and found["seconds_in_a_row"] >= 0.01


def test_slow_runs_are_timed_singly():
    case = Sleeper(0.05)
    assert "seconds_in_a_row" not in worker.measure(case, seconds=0.01, least=2)
    assert case.calls == [1, 1]


def test_ratios_are_of_the_rounds():
    rounds = {"ours": [[1.0, 1.0], [2.0, 2.0], [3.0]], "PyTorch eager": [[2.0], [4.0, 4.0], [3.0]]}
    results = {
        way: {"rounds": times, "cpu_rounds": times, "peak_bytes": 2**30}
        for way, times in rounds.items()
    }
    ours, eager = on_cpu.summary("step", 4, results)
    assert "| 2.00 (1.00 to 2.00) | 1024 |" in ours  # of 2, 2 and 1
    assert eager.startswith("| step, batch 4 | PyTorch eager | 3.5 (2 to 4) |")


@pytest.mark.parametrize(
    "case, expected",
    [
        ({"dtype": "bfloat16"}, 989e12),
        ({"amp": True}, 989e12),
        ({"precision": "tensorfloat32"}, 495e12),
        ({}, 495e12),  # both frameworks' convolutions
        ({"strict": True}, 67e12),
        ({"precision": "highest"}, 67e12),
    ],
)
def test_the_peak_is_that_of_the_arithmetic(case, expected):
    assert gpu.peak(case, "NVIDIA H100 80GB HBM3") == expected
    assert gpu.peak(case, "NVIDIA H100 PCIe") < expected
    assert gpu.peak(case, "another card") is None
