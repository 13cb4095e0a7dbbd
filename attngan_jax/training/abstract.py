"""The jitted steps of both stages and what they take, without one array: for compiling ahead.

`abstract_step(config, stage, mesh, vocabulary_size).lower().compile()` is the program that
`loop.train` runs, for any mesh, that of a TPU which isn't there included.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from attngan_jax.errors import UserError
from attngan_jax.training import parallel
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.networks import Config

TASKS = {task.name: task for task in (DamsmTask, AttnganTask)}


@dataclasses.dataclass(frozen=True)
class AbstractStep:
    """A stage's training step with the shapes, dtypes and shardings of its arguments.

    Attributes:
      step: jitted `(state, frozen, batch) -> (state, metrics)`; the state is donated.
      state, frozen, batch: pytrees of `jax.ShapeDtypeStruct`.
    """

    task: Any
    step: Callable
    state: Any
    frozen: Any
    batch: dict[str, jax.ShapeDtypeStruct]

    def lower(self) -> jax.stages.Lowered:
        """The step, traced and lowered for its mesh's devices."""
        return self.step.lower(self.state, self.frozen, self.batch)


def abstract_step(config: Config, stage: str, mesh: Mesh, vocabulary_size: int) -> AbstractStep:
    """The step of `stage`, "damsm" or "attngan", over `mesh`; builds no array.

    The global batch is the config's `damsm.batch_size` or `attngan.batch_size`; `UserError` where
    the devices do not divide it.
    """
    if stage not in TASKS:
        raise UserError(f"there is no stage {stage!r}: choose one of {', '.join(TASKS)}")
    task = TASKS[stage](config, vocabulary_size)
    parallel.check_stage(config, stage, mesh)
    state = _abstract_state(task)
    frozen = None
    if stage == AttnganTask.name:
        encoders = _abstract_state(DamsmTask(config, vocabulary_size))
        frozen = {"text": {"params": encoders.text.params}, "image": encoders.image.variables}
    copied = parallel.replicated(mesh)
    return AbstractStep(task, parallel.parallel_step(task.train_step, mesh),
                        _placed(state, copied), _placed(frozen, copied),
                        _placed(abstract_batch(task), parallel.split(mesh)))


def abstract_batch(task) -> dict[str, jax.ShapeDtypeStruct]:
    """A global batch of `data.pipeline.train_iterator`, as shapes and dtypes."""
    B, T = task.settings.batch_size, task.max_words
    batch = {f"image_{size}": jax.ShapeDtypeStruct((B, size, size, 3), jnp.uint8)
             for size in task.image_sizes}
    batch["caption"] = jax.ShapeDtypeStruct((B, T), jnp.int32)
    for name in ("caption_length", "class_id", "index"):
        batch[name] = jax.ShapeDtypeStruct((B,), jnp.int32)
    return batch


def _abstract_state(task):
    return jax.eval_shape(task.create_train_state, jax.random.key(0))


def _placed(tree, sharding):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
