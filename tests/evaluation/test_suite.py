"""FID, KID and the Inception Score of a run, by a classifier that is made up."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.configuration import load_workdir_config
from attngan_jax.errors import UserError
from attngan_jax.evaluation import suite
from attngan_jax.evaluation.inception_classifier import Classifier
from attngan_jax.evaluation.metrics.fid_kid import Features


def made_up_classifier(path):
    """In the place of `Classifier.load`; the file's name is the family.

    Its features are the mean colours of the four quarters.
    """
    kernel = 5 * np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)

    def apply(variables, images):
        B, S, _, _ = images.shape
        quarters = images.astype(jnp.float32).reshape(B, 2, S // 2, 2, S // 2, 3).mean((2, 4))
        features = quarters.reshape(B, 12) / 255
        return features, jax.nn.softmax(features @ variables["kernel"])

    features = Features(path.removesuffix(".safetensors"), "1" * 64, "not at all")
    return Classifier(features, {"kernel": kernel}, apply)


@pytest.fixture
def run(tiny_run, tmp_path, monkeypatch):
    """A copy of the tiny run and its dataset's folder, and classifiers by name."""
    _, workdir, data = tiny_run
    shutil.copytree(workdir, tmp_path / "run")
    monkeypatch.setattr(Classifier, "load", made_up_classifier)
    return tmp_path / "run", data


def test_scores_with_classifiers(run):
    workdir, data = run
    settings = {
        "fid_weights": "torchvision.safetensors",
        "inception_splits": 3,
        "inception_score_weights": "torchvision.safetensors",
    }
    metrics = suite.evaluate(workdir, settings=settings)
    fid, kid, score = (metrics[name] for name in ("fid", "kid", "inception_score"))
    assert fid["family"] == kid["family"] == score["classifier"] == "torchvision"
    assert (fid["num_images"], fid["reference_images"]) == (30, 15)
    assert fid["value"] > 0 and kid["low"] < kid["value"] < kid["high"]
    assert 1 <= score["mean"] < 5 and (score["splits"], score["num_images"]) == (3, 30)
    assert metrics["reasons"] == {} and metrics["fid_damsm"]["family"] == "damsm"

    cached = list(data.rglob("reference/torchvision-*.npz"))
    assert len(cached) == 1
    with np.load(cached[0]) as arrays:
        provenance = json.loads(str(arrays["provenance"]))
    assert {
        "dataset": "procedural_birds",
        "split": "test",
        "num_images": 15,
        "weights_sha256": "1" * 64,
        "resize": "not at all",
    }.items() <= provenance.items()
    stamp = cached[0].stat().st_mtime_ns

    other = suite.evaluate(
        workdir, settings=settings | {"inception_score_weights": "cub-50.safetensors"}
    )
    assert other["fid"] == fid and cached[0].stat().st_mtime_ns == stamp
    assert other["inception_score"]["classifier"] == "cub-50"
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert {
        "eval/fid_torchvision",
        "eval/kid_torchvision",
        "eval/fid_damsm",
        "eval/inception_score",
        "eval/grounding_damsm",
    } <= lines[-1]["scalars"].keys()
    config = load_workdir_config(workdir)
    assert not suite.is_finished(workdir, 4, config)  # the run's own settings were others


def test_the_cub_classifier_gives_no_fid(run):
    with pytest.raises(UserError, match="fid_weights is .* family cub-50.*torchvision, tf-2015"):
        suite.evaluate(run[0], settings={"fid_weights": "cub-50.safetensors"})


def test_scores_of_another_checkpoint_do_not_finish_the_run(tiny_run):
    _, workdir, _ = tiny_run
    assert suite._newest_and_used(workdir, None) == (4, 4)
    assert suite._newest_and_used(workdir, 4) == (4, 4)
    assert suite._newest_and_used(workdir, 2) == (None, 2)


def test_a_checkpoint_that_is_gone_is_told_from_one_that_is_damaged(run):
    workdir, _ = run
    with pytest.raises(suite.CheckpointGone, match="there is no checkpoint 3 in .*attngan"):
        suite.evaluate(workdir, step=3)
    shutil.rmtree(workdir / "attngan" / "2" / "state")
    with pytest.raises(UserError, match="2 does not fit this config or is damaged") as raised:
        suite.evaluate(workdir, step=2)
    assert not isinstance(raised.value, suite.CheckpointGone)
