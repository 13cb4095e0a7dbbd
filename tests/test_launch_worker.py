"""launch/tpu/worker.sh, as it runs on a TPU's machine, with stand-ins for Python and gcloud."""

import os
import shutil
import subprocess
import time

import pytest

from tests.tiny_runs import ROOT


@pytest.mark.parametrize("fails", ("0", "1"))
def test_a_worker_logs_into_the_workdir_and_ends_as_the_run_does(tmp_path, fails):
    project = tmp_path / "project"
    shutil.copytree(ROOT / "launch", project / "launch")
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho step 1\necho trouble >&2\nexit {fails}\n")
    python.chmod(0o755)
    for workdir, log in (
        (tmp_path / "runs" / "my run", tmp_path / "runs/my run/logs/worker-1.log"),
        ("runs/relative", project / "runs/relative/logs/worker-1.log"),
    ):
        done = subprocess.run(
            ["bash", project / "launch" / "tpu" / "worker.sh", "--config", "c.py"],
            env={**os.environ, "WORKDIR": str(workdir), "WORKER": "1"},
        )
        assert done.returncode == int(fails)
        assert log.read_text() == "step 1\ntrouble\n"


@pytest.mark.parametrize("fails", ("0", "3"))
def test_a_worker_of_a_run_on_gs_copies_its_log(tmp_path, fails):
    """While it grows and at the end; what tells the worker to stop tells the run, which saves."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "launch", project / "launch")
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"#!/bin/bash\ntrap 'echo saved; exit {fails}' TERM\necho \"$@\"\n"
        "for i in $(seq 600); do sleep 0.1; done\n"
    )
    gcloud = tmp_path / "bin" / "gcloud"
    gcloud.parent.mkdir()
    gcloud.write_text(
        '#!/bin/sh\necho "$@" >> "$CALLS"\n'
        'case "$4" in gs://*) cp "$COPY" "$5"; exit ;; esac\n'
        'cp "$4" "$COPY.$$" && mv "$COPY.$$" "$COPY"\n'
    )
    for path in (python, gcloud):
        path.chmod(0o755)
    copy, calls = tmp_path / "copy", tmp_path / "calls"
    copy.write_text("of an earlier TPU\n")
    worker = subprocess.Popen(
        ["bash", project / "launch" / "tpu" / "worker.sh", "--config", "c.py"],
        env={
            **os.environ,
            "PATH": f"{gcloud.parent}:{os.environ['PATH']}",
            "WORKER": "1",
            "WORKDIR": "gs://bucket/runs/cub/",
            "SECONDS_BETWEEN_COPIES": "0.2",
            "COPY": str(copy),
            "CALLS": str(calls),
        },
    )
    deadline = time.monotonic() + 60
    while "--workdir" not in copy.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert copy.read_text() == (
        "of an earlier TPU\n"
        "-m attngan_jax.main --distributed --workdir gs://bucket/runs/cub/ --config c.py\n"
    )
    worker.terminate()
    assert worker.wait(timeout=60) == int(fails)
    assert copy.read_text().endswith("saved\n")
    log = "logs/bucket/runs/cub/worker-1.log"
    there = "gs://bucket/runs/cub/logs/worker-1.log"
    first, *others = calls.read_text().splitlines()
    assert first == f"storage cp --quiet {there} {log}"
    assert set(others) == {f"storage cp --quiet {log} {there}"}
    assert (project / log).read_text() == copy.read_text()
    assert not (project / "gs:").exists()
