"""launch/devices.sh and launch/processes.sh, with a Python that notes how it is called."""

import os
import shlex
import shutil
import signal
import subprocess
import time

import pytest

from tests.tiny_runs import ROOT

# Writes its arguments and devices to its log; then ends, or waits to be told to.
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


@pytest.fixture
def project(tmp_path):
    """A copy of launch/ with an environment that needs no installation."""
    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    shutil.copy(ROOT / "requirements.txt", tmp_path / "requirements.txt")
    shutil.copy(ROOT / "requirements.txt", tmp_path / ".venv" / ".installed-requirements.txt")
    return tmp_path


def start(project, *arguments, **environment):
    return subprocess.run(
        ["bash", *arguments],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_devices(project):
    done = start(project, "launch/devices.sh", "8", "--config", "configs/my config.py")
    assert done.stdout == "cpu 8 -m attngan_jax.main --config configs/my config.py\n", done.stderr
    dry = start(project, "launch/devices.sh", "--dry-run", "8", "--config", "configs/my config.py")
    assert shlex.split(dry.stdout) == [
        "env",
        "JAX_PLATFORMS=cpu",
        "JAX_NUM_CPU_DEVICES=8",
        ".venv/bin/python",
        "-m",
        "attngan_jax.main",
        "--config",
        "configs/my config.py",
    ]


def test_processes(project):
    done = start(
        project,
        "launch/processes.sh",
        "2",
        "--workdir",
        "runs/r",
        "--config",
        "c.py",
        DEVICES="4",
        PORT="12399",
    )
    assert done.returncode == 0, done.stderr
    for index in range(2):
        log = (project / "runs" / "r" / "logs" / f"process-{index}.log").read_text()
        assert log == (
            "cpu 4 -m attngan_jax.main --coordinator=localhost:12399 --num_processes=2 "
            f"--process_index={index} --workdir runs/r --config c.py\n"
        )
    dry = start(project, "launch/processes.sh", "--dry-run", "2", "--workdir=dry", "--config", "c")
    assert len(dry.stdout.splitlines()) == 2 and not (project / "dry").exists()
    assert dry.stdout.splitlines()[1].endswith(
        "--process_index=1 --workdir=dry --config c >> dry/logs/process-1.log 2>&1 &"
    )
    away = start(project, "launch/processes.sh", "--dry-run", "1", "--workdir=gs://birds/r")
    assert away.stdout.endswith("--workdir=gs://birds/r >> logs/birds/r/process-0.log 2>&1 &\n")


def test_one_process_that_fails_ends_all(project):
    begun = time.monotonic()
    done = start(
        project,
        "launch/processes.sh",
        "2",
        "--workdir",
        "runs/r",
        "--config",
        "c.py",
        WAITS="1",
        FAILING="1",
    )
    assert done.returncode == 3 and "trouble" in done.stderr
    assert time.monotonic() - begun < 15


def test_a_signal_reaches_all_and_all_may_save(project):
    process = subprocess.Popen(
        ["bash", "launch/processes.sh", "2", "--workdir", "runs/r", "--config", "c.py"],
        cwd=project,
        env={**os.environ, "WAITS": "1"},
    )
    logs = [project / f"runs/r/logs/process-{index}.log" for index in range(2)]
    deadline = time.monotonic() + 20
    while not all(log.exists() and "waiting" in log.read_text() for log in logs):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert all(log.read_text().endswith("saved\n") for log in logs)
