"""Scores while a stage trains, and the best checkpoint by them, which is kept and used."""

import json

import jax
import numpy as np

from attngan_jax.evaluation.checkpoint_scores import GeneratorScore, RetrievalScore
from attngan_jax.sampling.sample_writer import SampleWriter
from attngan_jax.sampling.trained_model import load_encoders, restore_stage
from attngan_jax.training import loop
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from tests.training.one_device import encoders, first_state


def test_the_best_damsm_is_kept_and_used(tiny_config, tiny_dataset, tmp_path):
    """Scores of the checkpoints rise and fall; the newest two and the best one stay."""
    tiny_config.damsm.num_train_steps, tiny_config.damsm.checkpoint_every_steps = 6, 1
    task = DamsmTask(tiny_config, len(tiny_dataset.vocabulary))
    given = [0.1, 0.9, 0.3, 0.2, 0.4, 0.3]
    measure, states = RetrievalScore(task, tiny_dataset), {}

    def score(state):
        states[int(state.step)] = jax.device_get(state.text.params)
        return measure(state) | {"eval/retrieval_r1": given[len(states) - 1]}

    loop.train(task, tiny_dataset, tmp_path, score=score)
    with Checkpoints(tmp_path, "damsm", best="eval/retrieval_r1") as checkpoints:
        assert Checkpoints.steps_in(tmp_path, "damsm") == [2, 5, 6]
        assert (checkpoints.latest_step(), checkpoints.best_step()) == (6, 2)
    used = load_encoders(tiny_config, len(tiny_dataset.vocabulary), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, used["text"]["params"], states[2])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    scalars = [json.loads(line)["scalars"] for line in lines]
    names = {"eval/image_to_text_r10", "eval/text_to_image_median_rank"}
    assert names < scalars[-1].keys() and len(scalars[-1]) == 9
    assert [s["eval/retrieval_r1"] for s in scalars if "eval/retrieval_r1" in s] == given


def test_a_stage_without_scores_uses_its_newest(tiny_config, tiny_dataset, tmp_path):
    tiny_config.damsm.num_train_steps, tiny_config.damsm.checkpoint_every_steps = 3, 1
    task = DamsmTask(tiny_config, len(tiny_dataset.vocabulary))
    state = loop.train(task, tiny_dataset, tmp_path)
    assert Checkpoints.steps_in(tmp_path, "damsm") == [2, 3]
    used = restore_stage(task, tmp_path)
    assert int(used.step) == 3
    jax.tree.map(np.testing.assert_array_equal, used.text.params, state.text.params)


def test_retrieval_does_not_depend_on_the_batch(tiny_config, tiny_dataset):
    task = DamsmTask(tiny_config, len(tiny_dataset.vocabulary))
    state, by_batch = first_state(task), []
    for tiny_config.eval.batch_size in (4, 12):
        by_batch.append(RetrievalScore(task, tiny_dataset)(state))
    assert by_batch[0] == by_batch[1]


def test_the_best_generator_is_kept_and_used(tiny_config, tiny_dataset, tmp_path):
    gan = tiny_config.attngan
    gan.num_train_steps, gan.checkpoint_every_steps, gan.scored_images = 4, 1, 20
    gan.best_checkpoint = "eval/r_precision"
    tiny_config.eval.num_candidates = 4
    task = AttnganTask(tiny_config, len(tiny_dataset.vocabulary))
    frozen = encoders(tiny_config, tiny_dataset)
    measure, found, given = GeneratorScore(task, tiny_dataset, frozen), [], [3.0, 1.0, 2.0, 0.5]

    def score(state):
        found.append(measure(state)["eval/r_precision"])
        assert measure(state)["eval/r_precision"] == found[-1]  # of the same images again
        return {"eval/r_precision": given[len(found) - 1]}

    samples = SampleWriter(task, tiny_dataset, frozen, tmp_path)
    loop.train(task, tiny_dataset, tmp_path, frozen=frozen, score=score, on_sample=samples)
    assert len(found) == 4 and all(0 <= value <= 100 for value in found)
    assert Checkpoints.steps_in(tmp_path, "attngan") == [1, 3, 4]
    assert int(jax.device_get(restore_stage(task, tmp_path).step)) == 1
    assert loop.is_finished(task, tmp_path)
