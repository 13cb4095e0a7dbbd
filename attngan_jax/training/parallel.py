"""Data parallelism, all of it: a one-axis mesh, replicated state, sharded batches.

Steps are written for one device's share and run under `jax.shard_map` with `check_vma=False`.
Then the transpose of a `psum` is a `psum`: the gradient on each device is that of the SUM of all
devices' losses with respect to its own parameters, and `mean_over_devices` of the gradients is that
of the mean loss, also through gathered captions and BatchNorm's global statistics.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attngan_jax.configuration import Config
from attngan_jax.errors import UserError
from attngan_jax.training import multihost

AXIS = "data"
FORCED = "xla_force_host_platform_device_count"
REPLICATED, SPLIT = PartitionSpec(), PartitionSpec(AXIS)


def split_cpu(count: int) -> None:
    """Has JAX see a CPU as `count` devices, at most one for each core.

    The convolutions of small networks don't keep two threads busy; two devices, each with half of
    the batch, do. Without effect once JAX has started, and where its settings name a number.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    settings: Any = jax.config
    is_set = settings.jax_num_cpu_devices > 0 or FORCED in os.environ.get("XLA_FLAGS", "")
    if min(count, cores) > 1 and not is_set:
        with contextlib.suppress(RuntimeError):  # JAX has started
            jax.config.update("jax_num_cpu_devices", min(count, cores))


def make_mesh(devices=None) -> Mesh:
    """A mesh over all devices of all hosts; over this host's devices where `multihost.is_alone`.

    Ordered by host: the shares that the hosts read, concatenated, are the global batch.
    `jax.make_mesh` would order the devices as they are wired, and its default, explicit axis
    types, refuses gathers and slices of sharded arrays.
    """
    everywhere = jax.local_devices if multihost.is_alone() else jax.devices
    ordered = sorted(devices or everywhere(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(ordered), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))


def check_batch_size(batch_size: int, mesh: Mesh, key: str) -> None:
    """Raises `UserError` for a global batch that the devices don't divide."""
    if batch_size % mesh.size:
        problem = f"{key} is {batch_size}, which {mesh.size} devices do not divide"
        split = ", or --config.cpu_devices=1" * (mesh.devices.flat[0].platform == "cpu")
        raise UserError(f"{problem}: choose a multiple of {mesh.size}{split}")


def check_stage(config: Config, stage: str, mesh: Mesh) -> None:
    """Raises `UserError` for a stage's batch that devices and microbatches don't divide."""
    size, count, key = config[stage].batch_size, config[stage].accumulation_steps, f"config.{stage}"
    check_batch_size(size, mesh, f"{key}.batch_size")
    if size % (count * mesh.size) or size < 2 * count:
        problem = f"{key}.batch_size is {size}, which {key}.accumulation_steps={count} does not"
        problem += f" divide into microbatches of two examples or more on {mesh.size} devices"
        raise UserError(f"{problem}: choose a multiple of {count * max(mesh.size, 2)}")


def parallel_step(step: Callable, mesh: Mesh) -> Any:
    """Jits `step(state, frozen, batch) -> (state, metrics)` over the mesh, donating the state.

    State, frozen variables and metrics are replicated, the batch is split along its first axis.
    """
    specs: dict = dict(in_specs=(REPLICATED, REPLICATED, SPLIT), out_specs=REPLICATED)
    return jax.jit(jax.shard_map(step, mesh=mesh, check_vma=False, **specs), donate_argnums=0)


def parallel_map(function: Callable, mesh: Mesh) -> Callable:
    """Jits `function(variables, batch) -> outputs`, outputs split as the batch is."""
    specs: dict = dict(in_specs=(REPLICATED, SPLIT), out_specs=SPLIT)
    return jax.jit(jax.shard_map(function, mesh=mesh, check_vma=False, **specs))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of state: a copy on every device."""
    return NamedSharding(mesh, REPLICATED)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Arrays that are the same in all processes, on every device of the mesh."""
    sharding = replicated(mesh)

    def put(x):
        is_global = isinstance(x, jax.Array) and not x.is_fully_addressable
        if is_global or sharding.is_fully_addressable:
            return jax.device_put(x, sharding)
        # device_put would send each array to all processes, to compare them.
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(put, tree)


def on_this_host(tree: Any) -> Any:
    """Replicated arrays on this host's devices alone, for work that other hosts don't share."""
    if jax.process_count() == 1:
        return tree
    copies = jax.tree.map(lambda x: x.addressable_data(0), tree)
    return jax.device_put(copies, replicated(make_mesh(jax.local_devices())))


def shard_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This host's share of a batch as global arrays, split over the mesh along the first axis."""
    put, sharding = jax.make_array_from_process_local_data, NamedSharding(mesh, SPLIT)
    return {name: put(sharding, array) for name, array in batch.items()}


def use_compilation_cache(folder: str) -> None:
    """Keeps compiled programs that took long to compile in `folder`; "" keeps none."""
    if folder:
        jax.config.update("jax_compilation_cache_dir", os.path.expanduser(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


# Inside a step, on one device's share. The scopes are `ahead_of_time.PURPOSES`.


@jax.named_scope("gradients")
def mean_over_devices(tree: Any) -> Any:
    """The mean of every leaf over the devices."""
    return jax.lax.pmean(tree, AXIS)


@jax.named_scope("captions")
def gather(tree: Any) -> Any:
    """Every leaf's shares from all devices, concatenated along the first axis."""
    return jax.lax.all_gather(tree, AXIS, tiled=True)


def example_positions(local_batch: int) -> jax.Array:
    """Positions `[B]` of this device's examples in the global batch."""
    return jax.lax.axis_index(AXIS) * local_batch + jnp.arange(local_batch)


def example_keys(key: jax.Array, local_batch: int) -> jax.Array:
    """One key per example, the same on any number of devices."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(example_positions(local_batch))
