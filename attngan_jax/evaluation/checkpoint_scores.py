"""Scores of a stage while it trains, for runs that keep their best checkpoint."""

import dataclasses
from pathlib import Path

import numpy as np
from absl import logging

from attngan_jax.configuration import Config
from attngan_jax.data import datasets
from attngan_jax.data.pipeline import EvenSubset
from attngan_jax.errors import UserError
from attngan_jax.evaluation import shown_pairs
from attngan_jax.evaluation.batched_map import BatchedMap
from attngan_jax.evaluation.judges import files, scoring
from attngan_jax.evaluation.metric_blocks import judge_statistics, r_precision_protocol
from attngan_jax.evaluation.metrics import fid_kid
from attngan_jax.evaluation.metrics.r_precision import Pairs, retrieval_hits
from attngan_jax.evaluation.metrics.retrieval import retrieval
from attngan_jax.sampling.trained_model import TrainedModel, generator_variables
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.networks import normalise, word_mask
from attngan_jax.training.state import AttnganState, DamsmState

JUDGE_SCORES = ("eval/kid_judge", "eval/r_precision_independent")


class GeneratorScore:
    """Scores of a state of stage 2, by the run's protocol, but of `attngan.scored_images` test
    captions: `eval/r_precision` and, where the dataset has judges, `eval/kid_judge` (lower is
    better) and `eval/r_precision_independent`."""

    def __init__(self, task: AttnganTask, dataset: datasets.Dataset, encoders: dict):
        self._config, self._encoders = task.config, encoders
        self._count = task.settings.scored_images
        self._split, self._plan = _shown(task.config, dataset)
        trained = TrainedModel(task.config, dataset.vocabulary, task, {}, 0)
        self._judging, size = _judging(dataset), task.image_sizes[-1]
        self._real: fid_kid.Statistics | None = None  # of the test images, once they are needed

        def function(variables, batch):
            made = trained.generate(variables["trained"], batch)
            image = made.images[size]
            _, embedding = trained.encode_images(variables["trained"], image)
            rows = {"pairs": Pairs(embedding, made.sentence, batch["class_id"], batch["index"])}
            if variables["judging"] is None:
                return rows
            networks, words = variables["judging"]["networks"], variables["judging"]["words"]
            seen, caption = scoring.see(networks, image), scoring.read(networks, batch, words)
            pairs = rows["pairs"]._replace(images=seen["matched_image"], sentences=caption)
            return rows | {"independent": pairs, "features": seen["judge_features"]}

        def real_features(variables, batch):
            return scoring.features(variables["networks"], batch[f"image_{size}"])

        self._test = dataset.test
        self._map = BatchedMap(function, task.config, dataset, task.image_sizes[0])
        self._real_map = BatchedMap(real_features, task.config, dataset, size)

    def __call__(self, state: AttnganState) -> dict[str, float]:
        trained = self._encoders | {"generator": generator_variables(state)}
        variables = {"trained": trained, "judging": self._judging}
        rows = self._map.collect(variables, self._split, self._count)
        pairs, scores = {"eval/r_precision": rows["pairs"]}, {}
        if self._judging is not None:
            pairs["eval/r_precision_independent"] = rows["independent"]
        if "r_precision" not in self._plan.unavailable:
            scores = {name: self._r_precision(those) for name, those in pairs.items()}
        if self._judging is None or "kid_judge" in self._plan.unavailable:
            return scores
        if self._real is None:
            self._real = self._statistics(self._real_map.collect(self._judging, self._test))
        _, kid = fid_kid.distances(self._statistics(rows["features"]), self._real)
        return scores | {"eval/kid_judge": kid["value"]} if kid else scores

    def _r_precision(self, pairs: Pairs) -> float:
        hits = retrieval_hits(pairs, self._plan.protocol, self._config.seed)
        return float(100 * np.mean(hits))

    def _statistics(self, features: np.ndarray) -> fid_kid.Statistics:
        return judge_statistics(features, self._config.eval.kid_images)


def _shown(config: Config, dataset: datasets.Dataset) -> tuple[EvenSubset, shown_pairs.Plan]:
    """The test records that a generator is scored on while it trains, and what can be scored."""
    count = config.attngan.scored_images
    split = EvenSubset(dataset.test, min(count, len(dataset.test)))
    protocol = dataclasses.replace(r_precision_protocol(config.eval), num_images=count)
    records = shown_pairs.TestRecords.read(split)
    return split, shown_pairs.plan(records, dataset, config, protocol)


def check_test_split(config: Config, dataset: datasets.Dataset) -> None:
    """`UserError` where the test split is too small for what the best checkpoint is chosen by."""
    if key := config.attngan.best_checkpoint:
        reason = _shown(config, dataset)[1].unavailable.get(key.removeprefix("eval/"))
        if reason:
            raise UserError(f"config.attngan.best_checkpoint is {key}, which is {reason}")


def check_judges(config: Config) -> None:
    """`UserError` where the best checkpoint is to be chosen by judges that there are not."""
    if (key := config.attngan.best_checkpoint) in JUDGE_SCORES:
        version = Path(datasets.get_builder(config).data_path).name
        try:
            files.load_for(config.data.dataset, version)
        except UserError as error:
            raise UserError(f"config.attngan.best_checkpoint is {key}, but {error}") from error


def _judging(dataset: datasets.Dataset) -> dict | None:
    """The variables of `scoring`, None where the dataset has no judges."""
    try:
        judges = files.load_for(dataset.name, dataset.folder.parts[-1])
    except UserError:
        return None
    return {"networks": judges.variables, "words": judges.word_numbers(dataset.vocabulary)}


class RetrievalScore:
    """The scalars of `retrieval` for a state of stage 1, with the mean of both directions' R@1."""

    def __init__(self, task: DamsmTask, dataset: datasets.Dataset):
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
        if found["chance_r1"] == 100:
            text = "retrieval on %d test pairs can't be wrong: none has another of another class"
            logging.log_first_n(logging.WARNING, text, 1, len(self._pairs))
        found = {name: found[name] for name in ("image_to_text", "text_to_image")}
        scalars = {f"eval/{d}_{name}": x for d, own in found.items() for name, x in own.items()}
        r1 = np.mean([scores["r1"] for scores in found.values()])
        return scalars | {"eval/retrieval_r1": float(r1)}
