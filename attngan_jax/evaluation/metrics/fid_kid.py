"""Kernel distance of two sets of features (Bińkowski et al., ICLR 2018): KID, in a named family.

Unlike FID its mean over small sets is that over large ones.
"""

import numpy as np

from attngan_jax.evaluation.metrics.feature_statistics import Statistics, check_comparable

BLOCK = 1_000  # rows of the kernel matrix at a time
CONFIDENCE, DEVIATIONS = 95, 1.959964  # percent, and as many standard errors to either side


def kernel_distance(a: Statistics, b: Statistics) -> dict:
    """`value`, `low` and `high` of the 95 % interval; `UserError` across families."""
    check_comparable(a, b)
    return squared_mmd(a.sample, b.sample)


def squared_mmd(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Unbiased squared MMD of `x [M, D]` and `y [N, D]` with its jackknife interval.

    The kernel is (x.y / D + 1)^3. Differs from the paper, which takes the mean over subsets of
    1,000: all pairs are used, and the error is the jackknife's, each image left out in turn, for
    which the kernel's row sums suffice.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    m, n = len(x), len(y)
    if min(m, n) < 3:
        raise ValueError(f"KID needs three images of either kind, not {m} and {n}")
    rows_x, rows_y = _row_sums(x, x, skip_diagonal=True), _row_sums(y, y, skip_diagonal=True)
    rows_xy, rows_yx = _row_sums(x, y), _row_sums(y, x)
    sum_x, sum_y, sum_xy = rows_x.sum(), rows_y.sum(), rows_xy.sum()

    def mmd(sum_x, sum_y, sum_xy, m, n):
        return sum_x / (m * (m - 1)) + sum_y / (n * (n - 1)) - 2.0 * sum_xy / (m * n)

    value = mmd(sum_x, sum_y, sum_xy, m, n)
    without_x = mmd(sum_x - 2.0 * rows_x, sum_y, sum_xy - rows_xy, m - 1, n)
    without_y = mmd(sum_x, sum_y - 2.0 * rows_y, sum_xy - rows_yx, m, n - 1)
    variance = sum((len(values) - 1) * values.var() for values in (without_x, without_y))
    error = DEVIATIONS * np.sqrt(variance)
    return {
        "value": float(value),
        "low": float(value - error),
        "high": float(value + error),
        "confidence": CONFIDENCE,
    }


def _row_sums(x, y, *, skip_diagonal: bool = False) -> np.ndarray:
    """`[M]`, the sum of k(x_i, y_j) over j (without j = i)."""
    sums = []
    for first in range(0, len(x), BLOCK):
        block = x[first : first + BLOCK]
        kernel = (block @ y.T / x.shape[1] + 1.0) ** 3
        if skip_diagonal:
            kernel[np.arange(len(block)), first + np.arange(len(block))] = 0.0
        sums.append(kernel.sum(1))
    return np.concatenate(sums)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """The squared distance of the two Gaussians; `UserError` across families."""
    check_comparable(a, b)
    return gaussian_distance(a.mean, a.covariance, b.mean, b.covariance)


def gaussian_distance(mean_a, covariance_a, mean_b, covariance_b) -> float:
    """|mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), in float64.

    The eigenvalues of C_a C_b are those of the symmetric C_a^(1/2) C_b C_a^(1/2), so that no square
    root of a general matrix is needed, nor the small constant that others add to singular ones.
    """
    difference = np.asarray(mean_a, np.float64) - mean_b
    values, vectors = np.linalg.eigh(np.asarray(covariance_a, np.float64))
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inner = root @ np.asarray(covariance_b, np.float64) @ root
    products = np.linalg.eigvalsh((inner + inner.T) / 2)
    trace = np.trace(covariance_a) + np.trace(covariance_b)
    trace -= 2.0 * np.sqrt(np.maximum(products, 0.0)).sum()
    return float(max(difference @ difference + trace, 0.0))
