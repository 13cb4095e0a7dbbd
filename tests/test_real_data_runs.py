"""CUB and COCO in their published layouts: some steps of both stages and scores, at tiny width."""

import importlib
import json
import os

import numpy as np
import pytest

from attngan_jax import experiment
from attngan_jax.errors import UserError
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.workdir import Workdir
from tests import made_up_sources


def tiny(name, folder):
    config = importlib.import_module(f"tests.tiny_configs.{name}").get_config()
    config.data.data_dir, config.data.source = str(folder / "data"), str(folder / "source")
    return config


@pytest.mark.slow
@pytest.mark.parametrize("name, images", [("cub", (15, 9)), ("coco", (12, 6))])
def test_both_stages_train_and_are_scored_on_a_source_in_the_layout(name, images, tmp_path):
    workdir = Workdir(tmp_path / "run")
    getattr(made_up_sources, f"make_{name}")(tmp_path / "source")
    page = experiment.train_and_evaluate(tiny(name, tmp_path), workdir.folder)
    assert "<html" in page.read_text()
    losses = {}
    for line in map(json.loads, workdir.metrics_log.read_text().splitlines()):
        losses.setdefault((line["stage"], line["step"]), {}).update(line["scalars"])
    for stage, loss in (("damsm", "train/damsm_loss"), ("attngan", "train/g_loss")):
        assert [step for at, step in losses if at == stage] == [2, 4]
        assert all(np.isfinite(losses[stage, step][loss]) for step in (2, 4))
    metrics = json.loads(workdir.metrics.read_text())
    assert (metrics["dataset"], metrics["split"], metrics["step"]) == (name, "test", 4)
    for score in ("r_precision", "r_precision_real_images"):
        assert metrics[score]["num_images"] == 30 and 0 <= metrics[score]["mean"] <= 100
    report = json.loads(workdir.prepare_report.read_text())
    assert report["splits"].keys() == {"train", "test"}
    assert tuple(report["splits"][split]["images"] for split in ("train", "test")) == images
    assert report["words"] == len(workdir.vocabulary.read_text().splitlines())


@pytest.mark.parametrize("name, limits", [("cub", (18, 18, 25)), ("coco", (15, 12, 20))])
def test_the_released_code_s_word_limits(name, limits):
    """Of DAMSM's training, the generator's, and evaluation."""
    config = importlib.import_module(f"configs.{name}").get_config()
    damsm, attngan = DamsmTask(config, 9), AttnganTask(config, 9)
    assert (damsm.max_words, attngan.max_words, config.data.eval_max_words) == limits


@pytest.mark.parametrize("name, file", [("cub", "CUB_200_2011.tgz"), ("coco", "train2014.zip")])
def test_main_asks_for_what_it_needs_before_it_makes_a_workdir(name, file, tmp_path):
    config = tiny(name, tmp_path)
    config.data.source = ""
    with pytest.raises(UserError, match=rf"--source FOLDER.*config.data.source.*{file}.*SHA-256"):
        experiment.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_source_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match=f"the source {tmp_path / 'source'} is no folder"):
        experiment.check(tiny("cub", tmp_path), tmp_path / "run")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data.source": "{folder}/none"}, "is no folder"),
        ({"data.source": "{folder}/source/train"}, "lacks CUB_200_2011"),
        ({"data.data_dir": "/proc/none"}, "cannot be written"),
        ({"image_encoder.cnn_dim": 2**20}, "at most 65536"),
        ({"generator.base_size": 2**11, "generator.num_stages": 3}, "8,192 pixels on a side"),
        ({"damsm.batch_size": 3, "damsm.accumulation_steps": 2}, "damsm.batch_size"),
        ({"data.tokenizer": "words"}, "choose one of ascii, unicode"),
        ({"generator.gf_dim": 2**16}, "not enough memory for stage attngan"),
        ({"image_encoder.trunk": "inception_v3", "image_encoder.weights": "{pipe}"}, "a pipe"),
        ({"image_encoder.trunk": "inception_v3"}, "starts from ImageNet's Inception-v3"),
        ({"eval.fid_weights": "{folder}/none"}, "none cannot be read"),
        ({"eval.inception_score_weights": "{pipe}"}, "a pipe"),
        ({"eval.fid_reference": "{folder}/none"}, "needs config.eval.fid_weights"),
        ({"eval.batch_size": 3}, "config.eval.batch_size is 3"),
        ({"attngan.best_checkpoint": "eval/kid_judge"}, "judges for procedural_birds alone"),
        ({"attngan.best_checkpoint": "eval/r_precision", "attngan.scored_images": 1}, "wants 9"),
        ({"damsm_from": "{folder}/none"}, "is no workdir of a run"),
        ({"damsm_from": "{pipe}"}, "cannot be|is no workdir|Not a directory"),
    ],
)
def test_a_config_that_is_refused_leaves_no_workdir(changes, message, tmp_path):
    config = tiny("cub", tmp_path)
    made_up_sources.make_cub(tmp_path / "source")
    os.mkfifo(tmp_path / "pipe")
    places, given = {"folder": tmp_path, "pipe": tmp_path / "pipe"}, {}
    for key, value in changes.items():
        value = value.format(**places) if isinstance(value, str) else value
        if key == "damsm_from":
            given = {key: value}
        else:
            config.update_from_flattened_dict({key: value})
    with pytest.raises((UserError, OSError), match=message):
        experiment.train_and_evaluate(config, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()
