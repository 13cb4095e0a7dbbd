"""All numbers of a run, and the arrays that its report draws: `report/metrics.json` and `.npz`."""

import dataclasses
import functools
import hashlib
import json

import jax
import numpy as np

from attngan_jax import storage
from attngan_jax.configuration import check, write_text
from attngan_jax.data import datasets
from attngan_jax.data.birds.species import ATTRIBUTES, BODY_COLORS, COLOR_ATTRIBUTES
from attngan_jax.errors import UserError
from attngan_jax.evaluation import judges, r_precision, retrieval, segmenter
from attngan_jax.evaluation.attention_arrays import save_attention
from attngan_jax.evaluation.classifiers import FID_FAMILIES, Classifier
from attngan_jax.evaluation.explorations import save_explorations
from attngan_jax.evaluation.feature_statistics import Features, ReferenceCache, Statistics
from attngan_jax.evaluation.frechet_distance import frechet_distance
from attngan_jax.evaluation.kernel_distance import kernel_distance
from attngan_jax.evaluation.measurements import (
    BirdJudges,
    Generated,
    measure_generated,
    measure_real,
    measure_reference,
)
from attngan_jax.evaluation.trained import Trained
from attngan_jax.interop.import_run import check_has_image_encoder
from attngan_jax.training import wall_clock
from attngan_jax.training.checkpoints import Checkpoints

NO_WEIGHTS = ("not computed: it needs the weights of an Inception classifier, which "
              "config.eval.{} names (python -m attngan_jax.convert classifier makes the file)")


def evaluate(workdir: storage.Place, *, step: int | None = None,
             settings: dict | None = None) -> dict:
    """Scores a checkpoint on the test split and writes `report/`; returns the metrics.

    Args:
      step: of the checkpoint; default: the one that the run uses, the newest or the best.
      settings: keys of `config.eval` that take the place of the run's own.

    Raises `UserError` for a workdir without a trained generator or a data set that is missing.
    """
    workdir = storage.path(workdir)
    clock = wall_clock.Clock(workdir, "evaluate")
    check_has_image_encoder(workdir)
    newest = max([step or 0, *Checkpoints.steps_in(workdir, "attngan")])
    trained = _with_settings(Trained.load(workdir, step), settings or {})
    config = trained.config
    dataset = dataclasses.replace(datasets.load(config), vocabulary=trained.vocabulary)
    protocol = r_precision.Protocol.of_config(config.eval)
    fid, score = _classifiers(config)
    damsm = Features("damsm", _digest(trained.variables["image"]),
                     f"the image encoder, to {config.image_encoder.image_size} pixels")
    birds = None
    if "attributes" in dataset.test[0]:
        birds = BirdJudges.train(dataset, config, trained.task.image_sizes[-1])
    real = measure_real(trained, dataset, birds)
    made = measure_generated(trained, dataset, birds, num_images=protocol.num_images, damsm=damsm,
                             fid=fid, score=score)
    metrics = {"step": trained.step, "newest_step": newest,
               "dataset": config.data.dataset, "split": "test", "unit": "percent"}
    size = trained.task.image_sizes[-1]
    metrics |= _r_precision(real, made, protocol, config, size)
    metrics |= {"damsm_retrieval": _retrieval(real, config, workdir)}
    metrics |= _known_truth(real, made, birds)
    metrics |= _distances(trained, dataset, workdir, made, fid)
    metrics["inception_score"] = made.inception_score and made.inception_score | {
        "classifier": score.features.family, "weights_sha256": score.features.weights_sha256,
        "image_size": size}
    metrics |= {"reasons": _reasons(metrics), "settings": eval_settings(config)}
    save_attention(trained, dataset, workdir / "report")
    save_explorations(trained, dataset, workdir / "report")
    clock.save()
    metrics["wall_seconds"] = dict.fromkeys(wall_clock.PARTS, 0.0) | wall_clock.read(workdir)
    if jax.process_index() == 0:
        write_text(workdir / "report" / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        log_scalars(workdir, metrics)
    return metrics


def is_finished(workdir: storage.Place, step: int, config=None) -> bool:
    """Whether the run has been scored when its newest checkpoint was `step`, with these settings.
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


def log_scalars(workdir: storage.Place, metrics: dict) -> None:
    """One line of `metrics.jsonl` and of the event files, stage "eval"."""
    from attngan_jax.training.metrics import Metrics  # with it TensorFlow, and its seconds

    values = {"eval/r_precision": ("r_precision", "mean"),
              "eval/r_precision_real_images": ("r_precision_real_images", "mean"),
              "eval/attribute_accuracy": ("attribute_accuracy", "mean"),
              "eval/inception_score": ("inception_score", "mean"),
              "eval/fid": ("fid", "value"), "eval/kid": ("kid", "value"),
              "eval/fid_damsm": ("fid_damsm", "value"), "eval/kid_damsm": ("kid_damsm", "value")}
    scalars = {name: metrics[block][key] for name, (block, key) in values.items()
               if metrics.get(block)}
    for name, block in (metrics.get("grounding") or {}).items():
        if isinstance(block, dict):
            scalars[f"eval/grounding_{name}"] = block["mean"]
    writer = Metrics(workdir, "eval", 1)
    try:
        writer.write(metrics["step"], scalars)
    finally:
        writer.close()


def _with_settings(trained: Trained, settings: dict) -> Trained:
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
    fid, score = (load(path) if path else None
                  for path in (config.eval.fid_weights, config.eval.inception_score_weights))
    if fid is not None and fid.features.family not in FID_FAMILIES:
        raise UserError(f"config.eval.fid_weights is a classifier of the family "
                        f"{fid.features.family}, in whose features no FID is known: give one of "
                        f"{', '.join(FID_FAMILIES)}")
    return fid, score


def _r_precision(real: dict, made: Generated, protocol, config, size: int) -> dict:
    """`chosen_by` is what the best checkpoint is kept by, None where the newest is used."""
    rows = made.rows
    result = {name: r_precision.score(codes, rows["sentence"], rows["class_id"], rows["index"],
                                      protocol, config.seed)
              for name, codes in (("r_precision", rows["code"]),
                                  ("r_precision_real_images", real["code"][rows["index"]]))}
    result["r_precision"] |= {"image_size": size,
                              "chosen_by": config.attngan.best_checkpoint or None}
    return result


def _retrieval(real: dict, config, workdir: storage.Path) -> dict:
    total = len(real["code"])
    count = min(config.damsm.retrieval_pairs, total)
    places = np.arange(count) * total // count
    with Checkpoints(workdir, "damsm", best=config.damsm.best_checkpoint) as checkpoints:
        step = checkpoints.best_step()
    return {"step": step, "chosen_by": config.damsm.best_checkpoint or None} | retrieval.retrieval(
        *(real[name][places] for name in ("code", "sentence", "class_id")))


def _known_truth(real: dict, made: Generated, birds: BirdJudges | None) -> dict:
    """What only data with known truth allows: attribute accuracy and grounding, or None."""
    if birds is None:
        return {"attribute_accuracy": None, "grounding": None}
    result = {key: _attributes(rows["seen_attributes"], rows["caption_attributes"])
              for key, rows in (("attribute_accuracy", made.rows),
                                ("attribute_accuracy_real_images", real))}
    result["grounding"] = {"damsm": real["grounding"]} | made.grounding | {
        "judge_pixel_accuracy": float(100 * real["part_pixels"].mean()),
        "judge_part_overlap": segmenter.overlap(real["part_shared"], real["part_either"])}
    return result


def _attributes(seen: np.ndarray, stated: np.ndarray) -> dict:
    """The mean is over the five colours of the plumage, with ten values each; the beak's colour,
    with six and a few pixels at 64, has its own row and is in `mean_with_beak`."""
    scores = judges.attribute_accuracy(seen, stated, tuple(ATTRIBUTES))
    plumage = [scores[name] for name in BODY_COLORS if name in scores]
    colours = [scores[name] for name in COLOR_ATTRIBUTES if name in scores]
    return {"mean": float(np.mean([c["accuracy"] for c in plumage])),
            "chance": float(np.mean([c["chance"] for c in plumage])),
            "mean_with_beak": float(np.mean([c["accuracy"] for c in colours]))} | scores


def _distances(trained: Trained, dataset, workdir: storage.Path, made: Generated,
               fid: Classifier | None) -> dict:
    """`fid` and `kid` of the Inception weights or None, `fid_damsm` and `kid_damsm`."""
    def damsm(variables, images):
        return trained.encode_images(variables, images)[1]

    result = {"fid": None, "kid": None}
    protocol = {"image_size": trained.task.image_sizes[-1],
                "reference_split": trained.config.eval.reference_split}
    # DAMSM is this run's own, Inception everybody's.
    shared = datasets.folder(trained.config) / "reference"
    result |= _distance("_damsm", made.damsm, _reference(
        trained, dataset, workdir / "reference", damsm, trained.variables, made.damsm.features),
        protocol)
    if fid is not None:
        result |= _distance("", made.inception, _reference(
            trained, dataset, shared, lambda v, images: fid(v, images)[0], fid.variables,
            fid.features), protocol)
    return result


def _reference(trained: Trained, dataset, folder, function, variables,
               features: Features) -> Statistics:
    """The reference split's statistics, from the cache if they are there."""
    config, name = trained.config, trained.config.eval.reference_split
    split = getattr(dataset, name)
    cache = ReferenceCache(folder, features, {
        "dataset": config.data.dataset, "records": datasets.folder(config).parts[-3:],
        "split": name, "num_images": len(split), "image_size": trained.task.image_sizes[-1],
        "crop_to_box": config.data.crop_to_box, "resize_ratio": config.data.resize_ratio,
        "sample": config.eval.kid_images})
    statistics = cache.load()
    if statistics is None:
        statistics = measure_reference(trained, split, function, variables, features,
                                       f"{len(split):,} {name} images of {config.data.dataset}")
        if jax.process_index() == 0:
            cache.save(statistics)
    return statistics


def _distance(suffix: str, made: Statistics, reference: Statistics, protocol: dict) -> dict:
    common = protocol | {"family": made.features.family, "num_images": made.num_images,
              "reference": reference.images, "reference_images": reference.num_images,
              "resize": made.features.resize, "weights_sha256": made.features.weights_sha256}
    kid = common | {"num_images": len(made.sample), "reference_images": len(reference.sample)}
    return {f"fid{suffix}": {"value": frechet_distance(made, reference)} | common,
            f"kid{suffix}": kernel_distance(made, reference) | kid}


def _reasons(metrics: dict) -> dict[str, str]:
    """Why those that are None are."""
    truth = f"{metrics['dataset']} has no record of what it shows"
    why = {"inception_score": NO_WEIGHTS.format("inception_score_weights"),
           "fid": NO_WEIGHTS.format("fid_weights"), "kid": NO_WEIGHTS.format("fid_weights"),
           "attribute_accuracy": truth, "grounding": truth}
    return {name: reason for name, reason in why.items() if metrics[name] is None}


def _digest(variables) -> str:
    """SHA-256 of a network's numbers."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(variables)):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()
