"""The time left: counted in finished steps, told as a line in a log and a bar on a terminal."""

import contextlib
import functools
import re
import sys

import pytest

from attngan_jax.training import progress
from attngan_jax.training.progress import AHEAD, Progress, StageClock, steps_after, wall_seconds


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


def run(steps, clock, start=0, total=1000, after=0, pauses=()):
    """A `Progress` after steps that took these seconds each, and what it said after each.

    `pauses` are seconds by the number of the step that they come after.
    """
    one, said = Progress("attngan", total, lambda: after), []
    for step, seconds in enumerate(steps, start + 1):
        array = Array()
        one.add(step, {"loss": array})
        clock[0] += seconds
        one.wait()
        said.append(one.time_left())
        if step in dict(pauses):
            with one.pause():
                clock[0] += dict(pauses)[step]
    return one, said


def seconds_in(text):
    number, unit = re.search(r"about ([\d.]+) (s|min|h) left in all", text).groups()
    return float(number) * {"s": 1, "min": 60, "h": 3600}[unit]


def test_a_step_counts_when_it_is_finished_and_few_are_under_way():
    one, arrays = Progress("damsm", 100), [Array() for _ in range(9)]
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
    _, said = run([90.0, *[0.5] * 399], clock)
    assert said[0] == said[20] == "the time left is not known yet"
    assert said[99] == "2 steps/s, about 8 min left in all"
    assert said[199] == "2 steps/s, about 7 min left in all"
    _, said = run([0.5] * 200 + [2.0] * 200, clock)
    assert said[-1] == "2 s a step, about 20 min left in all"
    _, said = run([60.0] * 3, clock)
    assert said[-1] == "60 s a step, about 16.6 h left in all"


def test_one_figure_of_the_whole_run_that_does_not_jump(clock):
    """Pauses of 15 s, the first of them with a compilation, and a stage that begins at step 100."""
    pauses = {step: 15.0 for step in range(200, 1001, 100)} | {200: 60.0}
    start = clock[0]
    _, said = run([0.5] * 900, clock, start=100, after=600, pauses=pauses)
    figures = [seconds_in(text) for text in said[50:]]
    true = [
        sum(pauses[k] for k in pauses if k > step) + 0.5 * (1000 - step) + 300
        for step in range(151, 1001)
    ]
    for figure, seconds in zip(figures, true):
        assert abs(figure - seconds) < 0.25 * seconds, (figure, seconds)
    assert all(abs(a - b) < max(0.2 * a, 61) for a, b in zip(figures, figures[1:]))
    assert clock[0] - start == 450 + sum(pauses.values())


def test_what_comes_after_is_counted_once_and_late(clock):
    asked = []
    one = Progress("damsm", 100, lambda: asked.append(clock[0]) or 500)
    for step in range(1, 101):
        one.add(step, Array())
        clock[0] += 1.0
        one.wait()
        one.time_left()
    assert len(asked) == 1 and asked[0] >= progress.WARM_UP
    assert one.time_left() == "1 steps/s, about 8 min left in all"


def test_what_comes_after_a_stage_in_its_steps(tiny_config, monkeypatch):
    tiny_config.attngan.num_train_steps, tiny_config.eval.num_images = 100, 400
    tiny_config.attngan.batch_size = 8

    left = functools.partial(steps_after, tiny_config, newest=0, num_words=30)
    ratio = left(stage="damsm") / (100 + 50)
    assert left(stage="attngan") == 50 and 1 < ratio < 10
    monkeypatch.setattr(progress.ahead_of_time, "relative_cost", lambda *_: 2.0)
    assert left(stage="damsm", newest=60) == 2 * (40 + 50)


def test_pauses_a_step_apart(clock):
    """Steps that are under way when a pause begins are waited for, and are no part of it."""
    one = Progress("attngan", 100)
    for step in range(1, 31):
        one.add(step, Array())
        clock[0] += 1.0
        if step in (20, 21):
            with one.pause():
                assert one.finished == step
                clock[0] += 5.0
    one.wait()
    assert seconds_in(one.time_left()) == 7 * 60  # 70 of 1 s, and 5 s after each


def test_a_terminal_gets_a_bar_and_a_log_gets_lines(clock, monkeypatch, capsys, caplog):
    caplog.set_level("INFO")
    log, _ = run([1.0] * 40, clock)
    log.say("loss 3.000")
    line = "AttnGAN (stage 2 of 3) step 40 of 1,000: loss 3.000"
    told = f"{line} (1 steps/s, about 16 min left in all)"
    assert told in caplog.text and not capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    terminal = Progress("attngan", 10)
    with contextlib.closing(terminal):
        for step in range(1, 11):
            clock[0] += 60
            terminal.add(step, Array())
            terminal.wait()
        terminal.say("loss 3.000")
    bar = capsys.readouterr().err.replace("\x1b[A", "")  # up to the bars that other tests left
    assert re.search(rf"(^|[\r\n]){re.escape(line.replace('40 of 1,000', '10 of 10'))}\n", bar)
    assert "100%|" in bar and "10/10, 60 s a step, about 0 s left in all" in bar


def test_clocks_add_up_over_starts_and_parts(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = StageClock(tmp_path, "damsm")
    now[0] += 7.25
    spent = clock.save()
    StageClock(tmp_path, "prepare", 1.0).save()
    later = StageClock(tmp_path, "damsm", spent)
    now[0] += 2.0
    assert later.save() == 9.25
    assert wall_seconds(tmp_path) == {"damsm": 9.2, "prepare": 1.0}
    assert wall_seconds(tmp_path / "nowhere") == {}
