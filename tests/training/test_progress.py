"""The time left: counted in finished steps, told as a line in a log and a bar on a terminal."""

import contextlib
import json
import re
import sys

import pytest

from attngan_jax.training import progress
from attngan_jax.training.progress import AHEAD, Progress


class Array:
    """The result of a step on a device that is slower than Python."""

    def __init__(self):
        self.ready = False

    def is_ready(self):
        return self.ready

    def block_until_ready(self):
        self.ready = True
        return self


@pytest.fixture
def clock(monkeypatch):
    """Seconds, in a list, that count as now."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def run(steps, clock, start=0, total=1000, workdir="/nowhere", stage="attngan"):
    """A `Progress` after steps that took these seconds each, and what it said on the way."""
    one, said = Progress(workdir, stage, total), []
    for step, seconds in enumerate(steps, start + 1):
        array = Array()
        one.add(step, {"loss": array})
        clock[0] += seconds
        one.wait()
        said.append(one.time_left())
    return one, said


def test_a_step_counts_when_it_is_finished_and_few_are_under_way():
    one, arrays = Progress("/nowhere", "damsm", 100), [Array() for _ in range(9)]
    for step, array in enumerate(arrays[:AHEAD], 1):
        assert not one.add(step, array)
    assert one.finished == 0
    arrays[0].ready = arrays[1].ready = True
    assert one.add(AHEAD + 1, arrays[AHEAD]) and one.finished == 2
    for step, array in enumerate(arrays[AHEAD + 1 :], AHEAD + 2):
        one.add(step, array)
    assert one.finished == 9 - AHEAD  # it has waited for these
    assert one.wait() and one.finished == 9 and not one.wait()


def test_compilation_is_left_out_and_a_new_pace_is_learnt(clock):
    _, said = run([90.0, *[0.5] * 199], clock)
    assert said[0] == "the time left is not known yet"
    expected = {2: 499, 100: 450, 200: 400}
    for step, seconds in expected.items():
        text = f"2 steps/s, {seconds // 60} min {seconds % 60} s left of stage 2"
        assert said[step - 1] == f"{text}, then the scores"
    _, said = run([0.5] * 200 + [2.0] * 200, clock)
    assert said[-1] == "2 s a step, 20 min 0 s left of stage 2, then the scores"


def test_resumed_steps_took_no_time_and_pauses_count(clock):
    one, said = run([1.0, *[1.0, 1.0, 1.0, 1.0, 6.0] * 20], clock, start=899, stage="damsm")
    assert one.finished == 1000 and said[-1].startswith("2 s a step, 0.0 s left of stage 1,")
    assert said[50].startswith("2") and "then stage 2 and the scores" in said[50]


def test_the_whole_run_is_told_where_it_is_known(clock, tmp_path):
    (tmp_path / "wall_seconds.json").write_text(json.dumps({"evaluate": 100.0, "damsm": 7.0}))
    _, said = run([1.0] * 100, clock, workdir=tmp_path)
    assert said[-1] == "1 steps/s, 16 min 40 s left of the whole run"
    _, said = run([1.0] * 100, clock, workdir=tmp_path, stage="damsm")
    assert "15 min 0 s left of stage 1, then stage 2" in said[-1]


def test_a_terminal_gets_a_bar_and_a_log_gets_lines(clock, monkeypatch, capsys, caplog):
    caplog.set_level("INFO")
    log, _ = run([1.0] * 10, clock)
    log.say("loss 3.000")
    line = "AttnGAN (stage 2 of 3) step 10 of 1,000: loss 3.000"
    assert f"{line} (1 steps/s, 16 min 30 s left" in caplog.text and not capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    terminal = Progress("/nowhere", "attngan", 10)
    with contextlib.closing(terminal):
        for step in range(1, 11):
            clock[0] += 60
            terminal.add(step, Array())
            terminal.wait()
        terminal.say("loss 3.000")
    bar = capsys.readouterr().err
    assert re.search(rf"(^|[\r\n]){re.escape(line.replace('1,000', '10'))}\n", bar)
    assert "100%|" in bar and "10/10, 60 s a step, 0.0 s left of stage 2" in bar
