"""The launch scripts, with a Python that only writes down what it is asked to do."""

import os
import pathlib
import re
import shutil
import subprocess
import types

import pytest

from configs import ablation
from tests import tiny_runs

FAKE_PYTHON = """#!/bin/sh
case "$*" in
  --version) echo "Python 3.12.0"; exit ;;
  *sys.version_info*) exit "${TOO_OLD:-0}" ;;
  "-c import pip") exit ;;
esac
echo "$(basename "$0") $*" >> "$LOG"
case "$*" in
  "-m venv"*)
    for folder; do :; done  # the last argument
    mkdir -p "$folder/bin"
    cp "$0" "$folder/bin/python" ;;
  *"pip install"*) exit "${PIP_FAILS:-0}" ;;
  ${FAILING:-}) exit 1 ;;
esac
"""


@pytest.fixture
def launch(tmp_path):
    """Runs a launch script of a copy of the project with the fake Python; returns what it asked."""
    project = tmp_path / "a project"  # with a space, as people have them
    shutil.copytree(tiny_runs.ROOT / "launch", project / "launch")
    for name in (
        "requirements.txt",
        "requirements-test.txt",
        "requirements-gcs.txt",
        "requirements-tpu.txt",
    ):
        shutil.copy(tiny_runs.ROOT / name, project / name)
    python = tmp_path / "fake" / "python3"
    python.parent.mkdir()
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    log = tmp_path / "log"

    def run(script, *arguments, **environment):
        log.write_text("")
        done = subprocess.run(
            ["bash", str(project / "launch" / script), *arguments],
            cwd=tmp_path,
            env={"PATH": f"{python.parent}:{os.environ['PATH']}", "LOG": str(log)} | environment,
            capture_output=True,
            text=True,
        )
        return done, log.read_text().splitlines(), project

    return run


def test_quickstart_installs_once_and_trains(launch):
    done, asked, project = launch("quickstart.sh", "--workdir", "runs/my run")
    assert done.returncode == 0, done.stderr
    assert asked == [
        "python3 -m venv --clear .venv",
        "python -m pip install --quiet --disable-pip-version-check -r requirements.txt",
        "python -m attngan_jax.main --config configs/procedural_birds.py --workdir runs/my run",
    ]
    done, asked, _ = launch("quickstart.sh")
    assert asked == ["python -m attngan_jax.main --config configs/procedural_birds.py"]
    with (project / "requirements.txt").open("a") as file:
        file.write("another\n")
    _, asked, _ = launch("quickstart.sh")
    assert len(asked) == 2 and "pip install" in asked[0]


def test_the_ablation_runs_seed_by_seed_and_shares_stage_1(launch):
    done, asked, _ = launch(
        "ablation.sh",
        "--config.log_every_steps=9",
        SEEDS="3 4",
        VARIANTS="lambda_5 dcgan",
        RUNS="runs/a",
    )
    assert done.returncode == 0, done.stderr
    runs = [line for line in asked if ".main" in line]
    assert runs == [
        f"python -m attngan_jax.main --config configs/ablation.py:{variant} "
        f"--config.seed={seed} --workdir runs/a/seed_{seed}/{variant}"
        f"{share} --config.log_every_steps=9"
        for seed in (3, 4)
        for variant, share in (
            ("lambda_5", ""),
            ("dcgan", f" --damsm_from runs/a/seed_{seed}/lambda_5"),
        )
    ]
    assert asked.count("python -m attngan_jax.ablation --runs runs/a") == 4
    _, asked, _ = launch("ablation.sh")
    variants = [re.search(r"ablation.py:(\S+)", line)[1] for line in asked if ".main" in line]
    assert sorted(variants) == sorted([name for name in ablation.VARIANTS if name] * 2)


def test_a_variant_that_fails_is_named_and_the_others_run(launch):
    done, asked, _ = launch(
        "ablation.sh", SEEDS="0", VARIANTS="no_damsm dcgan", FAILING="*no_damsm*"
    )
    assert done.returncode == 1 and "runs/ablation/seed_0/no_damsm" in done.stderr
    assert sum(".main" in line for line in asked) == 2 and "--damsm_from" not in asked[-2]


def test_the_tests_have_their_own_requirements(launch):
    done, asked, _ = launch("test.sh", "tests/models", "-x")
    assert done.returncode == 0, done.stderr
    assert [line.rpartition(" ")[2] for line in asked] == [
        ".venv",
        "requirements.txt",
        "requirements-test.txt",
        "requirements-gcs.txt",
        "requirements-tpu.txt",
        "-x",
    ]
    assert asked[-1] == "python -m pytest tests/models -x"


def test_an_install_that_fails_is_tried_again(launch):
    done, asked, _ = launch("quickstart.sh", PIP_FAILS="1")
    assert done.returncode == 1 and "pip could not install requirements.txt" in done.stderr
    assert "attngan_jax" not in asked[-1]
    _, asked, _ = launch("quickstart.sh")
    assert "pip install" in asked[0] and "attngan_jax.main" in asked[1]


def test_no_python_that_is_new_enough_says_so(launch):
    done, asked, _ = launch("quickstart.sh", PYTHON="python3", TOO_OLD="1")
    assert done.returncode == 1 and asked == []
    assert done.stderr.startswith("error: no Python 3.11, 3.12 or 3.13")
    assert "PYTHON=" in done.stderr


@pytest.mark.parametrize(
    "version, status",
    [((3, 10, 9), True), ((3, 11, 0), False), ((3, 13, 9), False), ((3, 14, 0), True)],
)
def test_pythons_that_fit(version, status):
    script = (tiny_runs.ROOT / "launch" / "environment.sh").read_text()
    check = re.search(r"^fits='import sys; sys.exit\((.*)\)'$", script, re.MULTILINE)[1]
    assert eval(check, {"sys": types.SimpleNamespace(version_info=version)}) == status


def test_the_virtual_environment_may_lie_elsewhere(launch, tmp_path):
    _, asked, project = launch("quickstart.sh", VENV=str(tmp_path / "venv"))
    assert (tmp_path / "venv" / "bin" / "python").exists()
    assert not pathlib.Path(project, ".venv").exists() and len(asked) == 3


def test_continuous_integration_calls_the_test_script():
    assert "launch/test.sh" in (tiny_runs.ROOT / ".ci" / "run").read_text()
