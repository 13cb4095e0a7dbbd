"""What is said before training of a dataset that is small or uniform."""

import dataclasses
import re

import pytest

from attngan_jax.data.dataset_checks import shortcomings


@dataclasses.dataclass
class Facts:
    """A dataset as the checks see it."""

    train: range
    test: range
    report: dict | None


def facts(train=500, test=200, classes=(10, 10), captions=400):
    splits = {"train": {"classes": classes[0]}, "test": {"classes": classes[1]}}
    report = {"splits": splits, "distinct_captions": {"train": captions}}
    return Facts(range(train), range(test), report)


@pytest.fixture
def config(tiny_config):
    tiny_config.damsm.batch_size, tiny_config.attngan.batch_size = 48, 20
    tiny_config.eval.num_candidates, tiny_config.eval.mismatch = 100, "class"
    return tiny_config


def test_enough_is_not_spoken_of(config):
    assert shortcomings(config, facts()) == []
    assert shortcomings(config, facts(classes=(0, 0))) == []
    assert shortcomings(config, Facts(range(500), range(200), None)) == []


@pytest.mark.parametrize(
    "given, said",
    [
        ({"train": 30}, ["fewer than config.damsm.batch_size = 48.*batch_size=15 or less"]),
        ({"train": 18}, ["config.damsm.batch_size", "config.attngan.batch_size=9 or less"]),
        ({"classes": (1, 5)}, ["all 500 training images are of one class.*losses are 0"]),
        ({"classes": (5, 1)}, ["all 200 test images are of one class.*eval.mismatch=image"]),
        ({"captions": 3}, ["share 3 captions"]),
        ({"test": 2}, ["2 test images, fewer than config.eval.num_candidates = 100"]),
    ],
)
def test_what_is_said(config, given, said):
    lines = shortcomings(config, facts(**given))
    lines = [line for line in lines if "share 400" not in line]
    assert len(lines) == len(said)
    for line, pattern in zip(lines, said):
        assert re.search(pattern, line), line
