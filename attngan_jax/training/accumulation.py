"""Training steps in less memory: rematerialisation and gradient accumulation over microbatches."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax


def _save_only(*names: str) -> Callable:
    """A policy that saves the results of these operations for the backward pass.

    It also saves sums over the devices: they are small, and should not be exchanged twice.
    """
    return lambda primitive, *_, **__: primitive.name in names or primitive.name.startswith("psum")


# What is saved for the backward pass, by `config.remat`; everything else is computed again.
# Convolutions are also `custom_vjp_call`s, where they have gradients of their own.
_LAYERS = ("conv_general_dilated", "dot_general", "custom_vjp_call")
_POLICIES = {"layers": _save_only(*_LAYERS), "networks": _save_only()}


def apply(
    module: nn.Module,
    variables: dict,
    *inputs: Any,
    train: bool,
    remat: str = "none",
    num_microbatches: int = 1,
    method: Callable | None = None,
) -> tuple[Any, Any]:
    """`module.apply` in less memory; returns its outputs and its updated `batch_stats`.

    With several microbatches this is gradient accumulation: the activations of only one of them
    exist at a time, gradients are summed over them, and losses are taken of the whole batch's
    outputs, so DAMSM keeps all its negatives. Example i of the global batch is in microbatch
    i mod `num_microbatches`, on any number of devices. Outputs and gradients equal those of one
    large batch except for BatchNorm: in training it normalises each microbatch by that
    microbatch's statistics, and the new running statistics are the mean of what each would leave.

    Args:
      inputs: arrays with the batch as first axis, as are all outputs.
      train: BatchNorm uses and updates batch statistics; otherwise `batch_stats` are {}.
      remat: what the backward pass computes again: "none"; "layers", all but the results of
        convolutions and matrix products; "networks", everything. It changes no number.
      method: a function of the module and the inputs, instead of its `__call__`.
    """
    settings = dict(train=train, mutable=["batch_stats"] if train else [], method=method)

    def network(variables, inputs):
        outputs, updated = module.apply(variables, *inputs, **settings)
        return outputs, updated.get("batch_stats", {})

    if remat != "none":
        network = jax.checkpoint(network, policy=_POLICIES[remat])
    if num_microbatches == 1:
        return network(variables, inputs)

    def split(x):  # [B, ...] to [num_microbatches, B / num_microbatches, ...]
        return x.reshape(-1, num_microbatches, *x.shape[1:]).swapaxes(0, 1)

    # Without it the loop would save the activations of all microbatches for its backward pass.
    recompute = jax.checkpoint(network, prevent_cse=False, policy=_save_only())
    one_microbatch = functools.partial(recompute, variables)
    outputs, batch_stats = jax.lax.map(one_microbatch, jax.tree.map(split, inputs))
    outputs = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), outputs)
    return outputs, jax.tree.map(lambda x: x.mean(0), batch_stats)
