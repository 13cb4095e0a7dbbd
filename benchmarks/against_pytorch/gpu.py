"""The whole GAN step of configs/cub.py on a GPU, beside PyTorch, in a given time.

    python -m benchmarks.against_pytorch.gpu [--seconds 1800] [--processes 1] [--out DIR] [--smoke]

One Python has both jax and torch, with their GPU parts, or TORCH_PYTHON names torch's. Every case
is a process of its own, in order of importance; compiling one of this package's takes about two
minutes on 16 cores. With more `--processes` they compile side by side; one at a time then has the
GPU, and while it times, the others are stopped. What is done when the time is up is reported: a
table, and `results.json`, which is written again after each case. `--smoke`: narrow networks and
tiny batches on the CPU, to see that the script works.
"""

import argparse
import contextlib
import json
import os
import queue
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

from benchmarks.against_pytorch.worker import MARK

JAX, TORCH = "jax_worker", "torch_worker"


def ours(label, batch, dtype="float32", precision=None, **rest):
    """A case of this package."""
    return dict(label=f"ours, {label}", side=JAX, work="step", batch=batch, dtype=dtype,
                precision=precision, **rest)  # fmt: skip


def theirs(label, batch, **rest):
    """A case of PyTorch."""
    return dict(label=f"PyTorch, {label}", side=TORCH, batch=batch, **rest)


BEST = dict(amp=True, compile=True, channels_last=True)
EAGER = "eager, its defaults (TF32 convolutions)"
CASES = [
    ours("bfloat16", 64, "bfloat16"),
    theirs("compile, bfloat16 autocast, channels_last", 64, **BEST),
    theirs(EAGER, 20),
    theirs(EAGER, 64),
    ours("float32 in TF32", 20, precision="tensorfloat32"),
    dict(label="precision", side=JAX, work="precision"),
    theirs("eager, float32 without TF32", 20, strict=True),
    theirs("eager, float32 without TF32", 64, strict=True),
    ours("float32 in TF32", 64, precision="tensorfloat32"),
    theirs("eager, bfloat16 autocast, channels_last", 64, amp=True, channels_last=True),
    ours("bfloat16", 128, "bfloat16"),
    ours("bfloat16", 20, "bfloat16"),
    ours("float32, highest", 20, precision="highest"),
    ours("float32, highest", 64, precision="highest"),
    theirs("compile, bfloat16 autocast, channels_last", 128, **BEST),
]

# Dense FLOP/s of the makers' data sheets, by a part of the device's name: bfloat16, TF32, float32.
PEAKS = {
    "H100 PCIe": (756e12, 378e12, 51e12),
    "H100 NVL": (835e12, 418e12, 60e12),
    "H100": (989e12, 495e12, 67e12),
    "H200": (989e12, 495e12, 67e12),
    "A100": (312e12, 156e12, 19.5e12),
}


def peak(case: dict, device: str) -> float | None:
    """Of the arithmetic that a case is made in."""
    row = next((peaks for name, peaks in PEAKS.items() if name in device), None)
    if row is None:
        return None
    if case.get("amp") or case.get("dtype") == "bfloat16":
        return row[0]
    return row[2] if case.get("strict") or case.get("precision") == "highest" else row[1]


class Worker:
    """A case's process, and what it says."""

    def __init__(self, case: dict, environment: dict, log):
        module = f"benchmarks.against_pytorch.{case['side']}"
        python = os.environ.get("TORCH_PYTHON") if case["side"] == TORCH else None
        command = [python or sys.executable, "-m", module, json.dumps(case)]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
        self.events: queue.Queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            if line.startswith(MARK):
                self.events.put(json.loads(line[len(MARK) :]))
        self.events.put({"event": "failed", "error": "the process ended"})

    def ask(self, command: str, seconds: float) -> dict:
        """Its answer to a command ("" only waits). Raises RuntimeError if it fails or is late."""
        if command:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        try:
            answer = self.events.get(timeout=max(0.1, seconds))
        except queue.Empty:
            raise RuntimeError(f"no answer to {command or 'the start'!r} in time") from None
        if answer["event"] == "failed":
            raise RuntimeError(answer["error"])
        return answer

    def signal(self, number: int) -> None:
        """To it and to what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Schedule:
    """Who compiles, who has the GPU, who stands still; and the results."""

    def __init__(self, arguments):
        self.arguments, self.begin = arguments, time.monotonic()
        self.places = threading.Semaphore(arguments.processes)
        # XLA measures its choices on the GPU: one program after the other, while there is time.
        self.compilers = {JAX: threading.Semaphore(1), TORCH: threading.Semaphore(2)}
        self.gpu, self.changes = threading.Lock(), threading.Lock()
        self.workers: dict[str, Worker] = {}
        self.results: dict[str, dict] = {}

    def left(self) -> float:
        """Seconds."""
        return self.arguments.seconds - (time.monotonic() - self.begin)

    @contextlib.contextmanager
    def alone(self, name: str):
        """Stops all other processes for a while."""
        with self.changes:
            others = [worker for other, worker in self.workers.items() if other != name]
            for worker in others:
                worker.signal(signal.SIGSTOP)
            try:
                yield
            finally:
                for worker in others:
                    worker.signal(signal.SIGCONT)

    def start(self, case: dict, name: str) -> Worker:
        """Its process, unless others just stand still."""
        environment = os.environ | {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "JAX_COMPILATION_CACHE_DIR": self.arguments.cache + "/xla",
            "TORCHINDUCTOR_CACHE_DIR": self.arguments.cache + "/inductor",
        }
        path = os.path.join(self.arguments.out, name.replace("/", "_") + ".log")
        with open(path, "w", encoding="utf-8") as log, self.changes:
            self.workers[name] = Worker(case, environment, log)
        return self.workers[name]

    def run(self, case: dict, name: str) -> None:
        """One case, from its start to its result; a thread of its own."""
        with self.places:
            if self.left() < 20:
                return
            result = {"case": case, "label": case["label"], "batch": case.get("batch")}
            try:
                worker = self.start(case, name)
                self._measure(worker, case, name, result)
            except Exception as error:  # of one case; the others go on
                result["error"] = str(error)
            finally:
                with self.changes:
                    worker = self.workers.pop(name, None)
                    if worker:
                        worker.signal(signal.SIGKILL)
                self.save(name, result)

    def _measure(self, worker: Worker, case: dict, name: str, result: dict) -> None:
        worker.ask("", self.left())
        self.tell(name, "built")
        with self.compilers[case["side"]]:
            result |= worker.ask("compile", self.left())
        self.tell(name, "compiled")
        if case.get("work") == "precision":
            return
        with self.gpu:
            worker.ask("warm", self.left())
            with self.alone(name):
                seconds, smoke = self.arguments.timed, self.arguments.smoke
                limit = self.left() if smoke else min(10 * seconds + 20, self.left())
                result |= worker.ask(f"time {seconds} {2 if smoke else 5}", limit)
            self.save(name, result)
            if self.left() > 25:
                with contextlib.suppress(RuntimeError):
                    result["top"] = worker.ask("profile", min(15, self.left() - 5))["top"]

    def save(self, name: str, result: dict) -> None:
        """Adds what follows from a result, and writes all of them."""
        if "seconds" in result and isinstance(result["seconds"], list):
            seconds, batch = sorted(result["seconds"]), result["batch"]
            result["median_seconds"] = statistics.median(seconds)
            result["images_per_second"] = batch / result["median_seconds"]
            result["images_per_second_range"] = [batch / seconds[-1], batch / seconds[0]]
            in_a_row = result.get("seconds_in_a_row", result["median_seconds"])
            result["images_per_second_in_a_row"] = batch / in_a_row
            if top := peak(result["case"], result.get("device", "")):
                flops = self.arguments.flops * result["images_per_second_in_a_row"]
                result["share_of_peak"] = flops / top
        self.results[name] = result
        order = [self.results[n] for n in names(CASES) if n in self.results]
        path = os.path.join(self.arguments.out, "results.json")
        facts = {"flops_per_image": self.arguments.flops, "results": order}
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=1)
        os.replace(path + ".new", path)
        self.tell(name, json.dumps({k: v for k, v in result.items() if k in SHOWN}))

    def tell(self, name: str, what: str) -> None:
        """Prints what happened and when."""
        print(f"{time.monotonic() - self.begin:.0f} s: {name}: {what}", flush=True)


SHOWN = "images_per_second images_per_second_in_a_row compile_seconds error errors".split()


def names(cases: list[dict]) -> list[str]:
    """By which cases are known: their label and batch."""
    return [f"{case['label']}, {case.get('batch', '')}" for case in cases]


def table(results: list[dict]) -> str:
    """Of what was measured; the fastest first."""
    done = [result for result in results if "images_per_second" in result]
    done.sort(key=lambda result: result["images_per_second_in_a_row"])
    lines = ["| | batch | images/s | single steps: median (range) | peak GiB | share of peak |"]
    lines.append("|---|---|---|---|---|---|")
    for r in done:
        low, high = r["images_per_second_range"]
        share = f"{100 * r['share_of_peak']:.1f} %" if "share_of_peak" in r else ""
        lines.append(
            f"| {r['label']} | {r['batch']} | {r['images_per_second_in_a_row']:.1f} "
            f"| {r['images_per_second']:.1f} ({low:.1f} to {high:.1f}) "
            f"| {r['peak_bytes'] / 2**30:.1f} | {share} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs the cases until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800, help="of all, to the table")
    parser.add_argument("--timed", type=float, default=3, help="seconds to time a case for")
    parser.add_argument("--processes", type=int, default=1, help="side by side")
    parser.add_argument("--out", default=os.environ.get("OUT", "against_pytorch"))
    parser.add_argument("--cache", default="/tmp/attngan_against_pytorch")
    parser.add_argument("--only", default="", help="cases whose name this pattern is in")
    parser.add_argument("--smoke", action="store_true", help="narrow, tiny, on the CPU")
    parser.add_argument("--flops", type=float, default=134.06e9, help=FLOPS_HELP)
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    cases = [case for case, name in zip(CASES, names(CASES)) if re.search(arguments.only, name)]
    schedule, threads = Schedule(arguments), []
    for case, name in zip(cases, names(cases)):
        if arguments.smoke:
            case = case | {"smoke": True} | ({"batch": 2} if "batch" in case else {})
        threads.append(threading.Thread(target=schedule.run, args=(case, name), daemon=True))
        threads[-1].start()
        time.sleep(0.2)
    # Later two side by side.
    threading.Timer(75, schedule.compilers[JAX].release).start()
    while any(thread.is_alive() for thread in threads) and schedule.left() > 2:
        time.sleep(0.2)
    for worker in list(schedule.workers.values()):
        worker.signal(signal.SIGKILL)
    print(table(list(schedule.results.values())), flush=True)
    os._exit(0)  # threads may wait for processes that are gone


FLOPS_HELP = "of an image's share of a step: torch_step.flops_per_image(Widths())"

if __name__ == "__main__":
    main()
