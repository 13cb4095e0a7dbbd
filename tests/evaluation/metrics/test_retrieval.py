"""Retrieval of embeddings whose answer is known, and its part in the choice of DAMSM."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from attngan_jax.evaluation.metrics import retrieval
from attngan_jax.sampling import trained_model
from attngan_jax.training import loop
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask

NO_CLASSES = np.full(200, -1)


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(200, 16))


def test_a_perfect_match_and_its_opposite(vectors):
    found = retrieval.retrieval(vectors, 3 * vectors, NO_CLASSES)
    assert found["num_pairs"] == 200 and found["chance_r1"] == pytest.approx(0.5)
    classes = np.arange(200) % 4  # 150 of other classes compete
    chance = retrieval.retrieval(vectors, vectors, classes)["chance_r1"]
    np.testing.assert_allclose(chance, 100 / 151)
    for direction in ("image_to_text", "text_to_image"):
        assert found[direction] == {"r1": 100.0, "r5": 100.0, "r10": 100.0, "median_rank": 1.0}
    worst = retrieval.retrieval(vectors, -vectors, NO_CLASSES)["image_to_text"]
    assert worst == {"r1": 0.0, "r5": 0.0, "r10": 0.0, "median_rank": 200.0}


def test_ranks_by_hand_in_both_directions():
    codes = np.array([[1, 0], [0, 1], [1, 1]])
    sentences = np.array([[1, 0.1], [1, 0.9], [0, 1]])
    # Image 0: captions 0, 1, 2. Image 1: 2, 1, 0. Image 2: 1, then 0 before 2 (.77 and .71).
    classes = np.full(3, -1)
    assert retrieval.true_ranks(codes, sentences, classes).tolist() == [1, 2, 3]
    # Caption 0: images 0, 2, 1. Caption 1: 2, 0, 1. Caption 2: 1, 2, 0.
    assert retrieval.true_ranks(sentences, codes, classes).tolist() == [1, 3, 2]
    # Images 1 and 2 of one class: caption 1 no longer competes for image 2.
    assert retrieval.true_ranks(codes, sentences, np.array([0, 1, 1])).tolist() == [1, 1, 2]


def test_ranks_do_not_depend_on_the_block(vectors, monkeypatch):
    noisy = vectors + np.random.default_rng(1).normal(size=vectors.shape)
    whole = retrieval.true_ranks(vectors, noisy, NO_CLASSES)
    monkeypatch.setattr(retrieval, "BLOCK", 7)
    np.testing.assert_array_equal(whole, retrieval.true_ranks(vectors, noisy, NO_CLASSES))
    assert len(set(whole)) > 10


def test_one_point_for_everything_is_last(vectors):
    ranks = retrieval.true_ranks(np.ones_like(vectors), vectors[:1] + 0 * vectors, NO_CLASSES)
    assert (ranks == 200).all()


def test_unrelated_vectors_have_chance(vectors):
    found = retrieval.retrieval(
        *np.random.default_rng(3).normal(size=(2, 2_000, 8)), np.full(2_000, -1)
    )["text_to_image"]
    assert abs(found["median_rank"] - 1_000) < 60
    assert found["r10"] < 1.5


def test_the_best_step_is_kept_and_used(tiny_config, tiny_dataset, tmp_path):
    """Scores of the checkpoints rise and fall; the newest two and the best one stay."""
    tiny_config.damsm.num_train_steps, tiny_config.damsm.checkpoint_every_steps = 6, 1
    task = DamsmTask(tiny_config, len(tiny_dataset.vocabulary))
    given = iter([0.1, 0.9, 0.3, 0.2, 0.4, 0.3])
    measure, states = retrieval.RetrievalScore(task, tiny_dataset), {}

    def score(state):
        states[int(state.step)] = jax.device_get(state.text.params)
        return measure(state) | {"eval/retrieval_r1": next(given)}

    loop.train(task, tiny_dataset, tmp_path, score=score)
    with Checkpoints(tmp_path, "damsm", best="eval/retrieval_r1") as checkpoints:
        assert sorted(int(path.name) for path in (tmp_path / "damsm").glob("[0-9]*")) == [2, 5, 6]
        assert (checkpoints.latest_step(), checkpoints.best_step()) == (6, 2)
    used = trained_model.load_encoders(tiny_config, len(tiny_dataset.vocabulary), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, used["text"]["params"], states[2])
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    logged = [
        line["scalars"]["eval/retrieval_r1"]
        for line in lines
        if "eval/retrieval_r1" in line["scalars"]
    ]
    assert logged == [0.1, 0.9, 0.3, 0.2, 0.4, 0.3]
    names = set(lines[-1]["scalars"])
    assert {"eval/image_to_text_r10", "eval/text_to_image_median_rank"} < names and len(names) == 9


def test_a_stage_without_scores_uses_its_newest(tiny_config, tiny_dataset, tmp_path):
    tiny_config.damsm.num_train_steps, tiny_config.damsm.checkpoint_every_steps = 3, 1
    task = DamsmTask(tiny_config, len(tiny_dataset.vocabulary))
    state = loop.train(task, tiny_dataset, tmp_path)
    assert sorted(int(path.name) for path in (tmp_path / "damsm").glob("[0-9]*")) == [2, 3]
    used = trained_model.restore_stage(task, tmp_path)
    assert int(used.step) == 3
    jax.tree.map(np.testing.assert_array_equal, used.text.params, state.text.params)


def test_retrieval_does_not_depend_on_the_batch(tiny_config, tiny_dataset):
    task = DamsmTask(tiny_config, len(tiny_dataset.vocabulary))
    state = jax.jit(task.create_train_state)(jax.random.key(0))
    by_batch = []
    for size in (4, 12):
        tiny_config.eval.batch_size = size
        by_batch.append(retrieval.RetrievalScore(task, dataclasses.replace(tiny_dataset))(state))
    assert by_batch[0] == by_batch[1]
