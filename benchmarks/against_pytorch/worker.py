"""What both sides answer to: a process that builds one case, and does on request one thing.

It reads commands from stdin, a line each, and writes a JSON object for each behind `MARK`:
"compile", "warm", "time SECONDS LEAST", "profile", "quit". So the one who asks decides what runs
when, and nothing else runs while it times.
"""

import json
import sys
import time
import traceback
from typing import Any, Protocol

MARK = "@@ "


class Case(Protocol):
    """One side's work, ready to run."""

    def compile(self) -> dict:
        """Whatever happens once; facts about it."""

    def run(self, times: int) -> Any:
        """Runs the work so often and waits until all is done."""

    def profile(self) -> list:
        """The operations that take longest, `[[share, name], ...]`."""

    def peak_bytes(self) -> int:
        """The most memory that was in use."""


def say(**event: Any) -> None:
    """Answers."""
    print(MARK + json.dumps(event), flush=True)


def measure(case: Case, seconds: float, least: int, most: int = 30) -> dict[str, Any]:
    """Seconds of single runs, each waited for, and a run's mean where only the last one is.

    Half of `seconds` goes to either; single runs are `least` in any case. `cpu_seconds` are the
    process's own of the single runs: on a machine that others share they tell more.
    """
    times: list[float] = []
    cpu_times: list[float] = []
    while len(times) < least or (sum(times) < seconds / 2 and len(times) < most):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        case.run(1)
        times.append(time.perf_counter() - begin)
        cpu_times.append(time.process_time() - cpu_begin)
    found = {"seconds": times, "cpu_seconds": cpu_times}
    count = min(most, round(seconds / 2 / min(times)))
    if count < 2:
        return found
    begin = time.perf_counter()
    case.run(count)
    return found | {"seconds_in_a_row": (time.perf_counter() - begin) / count}


def serve(build) -> None:
    """Builds `build(settings)`, settings being JSON in the first argument, and answers."""
    settings = json.loads(sys.argv[1])
    try:
        begin = time.perf_counter()
        case = build(settings)
        say(event="built", seconds=time.perf_counter() - begin)
        for line in sys.stdin:
            command, *arguments = line.split()
            if command == "quit":
                break
            begin, facts = time.perf_counter(), {}
            if command == "compile":
                facts = case.compile() or {}
            elif command == "warm":
                for _ in range(2):
                    case.run(1)
            elif command == "time":
                facts = measure(case, float(arguments[0]), int(arguments[1]))
                facts["peak_bytes"] = case.peak_bytes()
            elif command == "profile":
                facts = {"top": case.profile()}
            say(event=command, took=time.perf_counter() - begin, **facts)
    except Exception as error:
        traceback.print_exc()
        say(event="failed", error=f"{type(error).__name__}: {error}"[:500])
