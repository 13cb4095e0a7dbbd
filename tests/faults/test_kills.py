"""Killed at chosen points or at random, a run comes to the numbers of one never stopped."""

import os
import pkgutil
import random
import shutil
import subprocess
import sys
import time

import pytest

from attngan_jax.training import digests
from attngan_jax.training.checkpoints import Checkpoints
from tests import tiny_runs
from tests.faults import damage, killed, results, stage_one


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


SAVING = """
import itertools, sys
from attngan_jax.training.checkpoints import Checkpoints
from tests.faults import damage
with Checkpoints(sys.argv[1], "damsm") as checkpoints:
    for step in itertools.count(1):
        checkpoints.save(step, damage.state_at(step), {"iterator": {"n": 100 + step}})
        print(step, flush=True)
"""


def test_kills_at_random_while_checkpoints_are_written(tmp_path):
    """Whatever is listed afterwards is whole."""
    numbers, command = random.Random(0), [sys.executable, "-c", SAVING, str(tmp_path)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for _ in range(4):
        shutil.rmtree(tmp_path / "damsm", ignore_errors=True)
        with subprocess.Popen(command, cwd=tiny_runs.ROOT, env=environment, **pipes) as process:
            assert process.stdout.readline() == b"1\n" and process.stdout.readline() == b"2\n"
            time.sleep(numbers.uniform(0.0, 0.5))
            process.kill()
        folders = [tmp_path / "damsm" / str(n) for n in Checkpoints.steps_in(tmp_path, "damsm")]
        assert folders and not any(map(digests.find_damage, folders))
        assert damage.restore(tmp_path) == int(folders[-1].name)
        damage.save_all(tmp_path, steps=(1000,))


@pytest.mark.parametrize("point", killed.POINTS)
def test_the_points_are_functions_that_there_are(point):
    place, _ = killed.POINTS[point]
    assert callable(pkgutil.resolve_name(place))
