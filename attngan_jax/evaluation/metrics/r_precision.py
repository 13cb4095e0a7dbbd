"""R-precision: does an image find its own caption among mismatching ones? (Sec. 4)

The paper's authors never released their code for it, and what they wrote leaves a choice; so all
of it is a `Protocol`.
"""

import dataclasses

import numpy as np

from attngan_jax.errors import UserError

OWN = "own"
MISMATCHES = ("class", "image")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How R-precision is measured.

    Attributes:
      name: "own" for the config's values, or that of a preset.
      num_images: pairs of a test caption and an image.
      num_candidates: the true caption and num_candidates - 1 mismatching ones.
      fold_size: images of a fold; the deviation is over folds.
      mismatch: a mismatching caption is of another "class" (of another image, where there are no
        classes), or only of another "image".
      with_replacement: whether a mismatching caption may be drawn twice for one image.
    """

    name: str
    num_images: int
    num_candidates: int
    fold_size: int
    mismatch: str
    with_replacement: bool

    @classmethod
    def of_config(cls, evaluation) -> "Protocol":
        """What `config.eval` asks for: its own values, or the preset that it names."""
        if evaluation.protocol in PRESETS:
            return PRESETS[evaluation.protocol]
        return cls(
            OWN,
            evaluation.num_images,
            evaluation.num_candidates,
            evaluation.fold_size,
            evaluation.mismatch,
            evaluation.with_replacement,
        )


PRESETS = {
    # Sec. 4: 30,000 images, 99 "randomly selected mismatching descriptions" each. Which mismatch
    # is not said; the deviations of Tables 2 and 3 (4 to 6 %) are those of folds of about 100.
    "paper": Protocol("paper", 30_000, 100, 100, "image", False),
    # The code of DM-GAN (Zhu et al., CVPR 2019): redraws a caption of the same class, not one that
    # it has already; ten folds of 3,000.
    "dm_gan": Protocol("dm_gan", 30_000, 100, 3_000, "class", True),
}
PROTOCOLS = (OWN, *PRESETS)


def draw_mismatching(
    class_ids: np.ndarray,
    image_ids: np.ndarray,
    n: int,
    count: int,
    rng: np.random.Generator,
    *,
    mismatch: str = "class",
    with_replacement: bool = False,
) -> np.ndarray:
    """Positions of `count` captions that do not describe example n; see `Protocol`.

    Args:
      class_ids, image_ids: int `[N]`; class -1 is none.
    """
    if mismatch == "class" and class_ids[n] >= 0:
        pool = np.flatnonzero(class_ids != class_ids[n])
    else:
        pool = np.flatnonzero(image_ids != image_ids[n])
    if len(pool) < (1 if with_replacement else count):
        raise UserError(
            f"R-precision wants {count} mismatching captions and there are only "
            f"{len(pool)}: lower config.eval.num_candidates or raise "
            "config.eval.num_images"
        )
    return rng.choice(pool, count, replace=with_replacement)


def retrieval_hits(
    codes: np.ndarray,
    sentences: np.ndarray,
    class_ids: np.ndarray,
    image_ids: np.ndarray,
    *,
    num_candidates: int,
    seed: int,
    mismatch: str = "class",
    with_replacement: bool = False,
) -> np.ndarray:
    """Whether each image's own caption comes first, bool `[N]`.

    Args:
      codes: global image vectors `[N, D]`. sentences: global caption vectors `[N, D]`; row n is
        the caption of image n, the others are the pool of mismatching ones.
      class_ids, image_ids: int `[N]`; class -1 is none.
      seed: of the mismatching captions. The others are as in `Protocol`.

    A tie is a miss: an encoder that maps everything to one point scores 0, not 100 %.
    """
    codes, sentences = _unit(codes), _unit(sentences)
    hits = np.zeros(len(codes), bool)
    for n in range(len(codes)):
        rng = np.random.default_rng((seed, n))
        others = draw_mismatching(
            class_ids,
            image_ids,
            n,
            num_candidates - 1,
            rng,
            mismatch=mismatch,
            with_replacement=with_replacement,
        )
        # Not by matmul, whose rounding depends on a row's place: equal captions must score equal.
        scores = (sentences[np.append(n, others)] * codes[n]).sum(-1)
        hits[n] = scores[0] > scores[1:].max()
    return hits


def score(
    codes: np.ndarray,
    sentences: np.ndarray,
    class_ids: np.ndarray,
    image_ids: np.ndarray,
    protocol: Protocol,
    seed: int,
) -> dict:
    """R-precision by `protocol`, with the protocol beside it; arguments as in `retrieval_hits`.

    `mismatch` says what was done: "image" where there are no classes.
    """
    hits = retrieval_hits(
        codes,
        sentences,
        class_ids,
        image_ids,
        num_candidates=protocol.num_candidates,
        seed=seed,
        mismatch=protocol.mismatch,
        with_replacement=protocol.with_replacement,
    )
    return summarise(hits, num_candidates=protocol.num_candidates, fold_size=protocol.fold_size) | {
        "chance": 100.0 / protocol.num_candidates,
        "mismatch": protocol.mismatch if (class_ids >= 0).any() else "image",
        "with_replacement": protocol.with_replacement,
        "protocol": protocol.name,
    }


def summarise(hits: np.ndarray, *, num_candidates: int, fold_size: int) -> dict:
    """Mean and standard deviation over folds of `fold_size` images, in percent.

    Images that fill no whole fold count in neither; with fewer images than one fold, all of them
    are the only fold and the deviation is 0.
    """
    folds = max(1, len(hits) // fold_size)
    used = hits[: folds * fold_size]
    rates = 100.0 * np.array([fold.mean() for fold in np.array_split(used, folds)])
    return {
        "mean": float(rates.mean()),
        "std": float(rates.std()),
        "candidates": num_candidates,
        "num_images": len(used),
        "fold_size": min(fold_size, len(hits)),
    }


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
