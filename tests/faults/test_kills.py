"""Killed at chosen points, a stage comes to the numbers of one that was never stopped."""

import pkgutil

import pytest

from attngan_jax.training.checkpoints import Checkpoints
from tests import tiny_runs
from tests.faults import killed, results, stage_one


def start(*arguments):
    return tiny_runs.start_python("-m", *arguments, devices=4)


def test_kills_one_after_another_leave_no_trace(tiny_data_dir, tmp_path):
    stage_one.train(str(tmp_path / "straight"), tiny_data_dir)
    run = tmp_path / "killed"
    # Step 4 is being saved; step 6 is logged, and its checkpoint lacks its digests.
    for point, count, left in (
        ("while a checkpoint is written", 2, ([2], [2, 4])),
        ("before its digests", 1, ([2], [2, 4])),
    ):
        done = start(
            "tests.faults.killed", point, count, "tests.faults.stage_one", run, tiny_data_dir
        )
        assert done.returncode == -9, done.stderr[-2000:]
        assert Checkpoints.steps_in(run, "damsm") in left
    done = start("tests.faults.stage_one", run, tiny_data_dir)
    assert done.returncode == 0, done.stderr[-2000:]
    assert results.differences(run, tmp_path / "straight", ["damsm/4", "damsm/6"]) == []


@pytest.mark.parametrize("point", killed.POINTS)
def test_the_points_are_functions_that_there_are(point):
    place, _ = killed.POINTS[point]
    assert callable(pkgutil.resolve_name(place))
