"""Published numbers, who measured them how, and whether a run measured its own the same way.

Every number was read at the source named beside it: a paper's abstract, or the README or the result
files of the repository that measured it, with its code for the protocol. What could not be read
there is not here.
"""

import dataclasses

NAMES = {"cub": "CUB", "coco": "COCO"}
WORDS = {"num_images": "images", "image_size": "pixels a side", "mismatch": "mismatching captions"}
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


@dataclasses.dataclass(frozen=True)
class Group:
    """Numbers of one protocol.

    Attributes:
      needs: what a run's own block must say to be comparable; of several values one.
      values: (model, its value, who measured it where). The first is shown beside a run's own.
      note: what else is to be known of them.
    """

    metric: str
    dataset: str
    needs: dict
    values: tuple[tuple[str, str, str], ...]
    note: str = ""


PAPER, DM_GAN = "paper, as DM-GAN's README gives it", "its paper, as its README gives it"
README = "measured by DM-GAN's authors, in their README"
DM_GAN_RELEASED = "its released model, README"
TISE = "measured by TISE's authors, in their repository"
NO_FID = f"{README}; the paper has no FID"

SIZE = {"num_images": 30_000, "image_size": 256}
OWN_DAMSM = "All by the DAMSM that AttnGAN's authors released."
LISTED = (
    "Its candidates are a file of captions; TISE's code does not state the rule by which they were "
    "drawn, so that there is no preset of it here."
)
DM_GAN_NOTE = (
    "They were measured against {}, which DM-GAN's authors give without the code that made it; "
    "TISE generated from a list of captions of its own."
)
TRUNCATED = "Its noise was truncated at 0.88, and its images were not rounded to 8 bits."


def _fid(family: str, recipe: str | tuple[str, ...]) -> dict:
    return SIZE | {"family": family, "reference_recipe": recipe}


def _score(classifier: str, **needs) -> dict:
    return SIZE | {"splits": 10, "classifier": classifier} | needs


TEST = "test images as they are"  # `reference_recipe` of a run's own statistics
R_PAPER = SIZE | {"protocol": "paper", "candidates": 100}
R_DM_GAN = SIZE | {"protocol": "dm_gan", "candidates": 100}
PUBLISHED = (
    Group("r_precision", "cub", R_PAPER, (("AttnGAN", "67.82 ± 4.43 %", PAPER),)),
    Group("r_precision", "coco", R_PAPER, (("AttnGAN", "85.47 ± 3.69 %", PAPER),)),
    Group(
        "r_precision",
        "cub",
        R_DM_GAN,
        (("DM-GAN", "72.31 ± 0.91 %", DM_GAN), ("DM-GAN", "76.58 ± 0.53 %", DM_GAN_RELEASED)),
        OWN_DAMSM,
    ),
    Group(
        "r_precision",
        "coco",
        R_DM_GAN,
        (("DM-GAN", "88.56 ± 0.28 %", DM_GAN), ("DM-GAN", "92.23 ± 0.37 %", DM_GAN_RELEASED)),
        OWN_DAMSM,
    ),
    Group(
        "r_precision",
        "cub",
        SIZE | {"protocol": "tise", "candidates": 100},
        (
            ("AttnGAN", "65.30 %", TISE),
            ("AttnGAN++", "77.31 %", TISE),
            ("AttnGAN + CL", "60.82 %", TISE),
            ("DM-GAN", "76.25 %", TISE),
            ("DM-GAN + CL", "69.80 %", TISE),
            ("DF-GAN", "42.95 %", TISE),
        ),
        f"{OWN_DAMSM} {LISTED}",
    ),
    Group(
        "r_precision",
        "coco",
        SIZE | {"protocol": "tise, by CLIP ViT-B/32", "candidates": 100},
        (
            ("AttnGAN", "50.56 %", TISE),
            ("AttnGAN++", "72.48 %", TISE),
            ("AttnGAN + CL", "57.52 %", TISE),
            ("DM-GAN", "66.98 %", TISE),
            ("DM-GAN + CL", "70.36 %", TISE),
            ("DF-GAN", "42.44 %", TISE),
        ),
        LISTED,
    ),
    Group(
        "inception_score",
        "cub",
        _score("cub-50"),
        (
            ("AttnGAN", "4.36 ± 0.03", PAPER),
            ("DM-GAN", "4.75 ± 0.07", DM_GAN),
            ("DM-GAN", "4.71 ± 0.06", DM_GAN_RELEASED),
        ),
    ),
    Group("inception_score", "coco", _score("tf-2015"), (("AttnGAN", "25.89 ± 0.47", PAPER),)),
    Group(
        "inception_score",
        "coco",
        _score("tf-2015-dmgan"),
        (("DM-GAN", "30.49 ± 0.57", DM_GAN), ("DM-GAN", "32.43 ± 0.58", DM_GAN_RELEASED)),
    ),
    Group(
        "inception_score_calibrated",
        "cub",
        _score("cub-50"),
        (
            ("AttnGAN", "13.63", TISE),
            ("AttnGAN++", "15.13", TISE),
            ("AttnGAN + CL", "14.42", TISE),
            ("DM-GAN", "15.00", TISE),
            ("DM-GAN + CL", "15.08", TISE),
            ("DF-GAN", "14.70", TISE),
        ),
    ),
    Group(
        "inception_score_calibrated",
        "coco",
        _score("tf-2015-dmgan"),
        (
            ("AttnGAN", "33.79", TISE),
            ("AttnGAN++", "54.63", TISE),
            ("AttnGAN + CL", "36.85", TISE),
            ("DM-GAN", "45.63", TISE),
            ("DM-GAN + CL", "46.61", TISE),
            ("DF-GAN", "30.45", TISE),
        ),
    ),
    Group(
        "fid",
        "cub",
        _fid("torchvision-dmgan", (TEST, "bird_val.npz")),
        (
            ("AttnGAN", "23.98", NO_FID),
            ("AttnGAN", "24.27", TISE),
            ("AttnGAN++", "15.01", TISE),
            ("AttnGAN + CL", "17.96", TISE),
            ("DM-GAN", "16.09", DM_GAN),
            ("DM-GAN", "15.34", DM_GAN_RELEASED),
            ("DM-GAN", "15.52", TISE),
            ("DM-GAN + CL", "14.57", TISE),
            ("DF-GAN", "14.81", DM_GAN),
            ("DF-GAN", "16.46", TISE),
        ),
        DM_GAN_NOTE.format("bird_val.npz"),
    ),
    Group(
        "fid",
        "cub",
        _fid("torchvision-dmgan", ("test images, flipped and shifted", "bird_val256_FIDK0.npz")),
        (("DF-GAN", "12.10", "its released model, README"),),
        f"{TRUNCATED} The test images were flipped and shifted to about 30,000 for its reference, "
        "its author says.",
    ),
    Group(
        "fid",
        "coco",
        _fid("torchvision-dmgan", (TEST, "coco_val.npz")),
        (
            ("AttnGAN", "35.49", NO_FID),
            ("AttnGAN", "36.90", TISE),
            ("AttnGAN++", "26.58", TISE),
            ("AttnGAN + CL", "26.93", TISE),
            ("DM-GAN", "32.64", DM_GAN),
            ("DM-GAN", "26.55", DM_GAN_RELEASED),
            ("DM-GAN", "28.96", TISE),
            ("DM-GAN + CL", "22.60", TISE),
            ("DF-GAN", "19.32", DM_GAN),
            ("DF-GAN", "21.05", TISE),
        ),
        DM_GAN_NOTE.format("coco_val.npz"),
    ),
    Group(
        "fid",
        "coco",
        _fid("torchvision-dmgan", (TEST, "coco_val256_FIDK0.npz")),
        (("DF-GAN", "15.41", "its released model, README"),),
        f"{TRUNCATED} Its reference is of the test images, its author says.",
    ),
    Group(
        "fid",
        "cub",
        _fid("tf-2015", TEST),
        (("AttnGAN", "14.01", NO_FID), ("DM-GAN", "11.91", DM_GAN_RELEASED)),
        "The README names the program, TTUR, and not the reference images.",
    ),
    Group(
        "fid",
        "coco",
        _fid("tf-2015", TEST),
        (("AttnGAN", "29.53", NO_FID), ("DM-GAN", "24.24", DM_GAN_RELEASED)),
        "The README names the program, TTUR, and not the reference images.",
    ),
    Group(
        "fid",
        "coco",
        _fid("Keras's Inception-v3", TEST),
        (("XMC-GAN", "9.33", "its paper's abstract"),),
        "The family is that of the code released with it, and none of those here.",
    ),
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The published value if the protocol matches, else None; `why` says whose, or why not."""

    value: str | None
    why: str


def compare(metrics: dict, key: str) -> Comparison:
    """The published values of the metric `key` of `metrics.json`, if this run's is comparable.

    Where no protocol is the run's own, the closest is named in `why`, with what differs. An FID is
    only ever compared within its family.
    """
    if key in NOT_PUBLISHED:
        return Comparison(None, NOT_PUBLISHED[key])
    dataset, entry = metrics["dataset"], metrics.get(key) or {}
    if dataset not in NAMES:
        return Comparison(None, f"None for {dataset}: the papers measured CUB and COCO.")
    groups = [one for one in PUBLISHED if (one.metric, one.dataset) == (key, dataset)]
    if key == "fid" and "family" in entry:
        families = list(dict.fromkeys(group.needs["family"] for group in groups))
        groups = [group for group in groups if group.needs["family"] == entry["family"]]
        if not groups:
            why = f"We know of none of this family for {NAMES[dataset]}, but of "
            why += f"{', '.join(families)}."
            return Comparison(None, why)
    if not groups:
        return Comparison(None, f"We know of none for {NAMES[dataset]}.")
    group = min(groups, key=lambda one: len(_differing(one.needs, entry)))
    model, value, source = group.values[0]
    if differing := _differing(group.needs, entry):
        why = f"was measured with another protocol ({'; '.join(differing)})."
        whose = "" if model == "AttnGAN" else f" of {model}"
        return Comparison(None, f"{value}{whose} on {NAMES[dataset]} ({source}) {why}")
    why = f"{model} on {NAMES[dataset]} ({source})."
    if others := group.values[1:]:
        listed = (f"{name} {number} ({where})" for name, number, where in others)
        why += f" By the same protocol: {'; '.join(listed)}."
    return Comparison(value, f"{why} {group.note}".rstrip())


def _differing(needs: dict, entry: dict) -> list[str]:
    differing = []
    for need, wanted in needs.items():
        accepted = wanted if isinstance(wanted, tuple) else (wanted,)
        if entry.get(need) not in accepted:
            here = f"{_text(wanted)} there, {_text(entry.get(need))} here"
            differing.append(f"{WORDS.get(need, need.replace('_', ' '))}: {here}")
    return differing


def _text(value) -> str:
    if value is None:
        return "not recorded"
    if isinstance(value, tuple):
        return " or ".join(value)
    return f"{value:,}" if isinstance(value, int) else str(value).replace("dm_gan", "dm gan")
