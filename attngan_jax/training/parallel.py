"""Data parallelism, all of it: a one-axis mesh, replicated state, sharded batches.

Steps are written for one device's share and run under `jax.shard_map` with `check_vma=False`.
Then the transpose of a `psum` is a `psum`, so that the gradient on each device is that of the SUM
of all devices' losses with respect to its own copy of the parameters, and `mean_over_devices` of
the gradients is the gradient of the mean loss, also through gathered captions and BatchNorm's
global statistics.
"""

import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attngan_jax.errors import UserError
from attngan_jax.training import multihost

AXIS = "data"


def make_mesh(devices=None) -> Mesh:
    """A mesh over all devices of all hosts; over this host's own where `multihost.is_alone`.

    Host after host: the shares that they read, laid end to end, are the global batch.
    `jax.make_mesh` would order the devices as they are wired, and its default, explicit axis
    types, refuses gathers and slices of sharded arrays.
    """
    if devices is None:
        devices = jax.local_devices() if multihost.is_alone() else jax.devices()
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(ordered), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))


def check_batch_size(batch_size: int, mesh: Mesh, key: str) -> None:
    """Raises `UserError` for a global batch that the devices don't divide."""
    if batch_size % mesh.size:
        raise UserError(
            f"{key} is {batch_size}, which {mesh.size} devices do not divide: "
            f"choose a multiple of {mesh.size}"
        )


def check_stage(config, stage: str, mesh: Mesh) -> None:
    """Raises `UserError` for a stage's batch that devices and accumulation don't divide."""
    size, pieces = config[stage].batch_size, config[stage].accumulation_steps
    check_batch_size(size, mesh, f"config.{stage}.batch_size")
    if size % (pieces * mesh.size) or size < 2 * pieces:
        raise UserError(
            f"config.{stage}.batch_size is {size}, which does not make "
            f"config.{stage}.accumulation_steps={pieces} pieces of two examples or more that "
            f"{mesh.size} devices divide: choose a multiple of {pieces * max(mesh.size, 2)}"
        )


def parallel_step(step: Callable, mesh: Mesh) -> Callable:
    """Jits `step(state, frozen, batch) -> (state, metrics)` over the mesh.

    State and frozen variables are replicated, the batch is split along its first axis, metrics are
    scalars that the step has averaged. The state's buffers are donated.
    """
    everywhere, divided = PartitionSpec(), PartitionSpec(AXIS)
    mapped = jax.shard_map(
        step,
        mesh=mesh,
        in_specs=(everywhere, everywhere, divided),
        out_specs=(everywhere, everywhere),
        check_vma=False,
    )
    return jax.jit(mapped, donate_argnums=0)


def parallel_map(function: Callable, mesh: Mesh) -> Callable:
    """Jits `function(variables, batch) -> outputs`, outputs split as the batch is."""
    everywhere, divided = PartitionSpec(), PartitionSpec(AXIS)
    return jax.jit(
        jax.shard_map(
            function, mesh=mesh, in_specs=(everywhere, divided), out_specs=divided, check_vma=False
        )
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of state: a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree, mesh: Mesh):
    """Arrays that all processes have alike, on every device of the mesh."""
    sharding = replicated(mesh)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put(x):
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return jax.device_put(x, sharding)
        # device_put would send each array round, to see whether all have the same.
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(put, tree)


def on_this_host(tree):
    """Replicated arrays on this host's devices alone, for work that other hosts don't share."""
    if jax.process_count() == 1:
        return tree
    copies = jax.tree.map(lambda x: x.addressable_data(0), tree)
    return jax.device_put(copies, replicated(make_mesh(jax.local_devices())))


def split(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: split over the devices along its first axis."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def shard_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This host's share of a batch as global arrays, split over the mesh along the first axis."""
    sharding = split(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in batch.items()
    }


# Inside a step, on one device's share:


def num_devices() -> int:
    """How many devices share the batch."""
    return jax.lax.axis_size(AXIS)


def mean_over_devices(tree):
    """The mean of every leaf over the devices."""
    return jax.lax.pmean(tree, AXIS)


def gather(tree):
    """Every leaf's shares from all devices, joined along the first axis."""
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), tree)


def example_positions(local_batch: int) -> jax.Array:
    """Positions `[B]` of this device's examples in the global batch."""
    return jax.lax.axis_index(AXIS) * local_batch + jnp.arange(local_batch)


def example_keys(key: jax.Array, local_batch: int) -> jax.Array:
    """One key per example, the same whatever the number of devices."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(example_positions(local_batch))


def example_normal(key: jax.Array, local_batch: int, size: int) -> jax.Array:
    """Normal noise `[B, size]` that belongs to the examples, not to the devices."""
    draw = jax.vmap(lambda k: jax.random.normal(k, (size,)))
    return draw(example_keys(key, local_batch))


def use_compilation_cache(folder: str) -> None:
    """Keeps what takes long to compile in `folder`; "": nowhere."""
    if folder:
        jax.config.update("jax_compilation_cache_dir", os.path.expanduser(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
