"""Stage 1 of another run, taken over: runs that differ in the GAN alone need one DAMSM."""

import json
import os
import shutil

from absl import logging

from attngan_jax import configuration, storage
from attngan_jax.configuration import Config
from attngan_jax.errors import UserError
from attngan_jax.interop.inception_weights import InceptionWeights, chosen_inception_weights
from attngan_jax.training import loop, wall_clock
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import PRETRAINED, DamsmTask
from attngan_jax.training.state import DamsmState

STAGE = DamsmTask.name
# What stage 1 follows from.
KEYS = (
    "seed",
    "compute_dtype",
    "per_device_batch_norm",
    "per_device_negatives",
    "data.",
    "procedural_birds.",
    "text_encoder.",
    "image_encoder.",
    "damsm.",
)


def take_damsm(config: Config, workdir: storage.Path, source: storage.PathLike) -> None:
    """Copies the finished stage 1 of the run in `source`, with its log and its seconds.

    Does nothing where `workdir` has trained some of stage 1 itself. `WORKDIR/damsm_from.json` says
    where it is from. Raises `UserError` where `source` has no finished stage 1, or one of another
    config or vocabulary.
    """
    source = storage.path(source)
    if Checkpoints.are_in(workdir, STAGE):
        return
    _check_same_stage(config, workdir, source)
    _copy_log(source, workdir)
    seconds = wall_clock.read(workdir) | {STAGE: wall_clock.read(source).get(STAGE, 0.0)}
    storage.write_text(workdir / "wall_seconds.json", json.dumps(seconds) + "\n")
    storage.write_text(
        workdir / "damsm_from.json",
        json.dumps({"workdir": _as_seen_from(workdir, source), "seed": config.seed}) + "\n",
    )
    _copy_stage(source / STAGE, workdir)
    logging.info("stage 1 is that of %s", source)


def _as_seen_from(workdir: storage.Path, source: storage.Path) -> str:
    if storage.is_address(workdir) or storage.is_address(source):
        return str(source if storage.is_address(source) else source.absolute())
    return os.path.relpath(source, workdir)


def _copy_stage(source: storage.Path, workdir: storage.Path) -> None:
    """Whole or not at all: by one renaming, or in a bucket by the files that are copied last."""
    if storage.is_address(workdir):
        storage.copy_tree(source, workdir / STAGE)
        return
    unfinished = workdir / f".{STAGE}.{os.getpid()}"
    try:
        if storage.is_address(source):
            storage.copy_tree(source, unfinished)
        else:
            shutil.copytree(source, unfinished)
        shutil.rmtree(workdir / STAGE, ignore_errors=True)  # an empty one
        os.replace(unfinished, workdir / STAGE)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _check_same_stage(config: Config, workdir: storage.Path, source: storage.Path) -> None:
    other = configuration.load_workdir_config(source)
    differing = [line for line in configuration.differences(other, config) if line.startswith(KEYS)]
    if differing:
        raise UserError(
            f"stage 1 of {source} is of another config ({differing[0]}): take it from "
            "a run with these settings, or leave --damsm_from away"
        )
    words = source / "vocabulary.txt"
    if not words.exists() or words.read_bytes() != (workdir / "vocabulary.txt").read_bytes():
        raise UserError(
            f"stage 1 of {source} knows other words than this dataset has: leave --damsm_from away"
        )
    if not Checkpoints.are_in(source, STAGE) or not loop.is_finished(
        DamsmTask(config, len(words.read_text(encoding="utf-8").splitlines())), source
    ):
        raise UserError(
            f"stage 1 of {source} is not finished: run it to its end first, or leave "
            "--damsm_from away"
        )


def _copy_log(source: storage.Path, workdir: storage.Path) -> None:
    """Puts the lines of stage 1 in `source`'s metrics.jsonl in front of the workdir's own."""

    def lines(folder: storage.Path, of_stage: bool) -> list[str]:
        path = folder / "metrics.jsonl"
        whole = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [line for line in whole if (json.loads(line)["stage"] == STAGE) == of_stage]

    text = "".join(f"{line}\n" for line in lines(source, True) + lines(workdir, False))
    storage.write_text(workdir / "metrics.jsonl", text)


RECORD = "inception_weights.json"


def trunk_weights(config: Config, workdir: storage.PathLike) -> InceptionWeights | None:
    """What `config.image_encoder.weights` asks for, where a run needs it.

    None for the cnn trunk, for a trunk that is to be untrained, and for a run whose checkpoints
    hold the trunk already. Touches nothing in the workdir.

    Raises:
      UserError: the run needs weights and none are chosen, or the file is not what it should be.
    """
    image = config.image_encoder
    if image.trunk != "inception_v3" or Checkpoints.are_in(workdir, DamsmTask.name):
        return None
    return chosen_inception_weights(image.weights)


def record(weights: InceptionWeights, path: str, workdir: storage.PathLike) -> None:
    """Keeps in the workdir which file the trunk came from, and its SHA-256."""
    logging.info("the image encoder starts from %s (SHA-256 %s)", path, weights.sha256)
    storage.write_text(
        storage.path(workdir) / RECORD,
        json.dumps({"file": str(path), "sha256": weights.sha256}, indent=2) + "\n",
    )


def with_trunk(state: DamsmState, weights: InceptionWeights) -> DamsmState:
    """The state with these weights and running statistics as its trunk's."""
    image = state.image
    return state.replace(
        image=image.replace(
            params=image.params | {PRETRAINED: weights.variables["params"]},
            batch_stats=image.batch_stats | {PRETRAINED: weights.variables["batch_stats"]},
        )
    )
