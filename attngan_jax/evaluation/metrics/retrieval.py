"""DAMSM retrieval on held-out pairs, R@K and median rank: which DAMSM is worth using?"""

from typing import Any

import numpy as np

BLOCK = 1_000  # queries scored together
TIE = 1e-6  # cosines this close are equal, and ties count as errors


def retrieval(images: np.ndarray, sentences: np.ndarray, class_ids: np.ndarray) -> dict[str, Any]:
    """R@1, 5 and 10 in percent and the median rank, from images to captions and back.

    `chance_r1` is the R@1 of unrelated vectors. Arguments as in `true_ranks`, of real images.
    """
    same = (class_ids[:, None] == class_ids) & (class_ids >= 0)
    np.fill_diagonal(same, True)
    competing = len(images) - same.sum(1)
    chance = float(100 * np.mean(1 / (1 + competing)))
    result: dict[str, Any] = {"num_pairs": len(images), "chance_r1": chance}
    embeddings = {"image_to_text": (images, sentences), "text_to_image": (sentences, images)}
    for name, (queries, targets) in embeddings.items():
        ranks = true_ranks(queries, targets, class_ids)
        recalls = {f"r{k}": float(100 * (ranks <= k).mean()) for k in (1, 5, 10)}
        result[name] = recalls | {"median_rank": float(np.median(ranks))}
    return result


def true_ranks(queries: np.ndarray, targets: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """The place of each query's own target among all targets by cosine, int `[N]`, from 1.

    Row n of the queries `[N, D]` belongs to row n of the targets `[N, D]`. Other targets of the
    query's class, int `[N]`, do not compete: they may fit it just as well. Class -1 is none.
    """
    queries, targets = (unit(np.asarray(vectors, np.float64)) for vectors in (queries, targets))
    ranks = np.zeros(len(queries), int)
    for first in range(0, len(queries), BLOCK):
        places = np.arange(first, min(first + BLOCK, len(queries)))
        scores = queries[places] @ targets.T
        own = scores[places - first, places][:, None]
        same = (class_ids[places, None] == class_ids[None]) & (class_ids[places, None] >= 0)
        same[places - first, places] = True
        ranks[places] = 1 + ((scores >= own - TIE) & ~same).sum(1)
    return ranks


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors `[N, D]` at length 1, so that their products are cosines."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
