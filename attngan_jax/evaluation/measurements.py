"""The passes over images that all scores come from, each a stream of batches on all devices.

Images stay there. What is kept is two embeddings each, some integers, and sums of features.
"""

import dataclasses
import hashlib
from typing import Any

import jax
import numpy as np

from attngan_jax import storage
from attngan_jax.data import datasets
from attngan_jax.data.pipeline import EvenSubset
from attngan_jax.evaluation.batched_map import BatchedMap, concatenate
from attngan_jax.evaluation.inception_classifier import Classifier
from attngan_jax.evaluation.input_rules import FAMILIES
from attngan_jax.evaluation.judges import scoring
from attngan_jax.evaluation.judges.files import Judges
from attngan_jax.evaluation.metrics.fid_kid import Accumulator, Features, Statistics
from attngan_jax.evaluation.metrics.inception_score import TEMPERATURES, InceptionScore
from attngan_jax.evaluation.metrics.pointing_game import labels_of_words, pointing_game
from attngan_jax.evaluation.reference_statistics import ReferenceCache
from attngan_jax.evaluation.saved_images import SavedImages
from attngan_jax.evaluation.shown_pairs import Plan, TestRecords
from attngan_jax.sampling.trained_model import TrainedModel
from attngan_jax.training import multihost


def digest_of(variables: Any) -> str:
    """SHA-256 of a tree of arrays with their names, in hexadecimal digits."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(jax.device_get(variables)):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()


def damsm_classifier(trained: TrainedModel) -> Classifier:
    """This run's image encoder, whose features are the image embeddings, by its SHA-256."""
    variables = {"image": trained.variables["image"]}
    resize = f"the image encoder, to {trained.config.image_encoder.image_size} pixels"
    features = Features("damsm", digest_of(variables["image"]), resize)
    return Classifier(features, variables, lambda v, x: (trained.encode_images(v, x)[1], None))


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is scored, and the networks that score it."""

    trained: TrainedModel  # its config has the settings of this evaluation
    dataset: datasets.Dataset  # with the vocabulary of `trained`
    networks: dict[str, Classifier]  # "damsm", and "fid" and "score" (often one) if there are any
    plan: Plan  # what can be measured
    records: TestRecords  # of the dataset's test split
    judges: Judges | None = None  # where there are any of this dataset
    no_judges: str = ""  # why there are none
    reference: Statistics | None = None  # for "fid", in place of those of the dataset's images

    @property
    def image_size(self) -> int:
        """Side of the generator's last images, at which real ones are compared with them."""
        return self.trained.task.image_sizes[-1]

    @property
    def compared(self) -> list[str]:
        """The networks in whose features generated images are compared with real ones."""
        metric_of = {"damsm": "fid_damsm", "fid": "fid"}
        names = [name for name in metric_of if name in self.networks]
        return [name for name in names if metric_of[name] not in self.plan.unavailable]

    @property
    def temperature(self) -> float | None:
        """By which TISE divides the logits of the classifier that the Inception Score is by."""
        score = self.networks.get("score")
        return TEMPERATURES.get(FAMILIES[score.features.family].weights) if score else None

    @property
    def judging(self) -> dict | None:
        """The variables of `scoring.judge`: the judges' networks, and what this run's words are."""
        if self.judges is None:
            return None
        vocabulary = self.trained.vocabulary
        numbers = self.judges.word_numbers(vocabulary)
        words = {"numbers": numbers, "parts": labels_of_words(vocabulary.words)}
        return {"networks": self.judges.variables, "words": words}


def measure_real(subject: Subject) -> dict[str, Any]:
    """Every test record with one of its captions.

    Returns `image_embedding`, `sentence` `[N, D]`, `class_id` `[N]`; with judges the rows of
    `scoring.judge` and `compare_parts`, where DAMSM's maps play the pointing game on true parts
    ("damsm") and on those that the part segmenter finds ("damsm_by_judge").
    """
    trained, judging, shown = subject.trained, subject.judging, subject.image_size
    size = subject.trained.config.image_encoder.image_size

    def function(variables, batch):
        regions, embedding = trained.encode_images(variables["trained"], batch[f"image_{size}"])
        words, sentence = trained.encode_captions(variables["trained"], batch)
        rows = {"image_embedding": embedding, "sentence": sentence, "class_id": batch["class_id"]}
        if judging is None:
            return rows
        maps, truth = trained.region_maps(words, batch, regions), batch["part_labels"]
        image, games = batch[f"image_{shown}"], {"damsm_by_judge": maps}
        parts, seen = scoring.judge(variables["judging"], batch, image, games)
        seen["games"]["damsm"] = pointing_game(maps, seen["word_labels"], truth.astype(np.int32))
        return rows | seen | scoring.compare_parts(parts, truth)

    variables = {"trained": trained.variables, "judging": judging}
    mapped = BatchedMap(function, subject.trained.config, subject.dataset, *sorted({size, shown}))
    return mapped.collect(variables, subject.dataset.test, description="Real test images")


def measure_training_images(subject: Subject, num_images: int) -> np.ndarray:
    """The judges' features `[N, 160]` of `num_images` real training images, evenly spaced."""
    size, judges = subject.image_size, subject.judges
    assert judges is not None

    def function(variables, batch):
        return scoring.features(variables, batch[f"image_{size}"])

    mapped = BatchedMap(function, subject.trained.config, subject.dataset, size)
    split = EvenSubset(subject.dataset.train, num_images)
    return mapped.collect(judges.variables, split, description="Real training images")


def measure_generated(
    subject: Subject, saving: bool = False, saved: SavedImages | None = None
) -> tuple[dict[str, Any], dict[str, Statistics], dict[str, dict]]:
    """One generated image for each of `plan.protocol.num_images` test captions.

    Returns `image_embedding`, `sentence` `[N, D]`, `class_id`, `index` `[N]` and with judges the
    rows of `scoring.judge` with the generator's maps; statistics of the features of "damsm" and
    "fid"; the Inception Scores of "score" by their names. If `saving`, `saved` gets the images, in
    the process that has it.
    """
    trained, judging, networks = subject.trained, subject.judging, subject.networks
    config, size = subject.trained.config, subject.image_size
    num_images = subject.plan.protocol.num_images
    distinct = list(dict.fromkeys(networks.values()))  # a network that serves twice runs once

    def function(variables, batch):
        made = trained.generate(variables["trained"], batch, with_attention=judging is not None)
        image = made.images[size]
        outputs = [network.apply(v, image) for network, v in zip(distinct, variables["networks"])]
        rows = {"image_embedding": outputs[0][0], "sentence": made.sentence}
        rows |= {name: batch[name] for name in ("class_id", "index")}
        if judging is not None:
            maps = {f"generator_{s}": m.transpose(0, 3, 1, 2) for s, m in made.attention.items()}
            rows |= scoring.judge(variables["judging"], batch, image, maps)[1]
        shown = {name: batch[name] for name in ("index", "caption_index")} | {"image": image}
        named = {name: outputs[distinct.index(c)] for name, c in networks.items()}
        return rows, named, shown if saving else None

    own = [network.variables for network in distinct]
    variables = {"trained": trained.variables, "judging": judging, "networks": own}
    keep = config.eval.kid_images
    sums = {n: Accumulator(networks[n].features, num_images, keep=keep) for n in subject.compared}
    kept, scores = [], {}
    if "score" in networks:
        for name in ("inception_score", "inception_score_calibrated"):
            if name not in subject.plan.unavailable:
                splits = config.eval.inception_splits
                scores[name] = InceptionScore(num_images, splits, config.seed)
    mapped = BatchedMap(function, config, subject.dataset, size)
    batches = mapped.rows(variables, subject.dataset.test, num_images, "Test captions")
    for rows, outputs, shown in batches:
        kept.append(rows)
        if saved:
            saved.add(shown)
        for name, accumulator in sums.items():
            accumulator.add(outputs[name][0])
        for name, score in scores.items():
            calibrated = subject.temperature if name == "inception_score_calibrated" else None
            score.add(outputs["score"][1], calibrated or 1.0)
    if saved:
        saved.finish()
    statistics = {name: accumulator.result() for name, accumulator in sums.items()}
    return concatenate(kept), statistics, {name: score.result() for name, score in scores.items()}


def measure_reference(
    subject: Subject, name: str, folders: list[storage.Path]
) -> Statistics | None:
    """Statistics of every real image of `eval.reference_split`, as large as the generated ones.

    Where one of `folders` has a file of them, the first process reads it and the others return
    None; otherwise it is kept in the first that can be written.
    """
    if name == "fid" and subject.reference is not None:
        return subject.reference
    network, config, size = subject.networks[name], subject.trained.config, subject.image_size
    split_name, features = config.eval.reference_split, network.features
    split = getattr(subject.dataset, split_name)
    provenance = {name: config.data[name] for name in ("dataset", "crop_to_box", "resize_ratio")}
    provenance |= {"split": split_name, "num_images": len(split), "image_size": size}
    provenance |= {"records": subject.dataset.folder.parts[-3:], "sample": config.eval.kid_images}
    cache = ReferenceCache(folders, features, provenance)
    statistics = multihost.on_first(cache.load, "cache")
    if multihost.from_first(lambda: statistics is None, "cached"):
        key = f"image_{size}"
        mapped = BatchedMap(lambda v, b: network.apply(v, b[key])[0], config, subject.dataset, size)
        sums = Accumulator(features, len(split), keep=config.eval.kid_images)
        for rows in mapped.rows(network.variables, split, None, f"Reference ({features.family})"):
            sums.add(rows)
        statistics = sums.result(f"{len(split):,} {split_name} images of {config.data.dataset}")
        multihost.on_first(lambda: cache.save(statistics), "save")
    return statistics
