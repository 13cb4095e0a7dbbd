"""FID, KID and Inception Score in closed form, against SciPy and direct sums."""

import dataclasses

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from attngan_jax.errors import UserError
from attngan_jax.evaluation.metrics import fid_kid
from attngan_jax.evaluation.metrics.fid_kid import Accumulator, Features, distances, squared_mmd
from attngan_jax.evaluation.metrics.inception_score import InceptionScore
from attngan_jax.evaluation.reference_statistics import ReferenceCache

FEATURES = Features("torchvision", "abc", "bilinear to 299")


def statistics(rows, features=FEATURES, keep=1_000, batch_size=64):
    accumulator = Accumulator(features, len(rows), keep=keep)
    for first in range(0, len(rows), batch_size):
        accumulator.add(rows[first : first + batch_size])
    return accumulator.result("some images")


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(700, 12)) @ rng.normal(size=(12, 12)) + 100.0).astype(np.float32)


def test_distance_of_gaussians_in_closed_form_and_by_scipys_square_root():
    distance, zero = fid_kid.gaussian_distance, np.zeros(3)
    a, b, mean = np.array([1.0, 4.0, 9.0]), np.array([4.0, 4.0, 1.0]), np.array([1.0, -2.0, 0.5])
    # |mean|^2 and the squared differences of the standard deviations: 1, 0 and 4.
    np.testing.assert_allclose(distance(zero, np.diag(a), mean, np.diag(b)), 5.25 + 5.0, rtol=1e-12)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 30, 30))
    a, b, mean = x @ x.T, y @ y.T, rng.normal(size=30)
    expected = mean @ mean + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    np.testing.assert_allclose(distance(mean, a, 0 * mean, b), expected, rtol=1e-8)
    np.testing.assert_allclose(distance(0 * mean, b, mean, a), expected, rtol=1e-8)
    singular = np.cov(rng.normal(size=(5, 40)).T)  # fewer images than dimensions
    assert distance(np.zeros(40), singular, np.zeros(40), singular) < 1e-6


def test_the_same_images_have_distance_zero_and_a_shift_its_square(rows):
    assert distances(statistics(rows), statistics(rows))[0] < 1e-8
    fid, _ = distances(statistics(rows), statistics(rows + np.float32(2.0)))
    np.testing.assert_allclose(fid, 4.0 * 12, rtol=1e-3)


def test_statistics_are_numpys_and_do_not_depend_on_the_batch(rows):
    result = statistics(rows)
    np.testing.assert_allclose(result.mean, rows.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(result.covariance, np.cov(rows.T.astype(np.float64)), rtol=1e-9)
    for batch_size in (1, 37, 256, 700):
        other = statistics(rows, batch_size=batch_size)
        np.testing.assert_array_equal(other.mean, result.mean)
        np.testing.assert_array_equal(other.covariance, result.covariance)
        np.testing.assert_array_equal(other.sample, rows)
    np.testing.assert_array_equal(statistics(rows, keep=70, batch_size=33).sample, rows[9::10])
    accumulator = Accumulator(FEATURES, len(rows) + 1, keep=10)
    accumulator.add(rows)
    with pytest.raises(ValueError, match="700 of 701"):
        accumulator.result()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"family": "tf-2015"}, "family torchvision and of tf-2015 cannot be compared"),
        ({"family": "damsm"}, "an FID or KID is of one family"),
        ({"weights_sha256": "def"}, "different weights_sha256"),
        ({"resize": "bicubic"}, "different resize"),
    ],
)
def test_families_are_not_compared(change, message, rows):
    other = statistics(rows, dataclasses.replace(FEATURES, **change))
    with pytest.raises(UserError, match=message):
        distances(statistics(rows), other)


def test_kid_is_the_direct_sum_and_its_error_the_jackknifes(rows, monkeypatch):
    monkeypatch.setattr(fid_kid, "KERNEL_BLOCK", 7)
    x, y = rows[:20] / 100, rows[20:35] / 90

    def direct(x, y):
        def k(a, b):
            return (a.astype(np.float64) @ b / len(a) + 1) ** 3

        m, n = len(x), len(y)
        same = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
        same += sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
        return same - 2 * np.mean([k(a, b) for a in x for b in y])

    found = squared_mmd(x, y)
    np.testing.assert_allclose(found["value"], direct(x, y), rtol=1e-9)
    without_x = [direct(np.delete(x, i, 0), y) for i in range(len(x))]
    without_y = [direct(x, np.delete(y, i, 0)) for i in range(len(y))]
    error = 1.959964 * np.sqrt(sum((len(v) - 1) * np.var(v) for v in (without_x, without_y)))
    np.testing.assert_allclose(found["high"] - found["value"], error, rtol=1e-6)
    np.testing.assert_allclose(found["value"] - found["low"], error, rtol=1e-6)


def test_kid_of_small_sets_is_unbiased_and_its_interval_covers():
    rng, shift = np.random.default_rng(2), np.array([0.0, 0.5])[:, None, None]
    found = [squared_mmd(*(rng.normal(size=(2, 40, 2)) + shift)) for _ in range(200)]
    big = squared_mmd(*(rng.normal(size=(2, 3_000, 2)) + shift))["value"]
    values = np.array([one["value"] for one in found])
    assert abs(values.mean() - big) < 4 * values.std() / np.sqrt(len(values)) + 0.03
    assert 0.85 < np.mean([one["low"] <= big <= one["high"] for one in found]) <= 1.0
    same = [squared_mmd(*rng.normal(size=(2, 20, 2)))["value"] for _ in range(200)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(200) and min(same) < 0


def test_reference_statistics_are_found_by_all_that_they_follow_from(rows, tmp_path):
    provenance = {"dataset": "birds", "split": "test", "num_images": 700, "records": ("a", "b")}
    cache = ReferenceCache([tmp_path], FEATURES, provenance)
    assert cache.load() is None
    cache.save(statistics(rows))
    again = ReferenceCache([tmp_path], FEATURES, dict(reversed(provenance.items()))).load()
    np.testing.assert_array_equal(again.covariance, statistics(rows).covariance)
    assert (again.num_images, again.images) == (700, "some images")
    assert distances(again, statistics(rows))[0] < 1e-8
    other = dataclasses.replace(FEATURES, weights_sha256="d")
    assert ReferenceCache([tmp_path], FEATURES, provenance | {"split": "train"}).load() is None
    assert ReferenceCache([tmp_path], other, provenance).load() is None
    (path,) = cache.paths
    with np.load(path) as arrays:
        assert '"dataset": "birds"' in str(arrays["provenance"])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=rf"{path} cannot be used .*delete that file"):
        cache.load()


def inception_score(probabilities, splits=1, batch_size=7, seed=0):
    accumulator = InceptionScore(len(probabilities), splits, seed)
    for first in range(0, len(probabilities), batch_size):
        accumulator.add(probabilities[first : first + batch_size])
    return accumulator.result()


@pytest.mark.parametrize(
    "probabilities, expected",
    [  # every class with certainty: the number of classes; one answer for all: one
        (np.eye(8), 8.0),
        (np.repeat(np.eye(5), 3, axis=0), 5.0),
        (np.full((6, 4), 0.25), 1.0),
        (np.repeat(np.eye(4)[:1], 6, axis=0), 1.0),
    ],
)
def test_known_scores(probabilities, expected):
    assert inception_score(probabilities)["mean"] == pytest.approx(expected)


def test_score_is_scipys_relative_entropy():
    p = np.random.default_rng(0).dirichlet(np.ones(10), size=50).astype(np.float32)
    wanted = np.exp(np.mean([scipy.stats.entropy(row, p.mean(0)) for row in p]))
    assert inception_score(p)["mean"] == pytest.approx(wanted, rel=1e-6)


def test_a_temperature_divides_the_logits():
    """As TISE's code does before the softmax."""
    logits = np.random.default_rng(0).normal(0, 3, (50, 10))
    plain, cooler = (np.exp(logits / T) for T in (1.0, 0.6))
    score = InceptionScore(50, 1, 0)
    score.add((plain / plain.sum(1, keepdims=True)).astype(np.float32), 0.6)
    wanted = inception_score(cooler / cooler.sum(1, keepdims=True))
    assert score.result()["mean"] == pytest.approx(wanted["mean"], rel=1e-6)


def test_splits_are_dealt_by_the_seed_and_not_by_the_batch():
    p = np.random.default_rng(0).dirichlet(np.ones(10), size=60)
    result = inception_score(p, splits=10)
    assert (result["splits"], result["num_images"]) == (10, 60)
    assert result["std"] > 0
    assert result == pytest.approx(inception_score(p, splits=10, batch_size=60))
    assert result["mean"] != inception_score(p, splits=10, seed=1)["mean"]
    ordered = np.repeat(np.eye(10), 10, axis=0)  # as the pairs are: class after class
    assert inception_score(ordered, splits=10)["mean"] > 4
    accumulator = InceptionScore(5, 1, 0)
    accumulator.add(np.eye(4))
    with pytest.raises(ValueError, match="4 of 5"):
        accumulator.result()
