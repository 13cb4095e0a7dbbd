"""The numbers of `report/metrics.json`, block by block, from what the passes over images gave."""

import numpy as np

from attngan_jax import storage
from attngan_jax.data.birds.species import ATTRIBUTES, BODY_COLORS, COLOR_ATTRIBUTES
from attngan_jax.evaluation import bird_classifiers
from attngan_jax.evaluation.inception_classifier import Classifier
from attngan_jax.evaluation.measurements import Generated
from attngan_jax.evaluation.metrics import r_precision, retrieval
from attngan_jax.evaluation.metrics.feature_statistics import Statistics
from attngan_jax.evaluation.metrics.fid_kid import frechet_distance, kernel_distance
from attngan_jax.training.checkpoints import Checkpoints

NO_WEIGHTS = (
    "not computed: it needs the weights of an Inception classifier, which "
    "config.eval.{} names (python -m attngan_jax.convert classifier makes the file)"
)


def r_precisions(real: dict, made: Generated, config) -> dict:
    """`r_precision` of the generated images and of the real ones that their captions belong to.

    `chosen_by` is what the best checkpoint is kept by, None where the newest is used.
    """
    rows, protocol = made.rows, r_precision.Protocol.of_config(config.eval)
    result = {
        name: r_precision.score(
            codes, rows["sentence"], rows["class_id"], rows["index"], protocol, config.seed
        )
        for name, codes in (
            ("r_precision", rows["code"]),
            ("r_precision_real_images", real["code"][rows["index"]]),
        )
    }
    result["r_precision"] |= {
        "image_size": made.image_size,
        "chosen_by": config.attngan.best_checkpoint or None,
    }
    return result


def damsm_retrieval(real: dict, config, workdir: storage.Path) -> dict:
    """`damsm_retrieval`: the DAMSM that is used, on as many test pairs as while it trained."""
    total = len(real["code"])
    count = min(config.damsm.retrieval_pairs, total)
    places = np.arange(count) * total // count
    with Checkpoints(workdir, "damsm", best=config.damsm.best_checkpoint) as checkpoints:
        step = checkpoints.best_step()
    return {"step": step, "chosen_by": config.damsm.best_checkpoint or None} | retrieval.retrieval(
        *(real[name][places] for name in ("code", "sentence", "class_id"))
    )


def known_truth(real: dict, made: Generated) -> dict:
    """What only data with known truth allows: attribute accuracy and grounding, or None."""
    if "seen_attributes" not in real:
        return {"attribute_accuracy": None, "grounding": None}
    result = {
        key: _attributes(rows["seen_attributes"], rows["caption_attributes"])
        for key, rows in (
            ("attribute_accuracy", made.rows),
            ("attribute_accuracy_real_images", real),
        )
    }
    result["grounding"] = (
        {"damsm": real["grounding"]}
        | made.grounding
        | {
            "damsm_by_judge": real["grounding_by_judge"]["mean"],
            "judge_pixel_accuracy": float(100 * real["part_pixels"].mean()),
            "judge_part_overlap": bird_classifiers.overlap(
                real["part_shared"], real["part_either"]
            ),
        }
    )
    return result


def _attributes(seen: np.ndarray, stated: np.ndarray) -> dict:
    """The mean is over the five colours of the plumage, with ten values each; the beak's colour,
    with six and a few pixels at 64, has its own row and is in `mean_with_beak`."""
    scores = bird_classifiers.attribute_accuracy(seen, stated, tuple(ATTRIBUTES))
    plumage = [scores[name] for name in BODY_COLORS if name in scores]
    colours = [scores[name] for name in COLOR_ATTRIBUTES if name in scores]
    return {
        "mean": float(np.mean([c["accuracy"] for c in plumage])),
        "chance": float(np.mean([c["chance"] for c in plumage])),
        "mean_with_beak": float(np.mean([c["accuracy"] for c in colours])),
    } | scores


def distances(made: Generated, damsm: Statistics, fid: Statistics | None, split: str) -> dict:
    """`fid` and `kid` of the Inception weights or None, `fid_damsm` and `kid_damsm`.

    Args:
      damsm, fid: the reference `split`'s, in both kinds of features.
    """
    protocol = {"image_size": made.image_size, "reference_split": split}
    result = {"fid": None, "kid": None} | _distance("_damsm", made.damsm, damsm, protocol)
    return result if fid is None else result | _distance("", made.inception, fid, protocol)


def _distance(suffix: str, made: Statistics, reference: Statistics, protocol: dict) -> dict:
    common = protocol | {
        "family": made.features.family,
        "num_images": made.num_images,
        "reference": reference.images,
        "reference_images": reference.num_images,
        "resize": made.features.resize,
        "weights_sha256": made.features.weights_sha256,
    }
    kid = common | {"num_images": len(made.sample), "reference_images": len(reference.sample)}
    return {
        f"fid{suffix}": {"value": frechet_distance(made, reference)} | common,
        f"kid{suffix}": kernel_distance(made, reference) | kid,
    }


def inception_score(made: Generated, judge: Classifier | None) -> dict | None:
    """`inception_score`, with the classifier that it is by."""
    return made.inception_score and made.inception_score | {
        "classifier": judge.features.family,
        "weights_sha256": judge.features.weights_sha256,
        "image_size": made.image_size,
    }


def reasons(metrics: dict) -> dict[str, str]:
    """Why those that are None are."""
    truth = f"{metrics['dataset']} has no record of what it shows"
    why = {
        "inception_score": NO_WEIGHTS.format("inception_score_weights"),
        "fid": NO_WEIGHTS.format("fid_weights"),
        "kid": NO_WEIGHTS.format("fid_weights"),
        "attribute_accuracy": truth,
        "grounding": truth,
    }
    return {name: reason for name, reason in why.items() if metrics[name] is None}
