"""DAMSM retrieval on held-out pairs: which DAMSM is worth using? (R@K, median rank)"""

import numpy as np

from attngan_jax.evaluation.rows import RowMap
from attngan_jax.evaluation.samples import Spread
from attngan_jax.training.damsm_task import DamsmTask, normalise, word_mask
from attngan_jax.training.state import DamsmState

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
    for name, queries, targets in (("image_to_text", codes, sentences),
                                   ("text_to_image", sentences, codes)):
        ranks = true_ranks(queries, targets, class_ids)
        result[name] = {f"r{k}": float(100 * (ranks <= k).mean()) for k in CUTS}
        result[name]["median_rank"] = float(np.median(ranks))
    return result


class RetrievalScore:
    """Called with the state by the loop of stage 1; returns the scalars of `retrieval`.

    `eval/retrieval_r1`, the mean of both directions' R@1, stands for all of them.
    """

    def __init__(self, task: DamsmTask, dataset):
        self._task, self._vocabulary = task, dataset.vocabulary
        self._pairs = Spread(dataset.test, min(task.settings.retrieval_pairs, len(dataset.test)))
        self._map = RowMap(self._encode)

    def _encode(self, variables, batch):
        _, sentence = self._task.text_encoder.apply(
            {"params": variables["text"]}, batch["caption"], word_mask(batch))
        image = batch[f"image_{self._task.image_sizes[0]}"]
        _, code = self._task.image_encoder.apply(variables["image"], normalise(image), train=False)
        return {"code": code, "sentence": sentence, "class_id": batch["class_id"]}

    def __call__(self, state: DamsmState) -> dict[str, float]:
        rows = list(self._map.rows(
            {"text": state.text.params, "image": state.image.variables}, self._pairs,
            self._task.config, vocabulary=self._vocabulary, image_sizes=self._task.image_sizes))
        found = retrieval(*(np.concatenate([row[name] for row in rows])
                            for name in ("code", "sentence", "class_id")))
        return scalars(found)


def scalars(found: dict) -> dict[str, float]:
    """The result of `retrieval` under the names that are logged."""
    directions = ("image_to_text", "text_to_image")
    result = {f"eval/{direction}_{name}": value
              for direction in directions for name, value in found[direction].items()}
    result["eval/retrieval_r1"] = float(np.mean([found[name]["r1"] for name in directions]))
    return result


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
