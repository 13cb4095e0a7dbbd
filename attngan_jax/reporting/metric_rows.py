"""`metrics.json` in words: each metric with its protocol and what to compare it with."""

import dataclasses
import decimal
import math
from collections.abc import Iterator

from attngan_jax.reporting import published
from attngan_jax.reporting.published import Comparison

MISMATCH = {"class": "mismatching: of another class", "image": "mismatching: of another image"}
PROTOCOLS = {
    "paper": " This is the paper's protocol as far as the paper states one.",
    "dm_gan": " This is DM-GAN's protocol.",
}
PARTS = {  # of the protocols of Inception Score, FID and KID
    "num_images": "{:,} images",
    "reference": "against {}",
    "family": "weights {}",
    "resize": "resized by {}",
    "splits": "{} splits",
    "classifier": "classifier {}",
}
SCORES = {"eval/retrieval_r1": "its mean R@1", "eval/r_precision": "R-precision"}
# Not in the first files:
NEWER = {"damsm_retrieval", "grounding", "kid", "r_precision_independent", "kid_judge"}
NEWER |= {"fid_judge", "spectrum", "part_presence", "inception_score_calibrated"}
Cells = tuple[str, str, str, str, str]  # name, value, spread, protocol and note, as in `Row`


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the metric table."""

    name: str
    value: str | None  # None where the metric is null, and `note` says why
    spread: str
    protocol: str
    note: str
    published: Comparison


@dataclasses.dataclass(frozen=True)
class Bar:
    """A share next to chance, both in percent; `real` on real images."""

    name: str
    percent: float
    chance: float
    real: float | None


def metric_rows(metrics: dict) -> list[Row]:
    """The table of `metrics.json`, in reading order, without what an older file does not know."""
    rows = []
    for key, (name, describe) in METRICS.items():
        compared = published.compare(metrics, key)
        if metrics.get(key) is not None:
            rows += [Row(*cells, compared) for cells in describe(name, metrics[key], metrics)]
        elif key in metrics or key not in NEWER:
            reasons = metrics.get("reasons") or {}
            note = _sentence(reasons.get(key, "not measured; no reason was recorded"), end="")
            rows.append(Row(name, None, "", "", note, compared))
    return rows


def attribute_bars(metrics: dict) -> list[Bar]:
    """One bar for each attribute of `attribute_accuracy`, in the file's order."""
    return _bars(metrics.get("attribute_accuracy"), metrics.get("attribute_accuracy_real_images"))


def grounding_bars(metrics: dict) -> list[Bar]:
    """One bar for each part of `grounding`: the last stage's maps, and DAMSM's on real images."""
    values = metrics.get("grounding") or {}
    stages = [name for name in values if name.startswith("generator_")]
    last = max(stages, key=lambda name: int(name.removeprefix("generator_")), default="")
    return _bars(values.get(last), values.get("damsm"))


def _bars(values: dict | None, real: dict | None) -> list[Bar]:
    bars = []
    for name, one in (values or {}).items():
        if isinstance(one, dict):
            accuracy = (real or {}).get(name, {}).get("accuracy")
            bars.append(Bar(name.replace("_", " "), one["accuracy"], one["chance"], accuracy))
    return bars


def rounded(value: float) -> str:
    """`86.55` as `86.6`: its decimal digits rounded half up, as people round what they read."""
    tenths = decimal.Decimal(str(value)).quantize(decimal.Decimal("0.1"), decimal.ROUND_HALF_UP)
    return str(tenths)


def percent(value: float) -> str:
    """`74.2134` as `74.2 %`, with a no-break space."""
    return f"{rounded(value)}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """`4000` as `1 h 7 min`; never more than two units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def _sentence(*parts: str, end: str = ".") -> str:
    text = "; ".join(filter(None, parts))
    return f"{text[:1].upper()}{text[1:]}{end}" if text else ""


def _protocol(values: dict) -> str:
    return _sentence(*(text.format(values[key]) for key, text in PARTS.items() if key in values))


def _chosen(values: dict) -> str:
    """What to say of a checkpoint that was selected by scores on test pairs."""
    score = SCORES.get(values.get("chosen_by", ""), values.get("chosen_by"))
    how = f" The checkpoint is the best of several by {score} on test pairs,"
    return f"{how} which flatters this number a little." if values.get("chosen_by") else ""


def _r_precision(name: str, values: dict, metrics: dict) -> Iterator[Cells]:
    candidates = values["candidates"]
    others = f"{candidates - 1:,} {MISMATCH.get(values.get('mismatch', ''), 'mismatching')}"
    if "with_replacement" in values:
        others += f", drawn with{'' if values['with_replacement'] else 'out'} replacement"
    protocol = (
        f"{values['num_images']:,} images; DAMSM must find the image's own caption among "
        f"{candidates:,} (1 matching, {others}), by the cosine similarity of image and sentence "
        f"embeddings; ± over folds of {values['fold_size']:,}."
        f"{PROTOCOLS.get(values.get('protocol', ''), '')}"
    )
    note = f"Chance {percent(100 / candidates)}."
    if reason := values.get("mismatch_reason"):
        note += f" {_sentence(reason)}"
    if count := values.get("duplicate_captions"):
        note += f" {count:,} captions are a mismatching image's, too: drawn for it, errors."
    real = metrics.get("r_precision_real_images")
    if values is real:
        made = metrics.get("r_precision")
        note += " DAMSM on images it has not seen"
        if made and made["mean"] > values["mean"]:
            note += "; generated images score higher, being trained to please this DAMSM."
        else:
            note += ": what generated images can hope for."
    else:
        note += f" Real images reach {percent(real['mean'])}." if real else ""
        note += " The same DAMSM trained the generator, which flatters it." + _chosen(values)
    yield name, percent(values["mean"]), f"± {rounded(values['std'])}", protocol, note


def _independent(name: str, values: dict, metrics: dict) -> Iterator[Cells]:
    others = MISMATCH.get(values.get("mismatch", ""), "mismatching")
    protocol = (
        f"{values['num_images']:,} images, {values['candidates']:,} candidates ({others}); the "
        "match is found by the judges' own DAMSM, of another trunk and seed, which trained no "
        f"generator; ± over folds of {values['fold_size']:,}."
    )
    note = f"Chance {percent(100 / values['candidates'])}. "
    note += f"Real images reach {percent(values['real_images'])} by it."
    yield name, percent(values["mean"]), f"± {rounded(values['std'])}", protocol, note


def _judge_distance(name: str, values: dict, metrics: dict) -> Iterator[Cells]:
    """FID or KID in the judges' features, with the distance of real images as its floor."""
    digits = 2 if name.startswith("FID") else 4
    value, floor, *ends = (
        f"{values[key]:,.{digits}f}" for key in ("value", "floor", "low", "high") if key in values
    )
    spread = f"{values['confidence']:g} %: {' to '.join(ends)}" if ends else ""
    protocol = (
        f"{values['num_images']:,} images against {values['reference_images']:,} real test images, "
        "in the last features of an attribute classifier that was trained only on real images."
    )
    note = f"Lower is better; as many real training images have {floor}."
    yield name, value, spread, protocol, note


def _spectrum(name: str, values: dict, metrics: dict) -> Iterator[Cells]:
    band = max(values, key=lambda band: abs(math.log(max(values[band], 1e-9))))
    listed = ", ".join(f"{band}: {ratio:.2f}" for band, ratio in values.items())
    protocol = (
        "Power of the brightness of generated images over that of real test images, by cycles an "
        f"image at 64 px: {listed}. Shown is the band that is farthest from 1."
    )
    note = "1 is right. More at the highest frequencies is a texture, less is blur."
    yield f"{name}, {band} cycles", f"{values[band]:.2f}", "", protocol, note


def _part_presence(name: str, values: dict, metrics: dict) -> Iterator[Cells]:
    shares = [
        f"{part} {percent(one['generated'])} ({percent(one['real'])})"
        for part, one in values.items()
    ]
    means = [
        sum(one[kind] for one in values.values()) / len(values) for kind in ("generated", "real")
    ]
    protocol = (
        "Share of images in which a part segmenter, trained only on real images, finds the part in "
        f"an amount that real images have (in brackets: of real images): {', '.join(shares)}."
    )
    yield name, percent(means[0]), "", protocol, f"On real images: {percent(means[1])}."


def _retrieval(name: str, values: dict, metrics: dict) -> Iterator[Cells]:
    to_text, to_image = values["image_to_text"], values["text_to_image"]
    recalls = []
    for way, one in (("image to caption", to_text), ("caption to image", to_image)):
        ranks = f"{rounded(one['r1'])} / {rounded(one['r5'])} / {percent(one['r10'])}"
        recalls.append(f"{way}: R@1 / 5 / 10 {ranks}, median rank {one['median_rank']:g}")
    pairs = f"{values['num_pairs']:,} real test pairs, each against all others"
    protocol = f"{pairs}, except pairs of the same class."
    if values["step"] is not None:
        protocol += f" DAMSM of step {values['step']:,}."
    note = f"{_sentence(*recalls)} Chance {values['chance_r1']:.2g} %.{_chosen(values)}"
    yield name, percent((to_text["r1"] + to_image["r1"]) / 2), "", protocol, note


def _attribute_accuracy(name: str, values: dict, metrics: dict) -> Iterator[Cells]:
    protocol = (
        "A classifier trained only on real images predicts each attribute of a generated image; "
        "correct if it agrees with the caption. Mean over the colours of the plumage"
    )
    if "mean_with_beak" in values:
        protocol += f" (with the beak's: {percent(values['mean_with_beak'])})"
    note = f"Chance {percent(values['chance'])}: the same predictions against shuffled captions."
    if real := metrics.get("attribute_accuracy_real_images"):
        note += f" On real images: {percent(real['mean'])}."
    note += " The generator was not trained with this classifier."
    yield name, percent(values["mean"]), "", protocol + ".", note


def _grounding(name: str, values: dict, metrics: dict) -> Iterator[Cells]:
    """The pointing game of DAMSM and of each refinement stage."""
    known = []  # how accurate the segmenter is on real images
    if (overlap := values.get("judge_part_overlap")) is not None:
        known.append(f"its parts overlap the true ones by {percent(overlap)}, mean IoU")
    if (score := values.get("damsm_by_judge")) is not None:
        true_score = percent(values["damsm"]["mean"])
        known.append(f"DAMSM's maps score {percent(score)} by its parts, {true_score} by true ones")
    segmenter = f" (on real images {'; '.join(known)})" if known else ""
    for network, one in values.items():
        if not isinstance(one, dict) or one["mean"] is None:  # no word named a part
            continue
        maps, images = "DAMSM's maps", "real test images, with their true part masks"
        if network != "damsm":
            maps = f"generator's maps at {network.removeprefix('generator_')} px"
            images = "generated images, with part masks by a segmenter trained only on real images"
            images += segmenter
        game = "Pointing game: is the peak of the map of a word that names a part inside that part?"
        protocol = f"{game} {one['count']:,} words, on {images}."
        note = f"Chance, a random cell of the map: {percent(one['chance'])}. "
        if one["other_words"] is not None:
            note += f"Peaks of the caption's other part words: {percent(one['other_words'])}."
        yield f"{name}, {maps}", percent(one["mean"]), "", protocol, note


def _inception_score(name: str, values: dict, metrics: dict) -> Iterator[Cells]:
    spread = f"± {values['std']:.2f}" if "std" in values else ""
    note = "Higher is better; comparable only with the same classifier."
    if temperature := values.get("temperature"):
        note = f"TISE's IS*: as above, with logits divided by {temperature:.4f}."
    yield name, f"{values['mean']:.2f}", spread, _protocol(values), note


def _distance(name: str, values: dict, metrics: dict) -> Iterator[Cells]:
    """FID or KID, against real images."""
    fid = name.startswith("FID")
    value, *ends = (  # KID's size depends on the features: 0.0123 with Inception's, or 21,888
        f"{number:,.2f}" if fid else f"{number:.4f}" if abs(number) < 10 else f"{number:,.0f}"
        for number in (values[key] for key in ("value", "low", "high") if key in values)
    )
    spread = f"{values['confidence']:g} %: {' to '.join(ends)}" if ends else ""
    note = "Lower is better; its expectation does not depend on the number of images."
    if fid:
        note = "Lower is better; compare within a family alone. Fewer images give a larger FID."
    yield f"{name.split()[0]} ({values['family']})", value, spread, _protocol(values), note


METRICS = {
    "r_precision": ("R-precision, generated images", _r_precision),
    "r_precision_real_images": ("R-precision, real images", _r_precision),
    "r_precision_independent": ("R-precision, independent", _independent),
    "damsm_retrieval": ("DAMSM retrieval, R@1", _retrieval),
    "attribute_accuracy": ("Attribute accuracy", _attribute_accuracy),
    "kid_judge": ("KID (judge)", _judge_distance),
    "fid_judge": ("FID (judge)", _judge_distance),
    "spectrum": ("Spectrum", _spectrum),
    "part_presence": ("Part presence", _part_presence),
    "grounding": ("Grounding", _grounding),
    "inception_score": ("Inception Score", _inception_score),
    "inception_score_calibrated": ("Inception Score, calibrated (IS*)", _inception_score),
    "fid": ("FID", _distance),
    "kid": ("KID", _distance),
}
