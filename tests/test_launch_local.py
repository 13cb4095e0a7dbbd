"""launch/devices.sh and launch/processes.sh, with a fake Python that prints its arguments."""

import os
import shlex
import signal
import subprocess
import time

import pytest

from tests import launching

# Prints its devices and arguments; then ends, or waits for a signal.
FAKE_PYTHON = """#!/bin/bash
if [ "$1" = -c ]; then exit; fi
echo "$JAX_PLATFORMS $JAX_NUM_CPU_DEVICES $*"
if [[ "$*" == *--process_index=${FAILING:-none}* ]]; then echo trouble; exit 3; fi
if [ -n "${WAITS:-}" ]; then
  trap 'echo saved; exit 0' TERM
  echo waiting
  for i in {1..200}; do sleep 0.1; done
fi
"""
TWO = "bash launch/processes.sh 2 --workdir runs/r --config c.py"


@pytest.fixture
def project(tmp_path):
    """A copy of launch/ with an environment that needs no installation."""
    return launching.copy_project(tmp_path, FAKE_PYTHON)


def test_devices(project):
    arguments = "8 --config 'configs/my config.py'"
    done = launching.shell(f"bash launch/devices.sh {arguments}", cwd=project)
    assert done.stdout == "cpu 8 -m attngan_jax.main --config configs/my config.py\n", done.stderr
    dry = launching.shell(f"bash launch/devices.sh --dry-run {arguments}", cwd=project)
    assert shlex.split(dry.stdout) == shlex.split(
        "env JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=8 .venv/bin/python -m attngan_jax.main "
        "--config 'configs/my config.py'"
    )


def test_processes(project):
    done = launching.shell(f"DEVICES=4 PORT=12399 {TWO}", cwd=project)
    assert done.returncode == 0, done.stderr
    for index in range(2):
        assert (project / f"runs/r/logs/process-{index}.log").read_text() == (
            "cpu 4 -m attngan_jax.main --coordinator=localhost:12399 --num_processes=2 "
            f"--process_index={index} --workdir runs/r --config c.py\n"
        )
    dry = "bash launch/processes.sh --dry-run"
    done = launching.shell(f"{dry} 2 --workdir=dry --config c", cwd=project)
    first, second = done.stdout.splitlines()
    expected = "--process_index={0} --workdir=dry --config c >> dry/logs/process-{0}.log 2>&1 &"
    assert first.endswith(expected.format(0)) and second.endswith(expected.format(1))
    assert not (project / "dry").exists()
    away = launching.shell(f"{dry} 1 --workdir=gs://birds/r", cwd=project)
    assert away.stdout.endswith("--workdir=gs://birds/r >> logs/birds/r/process-0.log 2>&1 &\n")


def test_one_process_that_fails_ends_all(project):
    begun = time.monotonic()
    done = launching.shell(f"WAITS=1 FAILING=1 {TWO}", cwd=project)
    assert done.returncode == 3 and "trouble" in done.stderr
    assert time.monotonic() - begun < 15


def test_a_signal_reaches_all_and_all_may_save(project):
    process = subprocess.Popen(shlex.split(TWO), cwd=project, env={**os.environ, "WAITS": "1"})
    logs = [project / f"runs/r/logs/process-{index}.log" for index in range(2)]
    launching.wait_until(
        lambda: all(log.exists() and "waiting" in log.read_text() for log in logs), 20
    )
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert all(log.read_text().endswith("saved\n") for log in logs)
