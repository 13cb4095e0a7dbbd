"""Every key of the config is read by code that works with its value."""

import ast

from attngan_jax import configuration
from attngan_jax.data import datasets
from attngan_jax.evaluation.checkpoint_scores import GeneratorScore
from attngan_jax.training import warm_start
from attngan_jax.training.attngan_task import AttnganTask
from configs.default import SCHEMA
from tests.recorded_keys import CHECKS, recording
from tests.tiny_runs import ROOT

# The keys that the tiny run of procedural_birds does not read, and the runs that do.
OTHER_RUNS = {
    "data.cache_dir": "with a dataset in a bucket",
    "data.source": "with a dataset of photographs",
    "data.max_left_out": "with a dataset of photographs",
    "folder.title": "with the dataset `folder`",
    "folder.test_fraction": "with the dataset `folder`",
    "folder.seed": "with the dataset `folder`",
    "image_encoder.weights": "with the trunk inception_v3",
    "attngan.scored_images": "with attngan.best_checkpoint",
    "attngan.gradient_penalty_kind": "with attngan.gradient_penalty",
    "attngan.gradient_penalty_every": "with attngan.gradient_penalty",
    "eval.judge_steps": "where judges are trained",
    "eval.part_judge_steps": "where judges are trained",
    "eval.judge_batch_size": "where judges are trained",
}


def test_a_run_reads_every_key_but_those_of_other_runs(tiny_run):
    assert SCHEMA.keys() - tiny_run.config_keys == OTHER_RUNS.keys()


def test_other_runs_read_the_other_keys(tiny_config, tiny_dataset, tmp_path, gcs):
    tiny_config.data.dataset, tiny_config.data.data_dir = "folder", "gs://birds/data"
    tiny_config.data.cache_dir = tiny_config.data.source = str(tmp_path)
    tiny_config.image_encoder.trunk, tiny_config.image_encoder.weights = "inception_v3", "random"
    with recording() as read:
        datasets.get_builder(tiny_config)
        warm_start.trunk_weights(tiny_config, tmp_path)
        GeneratorScore(AttnganTask(tiny_config, 9), tiny_dataset, {})
    elsewhere = {"data.max_left_out"}
    judges = {name for name in OTHER_RUNS if "judge_" in name}
    penalties = {name for name in OTHER_RUNS if "gradient_penalty" in name}
    elsewhere |= judges | penalties
    assert read & OTHER_RUNS.keys() == OTHER_RUNS.keys() - elsewhere
    code = {
        ast.unparse(node)
        for path in (ROOT / "attngan_jax").rglob("*.py")
        if str(path) not in CHECKS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    reads = {"config.name", "self._config.max_left_out"}
    reads |= {f"config.{name}" for name in judges}
    reads |= {name.replace("attngan", "self.settings") for name in penalties}
    assert reads <= code


def test_checks_and_conversions_of_a_config_read_no_key(tiny_config):
    with recording() as read:
        configuration.check(tiny_config)
        configuration.flatten(tiny_config.to_dict())
    assert read == set()
