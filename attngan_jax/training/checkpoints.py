"""Orbax checkpoints of a stage: the state, and the loop's progress beside it."""

import errno
import math
import os
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.training import multihost

KEEP = 2  # the newest, and the one before it
SPARE_BYTES = 2**20  # beside the arrays, for what describes them


class Checkpoints:
    """The checkpoints of one stage of a run, in `WORKDIR/<stage>/<step>/`.

    A save is asynchronous and atomic: a step is listed when it is whole. `close` waits for it.
    All processes of a run open, save, restore and close together, in one folder that all see;
    where one is alone (see `hosts`), it reads by itself.

    Args:
      best: name of the score by which one more checkpoint is kept, the one with the highest; "":
        the newest alone.
    """

    def __init__(self, workdir: storage.PathLike, stage: str, *, best: str = ""):
        workdir = storage.path(workdir)
        self.folder = (workdir if storage.is_address(workdir) else workdir.absolute()) / stage
        self._manager = ocp.CheckpointManager(self.folder, options=_options(best))

    @staticmethod
    def are_in(workdir: storage.PathLike, stage: str) -> bool:
        """Whether a stage has a whole checkpoint; makes no folder, unlike opening them."""
        folder = storage.path(workdir) / stage
        return folder.is_dir() and bool(ocp.utils.checkpoint_steps(folder))

    @staticmethod
    def steps_in(workdir: storage.PathLike, stage: str) -> list[int]:
        """The whole checkpoints of a stage, which another process may be writing; makes no folder."""
        folder = storage.path(workdir) / stage
        return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []

    def latest_step(self) -> int | None:
        """The newest whole checkpoint's step."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the highest score of those kept; the newest where none has one."""
        best = self._manager.best_step()
        return self.latest_step() if best is None else best

    def save(
        self, step: int, state: Any, progress: dict, scores: dict[str, float] | None = None
    ) -> None:
        """Starts saving `state` (a pytree of arrays) and `progress` (JSON) as of `step`.

        Args:
          scores: of this step by name, the one that chooses the best among them.

        Raises `UserError` for a state that is not finite and `OSError` where the disk has no room
        for it; saves nothing then.
        """
        _refuse_non_finite(state, step, self.folder.name)
        self._refuse_full_disk(state)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress)
            ),
            metrics=scores or None,
        )

    def _refuse_full_disk(self, state) -> None:
        """Before Orbax finds out in its threads, each with a traceback of its own."""
        if storage.is_address(self.folder):
            return
        size = sum(x.nbytes for x in jax.tree.leaves(state))
        if shutil.disk_usage(self.folder).free < size + SPARE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    def restore(self, state: Any, step: int | None = None) -> tuple[Any, dict]:
        """A checkpoint, in the shapes and shardings of `state` (arrays or abstract).

        Args:
          step: which; default: the newest.
        """
        step = self.latest_step() if step is None else step
        if step is None:
            raise UserError(
                f"{self.folder} holds no checkpoint: train this stage first, with "
                "python -m attngan_jax.main"
            )
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore()
                ),
            )
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise UserError(
                f"checkpoint {self.folder}/{step} does not fit this config or is "
                f"damaged ({' '.join(str(error).split())[:200]}): delete that folder "
                "to go on from the one before it"
            ) from error
        return restored["state"], restored["progress"]

    def close(self) -> None:
        """Waits for a save that is under way."""
        self._manager.wait_until_finished()
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _options(best: str) -> ocp.CheckpointManagerOptions:
    """Keeps the newest, and by the score `best` one more.

    `best_fn` with `max_to_keep` would delete the newest where it is not among the best.
    """
    newest = ocp.checkpoint_managers.LatestN(n=KEEP)
    who = {}
    if multihost.is_alone():
        this = jax.process_index()
        who = dict(
            create=False,
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=this,
                active_processes={this},
                barrier_sync_key_prefix=f"process_{this}",
            ),
        )  # others may be reading as well
    if not best:
        return ocp.CheckpointManagerOptions(preservation_policy=newest, **who)

    def score(scores) -> float:
        return scores.get(best, -math.inf)

    return ocp.CheckpointManagerOptions(
        best_fn=score,
        best_mode="max",
        preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(
            [
                newest,
                ocp.checkpoint_managers.BestN(
                    get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False
                ),
            ]
        ),
        **who,
    )


@jax.jit
def _are_finite(state):
    return jax.tree.map(lambda x: jnp.isfinite(x).all(), state)


def _refuse_non_finite(state, step: int, stage: str) -> None:
    """A step whose losses are finite may leave parameters that are not."""
    for path, finite in jax.tree_util.tree_leaves_with_path(jax.device_get(_are_finite(state))):
        if not finite:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise UserError(
                f"{name} is not finite after step {step} of stage {stage}: nothing is saved of "
                "this step; lower the learning rate or change the seed, and start in a new "
                "--workdir"
            )
