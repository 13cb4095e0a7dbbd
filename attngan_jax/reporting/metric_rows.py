"""`metrics.json` in words: each metric with its protocol and what to compare it with."""

import dataclasses

from attngan_jax.reporting import published
from attngan_jax.reporting.published import Comparison

NOT_MEASURED = "not measured; no reason was recorded"
MISMATCH = {"class": "mismatching: of another class", "image": "mismatching: of another image"}
CHOSEN = (
    " The checkpoint is the best of several by {} on test pairs, "
    "which flatters this number a little."
)
ALWAYS = (
    "r_precision",
    "r_precision_real_images",
    "attribute_accuracy",
    "inception_score",
    "fid",
)  # the first files knew these alone
PROTOCOLS = {
    "paper": " This is the paper's protocol as far as it states one.",
    "dm_gan": " This is DM-GAN's protocol.",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the metric table; `value` is None where the metric is null, and `note` says why.

    `published` is what others report, or why nothing of theirs stands beside this number.
    """

    name: str
    value: str | None
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
    """The table of `metrics.json`, in reading order; shares are in percent there.

    Metrics that the file does not know are left out, but for `ALWAYS`; those that are null say why.
    """
    rows = []
    for key, name, build in (
        ("r_precision", "R-precision, generated images", _r_precision),
        ("r_precision_real_images", "R-precision, real images", _r_precision),
        ("damsm_retrieval", "DAMSM retrieval, R@1", _retrieval),
        ("attribute_accuracy", "Attribute accuracy", _attribute_accuracy),
        ("grounding", "Grounding", _grounding),
        ("inception_score", "Inception Score", _inception_score),
        ("fid", "FID", _frechet_distance),
        ("fid_damsm", "FID, damsm", _frechet_distance),
        ("kid", "KID", _kernel_distance),
        ("kid_damsm", "KID, damsm", _kernel_distance),
    ):
        if metrics.get(key) is not None:
            rows += build(metrics, key, name)
        elif key in metrics or key in ALWAYS:
            rows.append(_null_row(metrics, key, name))
    return rows


def attribute_bars(metrics: dict) -> list[Bar]:
    """One bar for each attribute of `attribute_accuracy`, in the file's order."""
    accuracy = metrics.get("attribute_accuracy") or {}
    real = metrics.get("attribute_accuracy_real_images") or {}
    return [
        Bar(
            name.replace("_", " "),
            entry["accuracy"],
            entry["chance"],
            real.get(name, {}).get("accuracy"),
        )
        for name, entry in accuracy.items()
        if isinstance(entry, dict)
    ]


def grounding_bars(metrics: dict) -> list[Bar]:
    """One bar for each part of `grounding`: the last stage's maps, and DAMSM's on real images."""
    values = metrics.get("grounding") or {}
    stages = [name for name in values if name.startswith("generator_")]
    if not stages:
        return []
    last = values[max(stages, key=lambda name: int(name.removeprefix("generator_")))]
    real = values.get("damsm") or {}
    return [
        Bar(
            name.replace("_", " "),
            entry["accuracy"],
            entry["chance"],
            real.get(name, {}).get("accuracy"),
        )
        for name, entry in last.items()
        if isinstance(entry, dict)
    ]


def percent(value: float) -> str:
    """`74.2134` as `74.2 %`, with a no-break space."""
    return f"{value:.1f}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """`4000` as `1 h 7 min`; never more than two units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def _r_precision(metrics: dict, key: str, name: str) -> list[Row]:
    values = metrics[key]
    candidates = values["candidates"]
    drawn = [
        f"{candidates - 1:,} mismatching"
        if values.get("mismatch") not in MISMATCH
        else f"{candidates - 1:,} {MISMATCH[values['mismatch']]}"
    ]
    if "with_replacement" in values:
        drawn.append(f"drawn with{'' if values['with_replacement'] else 'out'} replacement")
    protocol = (
        f"{values['num_images']:,} images; DAMSM must find the image's own caption among "
        f"{candidates:,} (1 true, {', '.join(drawn)}), by the cosine of its global "
        f"vectors; ± over folds of {values['fold_size']:,}."
        f"{PROTOCOLS.get(values.get('protocol'), '')}"
    )
    note = f"Chance {percent(100 / candidates)}."
    real = metrics.get("r_precision_real_images")
    if key == "r_precision":
        ceiling = f" Real images reach {percent(real['mean'])}." if real else ""
        note += ceiling + " This DAMSM also trained the generator, which flatters it."
        if values.get("chosen_by"):
            note += CHOSEN.format(values["chosen_by"])
    else:
        note += " How well DAMSM reads images it never saw: the ceiling for generated ones."
    return [
        Row(
            name,
            percent(values["mean"]),
            f"± {values['std']:.1f}",
            protocol,
            note,
            published.compare(metrics, key),
        )
    ]


def _retrieval(metrics: dict, key: str, name: str) -> list[Row]:
    values = metrics[key]
    ways = []
    for way, words in (
        ("image_to_text", "Image to caption"),
        ("text_to_image", "caption to image"),
    ):
        one = values[way]
        ways.append(
            f"{words}: R@1 / 5 / 10 {one['r1']:.1f} / {one['r5']:.1f} / "
            f"{percent(one['r10'])}, median rank {one['median_rank']:g}"
        )
    protocol = (
        f"{values['num_pairs']:,} real test pairs, each against all the others; other "
        f"pairs of the same class do not compete. DAMSM of step {values['step']:,}."
    )
    mean = (values["image_to_text"]["r1"] + values["text_to_image"]["r1"]) / 2
    return [
        Row(
            name,
            percent(mean),
            "",
            protocol,
            f"{'; '.join(ways)}. Chance {values['chance_r1']:.2g} %."
            + (CHOSEN.format(values["chosen_by"]) if values.get("chosen_by") else ""),
            published.compare(metrics, key),
        )
    ]


def _attribute_accuracy(metrics: dict, key: str, name: str) -> list[Row]:
    values = metrics[key]
    protocol = (
        "A classifier trained on real images only names each attribute of a generated "
        "image; right where it sees what the caption says. Mean over the colours of the "
        f"plumage{_with_beak(values)}."
    )
    real = metrics.get("attribute_accuracy_real_images")
    ceiling = f" On real images: {percent(real['mean'])}." if real else ""
    note = (
        f"Chance {percent(values['chance'])}: the same answers, sentences dealt out at random."
        f"{ceiling} It never saw the generator."
    )
    return [Row(name, percent(values["mean"]), "", protocol, note, published.compare(metrics, key))]


def _with_beak(values: dict) -> str:
    if "mean_with_beak" not in values:
        return ""
    return f" (with the beak's: {percent(values['mean_with_beak'])})"


def _grounding(metrics: dict, key: str, name: str) -> list[Row]:
    """The pointing game of DAMSM and of each refinement stage."""
    values = metrics[key]
    segmenter = _part_judge(values)
    rows = []
    for network, one in values.items():
        if not isinstance(one, dict):
            continue
        size = network.removeprefix("generator_")
        whose, where = "DAMSM's maps", "real test images, with their true masks"
        if size != network:
            whose = f"generator's maps at {size} px"
            where = (
                "generated images; where the parts are says a segmenter trained on real "
                f"images alone{segmenter}"
            )
        rows.append(
            Row(
                f"{name}, {whose}",
                percent(one["mean"]),
                "",
                f"Pointing game: does a word that names a part have its map's peak inside that part? "
                f"{one['count']:,} words, on {where}.",
                f"Chance, a cell of the map at random: {percent(one['chance'])}. The peaks of the "
                f"caption's other part words: {percent(one['other_words'])}.",
                published.compare(metrics, key),
            )
        )
    return rows


def _part_judge(values: dict) -> str:
    """How far the judge of the generated images is right about real ones."""
    known = []
    if (overlap := values.get("judge_part_overlap")) is not None:
        known.append(
            f"its parts and the true ones overlap by {percent(overlap)}, intersection over union"
        )
    if (by_judge := values.get("damsm_by_judge")) is not None:
        known.append(
            f"by it DAMSM's maps score {percent(by_judge)}, by the true masks "
            f"{percent(values['damsm']['mean'])}"
        )
    return f" (on real ones {'; '.join(known)})" if known else ""


def _inception_score(metrics: dict, key: str, name: str) -> list[Row]:
    values = metrics[key]
    parts = [
        f"{values['num_images']:,} images" if "num_images" in values else "",
        f"{values['splits']} splits" if "splits" in values else "",
        f"classifier {values['classifier']}" if "classifier" in values else "",
    ]
    spread = f"± {values['std']:.2f}" if "std" in values else ""
    return [
        Row(
            name,
            f"{values['mean']:.2f}",
            spread,
            _sentence(parts),
            "Higher is better; comparable only with the same classifier.",
            published.compare(metrics, key),
        )
    ]


def _frechet_distance(metrics: dict, key: str, name: str) -> list[Row]:
    values = metrics[key]
    return [
        Row(
            _with_family(name, values),
            f"{values['value']:,.2f}",
            "",
            _against(values),
            "Lower is better; comparable only within one family of weights, and with as many "
            "images: few make it larger.",
            published.compare(metrics, key),
        )
    ]


def _kernel_distance(metrics: dict, key: str, name: str) -> list[Row]:
    values = metrics[key]
    spread = ""
    if "low" in values:
        spread = (
            f"{values['confidence']:g} %: {_distance(values['low'])} to {_distance(values['high'])}"
        )
    return [
        Row(
            _with_family(name, values),
            _distance(values["value"]),
            spread,
            _against(values),
            "Lower is better; its expectation does not depend on the number of images, so "
            "that small sets compare.",
            published.compare(metrics, key),
        )
    ]


def _with_family(name: str, values: dict) -> str:
    return f"{name.partition(',')[0]} ({values['family']})"


def _distance(value: float) -> str:
    """KID's size depends on the features': 0.0123 of Inception's, 21,888 of others."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.0f}"


def _against(values: dict) -> str:
    return _sentence(
        [
            f"{values['num_images']:,} images",
            f"against {values['reference']}",
            f"weights {values['family']}",
            f"resized by {values['resize']}" if "resize" in values else "",
        ]
    )


def _null_row(metrics: dict, key: str, name: str) -> Row:
    reason = (metrics.get("reasons") or {}).get(key, NOT_MEASURED)
    return Row(
        name, None, "", "", f"{reason[:1].upper()}{reason[1:]}", published.compare(metrics, key)
    )


def _sentence(parts: list[str]) -> str:
    text = "; ".join(part for part in parts if part)
    return f"{text[:1].upper()}{text[1:]}." if text else ""
