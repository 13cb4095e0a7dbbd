"""One training at a time in a workdir, in a folder and in a bucket."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.plain_files import RefusedFile
from attngan_jax.training import workdir_lock
from attngan_jax.workdir import Workdir
from tests import tiny_runs

HOLD = """
import sys, time
from attngan_jax.training import workdir_lock
with workdir_lock.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["folder", "bucket"])
def workdir(request, tmp_path, monkeypatch):
    """An empty workdir of either kind, with locks that are quick to lapse."""
    monkeypatch.setattr(workdir_lock, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(workdir_lock, "LAPSE_SECONDS", 0.5)
    monkeypatch.setattr(workdir_lock, "POLL_SECONDS", 0.02)
    if request.param == "folder":
        return tmp_path / "run"
    request.getfixturevalue("gcs")
    return storage.path("gs://birds/run")


@pytest.fixture
def other(workdir):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD.replace("import workdir_lock\n", BEATS), str(workdir)]
    with subprocess.Popen(command, cwd=tiny_runs.ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


BEATS = "import workdir_lock\nworkdir_lock.BEAT_SECONDS = 0.05\n"


def test_the_second_is_told_who_is_there(workdir, other):
    message = f"{workdir} is being trained by process {other.pid} on .* since 20.*: wait for it"
    with pytest.raises(UserError, match=message):
        with workdir_lock.held(workdir):
            pass
    assert other.poll() is None
    holder = json.loads(Workdir(workdir).lock.read_text())
    assert holder["pid"] == other.pid


def test_a_kill_leaves_a_lock_that_holds_nobody_up(workdir, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert Workdir(workdir).lock.exists()
    start = time.monotonic()
    with workdir_lock.held(workdir):
        assert json.loads(Workdir(workdir).lock.read_text())["pid"] == os.getpid()
    assert time.monotonic() - start < 10
    assert not Workdir(workdir).lock.exists()


def test_nothing_is_left_of_a_run_that_wrote_nothing(tmp_path):
    with workdir_lock.held(tmp_path / "run"):
        assert (tmp_path / "run" / "lock.json").exists()
    assert not (tmp_path / "run").exists()


def test_a_lock_of_another_machine_lapses_without_a_sign_of_life(gcs, monkeypatch):
    monkeypatch.setattr(workdir_lock, "LAPSE_SECONDS", 0.3)
    monkeypatch.setattr(workdir_lock, "POLL_SECONDS", 0.02)
    holder = {"host": "tpu-7", "pid": 1, "since": "2026-01-01", "machine": "another one"}
    gcs.put("birds/run/lock.json", json.dumps(holder).encode())
    with workdir_lock.held("gs://birds/run"):
        assert json.loads(gcs.objects["birds/run/lock.json"])["pid"] == os.getpid()
    assert gcs.objects == {}


def test_a_holder_that_was_replaced_meanwhile_stops(gcs, monkeypatch):
    said = []
    monkeypatch.setattr(workdir_lock, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(workdir_lock, "_stop_at_once", said.append)
    with workdir_lock.held("gs://birds/run"):
        gcs.put("birds/run/lock.json", b"{}")
        while not said:
            time.sleep(0.01)
    assert said[0] == "another process has taken over gs://birds/run"
    assert gcs.objects["birds/run/lock.json"] == b"{}"


def test_locks_of_files_do_not_outlive_their_use(tmp_path):
    from attngan_jax.data import bucket_cache

    folder = pathlib.Path(tmp_path / "data" / "1.0.0")
    with bucket_cache.one_process(folder, "lock"):
        assert (folder.parent / ".1.0.0.lock").exists()
    assert list(folder.parent.iterdir()) == []


def test_what_is_no_lock_file_is_not_waited_for_and_not_overwritten(tmp_path):
    (tmp_path / "mine").write_text("not to be lost")
    (tmp_path / "lock.json").symlink_to(tmp_path / "mine")
    with workdir_lock.held(tmp_path):
        assert (tmp_path / "mine").read_text() == "not to be lost"
    os.mkfifo(tmp_path / "lock.json")
    with pytest.raises(RefusedFile, match="it is a pipe"), workdir_lock.held(tmp_path):
        pass
