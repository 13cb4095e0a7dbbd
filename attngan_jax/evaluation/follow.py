"""Scores a run's checkpoints as they appear, beside the training that writes them."""

import json
import time
from collections.abc import Iterator

from absl import logging

from attngan_jax import storage
from attngan_jax.configuration import config_path, load_workdir_config
from attngan_jax.evaluation import suite
from attngan_jax.training import multihost
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints

STAGE = AttnganTask.name


def follow(
    workdir: storage.PathLike, *, seconds: float, settings: dict | None = None
) -> Iterator[dict | None]:
    """The metrics of each new checkpoint of stage 2, each once, until the last one is scored.

    All processes of a run go through this together; all but the first get None each time.

    A checkpoint that the training deletes before its turn is passed over. New is what is newer
    than the scores in `metrics.jsonl`, so that a second start goes on.

    Args:
      workdir: may be empty as yet.
      seconds: between two looks into it.
      settings: as in `suite.evaluate`.
    """
    workdir = storage.path(workdir)
    waiting = False
    while True:
        new, done = multihost.from_first(lambda: _look(workdir), "follow")
        for step in new:
            try:
                yield suite.evaluate(workdir, step=step, settings=settings)
            except suite.CheckpointGone:
                logging.info("checkpoint %d is gone already", step)
        if done:
            return
        if not new and not waiting:
            logging.info("waiting for a new checkpoint in %s", workdir / STAGE)
        waiting = not new
        if waiting:
            time.sleep(seconds)


def _look(workdir: storage.Path) -> tuple[list[int], bool]:
    """The steps to be scored, and whether there will be none after the last that is scored."""
    if not config_path(workdir).exists():
        return [], False
    newest = max(scored_steps(workdir), default=-1)
    new = [step for step in Checkpoints.steps_in(workdir, STAGE) if step > newest]
    return new, not new and newest >= load_workdir_config(workdir).attngan.num_train_steps


def scored_steps(workdir: storage.PathLike) -> set[int]:
    """The steps of stage 2 that `metrics.jsonl` has the scores of."""
    path = storage.path(workdir) / "metrics.jsonl"
    steps = set()
    if path.exists():
        for line in path.read_bytes().decode("utf-8", "replace").splitlines():
            try:
                entry = json.loads(line)
                if entry["stage"] == "eval":
                    steps.add(entry["step"])
            except (ValueError, KeyError, TypeError):
                continue  # a line that is being written
    return steps
