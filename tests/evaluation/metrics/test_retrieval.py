"""Retrieval of embeddings whose answer is known."""

import numpy as np
import pytest

from attngan_jax.evaluation.metrics import retrieval

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
    images = np.array([[1, 0], [0, 1], [1, 1]])
    sentences = np.array([[1, 0.1], [1, 0.9], [0, 1]])
    # Image 0: captions 0, 1, 2. Image 1: 2, 1, 0. Image 2: 1, then 0 before 2 (.77 and .71).
    classes = np.full(3, -1)
    assert retrieval.true_ranks(images, sentences, classes).tolist() == [1, 2, 3]
    # Caption 0: images 0, 2, 1. Caption 1: 2, 0, 1. Caption 2: 1, 2, 0.
    assert retrieval.true_ranks(sentences, images, classes).tolist() == [1, 3, 2]
    # Images 1 and 2 of one class: caption 1 no longer competes for image 2.
    assert retrieval.true_ranks(images, sentences, np.array([0, 1, 1])).tolist() == [1, 1, 2]


def test_ranks_do_not_depend_on_the_block(vectors, monkeypatch):
    noisy = vectors + np.random.default_rng(1).normal(size=vectors.shape)
    whole = retrieval.true_ranks(vectors, noisy, NO_CLASSES)
    monkeypatch.setattr(retrieval, "BLOCK", 7)
    np.testing.assert_array_equal(whole, retrieval.true_ranks(vectors, noisy, NO_CLASSES))
    assert len(set(whole)) > 10


def test_ties_count_as_errors(vectors):
    ranks = retrieval.true_ranks(np.ones_like(vectors), vectors[:1] + 0 * vectors, NO_CLASSES)
    assert (ranks == 200).all()


def test_unrelated_vectors_have_chance():
    vectors = np.random.default_rng(3).normal(size=(2, 2_000, 8))
    found = retrieval.retrieval(*vectors, np.full(2_000, -1))["text_to_image"]
    assert abs(found["median_rank"] - 1_000) < 60 and found["r10"] < 1.5
