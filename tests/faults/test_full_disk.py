"""A disk that is full, on a file system of its own: what was saved stays, and then it goes on."""

import errno
import os
import subprocess

import pytest

from attngan_jax.log_file import Log
from attngan_jax.training.checkpoints import Checkpoints, set_aside_damaged
from tests.faults import damage

SIZE = 3 * 2**20  # bytes


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for `SIZE` bytes."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_full_disk_keeps_what_was_saved(small_disk):
    workdir, filler = small_disk / "run", small_disk / "filler"
    damage.save_all(workdir, steps=(2,))
    filler.write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
    with pytest.raises(OSError) as raised:
        damage.save_all(workdir, steps=(4,))
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        Log(small_disk / "metrics.jsonl").append("x" * SIZE)
    set_aside_damaged(workdir, "damsm")
    assert damage.restore(workdir) == 2
    filler.unlink()
    damage.save_all(workdir, steps=(4,))
    Log(small_disk / "metrics.jsonl").append("whole")
    assert damage.restore(workdir) == 4 and Checkpoints.steps_in(workdir, "damsm") == [2, 4]
    assert (small_disk / "metrics.jsonl").read_text() == "whole\n"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_disk_that_fills_while_a_checkpoint_is_written(share, small_disk, monkeypatch):
    """Which was thought to fit: another program has written meanwhile."""
    workdir = small_disk / "run"
    damage.save_all(workdir, steps=(2,))
    size = sum(file.stat().st_size for file in damage.files_of(workdir, 2))
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    (small_disk / "filler").write_bytes(bytes(free - int(share * size)))
    monkeypatch.setattr("attngan_jax.training.checkpoints.SPARE_BYTES", -(2**40))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("", (), {"free": 0}))
    with pytest.raises(Exception, match=f"(?i)space|{os.strerror(errno.ENOSPC)}"):
        damage.save_all(workdir, steps=(4,))
    set_aside_damaged(workdir, "damsm")
    assert damage.restore(workdir) == 2
    (small_disk / "filler").unlink()
    damage.save_all(workdir, steps=(4,))
    assert damage.restore(workdir) == 4
