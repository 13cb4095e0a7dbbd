"""Runs a task's steps, or a part of one, on a mesh of some of the test's devices."""

import contextlib

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params

from attngan_jax.training import loop, parallel
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.state import stage_key


def mesh(num_devices=1):
    return parallel.make_mesh(jax.devices()[:num_devices])


def mapped(function, num_devices, *, in_specs=parallel.SPLIT, out_specs=parallel.REPLICATED):
    """`function` of the devices' shares, jitted."""
    specs = dict(in_specs=in_specs, out_specs=out_specs)
    return jax.jit(jax.shard_map(function, mesh=mesh(num_devices), check_vma=False, **specs))


def on_one_device(function):
    """`function` of replicated arguments, with collectives over one device."""
    return mapped(function, 1, in_specs=parallel.REPLICATED)


def first_state(task):
    """What training starts with."""
    return jax.jit(task.create_train_state)(stage_key(task.config.seed, task.name, -1))


def encoders(config, dataset):
    """Encoders that are not trained, as `frozen` variables."""
    return first_state(DamsmTask(config, len(dataset.vocabulary))).encoders


def batches(task, dataset, count):
    """The first batches of a stage."""
    with contextlib.closing(loop.train_iterator(task, dataset)) as iterator:
        return [next(iterator) for _ in range(count)]


def make_task(stage, config, dataset):
    """The task, and the variables that its step only reads."""
    task = {"damsm": DamsmTask, "attngan": AttnganTask}[stage](config, len(dataset.vocabulary))
    return task, encoders(config, dataset) if stage == "attngan" else None


def train(task, frozen, batches, num_devices=1, state=None, step=None):
    """The state after one step for each of the batches, and the metrics of each step."""
    devices = mesh(num_devices)
    step = parallel.parallel_step(step or task.train_step, devices)
    # Copies: the step donates its state.
    state = jax.tree.map(np.array, state or first_state(task))
    state, frozen = jax.device_put((state, frozen), parallel.replicated(devices))
    metrics = []
    for batch in batches:
        state, scalars = step(state, frozen, parallel.shard_batch(batch, devices))
        metrics.append(jax.device_get(scalars))
    return state, metrics


def by_path(tree):
    """The leaves by their names."""
    leaves = jax.tree.leaves_with_path(jax.device_get(tree))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_close_trees(a, b, tolerance):
    """Each leaf's difference is below `tolerance` of its norm."""
    a, b = by_path(a), by_path(b)
    assert a.keys() == b.keys()
    for name in a:
        error = np.linalg.norm(a[name] - b[name]) / max(np.linalg.norm(a[name]), 1e-7)
        assert error < tolerance, f"{name} differs by {error}"


def equations(jaxpr):
    """All equations of a jaxpr, including those of the functions that it calls."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def step_equations(task, frozen, batch, num_devices=1):
    """All equations of a training step."""
    step = parallel.parallel_step(task.train_step, mesh(num_devices))
    return list(equations(jax.make_jaxpr(step)(first_state(task), frozen, batch).jaxpr))
