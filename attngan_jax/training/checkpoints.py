"""What a run resumes from: Orbax checkpoints of a stage's state and progress."""

import contextlib
import errno
import functools
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from attngan_jax import plain_files, storage
from attngan_jax.errors import UserError
from attngan_jax.training import digests, multihost
from attngan_jax.workdir import Workdir

KEEP = 2  # the newest, and the one before it
SPARE_BYTES = 2**20  # beside the arrays, for their metadata
LOWER_IS_BETTER = ("eval/kid_judge",)  # of the scores that choose a checkpoint
DELETED = "deleted"  # where checkpoints go first, at once: one half deleted would seem damaged
DELETION_SECONDS = 0.5  # that it may take to delete a checkpoint in a bucket, where nothing moves
RESTART = "--restart_damaged"


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints of one stage of a run, in `WORKDIR/<stage>/<step>/`.

    A save is asynchronous and atomic: a step is listed when it is complete, and the end of the
    `with` block waits for it. All processes of a run open, save and restore together, in one
    shared folder; a process for which `multihost.is_alone` reads by itself. What is read is checked
    against its `digests` first; `UserError` where it is damaged.

    Args:
      best: name of a score; the checkpoint with the best is kept too. "": the newest only.
    """

    def __init__(self, workdir: storage.PathLike, stage: str, *, best: str = ""):
        folder = Workdir(workdir).stage(stage)
        self.folder = folder if storage.is_address(folder) else folder.absolute()
        plain_files.check_plain_tree(self.folder)
        self._step = -1  # that is being saved
        options = _options(best, self._write_digests)
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except ValueError:  # scores that can't be read
            for step in self.steps_in(workdir, stage):
                self._check(step, "metrics/")
            raise

    def _write_digests(self) -> None:
        """Once all other files of a checkpoint are written, before it counts as complete."""
        unfinished = self.folder / f"{self._step}{ocp.utils.TMP_DIR_SUFFIX}"
        in_place = self.folder / str(self._step)  # in a bucket
        digests.write(unfinished if unfinished.is_dir() else in_place, self._step)

    def _check(self, step: int, part: str = "") -> None:
        folder = self.folder / str(step)
        if damage := digests.find_damage(folder, part):
            time.sleep(DELETION_SECONDS)
            if not folder.is_dir():  # a training that goes on beside this has deleted it
                return
            problem = f"checkpoint {self.folder}/{step} is damaged ({damage})"
            hint = "run attngan_jax.main again, which goes on from the one before it"
            raise UserError(f"{problem}: {hint}")

    @staticmethod
    def steps_in(workdir: storage.PathLike, stage: str) -> list[int]:
        """Steps of a stage's complete checkpoints. Makes no folder, unlike opening them."""
        folder = Workdir(workdir).stage(stage)
        return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint, if there is one."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the best score of those kept; the newest where none has one."""
        for step in self._manager.all_steps():
            self._check(step, "metrics/")
        best = self._manager.best_step()
        return self.latest_step() if best is None else best

    def save(self, step: int, state: Any, progress: dict, scores: dict | None = None) -> None:
        """Starts saving `state` (a pytree of arrays) and `progress` (JSON) as of `step`.

        `scores` of this step, by name, choose the best checkpoint. Saves nothing, and raises
        `UserError` for a state that is not finite, `OSError` where the disk has no room for it.
        """
        # The losses of a step may be finite and the parameters after it not.
        for path, finite in jax.tree.leaves_with_path(_are_finite(state)):
            if not finite:
                place = f"after step {step} of stage {self.folder.name}"
                problem = f"{_name(path)} is not finite {place}"
                raise UserError(f"{problem}: {start_anew(self.folder.name, self.latest_step())}")
        self._manager.wait_until_finished()  # with the digests of the one before
        self._step = step
        self._delete()
        # Orbax would fail in its threads, each with a traceback.
        size = sum(x.nbytes for x in jax.tree.leaves(state)) + SPARE_BYTES
        if not storage.is_address(self.folder) and shutil.disk_usage(self.folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
        items = dict(state=ocp.args.PyTreeSave(state), progress=ocp.args.JsonSave(progress))
        given = dict(metrics=scores or None, custom_metadata=digests.MARK)
        self._manager.save(step, args=ocp.args.Composite(**items), **given)

    def save_part(self, step: int, part: dict, progress: dict) -> None:
        """As `save`, of a state that came from elsewhere: some of its arrays, in nested dicts.

        `restore` leaves all others as they are in the state that it is given.
        """
        given = jax.tree.map(lambda _: True, part)
        self.save(step, part, progress | {"given": given})

    def given(self, step: int) -> dict | None:
        """Of a checkpoint of `save_part` its arrays' places, True in nested dicts; else None."""
        args = ocp.args.Composite(progress=ocp.args.JsonRestore())
        return self._manager.restore(step, args=args)["progress"].get("given")

    def restore(
        self, state: Any, step: int | None = None, *, partial: bool = False
    ) -> tuple[Any, dict]:
        """The state and the progress of a checkpoint, by default the newest.

        The state gets the shapes and shardings of `state`, arrays or abstract arrays. If it is
        `partial`, a part in nested dicts under the names of the fields, nothing else is read.
        """
        step = self.latest_step() if step is None else step
        if step is None:
            hint = "train this stage first, with python -m attngan_jax.main"
            raise UserError(f"{self.folder} holds no checkpoint: {hint}")
        self._check(step)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        options: dict = {"restore_args": ocp.checkpoint_utils.construct_restore_args(abstract)}
        wanted = ocp.args.PyTreeRestore(abstract, partial_restore=partial, **options)
        items = {"state": wanted, "progress": ocp.args.JsonRestore()}
        try:
            if not partial and (given := self.given(step)):
                fresh = _by_name(state)
                part = jax.tree.map_with_path(lambda path, _: fresh[_name(path)], given)
                part, progress = self.restore(part, step, partial=True)
                fresh |= _by_name(part)
                return jax.tree.map_with_path(lambda path, _: fresh[_name(path)], state), progress
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
            arrays = jax.tree.leaves(restored["state"])
            if any(isinstance(array, jax.ShapeDtypeStruct) for array in arrays):
                raise ValueError("it lacks some of the arrays")
        except (ValueError, KeyError, FileNotFoundError) as error:
            reason = " ".join(str(error).split())[:200]
            problem = f"{self.folder}/{step} does not fit this config or is damaged ({reason})"
            hint = "delete that folder to go on from the one before it"
            raise UserError(f"checkpoint {problem}: {hint}") from error
        return restored["state"], restored["progress"]

    def _delete(self) -> None:
        """Deletes what Orbax has put into `DELETED`; in a bucket it deletes by itself."""
        saves = self._step >= 0  # else another process may be saving here
        if saves and multihost.is_first() and not storage.is_address(self.folder):
            shutil.rmtree(self.folder / DELETED, ignore_errors=True)

    def __exit__(self, *_) -> None:
        self._manager.close()
        self._delete()


def start_anew(stage: str, saved_step: int | None) -> str:
    """What is left of a stage whose losses or parameters are not finite, and what to do."""
    left = "there is no checkpoint of this stage yet"
    if saved_step is not None:
        left = f"nothing is saved after step {saved_step}, whose checkpoint is kept"
    rates = {"damsm": "learning_rate", "attngan": "generator_learning_rate"}
    keep = " with --damsm_from set to this one, which keeps stage 1" * (stage == "attngan")
    change = f"lower --config.{stage}.{rates.get(stage, 'learning_rate')} or change --config.seed"
    return f"{left}; {change}, and start in a new --workdir{keep}"


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _by_name(tree: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


_compiled = jax.jit(lambda state: jax.tree.map(lambda x: jnp.isfinite(x).all(), state))


def _are_finite(state: Any) -> Any:
    """Of every leaf whether all of it is finite.

    On CPUs by NumPy, which reads the arrays in place: a reduction of every leaf takes XLA 10 s to
    compile at CUB's width.
    """
    if jax.default_backend() == "cpu":
        return jax.tree.map(lambda x: np.isfinite(x).all(), state)
    return jax.device_get(_compiled(state))


def _score(best: str, scores: dict[str, float]) -> float:
    """How good a checkpoint with these scores is by the one of the name `best`."""
    sign = -1.0 if best in LOWER_IS_BETTER else 1.0
    return sign * scores[best] if best in scores else -math.inf


def _options(best: str, on_written: Callable[[], None]) -> ocp.CheckpointManagerOptions:
    """Keeps the newest checkpoints and, with `best`, the one with the best of that score."""
    policies, score = ocp.checkpoint_managers, functools.partial(_score, best)
    writing = ocp.AsyncOptions(post_finalization_callback=on_written)
    options: dict = {"async_options": writing, "todelete_subdir": DELETED}
    kept = [policies.LatestN(n=KEEP)]
    if best:
        options |= {"best_fn": score, "best_mode": "max"}
        only = dict(n=1, keep_checkpoints_without_metrics=False)
        kept.append(policies.BestN(get_metric_fn=score, **only))
    # Not `max_to_keep`, which would delete the newest where it is not among the best.
    options["preservation_policy"] = policies.AnyPreservationPolicy(kept)
    if multihost.is_alone():  # other processes may be reading as well
        this = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=this, active_processes={this}, barrier_sync_key_prefix=f"process_{this}"
        )
        options |= {"create": False, "multiprocessing_options": alone}
    return ocp.CheckpointManagerOptions(**options)


def set_aside_damaged(
    workdir: storage.PathLike, stage: str, *, best: str = "", restart: bool = False
) -> None:
    """Renames damaged checkpoints of a stage, so that it goes on from the newest one before them.

    With one that is needed, the newest or the one with the `best` score, go those that came after
    it: training makes them again. `UserError` if there is none to go on from, unless the stage is
    to `restart`. For one process, while no other trains here.
    """
    folder, steps = Workdir(workdir).stage(stage), Checkpoints.steps_in(workdir, stage)
    found = {step: digests.find_damage(folder / str(step)) for step in steps}
    damaged = {step: why for step, why in found.items() if why}
    if not damaged:
        return
    needed = damaged.keys() & {steps[-1], _best_of(folder, steps, best)}
    first = min(needed, default=steps[-1] + 1)
    older = [step for step in steps if step < first and step not in damaged]
    if not older and not restart:
        problem = f"{folder}/{first} is damaged ({damaged[first]}), and there is none before it"
        hint = f"restore that folder, or add {RESTART} to train this stage from its first step"
        raise UserError(f"checkpoint {problem}: {hint}")
    start = f"step {older[-1]}" if older else "the first step"
    follows = f"{stage} goes on from {start}" if needed else "it is not needed"
    for step in [step for step in steps if step in damaged or step >= first]:
        target = folder / f"{step}.damaged"
        while target.exists():
            target = target.with_name(f"{target.name}_")
        why = damaged.get(step, "it comes after a damaged one")
        logging.warning("%s is set aside as %s (%s): %s", folder / str(step), target, why, follows)
        storage.rename_tree(folder / str(step), target)


def _best_of(folder: storage.Path, steps: list[int], best: str) -> int:
    """The step whose score is best, or the first whose scores can't be read."""

    def score(step: int) -> float:
        if not best:
            return -math.inf
        if digests.find_damage(folder / str(step), "metrics/"):
            return math.inf
        path = folder / str(step) / "metrics" / "metrics"
        return _score(best, json.loads(plain_files.read_text(path)) if path.exists() else {})

    return max(reversed(steps), key=score)
