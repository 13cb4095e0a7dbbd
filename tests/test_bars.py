"""Bars on a terminal, plain lines in a log."""

import sys
import time

import pytest

from attngan_jax import bars
from attngan_jax.bars import Bar


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bars, "LOG_SECONDS", 0.02)


def test_a_log_gets_plain_lines_of_what_takes_long(quick, capsys):
    for _ in Bar(range(1, 5), "Words", unit=" images"):
        time.sleep(0.03)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Words: 1 of 4 images, 00:00 left" and len(lines) == 4


def test_a_log_gets_nothing_of_what_is_done_soon(capsys):
    assert list(Bar(range(4), "Words")) == [0, 1, 2, 3]
    with Bar(desc="file", total=2) as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""


def test_a_line_says_what_it_knows():
    with Bar(desc="file", unit="B", unit_scale=True, unit_divisor=1024) as bar:
        bar.n = 2048
        assert bar.line() == "file: 2.05kB"
        bar.total, bar.start_t = 8192, bar._time() - 10
        assert bar.line() == "file: 2.05k of 8.19kB, 00:30 left"


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(Bar(range(2), "Words", unit=" images")) == [0, 1]
    assert "\rWords: 100%|" in capsys.readouterr().err
