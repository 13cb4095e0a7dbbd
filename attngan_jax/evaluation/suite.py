"""All numbers of a run, and the arrays that its report draws: `report/metrics.json` and `.npz`."""

import dataclasses
import functools
import hashlib
import json

import jax
import numpy as np

from attngan_jax import storage
from attngan_jax.configuration import check, load_workdir_config, write_text
from attngan_jax.data import datasets
from attngan_jax.errors import UserError
from attngan_jax.evaluation import metric_blocks
from attngan_jax.evaluation.inception_classifier import FID_FAMILIES, Classifier
from attngan_jax.evaluation.measurements import (
    BirdJudges,
    Generated,
    measure_generated,
    measure_real,
    measure_reference,
)
from attngan_jax.evaluation.metrics import r_precision
from attngan_jax.evaluation.metrics.feature_statistics import Features, ReferenceCache, Statistics
from attngan_jax.sampling.attention_maps import save_attention
from attngan_jax.sampling.interpolations import save_interpolations
from attngan_jax.sampling.trained_model import TrainedModel
from attngan_jax.training import multihost, parallel
from attngan_jax.training.checkpoints import PARTS, Checkpoints, StageClock, wall_seconds
from attngan_jax.workdir import check_has_image_encoder


class CheckpointGone(UserError):
    """The checkpoint to be scored is not there, or no more; the same in all processes."""


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What is scored, by which classifiers."""

    trained: TrainedModel
    dataset: datasets.Dataset
    damsm: Features
    fid: Classifier | None
    score: Classifier | None

    @classmethod
    def load(cls, workdir: storage.Path, step: int | None, settings: dict) -> "_Asked":
        trained = _with_settings(TrainedModel.load(workdir, step), settings)
        dataset = dataclasses.replace(datasets.load(trained.config), vocabulary=trained.vocabulary)
        damsm = Features(
            "damsm",
            _digest(trained.variables["image"]),
            f"the image encoder, to {trained.config.image_encoder.image_size} pixels",
        )
        return cls(trained, dataset, damsm, *_classifiers(trained.config))

    @property
    def config(self):
        return self.trained.config


def evaluate(
    workdir: storage.PathLike, *, step: int | None = None, settings: dict | None = None
) -> dict | None:
    """Scores a checkpoint on the test split and writes `report/`; returns the metrics.

    All processes of a run call this together and look at the images on all their devices; the
    first one adds up and writes, the others return None.

    Args:
      step: of the checkpoint; default: the one that the run uses, the newest or the best.
      settings: keys of `config.eval` that take the place of the run's own.

    Raises `UserError` for a workdir without a trained generator or a dataset that is missing,
    `CheckpointGone` where there is none of `step` any more.
    """
    workdir = storage.path(workdir)
    clock = StageClock(workdir, "evaluate")
    newest, used = multihost.from_first(lambda: _newest_and_used(workdir, step), "steps")
    try:
        asked = multihost.on_each(lambda: _Asked.load(workdir, used, settings or {}), "load")
    except Exception as error:  # of any kind: in the other processes it is a UserError
        if step is not None and not multihost.from_first(
            lambda: step in Checkpoints.steps_in(workdir, "attngan"), "gone"
        ):
            raise CheckpointGone(
                f"there is no checkpoint {step} in {workdir / 'attngan'}"
            ) from error
        raise
    parallel.use_compilation_cache(asked.config.compilation_cache_dir)
    birds = None
    if "attributes" in asked.dataset.test[0]:
        birds = BirdJudges.train(asked.dataset, asked.config, asked.trained.task.image_sizes[-1])
    real = measure_real(asked.trained, asked.dataset, birds)
    made = measure_generated(
        asked.trained,
        asked.dataset,
        birds,
        fid=asked.fid,
        score=asked.score,
        damsm=asked.damsm,
        num_images=r_precision.Protocol.of_config(asked.config.eval).num_images,
    )
    references = _references(asked, workdir)

    def write() -> dict:
        metrics = {"step": asked.trained.step, "newest_step": newest}
        metrics |= _metrics(asked, workdir, real, made, *references)
        save_attention(asked.trained, asked.dataset, workdir / "report")
        save_interpolations(asked.trained, asked.dataset, workdir / "report")
        clock.save()
        metrics["wall_seconds"] = dict.fromkeys(PARTS, 0.0) | wall_seconds(workdir)
        write_text(workdir / "report" / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        log_scalars(workdir, metrics)
        return metrics

    return multihost.on_first(write, "numbers")


def _newest_and_used(workdir: storage.Path, step: int | None) -> tuple[int | None, int | None]:
    """The newest step, None where another is scored than the one that the run uses; and that which
    is scored.
    """
    check_has_image_encoder(workdir)
    best = load_workdir_config(workdir).attngan.best_checkpoint
    steps = Checkpoints.steps_in(workdir, "attngan")
    if not steps:
        return None, step
    with Checkpoints(workdir, "attngan", best=best) as checkpoints:
        used = checkpoints.best_step()
    return max(steps) if step in (None, used) else None, step or used


def _metrics(
    asked: _Asked,
    workdir: storage.Path,
    real: dict,
    made: Generated,
    damsm: Statistics,
    fid: Statistics | None,
) -> dict:
    config = asked.config
    metrics = {"dataset": config.data.dataset, "split": "test", "unit": "percent"}
    metrics |= metric_blocks.r_precisions(real, made, config)
    metrics["damsm_retrieval"] = metric_blocks.damsm_retrieval(real, config, workdir)
    metrics |= metric_blocks.known_truth(real, made)
    metrics |= metric_blocks.distances(made, damsm, fid, config.eval.reference_split)
    metrics["inception_score"] = metric_blocks.inception_score(made, asked.score)
    return metrics | {"reasons": metric_blocks.reasons(metrics), "settings": eval_settings(config)}


def is_finished(workdir: storage.PathLike, step: int, config=None) -> bool:
    """Whether the run has been scored when its newest checkpoint was `step`, with these settings.

    Not where `evaluate` was told to score another checkpoint than the one that the run uses.
    """
    path = storage.path(workdir) / "report" / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        same = config is None or metrics["settings"] == eval_settings(config)
        return metrics["newest_step"] == step and same
    except (FileNotFoundError, ValueError, KeyError):
        return False


def eval_settings(config) -> dict:
    """The part of the config that the numbers follow from."""
    return {name: value for name, value in config.eval.to_dict().items() if name != "batch_size"}


def log_scalars(workdir: storage.PathLike, metrics: dict) -> None:
    """One line of `metrics.jsonl` and of the event files, stage "eval"."""
    from attngan_jax.training.metric_writer import Metrics

    values = {
        "eval/r_precision": ("r_precision", "mean"),
        "eval/r_precision_real_images": ("r_precision_real_images", "mean"),
        "eval/attribute_accuracy": ("attribute_accuracy", "mean"),
        "eval/inception_score": ("inception_score", "mean"),
    }
    scalars = {
        name: metrics[block][key] for name, (block, key) in values.items() if metrics.get(block)
    }
    for name in ("fid", "kid", "fid_damsm", "kid_damsm"):
        if block := metrics.get(name):
            scalars[f"eval/{name[:3]}_{block['family']}"] = block["value"]
    for name, block in (metrics.get("grounding") or {}).items():
        if isinstance(block, dict):
            scalars[f"eval/grounding_{name}"] = block["mean"]
    writer = Metrics(workdir, "eval", 1)
    try:
        writer.write(metrics["step"], scalars)
    finally:
        writer.close()


def _with_settings(trained: TrainedModel, settings: dict) -> TrainedModel:
    if not settings:
        return trained
    config = trained.config.copy_and_resolve_references()
    with config.unlocked():
        config.eval.update(settings)
    check(config)
    return dataclasses.replace(trained, config=config)


def _classifiers(config) -> tuple[Classifier | None, Classifier | None]:
    """Of FID and of the Inception Score; the same object where it is one file."""
    load = functools.cache(Classifier.load)
    fid, score = (
        load(path) if path else None
        for path in (config.eval.fid_weights, config.eval.inception_score_weights)
    )
    if fid is not None and fid.features.family not in FID_FAMILIES:
        raise UserError(
            f"config.eval.fid_weights is a classifier of the family "
            f"{fid.features.family}, in whose features no FID is known: give one of "
            f"{', '.join(FID_FAMILIES)}"
        )
    return fid, score


def _references(
    asked: _Asked, workdir: storage.Path
) -> tuple[Statistics | None, Statistics | None]:
    """The reference split's statistics, in DAMSM's features and in those of `fid`."""
    trained, fid = asked.trained, asked.fid

    def encode(variables, images):
        return trained.encode_images(variables, images)[1]

    # DAMSM is this run's own, Inception everybody's.
    own = _reference(asked, workdir / "reference", encode, trained.variables, asked.damsm)
    if fid is None:
        return own, None
    shared = datasets.folder(asked.config) / "reference"
    return own, _reference(
        asked, shared, lambda v, images: fid(v, images)[0], fid.variables, fid.features
    )


def _reference(asked: _Asked, folder, function, variables, features: Features) -> Statistics | None:
    """From the cache if they are there; then the first process alone has them."""
    config = asked.config
    name = config.eval.reference_split
    split = getattr(asked.dataset, name)
    cache = ReferenceCache(
        folder,
        features,
        {
            "dataset": config.data.dataset,
            "records": datasets.folder(config).parts[-3:],
            "split": name,
            "num_images": len(split),
            "image_size": asked.trained.task.image_sizes[-1],
            "crop_to_box": config.data.crop_to_box,
            "resize_ratio": config.data.resize_ratio,
            "sample": config.eval.kid_images,
        },
    )
    statistics = multihost.on_first(cache.load, "cache")
    if multihost.from_first(lambda: statistics is None, "cached"):
        statistics = measure_reference(
            asked.trained,
            split,
            function,
            variables,
            features,
            f"{len(split):,} {name} images of {config.data.dataset}",
        )
        multihost.on_first(lambda: cache.save(statistics), "save")
    return statistics


def _digest(variables) -> str:
    """SHA-256 of a network's numbers."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(variables)):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()
