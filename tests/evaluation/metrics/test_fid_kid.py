"""FID and KID in closed form, against SciPy and direct sums; their statistics and their files."""

import dataclasses

import numpy as np
import pytest
import scipy.linalg

from attngan_jax.errors import UserError
from attngan_jax.evaluation.measurements import ReferenceCache
from attngan_jax.evaluation.metrics import fid_kid
from attngan_jax.evaluation.metrics.fid_kid import (
    Accumulator,
    Features,
    distances,
    gaussian_distance,
    squared_mmd,
)

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


def test_distance_of_two_gaussians_with_diagonal_covariances():
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 4.0, 1.0])
    mean = np.array([1.0, -2.0, 0.5])
    # |mean|^2 and the squared differences of the standard deviations: 1, 0 and 4.
    distance = gaussian_distance(np.zeros(3), np.diag(a), mean, np.diag(b))
    np.testing.assert_allclose(distance, 5.25 + 5.0, rtol=1e-12)


def test_distance_agrees_with_scipys_square_root():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 30, 30))
    a, b, mean = x @ x.T, y @ y.T, rng.normal(size=30)
    wanted = mean @ mean + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    np.testing.assert_allclose(gaussian_distance(mean, a, 0 * mean, b), wanted, rtol=1e-8)
    np.testing.assert_allclose(gaussian_distance(0 * mean, b, mean, a), wanted, rtol=1e-8)


def test_covariances_may_be_singular():
    x = np.random.default_rng(1).normal(size=(5, 40))  # fewer images than dimensions
    assert gaussian_distance(np.zeros(40), np.cov(x.T), np.zeros(40), np.cov(x.T)) < 1e-6


def test_the_same_images_have_distance_zero_and_a_shift_its_square(rows):
    assert distances(statistics(rows), statistics(rows))[0] < 1e-8
    shifted = statistics(rows + np.float32(2.0))
    np.testing.assert_allclose(distances(statistics(rows), shifted)[0], 4.0 * 12, rtol=1e-3)


def test_statistics_are_numpys_and_do_not_depend_on_the_batch(rows):
    result = statistics(rows)
    np.testing.assert_allclose(result.mean, rows.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(result.covariance, np.cov(rows.T.astype(np.float64)), rtol=1e-9)
    for batch_size in (1, 37, 256, 700):
        other = statistics(rows, batch_size=batch_size)
        np.testing.assert_array_equal(other.mean, result.mean)
        np.testing.assert_array_equal(other.covariance, result.covariance)
        np.testing.assert_array_equal(other.sample, result.sample)


def test_the_sample_is_at_even_distances(rows):
    np.testing.assert_array_equal(statistics(rows).sample, rows)
    np.testing.assert_array_equal(statistics(rows, keep=70, batch_size=33).sample, rows[9::10])


def test_missing_images_are_an_error(rows):
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
    left_out = [
        [direct(np.delete(x, i, 0), y) for i in range(len(x))],
        [direct(x, np.delete(y, i, 0)) for i in range(len(y))],
    ]
    error = 1.959964 * np.sqrt(sum((len(v) - 1) * np.var(v) for v in left_out))
    np.testing.assert_allclose(found["high"] - found["value"], error, rtol=1e-6)
    np.testing.assert_allclose(found["value"] - found["low"], error, rtol=1e-6)


def test_kid_of_small_sets_is_unbiased_and_its_interval_covers():
    rng, shift = np.random.default_rng(2), np.array([0.0, 0.5])[:, None, None]
    found = [squared_mmd(*(rng.normal(size=(2, 40, 2)) + shift)) for _ in range(200)]
    big = squared_mmd(*(rng.normal(size=(2, 3_000, 2)) + shift))["value"]
    values = np.array([one["value"] for one in found])
    assert abs(values.mean() - big) < 4 * values.std() / np.sqrt(len(values)) + 0.03
    covered = np.mean([one["low"] <= big <= one["high"] for one in found])
    assert 0.85 < covered <= 1.0
    same = [squared_mmd(*rng.normal(size=(2, 20, 2)))["value"] for _ in range(200)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(200) and min(same) < 0


def test_reference_statistics_are_found_again_by_all_that_they_follow_from(rows, tmp_path):
    provenance = {"dataset": "birds", "split": "test", "num_images": 700, "records": ("a", "b")}
    cache = ReferenceCache(tmp_path, FEATURES, provenance)
    assert cache.load() is None
    cache.save(statistics(rows))
    again = ReferenceCache(tmp_path, FEATURES, dict(reversed(provenance.items()))).load()
    np.testing.assert_array_equal(again.covariance, statistics(rows).covariance)
    assert (again.num_images, again.images) == (700, "some images")
    assert distances(again, statistics(rows))[0] < 1e-8
    other = dataclasses.replace(FEATURES, weights_sha256="d")
    assert ReferenceCache(tmp_path, FEATURES, provenance | {"split": "train"}).load() is None
    assert ReferenceCache(tmp_path, other, provenance).load() is None
    with np.load(cache.path) as arrays:
        assert '"dataset": "birds"' in str(arrays["provenance"])


def test_damaged_reference_statistics_are_named(rows, tmp_path):
    cache = ReferenceCache(tmp_path, FEATURES, {})
    cache.save(statistics(rows))
    cache.path.write_bytes(cache.path.read_bytes()[:100])
    with pytest.raises(UserError, match=rf"{cache.path} cannot be used .*delete that file"):
        cache.load()
