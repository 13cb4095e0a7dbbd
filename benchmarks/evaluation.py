"""What the scores of 30,000 images take, without making the images: memory and seconds.

    python -m benchmarks.evaluation [--num_images N] [--dimensions D]

Streams random features of Inception's size through the accumulators of FID, KID and the Inception
Score, and vectors of DAMSM's size through R-precision. Prints a line for each.
"""

import resource
import time

import numpy as np
from absl import app, flags

from attngan_jax.evaluation.metrics import r_precision
from attngan_jax.evaluation.metrics.fid_kid import (
    Accumulator,
    Features,
    gaussian_distance,
    squared_mmd,
)
from attngan_jax.evaluation.metrics.inception_score import InceptionScore

_IMAGES = flags.DEFINE_integer("num_images", 30_000, "Of generated and of real images.")
_DIMENSIONS = flags.DEFINE_integer("dimensions", 2048, "Of the features.")
_BATCH = 64
_CLASSES = 1008
_KID_IMAGES = 5_000


def batches(seed: int, width: int):
    """Random features, a batch at a time."""
    rng = np.random.default_rng(seed)
    for first in range(0, _IMAGES.value, _BATCH):
        yield rng.random((min(_BATCH, _IMAGES.value - first), width), np.float32)


def timed(name: str, function):
    """Calls a function and prints its seconds and the most memory that the process has had."""
    start = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name}: {seconds:.1f} s; at most {peak:.2f} GiB so far", flush=True)
    return result


def statistics(seed: int):
    """Of random features."""
    features = Features("torchvision", "", "")
    sums = Accumulator(features, _IMAGES.value, keep=_KID_IMAGES)
    for rows in batches(seed, _DIMENSIONS.value):
        sums.add(rows)
    return sums.result()


def inception_score():
    """Of random probabilities."""
    score = InceptionScore(_IMAGES.value, 10, 0)
    for rows in batches(3, _CLASSES):
        score.add(rows / rows.sum(1, keepdims=True))
    return score.result()


def r_precision_of_chance():
    """Of random vectors of 50 classes."""
    rng = np.random.default_rng(4)
    images, sentences = rng.standard_normal((2, _IMAGES.value, 256)).astype(np.float32)
    protocol = r_precision.Protocol("own", _IMAGES.value, 100, 3_000, "class", False)
    places = np.arange(_IMAGES.value)
    pairs = r_precision.Pairs(images, sentences, places % 50, places)
    return r_precision.score(pairs, protocol, 0)


def main(argv):
    """Prints one line a part."""
    del argv
    timed("imports", lambda: None)
    real, made = (
        timed(
            f"mean and covariance of {_IMAGES.value:,} {kind} images",
            lambda seed=seed: statistics(seed),
        )
        for seed, kind in ((1, "real"), (2, "generated"))
    )
    fid = timed(
        f"FID's matrix step at {_DIMENSIONS.value} dimensions",
        lambda: gaussian_distance(real.mean, real.covariance, made.mean, made.covariance),
    )
    kid = timed(
        f"KID of {len(made.sample):,} images of either kind",
        lambda: squared_mmd(real.sample, made.sample),
    )
    score = timed("Inception Score", inception_score)
    precision = timed("R-precision", r_precision_of_chance)
    print(
        f"of noise: FID {fid:.3f}, KID {kid['value']:.2e}, Inception Score {score['mean']:.3f}, "
        f"R-precision {precision['mean']:.2f} %"
    )


if __name__ == "__main__":
    app.run(main)
