"""What an evaluation needs, and everything that would stop it: looked at before the first image."""

import dataclasses
import functools

import jax
import numpy as np
from absl import logging

from attngan_jax.configuration import Config, check
from attngan_jax.data import datasets
from attngan_jax.errors import UserError
from attngan_jax.evaluation import measurements, shown_pairs
from attngan_jax.evaluation.inception_classifier import Classifier
from attngan_jax.evaluation.input_rules import FID_FAMILIES
from attngan_jax.evaluation.judges import files as judge_files
from attngan_jax.evaluation.metric_blocks import r_precision_protocol
from attngan_jax.evaluation.metrics.fid_kid import Statistics
from attngan_jax.evaluation.reference_statistics import read_reference
from attngan_jax.evaluation.saved_images import SavedImages
from attngan_jax.evaluation.shown_pairs import TestRecords
from attngan_jax.sampling.trained_model import TrainedModel
from attngan_jax.storage import PathLike, check_is_writable, path
from attngan_jax.training.networks import image_sizes
from attngan_jax.workdir import Workdir


def load(
    run: Workdir, step: int | None, settings: dict, data_dir: PathLike | None = None
) -> measurements.Subject:
    """The run and its dataset, the classifiers that are read from files, and what can be measured.

    What can't is warned of. `UserError` for what ends the whole evaluation.
    """
    trained = TrainedModel.load(run.folder, step)
    config = trained.config
    if settings or data_dir:
        config = config.copy_and_resolve_references()
        with config.unlocked():
            config.eval.update(settings)
            config.data.data_dir = str(data_dir or config.data.data_dir)
        check(config)
        trained = dataclasses.replace(trained, config=config)
    dataset = dataclasses.replace(datasets.load(config), vocabulary=trained.vocabulary)
    networks = {"damsm": measurements.damsm_classifier(trained)} | _classifiers(config)
    records = TestRecords.read(dataset.test)
    plan = shown_pairs.plan(records, dataset, config, r_precision_protocol(config.eval))
    judges, no_judges = None, ""
    try:
        judges = judge_files.load_for(dataset.name, dataset.folder.parts[-1])
    except UserError as error:
        no_judges = str(error)
    subject = measurements.Subject(trained, dataset, networks, plan, records, judges, no_judges)
    subject = dataclasses.replace(subject, reference=_given_reference(config, networks))
    if subject.reference is not None:
        text = "not computed: config.eval.fid_reference has no features of single images"
        plan.unavailable["kid"] = text
        if plan.protocol.num_images >= shown_pairs.FEWEST["fid"]:
            plan.unavailable.pop("fid", None)
    if "score" in networks and subject.temperature is None:
        classifier = networks["score"].features.family
        text = f"not computed: TISE gives no temperature for the classifier {classifier}"
        plan.unavailable.setdefault("inception_score_calibrated", text)
    _warn(plan)
    return subject


def check_files(config: Config) -> None:
    """`UserError` for a file of `config.eval` that the scores of a run could not be taken with."""
    _given_reference(config, _classifiers(config))


def _classifiers(config: Config) -> dict[str, Classifier]:
    """Those that are read from files: for FID and KID, and for the Inception Score."""
    read = functools.cache(Classifier.load)  # one object where both are one file
    chosen = {
        "fid": (config.eval.fid_weights, config.eval.fid_family),
        "score": (config.eval.inception_score_weights, config.eval.inception_score_family),
    }
    networks = {name: read(*one) for name, one in chosen.items() if one[0]}
    if "fid" in networks and (family := networks["fid"].features.family) not in FID_FAMILIES:
        problem = f"of the family {family}, in whose features no FID is known"
        known = ", ".join(FID_FAMILIES)
        raise UserError(f"config.eval.fid_weights is a classifier {problem}: give one of {known}")
    return networks


def _warn(plan: shown_pairs.Plan) -> None:
    """What can't be measured, and what is less than it seems."""
    for name, reason in plan.unavailable.items():
        logging.warning("%s: %s", name, reason)
    if plan.mismatch_reason:
        logging.warning("r_precision: %s", plan.mismatch_reason)
    if plan.duplicate_captions > plan.protocol.num_images / 10:
        text = "r_precision: %d of %d captions belong to mismatching images, too, word for word"
        logging.warning(text, plan.duplicate_captions, plan.protocol.num_images)


def _given_reference(config: Config, networks: dict[str, Classifier]) -> Statistics | None:
    """The statistics of `eval.fid_reference`, where it names a file."""
    path = config.eval.fid_reference
    if not path:
        return None
    if "fid" not in networks:
        problem = "config.eval.fid_reference needs config.eval.fid_weights, which made its features"
        raise UserError(f"{problem}: name both")
    network, side = networks["fid"], image_sizes(config)[-1]
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.uint8)
    width = jax.eval_shape(network.apply, network.variables, image)[0].shape[1]
    return read_reference(path, network.features, width)


def check_outputs(
    run: Workdir, subject: measurements.Subject, save_fid_reference: PathLike | None
) -> None:
    """`UserError` where the scores, or what else is asked for, could not be written at the end."""
    check_is_writable("workdir", run.report)
    if not save_fid_reference:
        return
    check_is_writable("save_fid_reference", path(save_fid_reference).parent)
    if "fid" not in subject.networks or subject.reference is not None:
        what = "there are no config.eval.fid_weights to compute it"
        if subject.reference is not None:
            what = "config.eval.fid_reference gives it already"
        raise UserError(f"--save_fid_reference saves the statistics of real images, and {what}")
    if "fid" in subject.plan.unavailable:
        raise UserError(f"--save_fid_reference: {subject.plan.unavailable['fid']}")


def saved_images(subject: measurements.Subject, folder: PathLike, image_format: str) -> SavedImages:
    """Where this evaluation's images go, for the process that writes them."""
    trained = subject.trained
    model = {
        "generator_sha256": measurements.digest_of(
            {name: trained.variables[name] for name in ("generator", "text")}
        ),
        "step": trained.step,
        "dataset": subject.dataset.name,
        "seed": trained.config.seed,
        "num_images": subject.plan.protocol.num_images,
        "image_size": subject.image_size,
    }
    return SavedImages(folder, model, subject.records, image_format)
