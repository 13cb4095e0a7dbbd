"""A tiny dataset and a tiny run of everything, made once and shared by the tests that look at
them. Tests go to the processes by file, so that `tiny_run` is made once."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = "tests/tiny_configs/procedural_birds.py"
# For programs that run a few times: XLA takes less time over them, and they take more.
QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
CACHE = os.path.expanduser("~/.cache/attngan_jax/tests")


def start_door(name: str, *arguments, text: bool = True) -> subprocess.CompletedProcess:
    """Runs `python -m attngan_jax.NAME` to its end, on one device."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    return subprocess.run(
        [sys.executable, "-m", f"attngan_jax.{name}", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=text,
        timeout=900,
    )


def start_main(workdir, data_dir, *more) -> subprocess.CompletedProcess:
    """Runs `main` on the tiny config."""
    return start_door(
        "main",
        "--config",
        CONFIG,
        "--workdir",
        workdir,
        f"--config.data.data_dir={data_dir}",
        f"--config.compilation_cache_dir={CACHE}",
        *more,
    )


def assert_one_line(done: subprocess.CompletedProcess, code: int, *parts: str) -> None:
    """The door ended with `code` and one line that says `parts`, without a traceback."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert len(errors) == 1 and done.stderr.rstrip().endswith(errors[0]), done.stderr
    for part in parts:
        assert part in errors[0]
