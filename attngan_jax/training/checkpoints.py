"""Orbax checkpoints of a stage: the state, and the loop's progress beside it."""

import os
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from attngan_jax.errors import UserError

KEEP = 2  # the newest, and the one before it


class Checkpoints:
    """The checkpoints of one stage of a run, in `WORKDIR/<stage>/<step>/`.

    A save is asynchronous and atomic: a step is listed when it is whole. `close` waits for it.
    """

    def __init__(self, workdir: str | os.PathLike, stage: str):
        self.folder = pathlib.Path(workdir).absolute() / stage
        self._manager = ocp.CheckpointManager(
            self.folder, options=ocp.CheckpointManagerOptions(max_to_keep=KEEP))

    def latest_step(self) -> int | None:
        """The newest whole checkpoint's step."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, progress: dict) -> None:
        """Starts saving `state` (a pytree of arrays) and `progress` (JSON) as of `step`."""
        self._manager.save(step, args=ocp.args.Composite(
            state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress)))

    def restore(self, state: Any) -> tuple[Any, dict]:
        """The newest checkpoint, in the shapes and shardings of `state` (arrays or abstract)."""
        step = self.latest_step()
        if step is None:
            raise UserError(f"{self.folder} holds no checkpoint: train this stage first, with "
                            "python -m attngan_jax.main")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore()))
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise UserError(f"checkpoint {self.folder}/{step} does not fit this config or is "
                            f"damaged ({' '.join(str(error).split())[:200]}): delete that folder "
                            "to go on from the one before it") from error
        return restored["state"], restored["progress"]

    def close(self) -> None:
        """Waits for a save that is under way."""
        self._manager.wait_until_finished()
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()
