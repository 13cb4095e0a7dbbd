"""Following a run: each new checkpoint is scored once, in order, until the last one."""

import json
import shutil

import pytest

from attngan_jax.errors import UserError
from attngan_jax.evaluation import suite
from tests import tiny_runs


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of four steps whose checkpoints are empty folders, and an evaluation that only logs."""
    (tmp_path / "config.json").write_text('{"attngan": {"num_train_steps": 4}}')
    checkpoints(tmp_path, 1, 2)

    def evaluate(workdir, *, step, settings):
        if not (workdir / "attngan" / str(step)).exists():
            raise suite.CheckpointGone("the checkpoint is gone")
        if settings.get("broken"):
            raise UserError("there is no dataset")
        with (workdir / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"stage": "eval", "step": step, "scalars": {}}) + "\n")
        return {"step": step}

    monkeypatch.setattr(suite, "evaluate", evaluate)
    return tmp_path


def checkpoints(workdir, *steps):
    for step in steps:
        (workdir / "attngan" / str(step)).mkdir(parents=True)
        (workdir / "attngan" / str(step) / "_CHECKPOINT_METADATA").write_text("{}")


def test_each_checkpoint_once_until_the_last(run, monkeypatch):
    naps = []

    def sleep(seconds):  # training goes on meanwhile
        naps.append(seconds)
        checkpoints(run, 3 if len(naps) == 1 else 4)

    monkeypatch.setattr(suite.time, "sleep", sleep)
    steps = [metrics["step"] for metrics in suite.follow(run, seconds=7, settings={})]
    assert steps == [1, 2, 3, 4] and naps == [7, 7]
    assert list(suite.follow(run, seconds=7, settings={})) == []  # all are scored
    assert suite.scored_steps(run) == {1, 2, 3, 4}


def test_a_deleted_checkpoint_is_skipped(run):
    checkpoints(run, 4)
    steps = []
    for metrics in suite.follow(run, seconds=0, settings={}):
        steps.append(metrics["step"])
        shutil.rmtree(run / "attngan" / "2", ignore_errors=True)
    assert steps == [1, 4]


def test_other_errors_are_raised(run):
    with pytest.raises(UserError, match="no dataset"):
        next(suite.follow(run, seconds=0, settings={"broken": True}))


def test_it_waits_for_a_run_that_has_not_begun(tmp_path, monkeypatch):
    def sleep(_):
        raise StopIteration

    monkeypatch.setattr(suite.time, "sleep", sleep)
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(suite.follow(tmp_path / "later", seconds=1))
    assert not (tmp_path / "later").exists()


@pytest.mark.slow
def test_the_command_scores_with_other_settings(tiny_run, tmp_path):
    _, workdir, _ = tiny_run
    run = tmp_path / "run"
    shutil.copytree(workdir, run)
    (run / "metrics.jsonl").unlink()
    shutil.rmtree(run / "attngan" / "2")
    settings = ("--eval.num_images=20", "--eval.mismatch=image", "--eval.num_candidates=5")
    follow = ("--follow", "--every_seconds", 0.1)
    done = tiny_runs.start_door("evaluate", "--workdir", run, *follow, *settings)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("step 4") == 1 and "FID (damsm)" in done.stdout
    scores = json.loads((run / "report" / "metrics.json").read_text())["r_precision"]
    assert (scores["mismatch"], scores["candidates"], scores["num_images"]) == ("image", 5, 20)
    assert suite.is_finished(run, 4)
    again = tiny_runs.start_door("evaluate", "--workdir", run, "--eval.mismatch=dog")
    tiny_runs.assert_one_line(again, 1, "config.eval.mismatch is 'dog'", "class, image")
