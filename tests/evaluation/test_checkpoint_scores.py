"""Scores while a stage trains, and the best checkpoint by them, which is kept and used."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.evaluation.checkpoint_scores import (
    GeneratorScore,
    RetrievalScore,
    check_judges,
    check_test_split,
)
from attngan_jax.sampling.sample_writer import SampleWriter
from attngan_jax.sampling.trained_model import load_encoders, restore_stage
from attngan_jax.training import loop
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from tests.training.one_device import encoders, first_state

SHARES = ("r_precision", "r_precision_independent")


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


@pytest.mark.parametrize(
    "chosen_by, kept",
    [("eval/r_precision", 1), ("eval/r_precision_independent", 1), ("eval/kid_judge", 2)],
)
def test_the_best_generator_is_kept_and_used(chosen_by, kept, tiny_config, tiny_dataset, tmp_path):
    """The score of the second of five checkpoints is the lowest, that of the first the highest."""
    gan = tiny_config.attngan
    gan.num_train_steps, gan.checkpoint_every_steps, gan.scored_images = 5, 1, 20
    gan.best_checkpoint = chosen_by
    task = AttnganTask(tiny_config, len(tiny_dataset.vocabulary))
    frozen, given = encoders(tiny_config, tiny_dataset), iter([3.0, 1.0, 2.0, 1.5, 1.7])

    def score(state):
        return {"eval/r_precision": 0.5, "eval/kid_judge": 0.5} | {chosen_by: next(given)}

    samples = SampleWriter(task, tiny_dataset, frozen, tmp_path)
    loop.train(task, tiny_dataset, tmp_path, frozen=frozen, score=score, on_sample=samples)
    assert Checkpoints.steps_in(tmp_path, "attngan") == [kept, 4, 5]
    assert int(jax.device_get(restore_stage(task, tmp_path).step)) == kept
    assert loop.is_finished(task, tmp_path)


def test_scores_of_a_generator(tiny_config, tiny_dataset):
    tiny_config.attngan.scored_images, tiny_config.eval.num_candidates = 20, 4
    task = AttnganTask(tiny_config, len(tiny_dataset.vocabulary))
    frozen, state = encoders(tiny_config, tiny_dataset), first_state(task)
    measure = GeneratorScore(task, tiny_dataset, frozen)
    scores = measure(state)
    assert measure(state) == scores  # of the same images again
    assert scores.keys() == {f"eval/{name}" for name in (*SHARES, "kid_judge")}
    assert all(0 <= scores[f"eval/{name}"] <= 100 for name in SHARES)
    assert scores["eval/kid_judge"] > 0  # an untrained generator is far from birds
    elsewhere = dataclasses.replace(tiny_dataset, name="folder")
    assert GeneratorScore(task, elsewhere, frozen)(state).keys() == {"eval/r_precision"}


@pytest.mark.parametrize("chosen_by", ["eval/kid_judge", "eval/r_precision_independent"])
def test_no_judge_chooses_a_checkpoint_of_other_images(chosen_by, tiny_config):
    tiny_config.attngan.best_checkpoint = chosen_by
    check_judges(tiny_config)
    tiny_config.data.dataset = "folder"
    with pytest.raises(
        UserError, match=f"best_checkpoint is {chosen_by}, but there are judges for"
    ):
        check_judges(tiny_config)
    tiny_config.attngan.best_checkpoint = "eval/r_precision"
    check_judges(tiny_config)


def test_a_test_split_too_small_for_the_choice_is_told_before_training(tiny_config, tiny_dataset):
    check_test_split(tiny_config, tiny_dataset)  # nothing is chosen by a score
    tiny_config.eval.update({"kid_images": 2, "num_candidates": 1_000})
    for key, why in (("kid_judge", "config.eval.kid_images is 2"), ("r_precision", "wants 999")):
        tiny_config.attngan.best_checkpoint = f"eval/{key}"
        with pytest.raises(UserError, match=f"is eval/{key}, which is not computed: it .*{why}"):
            check_test_split(tiny_config, tiny_dataset)
