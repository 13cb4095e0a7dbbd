"""Says before training what a dataset that is small or uniform means for it."""

from absl import logging

from attngan_jax.configuration import Config
from attngan_jax.data.datasets import Dataset


def warn(config: Config, dataset: Dataset) -> None:
    """Warns of everything that `shortcomings` finds; nothing is refused for it."""
    for line in shortcomings(config, dataset):
        logging.warning("%s. It can be trained on all the same", line)


def shortcomings(config: Config, dataset: Dataset) -> list[str]:
    """What a run of `config` can't have from a dataset: what that means, and what to set.

    A dataset whose report is older than a number in it is not judged by that number.
    """
    report = dataset.report or {}
    num_train, num_test = len(dataset.train), len(dataset.test)
    lines = [
        f"the {num_train:,} training images are fewer than config.{stage}.batch_size = {size}: a "
        "batch shows images more than once, and takes the captions of one for mismatching. Set "
        f"--config.{stage}.batch_size={max(2, num_train // 2)} or less, or add images"
        for stage in ("damsm", "attngan")
        if num_train < (size := config[stage].batch_size)
    ]
    rows = report.get("splits", {})
    if rows.get("train", {}).get("classes") == 1:
        lines.append(
            f"all {num_train:,} training images are of one class, whose captions are no negatives "
            "of each other: DAMSM's losses are 0 and it learns nothing. Give several classes, or "
            "none"
        )
    if rows.get("test", {}).get("classes") == 1 and config.eval.mismatch == "class":
        lines.append(
            f"all {num_test:,} test images are of one class: R-precision has no mismatching "
            "captions, and retrieval can't be wrong. Set --config.eval.mismatch=image"
        )
    distinct = report.get("distinct_captions", {}).get("train", num_train)
    if 2 * distinct <= num_train:
        lines.append(
            f"the {num_train:,} training images share {distinct:,} captions: where they meet in a "
            "batch, a caption that fits counts as mismatching, and few words can be learned. Say "
            "what tells the images apart"
        )
    if num_test < config.eval.num_candidates:
        lines.append(
            f"there are {num_test:,} test images, fewer than config.eval.num_candidates = "
            f"{config.eval.num_candidates}: scores of so few say little. Raise "
            "config.folder.test_fraction, or add images"
        )
    return lines
