"""Published numbers of AttnGAN, and whether a run measured its own the same way."""

import dataclasses

NAMES = {"cub": "CUB", "coco": "COCO"}
WORDS = {
    "protocol": "the protocol",
    "num_images": "images",
    "candidates": "candidates",
    "classifier": "the classifier",
    "splits": "splits",
    "image_size": "pixels a side",
    "reference_split": "the reference split",
}
NO_OTHERS = {  # metrics that nobody else has, and why
    "r_precision_real_images": "The paper has none for real images.",
    "damsm_retrieval": "The paper does not score DAMSM by itself.",
    "attribute_accuracy": "It needs data whose truth is on record, which CUB and COCO are not.",
    "grounding": "It needs masks of the parts; the paper shows maps and does not score them.",
    "fid_damsm": "Every run has its own DAMSM, so only runs that share one compare.",
    "kid": "None is known to us.",
    "kid_damsm": "Every run has its own DAMSM, so only runs that share one compare.",
}


@dataclasses.dataclass(frozen=True)
class Published:
    """A number, who gave it, and what a run's own has to be measured with to stand beside it."""

    value: str
    source: str
    needs: dict[str, object]


_R_PRECISION = {"protocol": "paper", "num_images": 30_000, "candidates": 100, "image_size": 256}
_SCORE = {"num_images": 30_000, "splits": 10, "image_size": 256}
_FID = {"num_images": 30_000, "reference_split": "test", "image_size": 256}
_OTHERS = "later papers' measurement; the paper has no FID"
PUBLISHED = {
    ("r_precision", "cub"): Published("67.82 ± 4.43 %", "paper, Table 3", _R_PRECISION),
    ("r_precision", "coco"): Published("85.47 ± 3.69 %", "paper, Table 3", _R_PRECISION),
    ("inception_score", "cub"): Published(
        "4.36 ± 0.03", "paper, Table 3", _SCORE | {"classifier": "cub-50"}
    ),
    ("inception_score", "coco"): Published(
        "25.89 ± 0.47", "paper, Table 3", _SCORE | {"classifier": "tf-2015"}
    ),
    ("fid torchvision", "cub"): Published("23.98", _OTHERS, _FID),
    ("fid torchvision", "coco"): Published("35.49", _OTHERS, _FID),
    ("fid tf-2015", "cub"): Published("14.01", _OTHERS, _FID),
    ("fid tf-2015", "coco"): Published("29.53", _OTHERS, _FID),
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The published value where the protocol matches, else None; `why` says whose, or why not."""

    value: str | None
    why: str


def compare(metrics: dict, key: str) -> Comparison:
    """What is published for the metric `key` of `metrics.json`, next to how this run measured it.

    A published number whose protocol differs is named in `why`, with what differs.
    """
    if key in NO_OTHERS:
        return Comparison(None, NO_OTHERS[key])
    dataset, entry = metrics["dataset"], metrics.get(key) or {}
    if dataset not in NAMES:
        return Comparison(None, f"None for {dataset}: the paper measured CUB and COCO.")
    name = f"fid {entry['family']}" if key == "fid" and "family" in entry else key
    known = PUBLISHED.get((name, dataset))
    if known is None:
        return Comparison(None, f"None is known to us for {NAMES[dataset]}.")
    differing = [
        f"{WORDS[need]}: {_text(wanted)} there, {_text(entry.get(need))} here"
        for need, wanted in known.needs.items()
        if entry.get(need) != wanted
    ]
    if not differing:
        return Comparison(known.value, f"AttnGAN on {NAMES[dataset]} ({known.source}).")
    return Comparison(
        None,
        f"{known.value} on {NAMES[dataset]} ({known.source}) was measured "
        f"otherwise ({'; '.join(differing)}).",
    )


def _text(value) -> str:
    if value is None:
        return "not recorded"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("_", "-")
