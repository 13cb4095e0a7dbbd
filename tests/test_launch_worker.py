"""launch/tpu/worker.sh, as it runs on a TPU's machine, with fakes of Python and gcloud."""

import os
import shlex
import subprocess

import pytest

from tests import launching

WORKER = "WORKER=1 bash launch/tpu/worker.sh --config c.py"


@pytest.mark.parametrize("status", (0, 1))
@pytest.mark.parametrize("workdir", ("{0}/runs/my run", "runs/relative"))
def test_a_worker_logs_into_the_workdir_and_ends_as_the_run_does(tmp_path, workdir, status):
    python = f"#!/bin/sh\necho step 1\necho trouble >&2\nexit {status}\n"
    project = launching.copy_project(tmp_path / "project", python)
    command, workdir = launching.in_project(WORKER, project), workdir.format(tmp_path)
    done = launching.shell(command, WORKDIR=workdir)
    assert done.returncode == status
    assert (project / workdir / "logs/worker-1.log").read_text() == "step 1\ntrouble\n"


@pytest.mark.parametrize("status", (0, 3))
def test_a_worker_of_a_run_on_gs_copies_its_log(tmp_path, status):
    """While it grows and at the end. A signal to the worker reaches the run, which saves."""
    python = (
        f"#!/bin/bash\ntrap 'echo saved; exit {status}' TERM\necho \"$@\"\n"
        "for i in $(seq 600); do sleep 0.1; done\n"
    )
    gcloud = (
        '#!/bin/sh\necho "$@" >> "$CALLS"\n'
        'case "$4" in gs://*) cp "$COPY" "$5"; exit ;; esac\n'
        'cp "$4" "$COPY.$$" && mv "$COPY.$$" "$COPY"\n'
    )
    project = launching.copy_project(tmp_path / "project", python)
    bin = launching.write_program(tmp_path / "bin" / "gcloud", gcloud).parent
    copy, calls = tmp_path / "copy", tmp_path / "calls"
    copy.write_text("of an earlier TPU\n")
    settings = f"WORKDIR=gs://bucket/runs/cub/ SECONDS_BETWEEN_COPIES=0.2 COPY={copy} CALLS={calls}"
    worker = subprocess.Popen(
        shlex.split(f"env {settings} {launching.in_project(WORKER, project)}"),
        env={**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"},
    )
    launching.wait_until(lambda: "--workdir" in copy.read_text(), 60)
    assert copy.read_text() == (
        "of an earlier TPU\n"
        "-m attngan_jax.main --distributed --workdir gs://bucket/runs/cub/ --config c.py\n"
    )
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
