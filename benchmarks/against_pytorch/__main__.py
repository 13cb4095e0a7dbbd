"""This package beside PyTorch on the CPU, alternating: A B A B.

    TORCH_PYTHON=PYTHON python -m benchmarks.against_pytorch [--only PATTERN] [--rounds N]

PYTHON is one that has PyTorch 2.9 or later and Pillow; `torch.compile` needs a C++ compiler. First
three whole training steps of the PyTorch side are compared with the losses that were recorded of
the original (`torch_check`). Then, for each piece of work, every way of doing it has a process of
its own; they compile, and take turns. Prints a table of medians and ranges over single calls, of
seconds and of the processes' CPU seconds, and the median of the rounds' ratios to PyTorch's eager
mode; writes results.json to --out.

All of it takes about an hour on two cores. What is compiled is kept in --cache, so that a second
run starts soon.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

from benchmarks.against_pytorch import input_rates
from benchmarks.against_pytorch.gpu import JAX, TORCH, Worker

ORIGIN = "PyTorch eager"  # to which the others are compared
FLOPS = 134.06e9  # torch_step.flops_per_image(Widths())
WAYS = {
    "ours": dict(side=JAX),
    "ours, two devices": dict(side=JAX, devices=2),  # training, with config.cpu_devices = 2
    ORIGIN: dict(side=TORCH),
    "PyTorch compiled": dict(side=TORCH, compile=True, channels_last=True),
}
WORK = [
    ("arithmetic", 0, "2048 x 2048 matrices, twice"),
    ("convolution", 8, "3x3, 64 to 128 channels, 128 px"),
    ("word loss", 48, "DAMSM's word loss and gradient"),
    ("drawing", 1, "images of 64, 128 and 256 px"),
    ("drawing", 8, "images of 64, 128 and 256 px"),
    ("damsm", 8, "a step of stage 1, at 299 px"),
    ("step", 4, "a step of stage 2, at 256 px"),
    ("step", 8, "a step of stage 2, at 256 px"),
]
# glibc's, as the package's commands set them; a PyTorch step gains by them as well.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**62),
    "MALLOC_TOP_PAD_": str(1 << 26),
    "MALLOC_ARENA_MAX": "1",
}
TRAINING = ("damsm", "step")
CALL_FLOPS = {
    "arithmetic": 2 * 2 * 2048**3,
    "convolution": 2 * 8 * 128**2 * 9 * 64 * 128,
    "step 4": 4 * FLOPS,
    "step 8": 8 * FLOPS,
}


def compare(work: str, batch: int, arguments) -> dict:
    """Times of a piece of work by way: `{way: {"seconds": [[...] a round], ...}}`."""
    workers, results = {}, {}
    ways = [way for way in arguments.ways if work in TRAINING or "devices" not in WAYS[way]]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": arguments.cache + "/xla",
        "TORCHINDUCTOR_CACHE_DIR": arguments.cache + "/inductor",
        **KEEP_FREED_MEMORY,
    }
    with tempfile.TemporaryFile("w") as log:
        try:
            for way in ways:
                case = WAYS[way] | {"work": work, "batch": batch}
                workers[way] = Worker(case, environment, log)
                workers[way].ask("", 600)
                results[way] = workers[way].ask("compile", 1800) | {"rounds": [], "cpu_rounds": []}
                workers[way].ask("warm", 600)
            for _ in range(arguments.rounds):
                for way in ways:
                    answer = workers[way].ask(f"time {arguments.seconds} 2", 600)
                    results[way]["rounds"].append(answer["seconds"])
                    results[way]["cpu_rounds"].append(answer["cpu_seconds"])
                    results[way]["peak_bytes"] = answer["peak_bytes"]
        finally:
            for worker in workers.values():
                worker.process.kill()
    return results


def summary(work: str, batch: int, results: dict) -> list[str]:
    """Rows of the table."""
    rows, eager = [], results.get(ORIGIN)
    what = f"{work}, batch {batch}" if batch else work
    for way, result in results.items():
        cells = []
        for kind in ("rounds", "cpu_rounds"):
            times = [t for seconds in result[kind] for t in seconds]
            cells.append(f"{statistics.median(times):.4g} ({min(times):.4g} to {max(times):.4g})")
            cells.append(_ratio(result[kind], eager[kind]) if eager and way != ORIGIN else "")
        flops = CALL_FLOPS.get(work) or CALL_FLOPS.get(f"{work} {batch}")
        median = statistics.median(t for seconds in result["rounds"] for t in seconds)
        rate = f"{flops / median / 1e9:.0f}" if flops else ""
        cells += [f"{result['peak_bytes'] / 2**20:.0f}", rate]
        rows.append(f"| {what} | {way} | {' | '.join(cells)} |")
    return rows


def _ratio(ours: list, theirs: list) -> str:
    """How many times as fast, by the rounds' medians: the median of the rounds, and their range."""
    pairs = [[statistics.median(seconds) for seconds in pair] for pair in zip(ours, theirs)]
    ratios = [b / a for a, b in pairs]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


HEAD = """| | | seconds a call: median (range) | times as fast | CPU seconds | ratio \
| peak MiB | GFLOP/s |
|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Compares, and prints rows as they are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="work whose name and batch this pattern is in")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of a turn, at least 2 calls")
    parser.add_argument("--unchecked", action="store_true", help="without torch_check")
    parser.add_argument("--out", default="against_pytorch")
    parser.add_argument("--cache", default=os.path.expanduser("~/.cache/against_pytorch"))
    arguments = parser.parse_args()
    python = os.environ.get("TORCH_PYTHON")
    if not python:
        parser.error("set TORCH_PYTHON to a Python that has PyTorch")
    os.makedirs(arguments.out, exist_ok=True)
    check = [python, "-m", "benchmarks.against_pytorch.torch_check"]
    if not arguments.unchecked and subprocess.run(check, check=False).returncode:
        sys.exit(1)
    print(HEAD, flush=True)
    everything = {}
    for work, batch, _ in WORK:
        if re.search(arguments.only, f"{work} {batch}"):
            found = everything[f"{work} {batch}"] = compare(work, batch, arguments)
            print("\n".join(summary(work, batch, found)), flush=True)
            with open(os.path.join(arguments.out, "results.json"), "w", encoding="utf-8") as file:
                json.dump(everything, file, indent=1)
    if re.search(arguments.only, "input"):
        print("\n".join(input_rates.compare(python, arguments.rounds)), flush=True)


if __name__ == "__main__":
    main()
