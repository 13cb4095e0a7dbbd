"""The passes over images that every score is made of, each a stream of batches on all devices.

Images stay on the devices; what comes back and is kept for N images are two vectors of DAMSM's
dimension each, some integers, and sums.
"""

import dataclasses
from typing import Any

import numpy as np

from attngan_jax.data.birds.species import ATTRIBUTES, PARTS
from attngan_jax.data.pipeline import EvenSubset
from attngan_jax.evaluation import bird_classifiers
from attngan_jax.evaluation.batched_map import BatchedMap
from attngan_jax.evaluation.inception_classifier import Classifier
from attngan_jax.evaluation.metrics import pointing_game
from attngan_jax.evaluation.metrics.feature_statistics import Accumulator, Features, Statistics
from attngan_jax.evaluation.metrics.inception_score import InceptionScore
from attngan_jax.sampling.trained_model import TrainedModel
from attngan_jax.training import multihost

JUDGE_IMAGES = 8_000  # real images that the judges of procedural birds learn from


@dataclasses.dataclass(frozen=True)
class BirdJudges:
    """Judges that never saw the generator, for data whose truth is known."""

    attributes: bird_classifiers.Judge
    parts: bird_classifiers.Segmenter

    @classmethod
    def train(cls, dataset, config, size: int) -> "BirdJudges":
        """From real training images of `size` pixels.

        The networks are small: the first process trains them on one device, and tells the others.
        """
        chosen = EvenSubset(dataset.train, min(len(dataset.train), JUDGE_IMAGES))
        passes = BatchedMap(
            lambda _, batch: {
                "image": batch[f"image_{size}"],
                "attributes": batch["attributes"],
                "part_labels": batch["part_labels"],
            }
        )
        rows = joined(
            passes.rows(
                {},
                chosen,
                config,
                vocabulary=dataset.vocabulary,
                image_sizes=(size,),
                description="Real images for the judges",
            )
        )
        common = dict(batch_size=config.eval.judge_batch_size, seed=config.seed)
        num_values, num_labels = tuple(map(len, ATTRIBUTES.values())), len(PARTS) + 1

        def train() -> dict:
            attributes = bird_classifiers.train_judge(
                rows["image"],
                rows["attributes"],
                num_values,
                num_steps=config.eval.judge_steps,
                **common,
            )
            parts = bird_classifiers.train_segmenter(
                rows["image"],
                rows["part_labels"],
                num_labels,
                num_steps=config.eval.part_judge_steps,
                **common,
            )
            return {"attributes": attributes.variables, "parts": parts.variables}

        learnt = multihost.from_first(train, "judges")
        return cls(
            bird_classifiers.Judge(
                bird_classifiers.AttributeClassifier(num_values), learnt["attributes"]
            ),
            bird_classifiers.Segmenter(bird_classifiers.PartSegmenter(num_labels), learnt["parts"]),
        )

    @property
    def variables(self) -> dict:
        """Of both networks."""
        return {"attributes": self.attributes.variables, "parts": self.parts.variables}


def measure_real(trained: TrainedModel, dataset, birds: BirdJudges | None) -> dict[str, Any]:
    """Every test record with one of its captions.

    Returns:
      `code` and `sentence` `[N, D]`, `class_id` `[N]`; with judges also `seen_attributes` and
      `caption_attributes` `[N, A]`, `grounding` of DAMSM's word maps with the true masks and
      `grounding_by_judge` with the parts that the judge of parts sees, `part_pixels`, the share of
      pixels (half the side) that this judge gets right, most of them background, and
      `part_shared`, `part_either` `[N, P]` as `bird_classifiers.shared_pixels`.
    """
    config = trained.config
    size, shown = config.image_encoder.image_size, trained.task.image_sizes[-1]
    labels = pointing_game.labels_of_words(trained.vocabulary.words)

    def function(variables, batch):
        run = variables["run"]
        regions, code = trained.encode_images(run, batch[f"image_{size}"])
        words, sentence = trained.encode_captions(run, batch)
        result = {"code": code, "sentence": sentence, "class_id": batch["class_id"]}
        if birds is None:
            return result
        named = variables["labels"][batch["caption"]]
        picture = batch[f"image_{shown}"]
        found = birds.parts.labels(variables["birds"]["parts"], picture)
        truth = batch["part_labels"]
        stride = truth.shape[1] // found.shape[1]
        truth_there = truth[:, ::stride, ::stride]
        shared, either = bird_classifiers.shared_pixels(found, truth_there, len(PARTS))
        maps = trained.region_maps(words, batch, regions)
        return result | {
            "seen_attributes": birds.attributes.values(variables["birds"]["attributes"], picture),
            "caption_attributes": batch["caption_attributes"],
            "word_labels": named,
            "part_pixels": (found == truth_there).mean((1, 2)),
            "part_shared": shared,
            "part_either": either,
            "game": pointing_game.pointing_game(maps, named, truth.astype(np.int32)),
            "game_by_judge": pointing_game.pointing_game(maps, named, found),
        }

    variables = {
        "run": trained.variables,
        "labels": labels,
        "birds": birds.variables if birds else {},
    }
    rows, game, by_judge = [], pointing_game.Grounding(), pointing_game.Grounding()
    for row in BatchedMap(function).rows(
        variables,
        dataset.test,
        config,
        vocabulary=trained.vocabulary,
        image_sizes=sorted({size, shown}),
        description="Real test images",
    ):
        if birds is not None:
            words = row.pop("word_labels")
            game.add(words, row.pop("game"))
            by_judge.add(words, row.pop("game_by_judge"))
        rows.append(row)
    result = joined(rows)
    return result | (
        {"grounding": game.result(), "grounding_by_judge": by_judge.result()}
        if birds is not None
        else {}
    )


@dataclasses.dataclass
class Generated:
    """What is known of the generated images, of `image_size` pixels; see `measure_generated`."""

    image_size: int
    rows: dict[str, np.ndarray]
    damsm: Statistics
    inception: Statistics | None
    inception_score: dict | None
    grounding: dict[str, dict]


def measure_generated(
    trained: TrainedModel,
    dataset,
    birds: BirdJudges | None,
    *,
    num_images: int,
    damsm: Features,
    fid: Classifier | None,
    score: Classifier | None,
) -> Generated:
    """Makes an image for each of `num_images` test captions and asks all judges about it.

    The rows are `code` and `sentence` `[N, D]`, `class_id`, `index` `[N]` and with judges
    `seen_attributes`, `caption_attributes` `[N, A]`.

    Args:
      damsm: what DAMSM's image vectors are, for FID in its own family.
      fid, score: the classifiers of FID and of the Inception Score, if there are any; often one.
    """
    config, size = trained.config, trained.task.image_sizes[-1]
    labels = pointing_game.labels_of_words(trained.vocabulary.words)

    def function(variables, batch):
        made = trained.generate(variables["run"], batch, with_attention=birds is not None)
        image = made[f"image_{size}"]
        result = {
            "code": made["code"],
            "sentence": made["sentence"],
            "class_id": batch["class_id"],
            "index": batch["index"],
        }
        asked = {}
        for name, judge in (("fid", fid), ("score", score)):
            if judge is not None:
                if judge not in asked.values():
                    result[f"features_{name}"], result[f"chances_{name}"] = judge(
                        variables[name], image
                    )
                asked[name] = judge
        if birds is None:
            return result
        named = variables["labels"][batch["caption"]]
        found = birds.parts.labels(variables["birds"]["parts"], image)
        games = {
            f"generator_{name.removeprefix('attention_')}": pointing_game.pointing_game(
                maps.transpose(0, 3, 1, 2), named, found
            )
            for name, maps in made.items()
            if name.startswith("attention_")
        }
        return result | {
            "seen_attributes": birds.attributes.values(variables["birds"]["attributes"], image),
            "caption_attributes": batch["caption_attributes"],
            "word_labels": named,
            "games": games,
        }

    variables = {
        "run": trained.variables,
        "labels": labels,
        "birds": birds.variables if birds else {},
    }
    variables |= {
        name: judge.variables
        for name, judge in (("fid", fid), ("score", score))
        if judge is not None
    }
    one = score is not None and score is fid
    sums = {"code": Accumulator(damsm, num_images, keep=config.eval.kid_images)}
    if fid is not None:
        sums["features_fid"] = Accumulator(fid.features, num_images, keep=config.eval.kid_images)
    scores = score and InceptionScore(num_images, config.eval.inception_splits, config.seed)
    rows, games = [], {}
    for row in BatchedMap(function).rows(
        variables,
        dataset.test,
        config,
        vocabulary=trained.vocabulary,
        image_sizes=(size,),
        num_examples=num_images,
        description="Test captions",
    ):
        for name, accumulator in sums.items():
            accumulator.add(row[name])
        if scores:
            scores.add(row["chances_fid" if one else "chances_score"])
        for name, game in row.pop("games", {}).items():
            games.setdefault(name, pointing_game.Grounding()).add(row["word_labels"], game)
        rows.append(
            {
                name: value
                for name, value in row.items()
                if not name.startswith(("features_", "chances_", "word_labels"))
            }
        )
    return Generated(
        size,
        joined(rows),
        sums["code"].result(),
        sums["features_fid"].result() if fid else None,
        scores.result() if scores else None,
        {name: game.result() for name, game in games.items()},
    )


def measure_reference(
    trained: TrainedModel, split, function, variables, features: Features, images: str
) -> Statistics:
    """Statistics of every real image of a split, as large as the generator makes them.

    Args:
      function: features `[B, D]` of (variables, uint8 images).
      images: which they are, in words.
    """
    config, size = trained.config, trained.task.image_sizes[-1]
    sums = Accumulator(features, len(split), keep=config.eval.kid_images)
    passes = BatchedMap(lambda v, batch: {"features": function(v, batch[f"image_{size}"])})
    for row in passes.rows(
        variables,
        split,
        config,
        vocabulary=trained.vocabulary,
        image_sizes=(size,),
        description=f"Reference ({features.family})",
    ):
        sums.add(row["features"])
    return sums.result(images)


def joined(rows) -> dict[str, np.ndarray]:
    """Batches' rows, end to end."""
    rows = list(rows)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
