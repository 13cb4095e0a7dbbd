"""CUB and COCO as they lie on disk, to some steps of both stages and scores, at reduced width."""

import importlib
import json

import numpy as np
import pytest

from attngan_jax import experiment
from attngan_jax.errors import UserError
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask
from tests import made_up_sources


def tiny(name, folder):
    config = importlib.import_module(f"tests.tiny_configs.{name}").get_config()
    config.data.data_dir = str(folder / "data")
    config.data.source = str(folder / "source")
    return config


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cub", "coco"])
def test_both_stages_train_and_are_scored_on_a_source_in_the_layout(name, tmp_path):
    config, workdir = tiny(name, tmp_path), tmp_path / "run"
    getattr(made_up_sources, f"make_{name}")(tmp_path / "source")

    page = experiment.train_and_evaluate(config, workdir)

    assert "<html" in page.read_text()
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses = {}
    for line in lines:
        losses.setdefault((line["stage"], line["step"]), {}).update(line["scalars"])
    for stage, loss in (("damsm", "train/damsm_loss"), ("attngan", "train/g_loss")):
        assert [step for at, step in losses if at == stage] == [2, 4]
        assert all(np.isfinite(losses[stage, step][loss]) for step in (2, 4))
    metrics = json.loads((workdir / "report" / "metrics.json").read_text())
    assert (metrics["dataset"], metrics["split"], metrics["step"]) == (name, "test", 4)
    for score in ("r_precision", "r_precision_real_images"):
        assert metrics[score]["num_images"] == 30 and 0 <= metrics[score]["mean"] <= 100
    report = json.loads((workdir / "report" / "prepare.json").read_text())
    images = {split: row["images"] for split, row in report["splits"].items()}
    assert images == ({"train": 15, "test": 9} if name == "cub" else {"train": 12, "test": 6})
    assert report["words"] == len((workdir / "vocabulary.txt").read_text().splitlines())


@pytest.mark.parametrize("name, limits", [("cub", (18, 18, 25)), ("coco", (15, 12, 20))])
def test_the_released_code_s_word_limits(name, limits):
    """Of DAMSM's training, the generator's, and evaluation."""
    config = importlib.import_module(f"configs.{name}").get_config()
    assert (
        DamsmTask(config, 9).max_words,
        AttnganTask(config, 9).max_words,
        config.data.eval_max_words,
    ) == limits


@pytest.mark.parametrize("name, file", [("cub", "CUB_200_2011.tgz"), ("coco", "train2014.zip")])
def test_main_asks_for_what_it_needs_before_it_makes_a_workdir(name, file, tmp_path):
    config = tiny(name, tmp_path)
    config.data.source = ""
    with pytest.raises(UserError, match=rf"--source FOLDER.*config.data.source.*{file}.*SHA-256"):
        experiment.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_source_that_is_none(tmp_path):
    config = tiny("cub", tmp_path)
    with pytest.raises(UserError, match=f"the source {tmp_path / 'source'} is no folder"):
        experiment.check(config)
