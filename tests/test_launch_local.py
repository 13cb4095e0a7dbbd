"""Scripts that start runs on their own machine: launch/devices.sh, processes.sh, tpu/worker.sh."""

import shlex
import time

import pytest

from tests import launching

# Prints its devices and arguments; then ends, or waits for a signal.
FAKE_PYTHON = """#!/bin/bash
if [ "$1" = -c ]; then exit; fi
echo "$JAX_PLATFORMS $JAX_NUM_CPU_DEVICES $*"
if [[ "$*" == *--process_index=${FAILING:-none}* ]]; then echo trouble; exit 3; fi
if [ -n "${WAITS:-}" ]; then
  trap "echo saved; exit $WAITS" TERM
  echo waiting
  for i in {1..200}; do sleep 0.1; done
fi
"""
# Copies a file, whole or not at all, and logs the call; $COPY stands for the file in the bucket.
FAKE_GCLOUD = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$4" in gs://*) cp "$COPY" "$5"; exit ;; esac
cp "$4" "$COPY.$$" && mv "$COPY.$$" "$COPY"
"""
TWO = "bash launch/processes.sh 2 --workdir runs/r --config c.py"
WORKER = "WORKER=1 bash launch/tpu/worker.sh --config c.py"


@pytest.fixture
def project(tmp_path):
    """A copy of launch/ with an environment that needs no installation."""
    return launching.copy_project(tmp_path / "project", FAKE_PYTHON)


def test_devices(project):
    arguments = "8 --config 'configs/my config.py'"
    done = launching.run(f"bash launch/devices.sh {arguments}", project)
    assert done.stdout == "cpu 8 -m attngan_jax.main --config configs/my config.py\n", done.stderr
    dry = launching.run(f"bash launch/devices.sh --dry-run {arguments}", project)
    assert shlex.split(dry.stdout) == shlex.split(
        "env JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=8 .venv/bin/python -m attngan_jax.main "
        "--config 'configs/my config.py'"
    )


def test_processes(project):
    done = launching.run(f"DEVICES=4 PORT=12399 {TWO}", project)
    assert done.returncode == 0, done.stderr
    for index in range(2):
        assert (project / f"runs/r/logs/process-{index}.log").read_text() == (
            "cpu 4 -m attngan_jax.main --coordinator=localhost:12399 --num_processes=2 "
            f"--process_index={index} --workdir runs/r --config c.py\n"
        )
    dry = "bash launch/processes.sh --dry-run"
    first, second = launching.run(f"{dry} 2 --workdir=d --config c", project).stdout.splitlines()
    expected = "--process_index={0} --workdir=d --config c >> d/logs/process-{0}.log 2>&1 &"
    assert first.endswith(expected.format(0)) and second.endswith(expected.format(1))
    assert not (project / "d").exists()
    away = launching.run(f"{dry} 1 --workdir=gs://birds/r", project)
    assert away.stdout.endswith("--workdir=gs://birds/r >> logs/birds/r/process-0.log 2>&1 &\n")


def test_one_process_that_fails_ends_all(project):
    begun = time.monotonic()
    done = launching.run(f"WAITS=0 FAILING=1 {TWO}", project)
    assert done.returncode == 3 and "trouble" in done.stderr
    assert time.monotonic() - begun < 15


def test_a_signal_reaches_all_and_all_may_save(project):
    process = launching.start(f"exec {TWO}", project, WAITS="0")
    logs = [project / f"runs/r/logs/process-{index}.log" for index in range(2)]
    launching.wait_until(lambda: all(x.exists() and "waiting" in x.read_text() for x in logs))
    process.terminate()
    assert process.wait(timeout=20) == 0
    assert all(log.read_text().endswith("saved\n") for log in logs)


@pytest.mark.parametrize("status", (0, 1))
@pytest.mark.parametrize("workdir", ("{0}/runs/my run", "runs/relative"))
def test_a_worker_logs_into_the_workdir_and_ends_as_the_run_does(tmp_path, workdir, status):
    python = f"#!/bin/sh\necho step 1\necho trouble >&2\nexit {status}\n"
    project = launching.copy_project(tmp_path / "project", python)
    done = launching.run(WORKER, project, WORKDIR=workdir.format(tmp_path))
    assert done.returncode == status
    log = project / workdir.format(tmp_path) / "logs/worker-1.log"
    assert log.read_text() == "step 1\ntrouble\n"


@pytest.mark.parametrize("status", (0, 3))
def test_a_worker_of_a_run_on_gs_copies_its_log(project, tmp_path, status):
    """While it grows and at the end. A signal to the worker reaches the run, which saves."""
    bin = launching.write_program(tmp_path / "bin" / "gcloud", FAKE_GCLOUD).parent
    copy, calls = tmp_path / "copy", tmp_path / "calls"
    copy.write_text("of an earlier TPU\n")
    settings = {"WORKDIR": "gs://bucket/runs/cub/", "SECONDS_BETWEEN_COPIES": "0.2"}
    settings |= {"COPY": str(copy), "CALLS": str(calls), "WAITS": str(status)}
    worker = launching.start(f"exec env {WORKER}", project, bin=bin, **settings)
    launching.wait_until(lambda: "waiting" in copy.read_text())
    main = "-m attngan_jax.main --distributed --workdir gs://bucket/runs/cub/ --config c.py"
    assert copy.read_text() == f"of an earlier TPU\n  {main}\nwaiting\n"
    worker.terminate()
    assert worker.wait(timeout=60) == status
    assert copy.read_text().endswith("saved\n")
    log = "logs/bucket/runs/cub/worker-1.log"
    there = "gs://bucket/runs/cub/logs/worker-1.log"
    first, *others = calls.read_text().splitlines()
    assert first == f"storage cp --quiet {there} {log}"
    assert set(others) == {f"storage cp --quiet {log} {there}"}
    assert (project / log).read_text() == copy.read_text()
    assert not (project / "gs:").exists()
