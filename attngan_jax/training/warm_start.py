"""Stage 1 from elsewhere: all of it from another run, or its trunk from pretrained weights."""

import contextlib
import json
import os
import shutil

from absl import logging

from attngan_jax import configuration, plain_files, storage
from attngan_jax.configuration import Config
from attngan_jax.errors import UserError
from attngan_jax.interop.inception_weights import InceptionWeights, chosen_inception_weights
from attngan_jax.training import digests
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import PRETRAINED, DamsmTask
from attngan_jax.training.progress import wall_seconds
from attngan_jax.training.state import DamsmState
from attngan_jax.workdir import Workdir

STAGE = DamsmTask.name


def check_damsm(config: Config, source: storage.PathLike, words: bytes) -> None:
    """Raises `UserError` where the run in `source` has no finished stage 1, or one of another
    config or of other `words`, the content of a vocabulary."""
    origin = Workdir(source)
    stage, leave_away = f"stage 1 of {origin}", "leave --damsm_from away"
    other = configuration.load_workdir_config(origin.folder)
    if differing := configuration.differences(other, config, of=(STAGE,)):
        hint = f"take it from a run with these settings, or {leave_away}"
        raise UserError(f"{stage} is of another config ({differing[0]}): {hint}")
    if not origin.vocabulary.exists() or plain_files.read_bytes(origin.vocabulary) != words:
        raise UserError(f"{stage} knows other words than this dataset has: {leave_away}")
    steps = Checkpoints.steps_in(origin.folder, STAGE)
    if max(steps, default=0) < config.damsm.num_train_steps:
        raise UserError(f"{stage} is not finished: run it to its end first, or {leave_away}")
    plain_files.check_plain_tree(origin.stage(STAGE))
    for step in steps:
        if damage := digests.find_damage(origin.stage(STAGE) / str(step)):
            hint = f"run attngan_jax.main there again, or {leave_away}"
            raise UserError(f"{stage} is damaged (checkpoint {step}: {damage}): {hint}")


def take_damsm(config: Config, workdir: storage.PathLike, source: storage.PathLike) -> None:
    """Copies the finished stage 1 of the run in `source`, with its log, seconds and origin.

    Does nothing where `workdir` has trained some of stage 1 itself. `UserError` as `check_damsm`.
    """
    if Checkpoints.steps_in(workdir, STAGE):
        return
    target, origin = Workdir(workdir), Workdir(source)
    check_damsm(config, source, target.vocabulary.read_bytes())
    log = [
        line
        for run in (origin, target)
        if run.metrics_log.exists()
        for line in plain_files.read_bytes(run.metrics_log).splitlines(keepends=True)
        if _stage_of(line) and (_stage_of(line) == STAGE) == (run is origin)
    ]
    storage.write_bytes(target.metrics_log, b"".join(log))
    seconds = wall_seconds(workdir) | {STAGE: wall_seconds(source).get(STAGE, 0.0)}
    storage.write_text(target.wall_seconds, json.dumps(seconds) + "\n")
    folder = str(origin.folder)
    if not storage.is_address(folder):
        in_bucket = storage.is_address(target.folder)
        folder = os.path.abspath(folder) if in_bucket else os.path.relpath(folder, target.folder)
    text = json.dumps({"workdir": folder, "seed": config.seed})
    storage.write_text(target.damsm_from, text + "\n")
    _copy_stage(origin.stage(STAGE), target.stage(STAGE))
    logging.info("stage 1 is that of %s", source)


def _stage_of(line: bytes) -> str | None:
    """The stage of a log entry; None for a line that a kill or a disk has damaged."""
    with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
        return json.loads(line)["stage"]
    return None


def _copy_stage(source: storage.Path, target: storage.Path) -> None:
    """Copies all or nothing: by a rename, or in a bucket by the files that are copied last."""
    if storage.is_address(target):
        storage.copy_tree(source, target)
        return
    unfinished = target.with_name(f".{STAGE}.{os.getpid()}")
    try:
        copy = storage.copy_tree if storage.is_address(source) else shutil.copytree
        copy(source, unfinished)
        shutil.rmtree(target, ignore_errors=True)  # it has no checkpoint
        os.replace(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def trunk_weights(config: Config, workdir: storage.PathLike) -> InceptionWeights | None:
    """The weights that `config.image_encoder.weights` names; writes nothing.

    None for the cnn trunk, for a trunk that is to be untrained, and for a run whose checkpoints
    hold the trunk already. Raises `UserError` where none are chosen, or the file is another.
    """
    image = config.image_encoder
    is_needed = image.trunk == "inception_v3" and not Checkpoints.steps_in(workdir, STAGE)
    return chosen_inception_weights(image.weights) if is_needed else None


def record(weights: InceptionWeights, path: str, workdir: storage.PathLike) -> None:
    """Records in the workdir which file the trunk came from, and its SHA-256."""
    logging.info("the image encoder starts from %s (SHA-256 %s)", path, weights.sha256)
    text = json.dumps({"file": str(path), "sha256": weights.sha256}, indent=2)
    storage.write_text(Workdir(workdir).inception_weights, text + "\n")


def with_trunk(state: DamsmState, weights: InceptionWeights) -> DamsmState:
    """The state with these weights and running statistics in its trunk."""
    image = state.image.variables
    started = {name: image[name] | {PRETRAINED: x} for name, x in weights.variables.items()}
    return state.replace(image=state.image.replace(**started))
