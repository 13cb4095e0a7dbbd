"""R-precision of few images while stage 2 trains, for runs that keep their best checkpoint."""

import numpy as np

from attngan_jax.data.pipeline import EvenSubset
from attngan_jax.evaluation.batched_map import BatchedMap
from attngan_jax.evaluation.measurements import joined
from attngan_jax.evaluation.metrics import r_precision
from attngan_jax.evaluation.metrics.retrieval import retrieval
from attngan_jax.sampling.trained_model import TrainedModel, generator_variables
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.networks import normalise, word_mask
from attngan_jax.training.state import AttnganState, DamsmState


class GeneratorScore:
    """Called with the state by the loop of stage 2; returns `eval/r_precision`.

    Of `attngan.scored_images` test captions, by the run's protocol but for their number.
    """

    def __init__(self, task: AttnganTask, dataset, encoders: dict):
        self._task, self._dataset, self._encoders = task, dataset, encoders
        self._count = task.settings.scored_images
        self._split = EvenSubset(dataset.test, min(self._count, len(dataset.test)))
        trained = TrainedModel(task.config, dataset.vocabulary, task, {}, 0)

        def function(variables, batch):
            made = trained.generate(variables, batch)
            return {name: made[name] for name in ("code", "sentence")} | {
                "class_id": batch["class_id"],
                "index": batch["index"],
            }

        self._map = BatchedMap(function)

    def __call__(self, state: AttnganState) -> dict[str, float]:
        config = self._task.config
        rows = joined(
            self._map.rows(
                self._encoders | {"generator": generator_variables(state)},
                self._split,
                config,
                vocabulary=self._dataset.vocabulary,
                image_sizes=self._task.image_sizes[:1],
                num_examples=self._count,
            )
        )
        protocol = r_precision.Protocol.of_config(config.eval)
        hits = r_precision.retrieval_hits(
            *(rows[name] for name in ("code", "sentence", "class_id", "index")),
            num_candidates=protocol.num_candidates,
            seed=config.seed,
            mismatch=protocol.mismatch,
            with_replacement=protocol.with_replacement,
        )
        return {"eval/r_precision": float(100 * np.mean(hits))}


class RetrievalScore:
    """Called with the state by the loop of stage 1; returns the scalars of `retrieval`.

    `eval/retrieval_r1`, the mean of both directions' R@1, stands for all of them.
    """

    def __init__(self, task: DamsmTask, dataset):
        self._task, self._vocabulary = task, dataset.vocabulary
        self._pairs = EvenSubset(
            dataset.test, min(task.settings.retrieval_pairs, len(dataset.test))
        )
        self._map = BatchedMap(self._encode)

    def _encode(self, variables, batch):
        _, sentence = self._task.text_encoder.apply(
            {"params": variables["text"]}, batch["caption"], word_mask(batch)
        )
        image = batch[f"image_{self._task.image_sizes[0]}"]
        _, code = self._task.image_encoder.apply(variables["image"], normalise(image), train=False)
        return {"code": code, "sentence": sentence, "class_id": batch["class_id"]}

    def __call__(self, state: DamsmState) -> dict[str, float]:
        rows = list(
            self._map.rows(
                {"text": state.text.params, "image": state.image.variables},
                self._pairs,
                self._task.config,
                vocabulary=self._vocabulary,
                image_sizes=self._task.image_sizes,
            )
        )
        found = retrieval(
            *(
                np.concatenate([row[name] for row in rows])
                for name in ("code", "sentence", "class_id")
            )
        )
        return scalars(found)


def scalars(found: dict) -> dict[str, float]:
    """The result of `retrieval` under the names that are logged."""
    directions = ("image_to_text", "text_to_image")
    result = {
        f"eval/{direction}_{name}": value
        for direction in directions
        for name, value in found[direction].items()
    }
    result["eval/retrieval_r1"] = float(np.mean([found[name]["r1"] for name in directions]))
    return result
