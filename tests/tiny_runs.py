"""Starts commands in processes of their own: whole runs on a tiny config, and their errors."""

import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = "tests/tiny_configs/procedural_birds.py"
# For programs that run a few times: XLA takes less time over them, and they take more.
QUICK_COMPILATION = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
)
CACHE = os.path.expanduser("~/.cache/attngan_jax/tests")


def start_python(*arguments, devices=1, **environment) -> subprocess.CompletedProcess:
    """Runs `python ARGUMENTS` to its end, on `devices` devices."""
    environment = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)} | environment
    options = dict(cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    return subprocess.run([sys.executable, *map(str, arguments)], **options, timeout=900)


def start_module(words: str, *arguments) -> subprocess.CompletedProcess:
    """Runs `python -m WORDS ARGUMENTS`; WORDS are split as by a shell."""
    return start_python("-m", *shlex.split(words), *arguments)


def start_command(words: str, *arguments) -> subprocess.CompletedProcess:
    """Runs `python -m attngan_jax.WORDS ARGUMENTS`: a command's name, and its flags."""
    return start_module(f"attngan_jax.{words}", *arguments)


def start_main(workdir, data_dir, *more, module="attngan_jax.main") -> subprocess.CompletedProcess:
    """Runs `main` on the tiny config."""
    flags = f"--config {CONFIG} --workdir {workdir} --config.data.data_dir={data_dir}"
    return start_module(f"{module} {flags}", *more)


def assert_one_line(done: subprocess.CompletedProcess, code: int, *parts: str) -> None:
    """The command ended with `code` and one line that says `parts`, without a traceback."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert len(errors) == 1 and done.stderr.rstrip().endswith(errors[0]), done.stderr
    for part in parts:
        assert part in errors[0]
