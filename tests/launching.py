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


def start(command: str, project=None, cwd=None, bin="/bin", **environment) -> subprocess.Popen:
    """Starts what a user types, with the scripts of `project`; programs in `bin` come first."""
    if project:
        command = command.replace("bash launch/", f"bash {shlex.quote(str(project))}/launch/")
    environment = {"PATH": f"{bin}:{os.environ['PATH']}"} | environment
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(["bash", "-c", command], cwd=cwd, env=environment, text=True, **pipes)


def run(command: str, *arguments, **settings) -> subprocess.CompletedProcess:
    """As `start`, to its end."""
    with start(command, *arguments, **settings) as process:
        output = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, *output)


def wait_until(condition) -> None:
    """Waits for something that another process does."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
