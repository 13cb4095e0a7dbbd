"""R-precision: does an image find its own caption among mismatching ones? (Sec. 4)

The released code does not measure it, and the paper leaves choices open: a `Protocol` states them.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from attngan_jax.errors import UserError
from attngan_jax.evaluation.metrics.retrieval import unit


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How R-precision is measured."""

    name: str  # of a preset, or "own" for the config's values
    num_images: int
    num_candidates: int  # the true caption and mismatching ones
    fold_size: int  # images of a fold; the deviation is over folds
    mismatch: str  # mismatching captions are of another "class", or else only another "image"
    with_replacement: bool  # whether a mismatching caption may be drawn twice for one image


PRESETS = {
    # Sec. 4: 30,000 images, 99 "randomly selected mismatching descriptions" each. Which mismatch
    # is not said; the deviations of Tables 2 and 3 (4 to 6 %) are those of folds of about 100.
    "paper": Protocol("paper", 30_000, 100, 100, "image", False),
    # The code of DM-GAN (Zhu et al., CVPR 2019): redraws a caption of the same class, not one that
    # it has already; ten folds of 3,000.
    "dm_gan": Protocol("dm_gan", 30_000, 100, 3_000, "class", True),
}


class Pairs(NamedTuple):
    """N images with their captions."""

    images: np.ndarray  # embeddings `[N, D]`
    sentences: np.ndarray  # embeddings `[N, D]`
    class_ids: np.ndarray  # int `[N]`; -1 is none: then captions of other images mismatch
    image_ids: np.ndarray  # int `[N]`


def score(pairs: Pairs, protocol: Protocol, seed: int) -> dict:
    """R-precision by `protocol` in percent, with the protocol beside it.

    `mismatch` is the rule that was applied: "image" where there are no classes.
    """
    return summarise(retrieval_hits(pairs, protocol, seed), protocol) | {
        "chance": 100.0 / protocol.num_candidates,
        "mismatch": protocol.mismatch if (pairs.class_ids >= 0).any() else "image",
        "with_replacement": protocol.with_replacement,
        "protocol": protocol.name,
    }


def retrieval_hits(pairs: Pairs, protocol: Protocol, seed: int) -> np.ndarray:
    """Whether each image's own caption comes first by the cosine of embeddings, bool `[N]`.

    Ties count as errors: encoders that map everything to one point score 0, not 100 %.
    """
    images, sentences = unit(pairs.images), unit(pairs.sentences)
    hits = np.zeros(len(images), bool)
    for n, image in enumerate(images):
        candidates = np.append(n, draw_mismatching(pairs, n, protocol, seed))
        # Not by matmul, whose rounding depends on a row's place: equal captions must score equal.
        scores = (sentences[candidates] * image).sum(-1)
        hits[n] = scores[0] > scores[1:].max()
    return hits


def draw_mismatching(pairs: Pairs, n: int, protocol: Protocol, seed: int) -> np.ndarray:
    """Positions of the `num_candidates - 1` captions that compete with pair n's own."""
    use_class = protocol.mismatch == "class" and pairs.class_ids[n] >= 0
    ids = pairs.class_ids if use_class else pairs.image_ids
    pool, count = np.flatnonzero(ids != ids[n]), protocol.num_candidates - 1
    if len(pool) < fewest_candidates(protocol):
        raise UserError(f"R-precision {_missing(len(pool), protocol)}")
    rng = np.random.default_rng((seed, n))
    return rng.choice(pool, count, replace=protocol.with_replacement)


def fewest_candidates(protocol: Protocol) -> int:
    """The mismatching captions that there must be for each image."""
    return 1 if protocol.with_replacement else protocol.num_candidates - 1


def missing_candidates(ids: np.ndarray, protocol: Protocol) -> str:
    """Why too few captions mismatch where those of the same id, int `[N]`, do not; "" if enough."""
    pool = len(ids) - int(np.unique(ids, return_counts=True)[1].max())
    return "" if pool >= fewest_candidates(protocol) else _missing(pool, protocol)


def _missing(pool: int, protocol: Protocol) -> str:
    problem = f"wants {protocol.num_candidates - 1} mismatching captions and there are only {pool}"
    return f"{problem}: lower config.eval.num_candidates or raise config.eval.num_images"


def summarise(hits: np.ndarray, protocol: Protocol) -> dict:
    """Mean and standard deviation over folds of `fold_size` images, in percent.

    Images that fill no whole fold do not count; fewer images than one fold are the only fold.
    """
    folds = max(1, len(hits) // protocol.fold_size)
    used = hits[: folds * protocol.fold_size]
    rates = 100.0 * np.array([fold.mean() for fold in np.array_split(used, folds)])
    return {
        "mean": float(rates.mean()),
        "std": float(rates.std()),
        "candidates": protocol.num_candidates,
        "num_images": len(used),
        "fold_size": min(protocol.fold_size, len(hits)),
    }
