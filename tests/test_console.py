"""What a command prints to, and SIGTERM where nothing saves at it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.tiny_runs import ROOT, assert_one_line, start_python

SAYS = "from attngan_jax import cli\ndef main(argv):\n    {}\ncli.run(main)\n"
STOPPED = "stopped by SIGTERM; run the same command again to go on"


def started(code, **options):
    command = [sys.executable, "-c", SAYS.format(code)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize(
    "work",
    [
        "import time; print('here', flush=True); time.sleep(60)",
        # As a compilation: one call of C, which lets other threads go on.
        "import ctypes; print('here', flush=True); ctypes.CDLL(None).sleep(60)",
        "import time\n    print('here', flush=True)\n    try:\n        time.sleep(60)\n"
        "    finally:\n        time.sleep(60)",
    ],
    ids=["in Python", "in C", "while it cleans up"],
)
def test_sigterm_ends_a_command_within_a_second_with_one_line(work):
    process = started(work, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "here\n"
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - start < 2  # one, but that the machine may be busy
    assert process.returncode == 1
    assert [line for line in said.splitlines() if line] == [f"error: {STOPPED}"]


def test_sigterm_ends_the_building_of_a_dataset(tmp_path):
    command = [sys.executable, "-m", "attngan_jax.prepare", "--config=procedural_birds"]
    process = subprocess.Popen(
        [*command, f"--data_dir={tmp_path}"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while "building" not in process.stderr.readline():
        assert process.poll() is None
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - start < 2
    assert process.returncode == 1 and said.splitlines()[-1] == f"error: {STOPPED}"
    assert "Traceback" not in said


def test_a_terminal_of_another_encoding_shows_what_it_can():
    code = SAYS.format("print('a caf\\u00e9 \\u9ce5')")
    done = start_python("-c", code, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "a caf\\xe9 \\u9ce5\n")


def test_a_reader_that_has_enough_is_no_error():
    lines = "for k in range(100_000): print('line', k)\n    import sys; sys.stderr.write('done')"
    process = started(lines, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    assert process.stderr.read() == "done"
    assert process.wait(timeout=60) == 0
    piped = f"{sys.executable} -m attngan_jax | true"  # the list of commands
    assert subprocess.run(["sh", "-c", piped], cwd=ROOT, capture_output=True).stderr == b""


def test_closed_streams_take_no_file_of_the_command(tmp_path):
    code = f"file = open({str(tmp_path / 'file')!r}, 'w')\n    print('lost', flush=True)"
    code += "\n    import os; os.write(1, b'lost'); os.write(2, b'lost')\n    file.write('kept')"
    command = [sys.executable, "-c", SAYS.format(code)]
    closed = f'exec "$@" {" ".join(f"{n}>&-" for n in (0, 1, 2))}'
    done = subprocess.run(["sh", "-c", closed, "sh", *command], cwd=ROOT, timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == "kept"


def test_a_full_disk_behind_stdout_is_said():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        process = started("print('x' * 100)", stdout=full)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "the disk is full" in said
    assert "Traceback" not in said


def test_a_pipe_in_place_of_a_config_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "config.py")
    done = start_python("-m", "attngan_jax.prepare", "--config", tmp_path / "config.py")
    assert_one_line(done, 1, "config.py", "it is a pipe, not a plain file")


def test_tilde_is_ones_home(tmp_path):
    home = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = start_python(
        "-m", "attngan_jax.prepare", "--config", "folder", "--source=~/none", **home
    )
    assert_one_line(done, 1, "the source ~/none is no folder")
    (tmp_path / "none").mkdir()
    done = start_python(
        *("-m", "attngan_jax.prepare", "--config", "folder"),
        *("--source=~/none", "--data_dir=~/data"),
        **home,
    )
    assert_one_line(done, 1, "has no images: it is empty")
    assert not (ROOT / "~").exists()
