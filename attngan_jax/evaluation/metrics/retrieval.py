"""DAMSM retrieval on held-out pairs: which DAMSM is worth using? (R@K, median rank)"""

import numpy as np

BLOCK = 1_000  # queries scored together
TIE = 1e-6  # cosines this close are equal, and then the true one comes last
CUTS = (1, 5, 10)


def true_ranks(queries: np.ndarray, targets: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """The place of each query's own target among all targets by cosine, int `[N]`, from 1.

    Args:
      queries, targets: `[N, D]`; row n of one belongs to row n of the other.
      class_ids: int `[N]`. Other targets of the query's class don't compete: they may fit it just
        as well. -1 has no such company.
    """
    queries, targets = _unit(queries), _unit(targets)
    result = []
    for first in range(0, len(queries), BLOCK):
        places = np.arange(first, min(first + BLOCK, len(queries)))
        scores = queries[places] @ targets.T
        own = scores[np.arange(len(places)), places][:, None]
        same = (class_ids[places, None] == class_ids[None]) & (class_ids[places, None] >= 0)
        scores[same] = -np.inf
        scores[np.arange(len(places)), places] = -np.inf
        result.append(1 + (scores >= own - TIE).sum(1))
    return np.concatenate(result)


def retrieval(codes: np.ndarray, sentences: np.ndarray, class_ids: np.ndarray) -> dict:
    """R@1, 5 and 10 in percent and the median rank, from images to captions and back.

    `chance_r1` is the R@1 of unrelated vectors.

    Args:
      codes: global vectors of N real images. sentences: of their captions; both `[N, D]`.
      class_ids: see `true_ranks`.
    """
    same = (class_ids[:, None] == class_ids) & (class_ids >= 0)
    np.fill_diagonal(same, True)
    competing = len(codes) - same.sum(1)
    result = {"num_pairs": len(codes), "chance_r1": float(100 * np.mean(1 / (1 + competing)))}
    for name, queries, targets in (
        ("image_to_text", codes, sentences),
        ("text_to_image", sentences, codes),
    ):
        ranks = true_ranks(queries, targets, class_ids)
        result[name] = {f"r{k}": float(100 * (ranks <= k).mean()) for k in CUTS}
        result[name]["median_rank"] = float(np.median(ranks))
    return result


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
