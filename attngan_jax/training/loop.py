"""The training loop, for both stages.

Counting: `state.step` updates have been made. A checkpoint of step n holds n updates; training
ends with one of step `num_train_steps`, or earlier, at SIGTERM, with one of the step reached.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging

from attngan_jax import storage
from attngan_jax.data import pipeline
from attngan_jax.errors import Stopped
from attngan_jax.training import multihost, parallel, wall_clock
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.metric_writer import Metrics
from attngan_jax.training.prefetch import DeviceBatches
from attngan_jax.training.state import stage_key
from attngan_jax.workdir import check_has_image_encoder


def is_finished(task, workdir: storage.PathLike) -> bool:
    """Whether the stage's last checkpoint is there."""
    steps = Checkpoints.steps_in(workdir, task.name)
    return max(steps, default=0) >= task.settings.num_train_steps


def train(
    task,
    dataset,
    workdir: storage.PathLike,
    *,
    frozen: Any = None,
    start: Callable[[Any], Any] | None = None,
    on_sample: Callable[[int, Any], dict[str, np.ndarray]] | None = None,
    score: Callable[[Any], dict[str, float]] | None = None,
) -> Any:
    """Trains `task` to its last step, from its newest checkpoint if there is one.

    Args:
      task: a `DamsmTask` or `AttnganTask`.
      dataset: from `data.datasets.load`.
      frozen: variables that the step reads and never changes.
      start: puts what was trained elsewhere into a fresh state; not called on a restored one.
      on_sample: called with (step, state) every `sample_every_steps` and at the end, in the
        first process, with the state on its devices; returns images, uint8 `[H, W, 3]` by
        name, for the event files.
      score: called with the state of every checkpoint; its scalars are logged, and the checkpoint
        with the highest `best_checkpoint` among them is kept beside the newest.

    Returns:
      The final state.

    Raises:
      UserError: the devices don't divide the batch, or the run was imported without an image
        encoder.
      Stopped: at SIGTERM to any process, in all of them after the same step, which is saved.
    """
    check_has_image_encoder(workdir)
    config, settings = task.config, task.settings
    clock = wall_clock.Clock(workdir, task.name)
    mesh = parallel.make_mesh()
    parallel.check_stage(config, task.name, mesh)
    state = _first_state(task, mesh)
    batches = _batches(task, dataset, mesh)
    with (
        Checkpoints(workdir, task.name, best=settings.best_checkpoint) as checkpoints,
        multihost.StopSignal() as stop_signal,
    ):
        step = 0
        if checkpoints.latest_step() is not None:
            state, progress = checkpoints.restore(state)
            batches.set_state(progress["iterator"])
            step, clock.spent = int(state.step), progress["wall_seconds"]
            logging.info("%s: going on from step %d", task.name, step)
        elif start is not None:
            state = jax.device_put(start(state), parallel.replicated(mesh))
        frozen = jax.device_put(frozen, parallel.replicated(mesh))
        train_step = parallel.parallel_step(task.train_step, mesh)
        metrics = Metrics(workdir, task.name, settings.num_train_steps)
        metrics.write_config(step, config.to_dict())
        sample_every = settings.get("sample_every_steps", 0)
        samples_here = on_sample and sample_every and multihost.is_first()
        scalars, stop = None, False
        try:
            while step < settings.num_train_steps and not stop:
                state, scalars = train_step(state, frozen, batches.next(after=scalars))
                step += 1
                last = step == settings.num_train_steps
                metrics.add(step, scalars)
                stop = stop_signal.reached()
                save = last or stop or step % settings.checkpoint_every_steps == 0
                if save or step % config.log_every_steps == 0:
                    metrics.flush({"data_wait_fraction": batches.wait_fraction()})
                if samples_here and (last or step % sample_every == 0):
                    metrics.write_pictures(step, on_sample(step, parallel.on_this_host(state)))
                if save:
                    scores = score(state) if score else {}
                    if scores:
                        metrics.write(step, scores)
                    checkpoints.save(
                        step,
                        state,
                        {"iterator": batches.get_state(), "wall_seconds": clock.save()},
                        scores,
                    )
        finally:
            metrics.close()
            batches.close()
    clock.save()  # with the last checkpoint's writing
    if stop:
        raise Stopped(f"stopped by SIGTERM after step {step} of stage {task.name}, which is saved")
    return state


def _first_state(task, mesh):
    """A fresh state, made where it is to be."""
    create = jax.jit(task.create_train_state, out_shardings=parallel.replicated(mesh))
    return create(stage_key(task.config.seed, task.name, -1))


def _batches(task, dataset, mesh) -> DeviceBatches:
    """This process's share of the training batches, on their way to the devices."""
    process_index, process_count = multihost.index_and_count()
    return DeviceBatches(
        pipeline.train_iterator(
            dataset,
            task.config,
            batch_size=task.settings.batch_size,
            image_sizes=task.image_sizes,
            max_words=task.max_words,
            seed=task.config.seed,
            process_index=process_index,
            process_count=process_count,
        ),
        mesh,
    )
