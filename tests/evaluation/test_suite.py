"""A run's scores with a made-up classifier, again on other devices, and of each new checkpoint."""

import json
import shutil
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from attngan_jax import storage
from attngan_jax.configuration import load_workdir_config
from attngan_jax.errors import UserError
from attngan_jax.evaluation import suite
from attngan_jax.evaluation.inception_classifier import Classifier
from attngan_jax.evaluation.judges import files as judge_files
from attngan_jax.evaluation.metrics import fid_kid
from attngan_jax.evaluation.metrics.fid_kid import Features
from attngan_jax.reporting.page import write_report
from attngan_jax.training import parallel
from attngan_jax.workdir import Workdir
from tests import tiny_runs
from tests.same_metrics import assert_same_metrics

FILE = "torchvision.safetensors"
WEIGHTS = {"fid_weights": FILE, "inception_score_weights": FILE, "inception_splits": 3}


def made_up_classifier(path, family=""):
    """In the place of `Classifier.load`; the file's name is the family where none is given.

    Its features are the mean colours of the four quarters.
    """
    kernel = 5 * np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)

    def apply(variables, images):
        B, S, _, _ = images.shape
        quarters = images.astype(jnp.float32).reshape(B, 2, S // 2, 2, S // 2, 3).mean((2, 4))
        features = quarters.reshape(B, 12) / 255
        return features, jax.nn.softmax(features @ variables["kernel"])

    family = family or path.removesuffix(".safetensors")
    features = Features(family, "1" * 64, "not at all")
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
    metrics = suite.evaluate(workdir, settings=WEIGHTS)
    fid, kid, score = (metrics[name] for name in ("fid", "kid", "inception_score"))
    assert fid["family"] == kid["family"] == score["classifier"] == "torchvision"
    assert (fid["num_images"], fid["reference_images"]) == (30, 15)
    assert fid["value"] > 0 and kid["low"] < kid["value"] < kid["high"]
    assert 1 <= score["mean"] < 5 and (score["splits"], score["num_images"]) == (3, 30)
    assert metrics["fid_damsm"]["family"] == "damsm"
    assert fid["reference_recipe"] == "test images as they are"
    assert metrics["reasons"].keys() == {"inception_score_calibrated"}  # by no weights of TISE's

    (cached,) = data.rglob("reference/torchvision-*.npz")
    with np.load(cached) as arrays:
        provenance = json.loads(str(arrays["provenance"]))
    split = {"dataset": "procedural_birds", "split": "test", "num_images": 15}
    network = {"weights_sha256": "1" * 64, "resize": "not at all"}
    assert (split | network).items() <= provenance.items()
    stamp = cached.stat().st_mtime_ns

    settings = WEIGHTS | {"inception_score_weights": "cub-50.safetensors"}
    other = suite.evaluate(workdir, settings=settings)
    assert other["fid"] == fid and cached.stat().st_mtime_ns == stamp
    assert other["inception_score"]["classifier"] == "cub-50"
    assert other["inception_score"]["mean"] == score["mean"]  # the same numbers, another family
    star = other["inception_score_calibrated"]
    assert star["temperature"] == pytest.approx(0.598054) and other["reasons"] == {}
    assert star["mean"] - 1 > 1.2 * (score["mean"] - 1)  # surer of each image
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    names = "fid_torchvision kid_torchvision fid_damsm inception_score grounding_damsm".split()
    assert {f"eval/{name}" for name in names} <= lines[-1]["scalars"].keys()
    # The run's own settings were others.
    assert not suite.is_finished(workdir, 4, load_workdir_config(workdir))


def test_without_judges_their_scores_are_null_and_say_why(run, monkeypatch):
    workdir, _ = run
    judges = judge_files.load()
    judges.record["dataset"]["version"] = "0.9.0"
    monkeypatch.setattr(judge_files, "load", lambda: judges)
    metrics = suite.evaluate(workdir)
    judged = "attribute_accuracy r_precision_independent kid_judge fid_judge spectrum"
    for name in f"{judged} part_presence grounding".split():
        assert metrics[name] is None
        assert "judges are of procedural_birds 0.9.0" in metrics["reasons"][name]
    assert metrics["r_precision"]["mean"] >= 0 and metrics["fid_damsm"]["value"] > 0


def test_images_and_statistics_go_out_and_statistics_come_in(run, tmp_path):
    """The files are the very images that were scored, and a second evaluation keeps them."""
    workdir, _ = run
    outputs = dict(save_images=tmp_path / "images", save_fid_reference=tmp_path / "real.npz")
    first = suite.evaluate(workdir, settings=WEIGHTS, **outputs)
    manifest = json.loads((tmp_path / "images" / "manifest.json").read_text())
    assert manifest["complete"] and len(manifest["images"]) == 30
    assert manifest["model"]["step"] == 4 and manifest["model"]["image_size"] == 16
    images = [
        np.asarray(Image.open(tmp_path / "images" / one["file"])) for one in manifest["images"]
    ]
    classifier = made_up_classifier(FILE)
    features, _ = classifier.apply(classifier.variables, jnp.asarray(np.stack(images)))
    with np.load(tmp_path / "real.npz") as real:
        covariance = np.cov(np.asarray(features, np.float64).T)
        gaussians = (features.mean(0), covariance, real["mu"], real["sigma"])
        fid = fid_kid.gaussian_distance(*gaussians)
    assert fid == pytest.approx(first["fid"]["value"], rel=1e-4)

    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").glob("*.png")}
    settings = WEIGHTS | {"fid_reference": str(tmp_path / "real.npz")}
    given = suite.evaluate(workdir, settings=settings, save_images=tmp_path / "images")
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps and len(stamps) == 30
    assert given["fid"]["value"] == pytest.approx(first["fid"]["value"], rel=1e-9)
    assert given["fid"]["reference_recipe"] == "real.npz" and given["kid"] is None
    assert given["fid"]["reference_images"] is given["fid"]["reference_split"] is None
    assert "15 test images of procedural_birds" in given["fid"]["reference"]
    assert "no features of single images" in given["reasons"]["kid"]


def test_what_would_fail_at_the_end_is_asked_at_the_start(run, tmp_path, monkeypatch):
    def measured(*_, **__):
        raise AssertionError("images were made")

    workdir, _ = run
    monkeypatch.setattr(suite.measurements, "measure_real", measured)
    (tmp_path / "file").write_text("")
    out = tmp_path / "out"
    for outputs, settings, message in (
        ({"save_fid_reference": out / "a.npz"}, {}, "there are no config.eval.fid_weights"),
        ({"save_fid_reference": tmp_path / "file" / "a.npz"}, WEIGHTS, "nothing can be written"),
        ({"save_images": tmp_path / "file"}, {}, "is no folder"),
        ({}, {"fid_reference": "none.npz"}, "fid_reference needs config.eval.fid_weights"),
        ({}, WEIGHTS | {"fid_reference": "none.npz"}, "none.npz cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            suite.evaluate(workdir, settings=settings, **outputs)
    assert not out.exists()
    monkeypatch.setattr(storage.os, "access", lambda path, *_, **__: path != workdir / "report")
    with pytest.raises(UserError, match="--workdir is .*report, where nothing can be written"):
        suite.evaluate(workdir)


def test_two_images_leave_the_other_scores(run):
    """Too few for KID, for the splits of the Inception Score and for R-precision's candidates."""
    workdir, _ = run
    metrics = suite.evaluate(workdir, settings=WEIGHTS | {"num_images": 2})
    null = {"kid", "kid_damsm", "kid_judge", "inception_score", "inception_score_calibrated"}
    null |= {"r_precision", "r_precision_real_images", "r_precision_independent"}
    assert {name for name in metrics if metrics[name] is None} == null | {"chosen_by"}
    assert metrics["reasons"].keys() == null
    assert "it needs 3 images of either kind" in metrics["reasons"]["kid"]
    assert "mismatching captions" in metrics["reasons"]["r_precision"]
    assert metrics["fid"]["num_images"] == 2 and metrics["attribute_accuracy"]
    assert write_report(workdir).exists()
    assert suite.is_finished(workdir, 4)


def test_the_cub_classifier_gives_no_fid(run):
    with pytest.raises(UserError, match="fid_weights is .* family cub-50.*torchvision.*tf-2015"):
        suite.evaluate(run[0], settings={"fid_weights": "cub-50.safetensors"})


@pytest.mark.parametrize("step, expected", [(None, (4, 4)), (4, (4, 4)), (2, (None, 2))])
def test_scores_of_another_checkpoint_do_not_finish_the_run(step, expected, tiny_run):
    assert suite._newest_and_used(Workdir(tiny_run[1]), step) == expected


def test_a_checkpoint_that_is_gone_is_told_from_one_that_is_damaged(run):
    workdir, _ = run
    with pytest.raises(suite.CheckpointGone, match="there is no checkpoint 3 in .*attngan"):
        suite.evaluate(workdir, step=3)
    shutil.rmtree(workdir / "attngan" / "2" / "state")
    with pytest.raises(UserError, match="2 is damaged") as raised:
        suite.evaluate(workdir, step=2)
    assert not isinstance(raised.value, suite.CheckpointGone)


@pytest.mark.slow
def test_neither_devices_nor_batches_change_a_number(run, tmp_path, monkeypatch):
    """15 test images, 30 generated ones and 45 of training: the last batches have rows to fill."""
    workdir, data = run
    make_mesh = parallel.make_mesh

    def score(num_devices, batch_size):
        copy = tmp_path / str(num_devices)
        shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("report", "reference"))
        for folder in data.rglob("reference"):
            shutil.rmtree(folder)
        mesh = make_mesh(jax.devices()[:num_devices])
        monkeypatch.setattr(parallel, "make_mesh", lambda *_: mesh)
        return suite.evaluate(copy, settings=WEIGHTS | {"batch_size": batch_size})

    one, four = score(1, 7), score(4, 16)
    assert (
        one["reasons"].keys() == {"inception_score_calibrated"}
        and one["fid"] is not None
        and one["inception_score"] is not None
    )
    assert_same_metrics(one, four)
    before = json.loads(Workdir(workdir).metrics.read_text())  # one device, batches of 8
    without = dict.fromkeys(("fid", "kid", "inception_score", "inception_score_calibrated"))
    without["reasons"] = before["reasons"]
    assert_same_metrics(before, one | without)


def checkpoints(workdir, *steps):
    for step in steps:
        (workdir / "attngan" / str(step)).mkdir(parents=True)
        (workdir / "attngan" / str(step) / "_CHECKPOINT_METADATA").write_text("{}")


@pytest.fixture
def empty_run(tmp_path, monkeypatch):
    """A run of four steps whose checkpoints are empty folders, and an evaluation that only logs."""
    (tmp_path / "config.json").write_text('{"attngan": {"num_train_steps": 4}}')
    checkpoints(tmp_path, 1, 2)

    def evaluate(workdir, *, step, settings, data_dir):
        if not (workdir / "attngan" / str(step)).exists():
            raise suite.CheckpointGone("the checkpoint is gone")
        if settings.get("broken"):
            raise UserError("there is no dataset")
        with (workdir / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"stage": "eval", "step": step, "scalars": {}}) + "\n")
        return {"step": step}

    monkeypatch.setattr(suite, "evaluate", evaluate)
    return tmp_path


def test_each_checkpoint_once_until_the_last(empty_run, monkeypatch):
    naps = []

    def sleep(seconds):  # training continues meanwhile
        naps.append(seconds)
        checkpoints(empty_run, 3 if len(naps) == 1 else 4)

    monkeypatch.setattr(suite.time, "sleep", sleep)
    steps = [metrics["step"] for metrics in suite.follow(empty_run, seconds=7, settings={})]
    assert steps == [1, 2, 3, 4] and naps == [7, 7]
    assert list(suite.follow(empty_run, seconds=7, settings={})) == []  # all are scored
    assert suite.scored_steps(empty_run) == {1, 2, 3, 4}


def test_a_deleted_checkpoint_is_skipped_and_other_errors_are_raised(empty_run):
    with pytest.raises(UserError, match="no dataset"):
        next(suite.follow(empty_run, seconds=0, settings={"broken": True}))
    checkpoints(empty_run, 4)
    steps = []
    for metrics in suite.follow(empty_run, seconds=0, settings={}):
        steps.append(metrics["step"])
        shutil.rmtree(empty_run / "attngan" / "2", ignore_errors=True)
    assert steps == [1, 4]


def test_it_waits_for_a_run_that_has_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(suite.time, "sleep", mock.Mock(side_effect=TimeoutError))
    with pytest.raises(TimeoutError):
        next(suite.follow(tmp_path / "later", seconds=1))
    assert not (tmp_path / "later").exists()


@pytest.mark.slow
def test_the_command_scores_with_other_settings(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run[1], run)
    (run / "metrics.jsonl").unlink()
    shutil.rmtree(run / "attngan" / "2")
    settings = ("--eval.num_images=20", "--eval.mismatch=image", "--eval.num_candidates=5")
    follow = ("--follow", "--every_seconds", 0.1)
    done = tiny_runs.start_command("evaluate", "--workdir", run, *follow, *settings)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("step 4") == 1 and "FID (damsm)" in done.stdout
    scores = json.loads((run / "report" / "metrics.json").read_text())["r_precision"]
    assert (scores["mismatch"], scores["candidates"], scores["num_images"]) == ("image", 5, 20)
    assert suite.is_finished(run, 4)
    again = tiny_runs.start_command("evaluate", "--workdir", run, "--eval.mismatch=dog")
    tiny_runs.assert_one_line(again, 1, "config.eval.mismatch is 'dog'", "class, image")
