"""FID and KID: two distances between two sets of images, in the same `Features` alone."""

import dataclasses

import numpy as np

from attngan_jax.errors import UserError

SUM_BLOCK = 256  # rows added together, whatever the batch they came in
KERNEL_BLOCK = 1_000  # rows of the kernel matrix at a time
FEWEST = 3  # images of either kind: the jackknife leaves one out of an unbiased estimate
CONFIDENCE, DEVIATIONS = 95, 1.959964  # percent, and as many standard errors to either side


@dataclasses.dataclass(frozen=True)
class Features:
    """Which network feature vectors come from, and what it is shown."""

    family: str  # of `input_rules.FAMILIES`, or "damsm", "judge"
    weights_sha256: str
    resize: str  # how an image becomes the network's input, in words


@dataclasses.dataclass(frozen=True)
class Statistics:
    """A Gaussian of a set of images' features for FID, and a sample of them for KID."""

    features: Features
    num_images: int
    mean: np.ndarray  # `[D]`, float64
    covariance: np.ndarray  # `[D, D]`, float64, unbiased
    sample: np.ndarray  # features of some images at even distances, float32 `[M, D]`
    images: str = ""  # which images, in words: "1,000 test images of procedural_birds"
    file: str = ""  # the name of the file in which they were given, of images that it counts not


class Accumulator:
    """`Statistics` of features that come in batches; the batch size does not change a bit.

    Holds one `[D, D]` float64 matrix and `keep` sampled rows, however many images there are.
    """

    def __init__(self, features: Features, num_images: int, *, keep: int):
        self._features, self._num_images = features, num_images
        self._keep, self._count = min(keep, num_images), 0
        self._waiting: list[np.ndarray] = []  # rows that do not fill a block yet
        self._sample: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Takes in the features `[B, D]` of the next images."""
        if not self._count:
            # A covariance is a small difference of large sums: they are taken around one image.
            self._shift = rows[0].astype(np.float64)
            self._sum = np.zeros_like(self._shift)
            self._products = np.zeros((len(self._sum),) * 2)
        places = np.arange(self._count, self._count + len(rows) + 1)
        self._sample.append(rows[np.diff(places * self._keep // self._num_images) > 0])
        self._count += len(rows)
        rows = np.concatenate([*self._waiting, rows])
        while len(rows) >= SUM_BLOCK:
            self._add_block(rows[:SUM_BLOCK])
            rows = rows[SUM_BLOCK:]
        self._waiting = [rows]

    def _add_block(self, rows: np.ndarray) -> None:
        rows = rows.astype(np.float64) - self._shift
        self._sum += rows.sum(0)
        self._products += rows.T @ rows

    def result(self, images: str = "") -> Statistics:
        """The statistics of all rows, once all are added."""
        N = self._count
        if N != self._num_images or N < 2:
            raise ValueError(f"{N} of {self._num_images} images were added")
        self._add_block(self._waiting.pop())
        mean = self._sum / N
        covariance = (self._products - N * np.outer(mean, mean)) / (N - 1)
        sample = np.concatenate(self._sample).astype(np.float32)
        return Statistics(self._features, N, mean + self._shift, covariance, sample, images)


def distances(a: Statistics, b: Statistics) -> tuple[float, dict[str, float] | None]:
    """FID and KID, the latter as `squared_mmd`, None of fewer than three images of either kind;
    `UserError` unless both are of the same features.

    Unlike FID's, the expectation of KID does not depend on the number of images.
    """
    family = a.features.family
    if family != b.features.family:
        both = f"the family {family} and of {b.features.family}"
        raise UserError(f"features of {both} cannot be compared: an FID or KID is of one family")
    for name in ("weights_sha256", "resize"):
        one, other = (getattr(statistics.features, name) for statistics in (a, b))
        if one != other:
            both = f"different {name} ({one[:40]} and {other[:40]})"
            raise UserError(f"{family} features of {both} cannot be compared")
    fid = gaussian_distance(a.mean, a.covariance, b.mean, b.covariance)
    few = min(len(a.sample), len(b.sample)) < FEWEST
    return fid, None if few else squared_mmd(a.sample, b.sample)


def gaussian_distance(mean_a, covariance_a, mean_b, covariance_b) -> float:
    """|mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), in float64.

    The eigenvalues of C_a C_b are those of the symmetric C_a^(1/2) C_b C_a^(1/2): no square root of
    a general matrix is needed, nor the small constant that other programs add to singular ones.
    """
    difference = np.asarray(mean_a, np.float64) - mean_b
    values, vectors = np.linalg.eigh(np.asarray(covariance_a, np.float64))
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inner = root @ np.asarray(covariance_b, np.float64) @ root
    products = np.linalg.eigvalsh((inner + inner.T) / 2)
    trace = np.trace(covariance_a) + np.trace(covariance_b)
    trace -= 2.0 * np.sqrt(np.maximum(products, 0.0)).sum()
    return float(max(difference @ difference + trace, 0.0))


def squared_mmd(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Unbiased squared MMD of `x [M, D]` and `y [N, D]` (Bińkowski et al., ICLR 2018).

    The kernel is (x.y / D + 1)^3. Differs from the paper, which takes the mean over subsets of
    1,000: all pairs are used, and the 95 % interval is the jackknife's, each image left out in
    turn, for which the kernel's row sums suffice.
    """
    x, y, m, n = np.asarray(x, np.float64), np.asarray(y, np.float64), len(x), len(y)
    if min(m, n) < FEWEST:
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
    bounds = {"value": value, "low": value - error, "high": value + error}
    return {name: float(bound) for name, bound in bounds.items()} | {"confidence": CONFIDENCE}


def _row_sums(x, y, *, skip_diagonal: bool = False) -> np.ndarray:
    """`[M]`, the sum of k(x_i, y_j) over j (without j = i)."""
    sums = np.zeros(len(x))
    for first in range(0, len(x), KERNEL_BLOCK):
        rows = slice(first, first + KERNEL_BLOCK)
        kernel = (x[rows] @ y.T / x.shape[1] + 1.0) ** 3
        if skip_diagonal:
            np.fill_diagonal(kernel[:, first:], 0.0)
        sums[rows] = kernel.sum(1)
    return sums
