"""R-precision: does an image find its own caption among mismatching ones? (Sec. 4)"""

import numpy as np

from attngan_jax.errors import UserError


def draw_mismatching(
    class_ids: np.ndarray, image_ids: np.ndarray, n: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Positions of `count` captions that do not describe example n, without replacement.

    A caption mismatches if it is of another class, or, without classes (-1), of another image.
    """
    if class_ids[n] >= 0:
        pool = np.flatnonzero(class_ids != class_ids[n])
    else:
        pool = np.flatnonzero(image_ids != image_ids[n])
    if len(pool) < count:
        raise UserError(f"R-precision wants {count} mismatching captions and there are only "
                        f"{len(pool)}: lower config.eval.num_candidates or raise "
                        "config.eval.num_images")
    return rng.choice(pool, count, replace=False)


def retrieval_hits(
    codes: np.ndarray,
    sentences: np.ndarray,
    class_ids: np.ndarray,
    image_ids: np.ndarray,
    *,
    num_candidates: int,
    seed: int,
) -> np.ndarray:
    """Whether each image's own caption comes first, bool `[N]`.

    Args:
      codes: global image vectors `[N, D]`. sentences: global caption vectors `[N, D]`; row n is
        the caption of image n, the others are the pool of mismatching ones.
      class_ids, image_ids: int `[N]`, see `draw_mismatching`.
      num_candidates: the true caption and num_candidates - 1 mismatching ones.

    A tie is a miss: an encoder that maps everything to one point scores 0, not 100 %.
    """
    codes, sentences = _unit(codes), _unit(sentences)
    hits = np.zeros(len(codes), bool)
    for n in range(len(codes)):
        rng = np.random.default_rng((seed, n))
        others = draw_mismatching(class_ids, image_ids, n, num_candidates - 1, rng)
        # Not by matmul, whose rounding depends on a row's place: equal captions must score equal.
        scores = (sentences[np.append(n, others)] * codes[n]).sum(-1)
        hits[n] = scores[0] > scores[1:].max()
    return hits


def summarise(hits: np.ndarray, *, num_candidates: int, fold_size: int) -> dict:
    """Mean and standard deviation over folds of `fold_size` images, in percent.

    Images that fill no whole fold count in neither; with fewer images than one fold, all of them
    are the only fold and the deviation is 0.
    """
    folds = max(1, len(hits) // fold_size)
    used = hits[: folds * fold_size]
    rates = 100.0 * np.array([fold.mean() for fold in np.array_split(used, folds)])
    return {"mean": float(rates.mean()), "std": float(rates.std()),
            "candidates": num_candidates, "num_images": len(used),
            "fold_size": min(fold_size, len(hits))}


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
