"""Runs a task's step, or a piece of it, on a mesh of some of the test's devices."""

import jax
from jax.sharding import PartitionSpec

from attngan_jax.data import pipeline
from attngan_jax.training import parallel
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.state import stage_key


def mesh(num_devices=1):
    return parallel.make_mesh(jax.devices()[:num_devices])


def on_one_device(function):
    """`function` of replicated arguments where collectives over one device mean something."""
    replicated = PartitionSpec()
    return jax.jit(
        jax.shard_map(
            function, mesh=mesh(), in_specs=replicated, out_specs=replicated, check_vma=False
        )
    )


def first_state(task):
    """What training starts with."""
    return jax.jit(task.create_train_state)(stage_key(task.config.seed, task.name, -1))


def encoders(config, dataset):
    """Encoders that are not trained, as `frozen` variables."""
    state = first_state(DamsmTask(config, len(dataset.vocabulary)))
    return {"text": {"params": state.text.params}, "image": state.image.variables}


def batches(task, dataset, count):
    """The first batches of a stage."""
    iterator = pipeline.train_iterator(
        dataset,
        task.config,
        batch_size=task.settings.batch_size,
        image_sizes=task.image_sizes,
        max_words=task.max_words,
        seed=0,
    )
    result = [next(iterator) for _ in range(count)]
    iterator.close()
    return result


def make_task(stage, config, dataset):
    """The task, and the variables that its step only reads."""
    if stage == "damsm":
        return DamsmTask(config, len(dataset.vocabulary)), None
    return AttnganTask(config, len(dataset.vocabulary)), encoders(config, dataset)
