"""Stage 1 of another run, taken over: runs that differ in the GAN alone need one DAMSM."""

import json
import os
import pathlib
import shutil

from absl import logging

from attngan_jax import configuration
from attngan_jax.errors import UserError
from attngan_jax.training import loop, wall_clock
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.networks import Config

STAGE = DamsmTask.name
# What stage 1 follows from.
KEYS = ("seed", "compute_dtype", "per_device_batch_norm", "per_device_negatives", "data.",
        "procedural_birds.", "text_encoder.", "image_encoder.", "damsm.")


def take_damsm(config: Config, workdir: pathlib.Path, source: str | os.PathLike) -> None:
    """Copies the finished stage 1 of the run in `source`, with its log and its seconds.

    Does nothing where `workdir` has trained some of stage 1 itself. `WORKDIR/damsm_from.json` says
    where it is from. Raises `UserError` where `source` has no finished stage 1, or one of another
    config or vocabulary.
    """
    source = pathlib.Path(source)
    if Checkpoints.are_in(workdir, STAGE):
        return
    _check_same_stage(config, workdir, source)
    _copy_log(source, workdir)
    seconds = wall_clock.read(workdir) | {STAGE: wall_clock.read(source).get(STAGE, 0.0)}
    configuration.write_text(workdir / "wall_seconds.json", json.dumps(seconds) + "\n")
    configuration.write_text(workdir / "damsm_from.json", json.dumps(
        {"workdir": os.path.relpath(source, workdir), "seed": config.seed}) + "\n")
    unfinished = workdir / f".{STAGE}.{os.getpid()}"
    try:
        shutil.copytree(source / STAGE, unfinished)
        shutil.rmtree(workdir / STAGE, ignore_errors=True)  # an empty one
        os.replace(unfinished, workdir / STAGE)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logging.info("stage 1 is that of %s", source)


def _check_same_stage(config: Config, workdir: pathlib.Path, source: pathlib.Path) -> None:
    other = configuration.load_workdir_config(source)
    differing = [line for line in configuration.differences(other, config) if line.startswith(KEYS)]
    if differing:
        raise UserError(f"stage 1 of {source} is of another config ({differing[0]}): take it from "
                        "a run with these settings, or leave --damsm_from away")
    words = source / "vocabulary.txt"
    if not words.exists() or words.read_bytes() != (workdir / "vocabulary.txt").read_bytes():
        raise UserError(f"stage 1 of {source} knows other words than this data set has: leave "
                        "--damsm_from away")
    if not Checkpoints.are_in(source, STAGE) or not loop.is_finished(
            DamsmTask(config, len(words.read_text(encoding="utf-8").splitlines())), source):
        raise UserError(f"stage 1 of {source} is not finished: run it to its end first, or leave "
                        "--damsm_from away")


def _copy_log(source: pathlib.Path, workdir: pathlib.Path) -> None:
    """Puts the lines of stage 1 in `source`'s metrics.jsonl in front of the workdir's own."""
    def lines(folder: pathlib.Path, of_stage: bool) -> list[str]:
        path = folder / "metrics.jsonl"
        whole = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [line for line in whole if (json.loads(line)["stage"] == STAGE) == of_stage]

    text = "".join(f"{line}\n" for line in lines(source, True) + lines(workdir, False))
    configuration.write_text(workdir / "metrics.jsonl", text)
