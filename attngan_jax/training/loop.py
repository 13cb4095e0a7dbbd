"""The training loop, for both stages.

Counting: `state.step` updates have been made. A checkpoint of step n holds n updates; training
ends with one of step `num_train_steps`, or earlier, at a signal, with one of the step reached.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging

from attngan_jax import storage
from attngan_jax.data import pipeline
from attngan_jax.errors import Stopped
from attngan_jax.training import multihost, parallel
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.metric_writer import Metrics
from attngan_jax.training.prefetch import DeviceBatches
from attngan_jax.training.progress import Progress, StageClock, steps_after
from attngan_jax.training.state import stage_key
from attngan_jax.workdir import check_has_image_encoder


def is_finished(task, workdir: storage.PathLike) -> bool:
    """Whether the stage has the checkpoint of its last step."""
    steps = Checkpoints.steps_in(workdir, task.name)
    return max(steps, default=0) >= task.settings.num_train_steps


def train_iterator(task, dataset) -> Any:
    """This process's share of a task's training batches, as the config asks for them."""
    config = task.config
    return pipeline.train_iterator(
        dataset,
        config,
        batch_size=task.settings.batch_size,
        image_sizes=task.image_sizes,
        max_words=task.max_words,
        seed=config.seed,
        few_swapped_colors=task.few_swapped_colors,
        share=multihost.index_and_count(),
    )


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
      task: a `DamsmTask` or `AttnganTask`. dataset: from `data.datasets.load`.
      frozen: variables that the step only reads.
      start: puts weights that were trained elsewhere into a fresh state; not called when resuming.
      on_sample: called with (step, state) every `sample_every_steps` and at the end, in the first
        process; returns images, uint8 `[H, W, 3]` by name, for the event files.
      score: called with the state of every checkpoint; its scalars are logged, and the checkpoint
        with the best `best_checkpoint` among them is kept beside the newest.

    Returns the final state. Raises `UserError` if the devices don't divide the batch, or the run
    was imported without an image encoder; `Stopped` after SIGTERM or Ctrl-C, in all processes
    after the same step, which is saved.
    """
    check_has_image_encoder(workdir)
    config, settings, num_train_steps = task.config, task.settings, task.settings.num_train_steps
    clock, mesh = StageClock(workdir, task.name), parallel.make_mesh()
    parallel.check_stage(config, task.name, mesh)
    sharding = parallel.replicated(mesh)
    create = jax.jit(task.create_train_state, out_shardings=sharding)
    state = create(stage_key(config.seed, task.name, -1))
    frozen = jax.device_put(frozen, sharding)
    train_step = parallel.parallel_step(task.train_step, mesh)
    iterator = train_iterator(task, dataset)
    step, scalars, stop = 0, None, ""
    newest = max(Checkpoints.steps_in(workdir, "attngan"), default=0)
    after = functools.partial(steps_after, config, task.name, newest, len(dataset.vocabulary))
    progress = Progress(task.name, num_train_steps, after)
    with (
        multihost.stop_signal() as stop_reason,
        Checkpoints(workdir, task.name, best=settings.best_checkpoint) as checkpoints,
        contextlib.closing(DeviceBatches(iterator, mesh)) as batches,
        contextlib.closing(Metrics(workdir, task.name, progress)) as metrics,
    ):
        if checkpoints.latest_step() is not None:
            state, saved = checkpoints.restore(state)
            batches.set_state(saved["iterator"])
            step, clock.spent = int(state.step), saved["wall_seconds"]
            logging.info("%s: resuming from step %d", task.name, step)
        elif start is not None:
            state = jax.device_put(start(state), sharding)
        metrics.forget_after(step)
        metrics.write_config(step, config.to_dict())
        while step < num_train_steps and not stop:
            state, scalars = train_step(state, frozen, batches.next(after=scalars))
            step += 1
            metrics.add(step, scalars)
            metrics.saved_step = checkpoints.latest_step()
            stop, last = stop_reason(), step == num_train_steps
            save = last or bool(stop) or step % settings.checkpoint_every_steps == 0
            if save or step % config.log_every_steps == 0:
                metrics.flush({"data_wait_fraction": batches.wait_fraction()})
            sample = bool(on_sample) and (last or step % settings.sample_every_steps == 0)
            with progress.pause() if save or sample else contextlib.nullcontext():
                if on_sample and sample and multihost.is_first():
                    metrics.write_images(step, on_sample(step, parallel.on_this_host(state)))
                if save:
                    scores = score(state) if score else {}
                    metrics.write(step, scores)
                    where = {"iterator": batches.get_state(), "wall_seconds": clock.save()}
                    checkpoints.save(step, state, where, scores)
    clock.save()  # now that the last checkpoint is written
    if stop := stop or stop_reason():
        raise Stopped(f"stopped by {stop} after step {step} of stage {task.name}, which is saved")
    return state
