"""The launch scripts of one machine, with a fake Python that only logs its arguments."""

import re
import types

import pytest

from configs import ablation
from tests import launching
from tests.tiny_runs import ROOT

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
QUICKSTART = "bash launch/quickstart.sh"
VERSIONS = {(3, 10, 9): True, (3, 11, 0): False, (3, 13, 9): False, (3, 14, 0): True}  # exit codes


@pytest.fixture
def launch(tmp_path):
    """Runs a command in a copy of the project with the fake Python; returns what that was asked."""
    project = launching.copy_project(tmp_path / "a project")  # with a space, as people have them
    python = launching.write_program(tmp_path / "fake" / "python3", FAKE_PYTHON)
    log = tmp_path / "log"

    def run(command):
        log.write_text("")
        done = launching.run(command, project, tmp_path, python.parent, LOG=str(log))
        return done, log.read_text().splitlines(), project

    return run


def test_quickstart_installs_once_and_trains(launch):
    done, asked, project = launch(f"{QUICKSTART} --workdir 'runs/my run'")
    assert done.returncode == 0, done.stderr
    assert asked == [
        "python3 -m venv --clear .venv",
        "python -m pip install --quiet --disable-pip-version-check -r requirements.txt",
        "python -m attngan_jax.main --config configs/procedural_birds.py --workdir runs/my run",
    ]
    done, asked, _ = launch(QUICKSTART)
    assert asked == ["python -m attngan_jax.main --config configs/procedural_birds.py"]
    with (project / "requirements.txt").open("a") as file:
        file.write("another\n")
    _, asked, _ = launch(QUICKSTART)
    assert len(asked) == 2 and "pip install" in asked[0]


def test_the_ablation_runs_seed_by_seed_and_shares_stage_1(launch):
    settings = "SEEDS='3 4' VARIANTS='lambda_5 dcgan' RUNS=runs/a"
    done, asked, _ = launch(f"{settings} bash launch/ablation.sh --config.log_every_steps=9")
    assert done.returncode == 0, done.stderr
    main = "python -m attngan_jax.main --config configs/ablation.py"
    table = "python -m attngan_jax.ablation --runs runs/a"
    runs = [line for line in asked if main in line or table in line]
    assert runs == [
        line
        for run in ("runs/a/seed_3", "runs/a/seed_4")
        for variant, share in (("lambda_5", ""), ("dcgan", f" --damsm_from {run}/lambda_5"))
        for line in (
            f"{main}:{variant} --config.seed={run[-1]} --workdir {run}/{variant}"
            f"{share} --config.log_every_steps=9",
            table,
        )
    ]
    _, asked, _ = launch("bash launch/ablation.sh")
    variants = [re.search(r"ablation.py:(\S+)", line)[1] for line in asked if ".main" in line]
    assert sorted(variants) == sorted([name for name in ablation.VARIANTS if name] * 2)


def test_a_variant_that_fails_is_named_and_the_others_run(launch):
    settings = "SEEDS=0 VARIANTS='no_damsm dcgan' FAILING='*no_damsm*'"
    done, asked, _ = launch(f"{settings} bash launch/ablation.sh")
    assert done.returncode == 1 and "runs/ablation/seed_0/no_damsm" in done.stderr
    assert sum(".main" in line for line in asked) == 2 and "--damsm_from" not in asked[-2]


def test_the_tests_have_their_own_requirements(launch):
    done, asked, _ = launch("bash launch/test.sh tests/models -x")
    assert done.returncode == 0, done.stderr
    suffixes = ("", "-test", "-gcs", "-tpu")
    assert [line.rpartition(" ")[2] for line in asked[:-1]] == [
        ".venv",
        *(f"requirements{suffix}.txt" for suffix in suffixes),
    ]
    assert asked[-1] == "python -m pytest tests/models -x"


def test_an_install_that_fails_is_tried_again(launch):
    done, asked, _ = launch(f"PIP_FAILS=1 {QUICKSTART}")
    assert done.returncode == 1 and "pip could not install requirements.txt" in done.stderr
    assert "attngan_jax" not in asked[-1]
    _, asked, _ = launch(QUICKSTART)
    assert "pip install" in asked[0] and "attngan_jax.main" in asked[1]


def test_no_python_that_is_new_enough_says_so(launch):
    done, asked, _ = launch(f"PYTHON=python3 TOO_OLD=1 {QUICKSTART}")
    assert done.returncode == 1 and asked == []
    assert done.stderr.startswith("error: no Python 3.11, 3.12 or 3.13")
    assert "PYTHON=" in done.stderr


@pytest.mark.parametrize("version, status", VERSIONS.items())
def test_supported_pythons(version, status):
    script = (ROOT / "launch" / "environment.sh").read_text()
    check = re.search(r"^fits='import sys; sys.exit\((.*)\)'$", script, re.MULTILINE)[1]
    assert eval(check, {"sys": types.SimpleNamespace(version_info=version)}) == status


def test_the_virtual_environment_may_be_elsewhere(launch, tmp_path):
    _, asked, project = launch(f"VENV='{tmp_path}/venv' {QUICKSTART}")
    assert (tmp_path / "venv" / "bin" / "python").exists()
    assert not (project / ".venv").exists() and len(asked) == 3


def test_continuous_integration_calls_the_test_script():
    assert "launch/test.sh" in (ROOT / ".ci" / "run").read_text()
