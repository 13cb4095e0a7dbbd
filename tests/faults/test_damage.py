"""Damaged checkpoints: noticed before they are used, set aside, and the run goes on from before."""

import errno
import logging as pylogging
import os
import shutil

import pytest

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.training import digests
from attngan_jax.training.checkpoints import Checkpoints, set_aside_damaged
from tests.faults import damage


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A workdir with two checkpoints, not to be changed."""
    workdir = tmp_path_factory.mktemp("saved")
    damage.save_all(workdir)
    return workdir


@pytest.fixture
def workdir(saved, tmp_path):
    return damage.fresh_copy(saved, tmp_path / "run")


@pytest.mark.parametrize("way", damage.WAYS)
def test_each_file_of_the_newest_checkpoint(way, saved, tmp_path):
    names = [path.relative_to(saved) for path in damage.files_of(saved, 4)]
    assert len(names) > 10
    for name in names:
        workdir = damage.fresh_copy(saved, tmp_path / "run")
        way(workdir / name)
        set_aside_damaged(workdir, "damsm")
        step = damage.restore(workdir)
        # Nothing depends on what Orbax writes last, in a folder that it renames.
        is_needed = name.as_posix() != "damsm/4/commit_success.txt"
        assert step == (2 if is_needed else 4), name
        assert (workdir / "damsm" / "4.damaged").is_dir() == is_needed
        damage.save_all(workdir, steps=(6,))  # and the next one is no worse for it
        assert damage.restore(workdir) == 6


def test_no_flipped_bit_is_trained_on(saved, workdir):
    files = damage.files_of(workdir, 4)
    for path, bit in damage.random_bits(files, 200):
        damage.flip(path, bit)
        if not digests.find_damage(workdir / "damsm" / "4"):
            assert damage.restore(workdir) == 4, (path, bit)  # all of it as it was saved
        damage.flip(path, bit)
    assert damage.restore(workdir) == 4


def test_what_is_damaged_is_said_in_one_line(workdir, caplog):
    (file,) = (workdir / "damsm/4/state/d").iterdir()
    damage.flip(file)
    with Checkpoints(workdir, "damsm") as checkpoints:
        with pytest.raises(UserError, match=f"damsm/4 is damaged .*{file.name} has changed"):
            checkpoints.restore(damage.state_at(0))
    with caplog.at_level(pylogging.WARNING):
        set_aside_damaged(workdir, "damsm")
    (line,) = caplog.messages
    assert "damsm/4 is set aside as" in line and "damsm goes on from step 2" in line
    assert f"4.damaged (state/d/{file.name} has changed since it was written)" in line


def test_another_steps_folder_under_this_name(workdir):
    shutil.rmtree(workdir / "damsm/4")
    (workdir / "damsm/2").rename(workdir / "damsm/5")
    with pytest.raises(UserError, match="5 is damaged .it is that of step 2.*none before it"):
        set_aside_damaged(workdir, "damsm")


def test_without_an_older_one_a_stage_starts_again_if_told_to(workdir):
    for step in damage.STEPS:
        damage.empty(workdir / f"damsm/{step}/progress/metadata")
    message = "4 is damaged .progress/metadata .* none before it: .*--restart_damaged"
    with pytest.raises(UserError, match=message):
        set_aside_damaged(workdir, "damsm")
    assert Checkpoints.steps_in(workdir, "damsm") == [2, 4]
    set_aside_damaged(workdir, "damsm", restart=True)
    assert Checkpoints.steps_in(workdir, "damsm") == []
    assert sorted(path.name for path in (workdir / "damsm").iterdir()) == ["2.damaged", "4.damaged"]


BEST = "eval/retrieval_r1"


@pytest.mark.parametrize(
    "scores, step, left",
    [
        ([1.0, 3.0, 9.0], 6, [4]),  # the best, which is the newest
        ([9.0, 1.0, 3.0], 4, [2, 6]),  # neither the newest nor the best: none needs it
        ([9.0, 1.0, 3.0], 6, [2, 4]),
        ([9.0, 1.0, 3.0], 2, None),  # the best, and none before it
    ],
)
def test_the_best_checkpoint_is_not_replaced_by_another(scores, step, left, tmp_path):
    with Checkpoints(tmp_path, "damsm", best=BEST) as checkpoints:
        for number, score in zip((2, 4, 6), scores):
            checkpoints.save(number, damage.state_at(number), {}, {BEST: score})
    damage.zero(tmp_path / f"damsm/{step}/state/manifest.ocdbt")
    if left is None:
        with pytest.raises(UserError, match="2 is damaged .* none before it"):
            set_aside_damaged(tmp_path, "damsm", best=BEST)
    else:
        set_aside_damaged(tmp_path, "damsm", best=BEST)
        assert Checkpoints.steps_in(tmp_path, "damsm") == left


def test_scores_that_changed_choose_no_checkpoint(tmp_path):
    with Checkpoints(tmp_path, "damsm", best=BEST) as checkpoints:
        for step, score in ((2, 9.0), (4, 3.0)):
            checkpoints.save(step, damage.state_at(step), {}, {BEST: score})
    path = tmp_path / "damsm/4/metrics/metrics"
    path.write_text(path.read_text().replace("3.0", "9.5"))
    with Checkpoints(tmp_path, "damsm", best=BEST) as checkpoints:
        with pytest.raises(UserError, match="damsm/4 is damaged .metrics/metrics has changed"):
            checkpoints.best_step()
    path.write_bytes(b"\0" * 9)
    with pytest.raises(UserError, match="damsm/4 is damaged"):
        Checkpoints(tmp_path, "damsm", best=BEST)


def test_a_checkpoint_that_is_being_deleted_is_not_damaged(workdir, monkeypatch):
    """As a training does beside `evaluate --follow`: some of its files are gone already."""
    (workdir / "damsm/2" / digests.FILE).unlink()
    with Checkpoints(workdir, "damsm") as checkpoints:
        sleep = lambda seconds: shutil.rmtree(workdir / "damsm/2")  # noqa: E731
        monkeypatch.setattr("attngan_jax.training.checkpoints.time.sleep", sleep)
        assert checkpoints.best_step() == 4


def test_a_kill_while_an_old_one_is_deleted_damages_none(tmp_path, monkeypatch):
    """Half deleted in its place it would be a damaged one, and perhaps the best."""

    def killed(folder, **_):
        for path in folder.rglob("metrics/metrics"):
            path.unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("attngan_jax.training.checkpoints.shutil.rmtree", killed)
        with Checkpoints(tmp_path, "damsm", best=BEST) as checkpoints:
            for step in (2, 4, 6):
                checkpoints.save(step, damage.state_at(step), {}, {BEST: float(step)})
    set_aside_damaged(tmp_path, "damsm", best=BEST)
    assert Checkpoints.steps_in(tmp_path, "damsm") == [4, 6]
    assert (tmp_path / "damsm/deleted/2").is_dir()
    with Checkpoints(tmp_path, "damsm", best=BEST) as checkpoints:
        checkpoints.save(8, damage.state_at(8), {}, {BEST: 8.0})
    assert not (tmp_path / "damsm/deleted").exists()


def test_checkpoints_without_digests_are_those_of_older_runs(workdir):
    """Which had none: no mark in Orbax's metadata says so."""
    digest = workdir / "damsm/4" / digests.FILE
    digest.unlink()
    assert digests.find_damage(digest.parent) == "digests.json is gone"
    metadata = digest.with_name(digests.METADATA)
    metadata.write_text(metadata.read_text().replace(digests.FILE, "none"))
    assert digests.find_damage(digest.parent) == ""
    assert damage.restore(workdir) == 4


def test_a_network_that_fails_is_no_damage(gcs):
    damage.save_all("gs://birds/run")
    gcs.refuse = lambda method, key: 403 if key.endswith("digests.json") else None
    with pytest.raises(Exception) as raised:
        set_aside_damaged("gs://birds/run", "damsm")
    assert "Cloud Storage refused" in (storage.describe_error(raised.value) or "")
    gcs.refuse = lambda method, key: None
    assert damage.restore("gs://birds/run") == 4


def test_a_disk_that_cannot_read_is_damage(workdir, monkeypatch):
    def read(path, original=storage.file_digest):
        if path.name == "manifest.ocdbt":
            raise OSError(code, os.strerror(code), str(path))
        return original(path)

    monkeypatch.setattr(storage, "file_digest", read)
    code = errno.EACCES
    with pytest.raises(PermissionError):
        set_aside_damaged(workdir, "damsm")
    code = errno.EIO
    assert "manifest.ocdbt cannot be read" in digests.find_damage(workdir / "damsm/4")


def test_in_a_bucket_no_file_is_read_for_it(gcs):
    damage.save_all("gs://birds/run")
    name = max(gcs.names("birds/run/damsm/4/state/d/"), key=lambda name: len(gcs.objects[name]))
    before = len(gcs.requests)
    set_aside_damaged("gs://birds/run", "damsm")
    read = [path for _, path in gcs.requests[before:] if "alt=media" in path]
    assert len(read) < 10 and not any("state" in path for path in read)
    content = bytearray(gcs.objects[name])
    content[9] ^= 1
    gcs.put(name, content)
    set_aside_damaged("gs://birds/run", "damsm")
    assert damage.restore("gs://birds/run") == 2
    assert not gcs.names("birds/run/damsm/4/") and gcs.names("birds/run/damsm/4.damaged/state/d/")
