"""Runs launch scripts with fake programs in place of the ones that they call."""

import os
import pathlib
import shlex
import shutil
import subprocess
import time

from tests.tiny_runs import ROOT


def write_program(path: pathlib.Path, text: str) -> pathlib.Path:
    """Writes an executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def copy_project(folder: pathlib.Path, python: str = "") -> pathlib.Path:
    """A folder with copies of launch/ and the requirements; `python`, if any, as its .venv's."""
    shutil.copytree(ROOT / "launch", folder / "launch")
    for path in ROOT.glob("requirements*.txt"):
        shutil.copy(path, folder)
    if python:
        write_program(folder / ".venv/bin/python", python)
        shutil.copy(ROOT / "requirements.txt", folder / ".venv/.installed-requirements.txt")
    return folder


def shell(command: str, *, bin=None, cwd=None, **environment) -> subprocess.CompletedProcess:
    """Runs a command as typed, in an environment of its own; programs in `bin` come first."""
    path = f"{bin}:{os.environ['PATH']}" if bin else os.environ["PATH"]
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env={"PATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def in_project(command: str, project: pathlib.Path = ROOT) -> str:
    """A command that starts a script of `project` from any folder."""
    return command.replace("bash launch/", f"bash {shlex.quote(str(project))}/launch/")


def wait_until(condition, seconds: float) -> None:
    """Waits for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
