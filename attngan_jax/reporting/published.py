"""Published numbers of AttnGAN, and whether a run measured its own the same way."""

import dataclasses

NAMES = {"cub": "CUB", "coco": "COCO"}
WORDS = {"num_images": "images", "image_size": "pixels a side"}
OF_BIRDS = "It is by networks trained on procedural birds, which the paper does not have."
NOT_PUBLISHED = {  # metrics that have no published number, and why
    "r_precision_real_images": "The paper reports none for real images.",
    "damsm_retrieval": "The paper does not score DAMSM on its own.",
    "attribute_accuracy": "It needs ground-truth attributes, which CUB and COCO do not have.",
    "grounding": "It needs part masks; the paper shows attention maps and does not score them.",
    "kid": "We know of none.",
    "spectrum": "The paper measures none.",
    **dict.fromkeys(
        ("r_precision_independent", "kid_judge", "fid_judge", "part_presence"), OF_BIRDS
    ),
}
# (metric, dataset) -> the number, its source, and the protocol that makes a run's own comparable
R_PRECISION = {"protocol": "paper", "num_images": 30_000, "candidates": 100, "image_size": 256}
SCORE = {"num_images": 30_000, "splits": 10, "image_size": 256}
FID = {"num_images": 30_000, "reference_split": "test", "image_size": 256}
TABLE, LATER = "paper, Table 3", "from later papers; the paper has no FID"
PUBLISHED: dict[tuple[str, str], tuple[str, str, dict]] = {
    ("r_precision", "cub"): ("67.82 ± 4.43 %", TABLE, R_PRECISION),
    ("r_precision", "coco"): ("85.47 ± 3.69 %", TABLE, R_PRECISION),
    ("inception_score", "cub"): ("4.36 ± 0.03", TABLE, SCORE | {"classifier": "cub-50"}),
    ("inception_score", "coco"): ("25.89 ± 0.47", TABLE, SCORE | {"classifier": "tf-2015"}),
    ("fid torchvision", "cub"): ("23.98", LATER, FID),
    ("fid torchvision", "coco"): ("35.49", LATER, FID),
    ("fid tf-2015", "cub"): ("14.01", LATER, FID),
    ("fid tf-2015", "coco"): ("29.53", LATER, FID),
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The published value if the protocol matches, else None; `why` says whose, or why not."""

    value: str | None
    why: str


def compare(metrics: dict, key: str) -> Comparison:
    """The published value of the metric `key` of `metrics.json`, if this run's is comparable.

    A published number whose protocol differs is named in `why`, with what differs.
    """
    if key in NOT_PUBLISHED:
        return Comparison(None, NOT_PUBLISHED[key])
    dataset, entry = metrics["dataset"], metrics.get(key) or {}
    if dataset not in NAMES:
        return Comparison(None, f"None for {dataset}: the paper measured CUB and COCO.")
    name = f"fid {entry['family']}" if key == "fid" and "family" in entry else key
    if (name, dataset) not in PUBLISHED:
        return Comparison(None, f"We know of none for {NAMES[dataset]}.")
    value, source, protocol = PUBLISHED[name, dataset]
    differing = [
        f"{WORDS.get(need, _text(need))}: {_text(wanted)} there, {_text(entry.get(need))} here"
        for need, wanted in protocol.items()
        if entry.get(need) != wanted
    ]
    if not differing:
        return Comparison(value, f"AttnGAN on {NAMES[dataset]} ({source}).")
    why = f"was measured with another protocol ({'; '.join(differing)})."
    return Comparison(None, f"{value} on {NAMES[dataset]} ({source}) {why}")


def _text(value) -> str:
    if value is None:
        return "not recorded"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("_", " ")
