"""The same step in less memory: activations computed again, and the batch passed in pieces."""

from collections.abc import Callable

import jax

# What the backward pass finds saved, by `config.remat`; the rest is computed again.
_PRODUCTS = ("conv_general_dilated", "dot_general")


def _keeps(*names: str) -> Callable:
    """A policy that saves the results of these operations, and of sums over the devices: those
    are small, and not to be exchanged twice."""

    def policy(primitive, *_, **__) -> bool:
        return primitive.name in names or primitive.name.startswith("psum")

    return policy


_POLICIES = {"layers": _keeps(*_PRODUCTS), "networks": _keeps()}


def microbatched(network: Callable, *, remat: str, num_microbatches: int) -> Callable:
    """`network(params, batch) -> (outputs, batch_stats)`, the same in less memory.

    `batch` and `outputs` are pytrees of arrays with the batch's first axis. Example i of the global
    batch is in piece i mod `num_microbatches`, whatever the number of devices.

    This is gradient accumulation: only one piece's activations exist at a time, gradients are
    summed over the pieces, and outputs are those of the whole batch, so that a loss is taken of
    it as if there were no pieces; DAMSM has the whole batch's negatives. Outputs, gradients and
    updates equal the whole batch's but for BatchNorm: in training it normalises each piece
    by that piece's statistics, and the running ones become the mean of what each piece would have
    left. They are equal where networks run without BatchNorm or with its running statistics, and
    where all pieces have the same statistics.

    Args:
      remat: what the backward pass computes again: "none"; "layers", all but the results of
        convolutions and products; "networks", everything. It changes no number.
      num_microbatches: divides this device's share of the batch.
    """
    if remat != "none":
        network = jax.checkpoint(network, policy=_POLICIES[remat])
    if num_microbatches == 1:
        return network

    def whole(params, batch):
        pieces = jax.tree.map(lambda x: _split(x, num_microbatches), batch)
        one_piece = jax.checkpoint(
            lambda piece: network(params, piece), prevent_cse=False, policy=_keeps()
        )
        outputs, batch_stats = jax.lax.map(one_piece, pieces)
        return (
            jax.tree.map(_join, outputs),
            jax.tree.map(lambda stats: stats.mean(0), batch_stats),
        )

    return whole


def _split(x: jax.Array, num_microbatches: int) -> jax.Array:
    """`[B, ...] -> [num_microbatches, B / num_microbatches, ...]`."""
    return x.reshape(-1, num_microbatches, *x.shape[1:]).swapaxes(0, 1)


def _join(x: jax.Array) -> jax.Array:
    """The inverse of `_split`."""
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])
