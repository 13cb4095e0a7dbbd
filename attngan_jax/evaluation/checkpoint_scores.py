"""Scores of a stage while it trains, for runs that keep their best checkpoint."""

import numpy as np

from attngan_jax.data.datasets import Dataset
from attngan_jax.data.pipeline import EvenSubset
from attngan_jax.evaluation.batched_map import BatchedMap
from attngan_jax.evaluation.metric_blocks import r_precision_protocol
from attngan_jax.evaluation.metrics.r_precision import Pairs, retrieval_hits
from attngan_jax.evaluation.metrics.retrieval import retrieval
from attngan_jax.sampling.trained_model import TrainedModel, generator_variables
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.networks import normalise, word_mask
from attngan_jax.training.state import AttnganState, DamsmState


class GeneratorScore:
    """`eval/r_precision` of a state of stage 2, by the run's protocol, but of
    `attngan.scored_images` test captions."""

    def __init__(self, task: AttnganTask, dataset: Dataset, encoders: dict):
        self._config, self._encoders = task.config, encoders
        self._count = task.settings.scored_images
        self._split = EvenSubset(dataset.test, min(self._count, len(dataset.test)))
        trained = TrainedModel(task.config, dataset.vocabulary, task, {}, 0)

        def function(variables, batch):
            made = trained.generate(variables, batch)
            _, embedding = trained.encode_images(variables, made.images[task.image_sizes[-1]])
            return Pairs(embedding, made.sentence, batch["class_id"], batch["index"])

        self._map = BatchedMap(function, task.config, dataset, task.image_sizes[0])

    def __call__(self, state: AttnganState) -> dict[str, float]:
        variables = self._encoders | {"generator": generator_variables(state)}
        pairs = self._map.collect(variables, self._split, self._count)
        hits = retrieval_hits(pairs, r_precision_protocol(self._config.eval), self._config.seed)
        return {"eval/r_precision": float(100 * np.mean(hits))}


class RetrievalScore:
    """The scalars of `retrieval` for a state of stage 1, with the mean of both directions' R@1."""

    def __init__(self, task: DamsmTask, dataset: Dataset):
        count = min(task.settings.retrieval_pairs, len(dataset.test))
        self._pairs = EvenSubset(dataset.test, count)

        def function(variables, batch):
            text_encoder = task.text_encoder.bind(variables["text"])
            _, sentence = text_encoder(batch["caption"], word_mask(batch))
            images = normalise(batch[f"image_{task.image_sizes[0]}"])
            _, embedding = task.image_encoder.bind(variables["image"])(images, train=False)
            return embedding, sentence, batch["class_id"]

        self._map = BatchedMap(function, task.config, dataset, task.image_sizes[0])

    def __call__(self, state: DamsmState) -> dict[str, float]:
        found = retrieval(*self._map.collect(state.encoders, self._pairs))
        found = {name: found[name] for name in ("image_to_text", "text_to_image")}
        scalars = {f"eval/{d}_{name}": x for d, own in found.items() for name, x in own.items()}
        r1 = np.mean([scores["r1"] for scores in found.values()])
        return scalars | {"eval/retrieval_r1": float(r1)}
