"""Inception Score of known distributions, and against SciPy's entropies."""

import numpy as np
import pytest
import scipy.stats

from attngan_jax.evaluation.metrics.inception_score import InceptionScore


def score(probabilities, splits=1, batch_size=7, seed=0):
    accumulator = InceptionScore(len(probabilities), splits, seed)
    for first in range(0, len(probabilities), batch_size):
        accumulator.add(probabilities[first : first + batch_size])
    return accumulator.result()


def test_every_class_with_certainty_is_the_number_of_classes():
    assert score(np.eye(8))["mean"] == pytest.approx(8.0)
    assert score(np.repeat(np.eye(5), 3, axis=0))["mean"] == pytest.approx(5.0)


def test_one_answer_for_all_is_one():
    assert score(np.full((6, 4), 0.25))["mean"] == pytest.approx(1.0)
    assert score(np.repeat(np.eye(4)[:1], 6, axis=0))["mean"] == pytest.approx(1.0)


def test_score_is_scipys_relative_entropy():
    p = np.random.default_rng(0).dirichlet(np.ones(10), size=50).astype(np.float32)
    wanted = np.exp(np.mean([scipy.stats.entropy(row, p.mean(0)) for row in p]))
    assert score(p)["mean"] == pytest.approx(wanted, rel=1e-6)


def test_splits_are_dealt_by_the_seed_and_not_by_the_batch():
    p = np.random.default_rng(0).dirichlet(np.ones(10), size=60)
    result = score(p, splits=10)
    assert (result["splits"], result["num_images"]) == (10, 60)
    assert result["std"] > 0
    assert result == pytest.approx(score(p, splits=10, batch_size=60))
    assert result["mean"] != score(p, splits=10, seed=1)["mean"]
    ordered = np.repeat(np.eye(10), 10, axis=0)  # as the pairs are: class after class
    assert score(ordered, splits=10)["mean"] > 4


def test_missing_images_are_an_error():
    accumulator = InceptionScore(5, 1, 0)
    accumulator.add(np.eye(4))
    with pytest.raises(ValueError, match="4 of 5"):
        accumulator.result()
