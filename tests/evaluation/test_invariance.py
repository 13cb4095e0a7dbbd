"""A whole evaluation gives the same numbers for any batch size and any number of devices."""

import json
import shutil

import jax
import pytest

from attngan_jax.evaluation import suite
from attngan_jax.evaluation.inception_classifier import Classifier
from attngan_jax.training import parallel
from tests.evaluation.test_suite import made_up_classifier
from tests.same_metrics import assert_same_metrics

# 15 test images, 30 generated and 45 for the judges: the last batch of each has a part to fill.
UNEVEN = {1: 7, 4: 16}
WEIGHTS = {
    "fid_weights": "torchvision.safetensors",
    "inception_splits": 3,
    "inception_score_weights": "torchvision.safetensors",
}


@pytest.fixture
def scored_on(tiny_run, tmp_path, monkeypatch):
    """The metrics of a copy of the tiny run, from nothing, by number of devices."""
    _, workdir, data = tiny_run
    monkeypatch.setattr(Classifier, "load", made_up_classifier)
    make_mesh = parallel.make_mesh

    def score(num_devices):
        copy = tmp_path / str(num_devices)
        shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("report", "reference"))
        for folder in data.rglob("reference"):
            shutil.rmtree(folder)
        monkeypatch.setattr(
            parallel,
            "make_mesh",
            lambda devices=None: make_mesh(
                jax.devices()[:num_devices] if devices is None else devices
            ),
        )
        return suite.evaluate(copy, settings=WEIGHTS | {"batch_size": UNEVEN[num_devices]})

    return score


@pytest.mark.slow
def test_neither_devices_nor_batches_change_a_number(scored_on, tiny_run):
    one, four = scored_on(1), scored_on(4)
    assert one["reasons"] == {} and one["fid"] is not None and one["inception_score"] is not None
    assert_same_metrics(one, four)
    _, workdir, _ = tiny_run  # on one device, in batches of 8
    before = json.loads((workdir / "report" / "metrics.json").read_text())
    without = {"fid": None, "kid": None, "inception_score": None, "reasons": before["reasons"]}
    assert_same_metrics(before, one | without)
