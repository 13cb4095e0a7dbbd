"""The numbers of `report/metrics.json`, block by block, from what was measured."""

import numpy as np

from attngan_jax.configuration import Config
from attngan_jax.data.birds.species import ATTRIBUTES, BODY_COLORS, COLOR_ATTRIBUTES
from attngan_jax.evaluation.judges import scoring
from attngan_jax.evaluation.judges.files import Judges
from attngan_jax.evaluation.measurements import Subject
from attngan_jax.evaluation.metrics import fid_kid, pointing_game, r_precision, retrieval, spectrum
from attngan_jax.storage import PathLike
from attngan_jax.training.checkpoints import Checkpoints


def r_precision_protocol(settings: Config) -> r_precision.Protocol:
    """The preset that `config.eval` names, or its own values."""
    keys = ("num_images", "num_candidates", "fold_size", "mismatch", "with_replacement")
    own = r_precision.Protocol("own", **{key: settings[key] for key in keys})
    return r_precision.PRESETS.get(settings.protocol, own)


def r_precisions(real: dict, made: dict, subject: Subject) -> dict:
    """Of the generated images, and of the real ones that their captions belong to.

    `chosen_by` is what the best checkpoint is kept by, None where the newest is used.
    """
    config, plan, result = subject.trained.config, subject.plan, {}
    if "r_precision" in plan.unavailable:
        return dict.fromkeys(("r_precision", "r_precision_real_images"))
    generated, true = made["image_embedding"], real["image_embedding"][made["index"]]
    for name, images in {"r_precision": generated, "r_precision_real_images": true}.items():
        pairs = r_precision.Pairs(images, made["sentence"], made["class_id"], made["index"])
        result[name] = r_precision.score(pairs, plan.protocol, config.seed)
        result[name]["duplicate_captions"] = plan.duplicate_captions
        if plan.mismatch_reason:
            result[name]["mismatch_reason"] = plan.mismatch_reason
    chosen_by = config.attngan.best_checkpoint or None
    result["r_precision"] |= {"image_size": subject.image_size, "chosen_by": chosen_by}
    return result


def damsm_retrieval(real: dict, config: Config, workdir: PathLike) -> dict:
    """The DAMSM that is used, on as many test pairs as while it trained."""
    best, total = config.damsm.best_checkpoint, len(real["class_id"])
    count = min(config.damsm.retrieval_pairs, total)
    places = np.arange(count) * total // count
    pairs = (real[name][places] for name in ("image_embedding", "sentence", "class_id"))
    source: dict = {"step": None, "chosen_by": None}  # of a model folder, which has no checkpoints
    if Checkpoints.steps_in(workdir, "damsm"):
        with Checkpoints(workdir, "damsm", best=best) as checkpoints:
            source = {"step": checkpoints.best_step(), "chosen_by": best or None}
    return source | retrieval.retrieval(*pairs)


JUDGED = "attribute_accuracy r_precision_independent kid_judge fid_judge spectrum".split()
JUDGED += ["part_presence", "grounding"]


def judged(real: dict, made: dict, training_features: np.ndarray, subject: Subject) -> dict:
    """What the judges say of generated and real images; `real` and `made` have their rows."""
    assert subject.judges is not None
    return {
        "attribute_accuracy": _attributes(made),
        "attribute_accuracy_real_images": _attributes(real),
        "r_precision_independent": _independent(real, made, subject),
        **_judge_distances(real, made, training_features, subject),
        "spectrum": spectrum.spectrum(made["band_power"], real["band_power"]),
        "part_presence": _part_presence(real, made, subject.judges),
        "grounding": _grounding(real, made),
    }


def _independent(real: dict, made: dict, subject: Subject) -> dict | None:
    """R-precision by the caption matcher, and `real_images`' mean by it for the same captions."""
    if "r_precision_independent" in subject.plan.unavailable:
        return None
    shown = {"real": real["matched_image"][made["index"]], "made": made["matched_image"]}
    scores = {
        name: r_precision.score(
            r_precision.Pairs(images, made["matched_caption"], made["class_id"], made["index"]),
            subject.plan.protocol,
            subject.trained.config.seed,
        )
        for name, images in shown.items()
    }
    return scores["made"] | {"real_images": scores["real"]["mean"]}


def _judge_distances(real: dict, made: dict, training: np.ndarray, subject: Subject) -> dict:
    """FID and KID in the attribute classifier's features, of as many generated images as there are
    training images, whose distances from the test images are the floor."""
    if "fid_judge" in subject.plan.unavailable:
        return {"kid_judge": None, "fid_judge": None}
    count, keep = len(training), subject.trained.config.eval.kid_images
    compared = [made["judge_features"][:count], training, real["judge_features"]]
    generated, floor, test = (judge_statistics(rows, keep) for rows in compared)
    (fid, kid), (fid_floor, kid_floor) = (fid_kid.distances(x, test) for x in (generated, floor))
    counts = {"num_images": count, "reference_images": len(real["judge_features"])}
    return {
        "kid_judge": kid and kid_floor and kid | {"floor": kid_floor["value"]} | counts,
        "fid_judge": {"value": fid, "floor": fid_floor} | counts,
    }


def judge_statistics(rows: np.ndarray, keep: int) -> fid_kid.Statistics:
    """Of the attribute classifier's features `[N, 160]`."""
    features = fid_kid.Features("judge", "", "antialiased, to 64 pixels")
    sums = fid_kid.Accumulator(features, len(rows), keep=keep)
    sums.add(rows)
    return sums.result()


def _part_presence(real: dict, made: dict, judges: Judges) -> dict:
    shares = [scoring.part_presence(x["seen_pixels"], judges.part_pixels) for x in (made, real)]
    return {part: {"generated": shares[0][part], "real": shares[1][part]} for part in shares[0]}


def _grounding(real: dict, made: dict) -> dict:
    grounding: dict = {
        name: pointing_game.summarise(rows["word_labels"], game)
        for rows in (real, made)
        for name, game in rows["games"].items()
    }
    overlap = scoring.overlap(real["part_shared"], real["part_either"])
    grounding["damsm_by_judge"] = grounding.pop("damsm_by_judge")["mean"]
    grounding["judge_pixel_accuracy"] = float(100 * real["part_pixels"].mean())
    return grounding | {"judge_part_overlap": overlap}


def _attributes(rows: dict) -> dict:
    """The mean is over the five colours of the plumage, with ten values each; the beak's colour,
    with six and a few pixels at 64, has its own row and is in `mean_with_beak`."""
    values = rows["seen_attributes"], rows["caption_attributes"]
    scores = scoring.attribute_accuracy(*values, tuple(ATTRIBUTES))

    def mean(names, key):
        return float(np.mean([scores[name][key] for name in names if name in scores]))

    means = {"mean": mean(BODY_COLORS, "accuracy"), "chance": mean(BODY_COLORS, "chance")}
    return means | {"mean_with_beak": mean(COLOR_ATTRIBUTES, "accuracy")} | scores


def distances(
    suffix: str, made: fid_kid.Statistics, reference: fid_kid.Statistics, subject: Subject
) -> dict:
    """FID and KID in one kind of features, under these names with a suffix; KID may be None.

    `reference_recipe` is which images the reference is of and what was done to them, a part of the
    protocol; of statistics that were given it is their file's name.
    """
    fid, kid = fid_kid.distances(made, reference)
    split: str | None = subject.trained.config.eval.reference_split
    recipe, real_images = f"{split} images as they are", reference.num_images or None
    if reference.file:
        split, recipe = None, reference.file
    common: dict = {"image_size": subject.image_size, "reference_split": split}
    common |= {"reference_recipe": recipe, "num_images": made.num_images}
    common |= {"reference": reference.images, "reference_images": real_images}
    common |= vars(made.features)
    counts = {"num_images": len(made.sample), "reference_images": len(reference.sample)}
    fids = {f"fid{suffix}": {"value": fid} | common}
    return fids | {f"kid{suffix}": kid and kid | common | counts}


def inception_scores(scores: dict[str, dict], subject: Subject) -> dict:
    """The scores by name, with the classifier that they are by; None without one."""
    blocks: dict = dict.fromkeys(("inception_score", "inception_score_calibrated"))
    for name, score in scores.items():
        features = subject.networks["score"].features
        classifier = {"classifier": features.family, "weights_sha256": features.weights_sha256}
        blocks[name] = score | classifier | {"image_size": subject.image_size}
        blocks[name]["resize"] = features.resize
        if name == "inception_score_calibrated":
            blocks[name]["temperature"] = subject.temperature
    return blocks


def reasons(metrics: dict, subject: Subject) -> dict[str, str]:
    """Why those that are None are."""
    named = "config.eval.{}_weights names (python -m attngan_jax.convert classifier makes the file)"
    no_weights = f"not computed: it needs the weights of an Inception classifier, which {named}"
    needs = {"inception_score": "inception_score", "inception_score_calibrated": "inception_score"}
    networks = {"inception_score": "score", "fid": "fid"}
    needs |= {"fid": "fid", "kid": "fid"}
    why = dict(subject.plan.unavailable)
    for name, key in needs.items():
        if networks[key] not in subject.networks:
            why[name] = no_weights.format(key)
    if subject.judges is None:
        why |= dict.fromkeys(JUDGED, subject.no_judges)
    return {name: reason for name, reason in why.items() if name in metrics and not metrics[name]}
