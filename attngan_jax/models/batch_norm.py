"""Batch normalisation over the mesh, the activation behind it, and their gradient in two passes.

Nothing in these networks costs a TPU more memory traffic than what lies between two convolutions.
Here that is one reading of the convolution's result and one writing forward; backward one reading
for the sums over the batch, and one more, by whoever needs the gradient, which XLA makes part of
the convolutions' own gradients. The normalised array never exists.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Dtype = Any


def scale_init(key, shape, dtype=jnp.float32):
    """BatchNorm scales drawn from N(1, 0.02), as the released code's `weights_init` does."""
    return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


def glu(x: jax.Array) -> jax.Array:
    """Gated linear unit over the last axis: `[..., 2C] -> [..., C]`, first half gated by second."""
    value, gate = jnp.split(x, 2, axis=-1)
    return value * nn.sigmoid(gate)


def _sign_of_the_result(activation: Callable) -> Callable:
    """`activation`, which keeps signs, with a gradient that asks its result for them.

    The next layer reads the result anyway; what was activated need not exist.
    """
    function = jax.custom_vjp(activation)

    def forward(x):
        y = activation(x)
        return y, y

    function.defvjp(forward, lambda y, dy: jax.vjp(activation, y)[1](dy))
    return function


@_sign_of_the_result
def leaky_relu(x: jax.Array) -> jax.Array:
    """LeakyReLU with the released code's slope of 0.2, also the gradient at 0, as in PyTorch."""
    return jnp.where(x > 0, x, 0.2 * x)


@_sign_of_the_result
def relu(x: jax.Array) -> jax.Array:
    """ReLU; the gradient at 0 is 0."""
    return nn.relu(x)


class BatchNorm(nn.Module):
    """Batch normalisation with PyTorch's conventions, over one device or the whole mesh.

    Differs from `flax.linen.BatchNorm`: the running variance is the unbiased one, a `mask` leaves
    examples out of the statistics, and the backward pass computes the normalised `x` again.
    All statistics are float32.

    Attributes:
      axis_name: mesh axis to take the batch statistics over; None for this device's share alone.
      momentum: share of the old running statistics that stays (PyTorch's 1 - momentum).
      activation: function of the normalised `x`, or None.
      packed: how many pixels lie side by side in the channels of `x`; see `models/packing.py`.
    """

    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Dtype = jnp.float32
    scale_init: Any = scale_init
    activation: Callable | None = None
    packed: int = 1

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, mask: jax.Array | None = None, batches: int = 1
    ) -> jax.Array:
        """Normalises `x` `[B, ..., C]`; `mask` bool `[B]` says which examples count.

        With `batches`, `x` is that many batches one behind the other: each has statistics of its
        own, and the running ones see them one after the other.
        """
        C = x.shape[-1] // self.packed
        scale = self.param("scale", self.scale_init, (C,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (C,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (C,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (C,), jnp.float32)
        x = x.astype(self.dtype)
        settings = Settings(
            None if self.is_initializing() else self.axis_name,
            self.epsilon,
            self.activation,
            self.packed,
        )
        if not train:
            return _with_statistics(settings, x, scale, bias, running_mean.value, running_var.value)
        weight = jnp.ones(len(x)) if mask is None else mask.astype(jnp.float32)
        normalise = functools.partial(normalise_batch, settings, mask is not None)
        if batches > 1:
            y, *statistics = jax.vmap(normalise, (0, None, None, 0))(
                x.reshape(batches, -1, *x.shape[1:]), scale, bias, weight.reshape(batches, -1)
            )
            y, statistics = y.reshape(-1, *y.shape[2:]), list(zip(*statistics))
        else:
            y, *statistics = normalise(x, scale, bias, weight)
            statistics = [statistics]
        if not self.is_initializing():
            for mean, var, count in statistics:
                unbiased = var * (count / jnp.maximum(count - 1.0, 1.0))
                running_mean.value = _blend(running_mean.value, mean, self.momentum)
                running_var.value = _blend(running_var.value, unbiased, self.momentum)
        return y


def _blend(old, new, momentum):
    return momentum * old + (1.0 - momentum) * jax.lax.stop_gradient(new)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of a `BatchNorm`, as a static argument."""

    axis_name: str | None
    epsilon: float
    activation: Callable | None
    packed: int


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def normalise_batch(settings: Settings, masked: bool, x, scale, bias, weight):
    """`x` `[B, ..., C]` normalised by the statistics of the batch, and activated.

    Args:
      masked: whether `weight`, `[B]`, is anything but ones.
      scale, bias: `[C / packed]`.

    Returns:
      y, and the mean, the biased variance `[C / packed]` and the count of the values that they
      were taken of. No gradient flows through the last three.
    """
    return _forward(settings, masked, x, scale, bias, weight)[0]


def _forward(settings, masked, x, scale, bias, weight):
    mean, var, count = _batch_statistics(settings, x, weight if masked else None)
    y = _with_statistics(settings, x, scale, bias, mean, var)
    return (y, mean, var, count), (x, scale, bias, weight, mean, var, count)


def _backward(settings, masked, saved, gradients):
    """dx = gain (dz - (sum dz + x^ sum dz x^) / n), z = scale x^ + bias being what is activated.

    dscale and dbias are those of this device's examples, as every parameter's gradient is; the two
    sums over n values are the whole batch's. Where examples don't count, only dz reaches them.
    """
    x, scale, bias, weight, mean, var, count = saved
    dy = gradients[0]
    inverse = jax.lax.rsqrt(var + settings.epsilon)
    channels = [
        _spread(settings, v)
        for v in (inverse, -mean * inverse, scale * inverse, bias - mean * scale * inverse)
    ]

    def parts(x, dy):
        """(x^, dz, gain) for each part of the channels; nothing of it is worth keeping."""
        dz = _before_activation(settings.activation, x, *channels[2:], dy)
        split = [jnp.split(array, len(dz), axis=-1) for array in (x, *channels[:3])]
        return [
            (x.astype(jnp.float32) * inverse + shift, dz, gain)
            for x, inverse, shift, gain, dz in zip(*split, dz)
        ]

    axes = tuple(range(x.ndim - 1))
    sums = [(dz.sum(axes), (dz * x_hat).sum(axes)) for x_hat, dz, _ in parts(x, dy)]
    dbias, dscale = (_fold(settings, jnp.concatenate(side)) for side in zip(*sums))
    means = [
        _spread(settings, total / count) for total in _sum_over_devices(settings, (dbias, dscale))
    ]
    # Or XLA would write dz and x^ to memory, in float32, to read them again here.
    x, dy, means = jax.lax.optimization_barrier((x, dy, means))
    counts = weight.reshape((-1,) + (1,) * (x.ndim - 1)) if masked else 1.0
    made = parts(x, dy)
    means = zip(*(jnp.split(v, len(made)) for v in means))
    dx = [
        (gain * (dz - counts * (of_bias + x_hat * of_scale))).astype(x.dtype)
        for (x_hat, dz, gain), (of_bias, of_scale) in zip(made, means)
    ]
    return jnp.concatenate(dx, axis=-1), dscale, dbias, jnp.zeros_like(weight)


normalise_batch.defvjp(_forward, _backward)


def _with_statistics(settings, x, scale, bias, mean, var):
    """`x` normalised by these statistics, and activated."""
    gain = scale * jax.lax.rsqrt(var + settings.epsilon)
    gain, shift = (_spread(settings, v).astype(x.dtype) for v in (gain, bias - mean * gain))
    if settings.activation is None:
        return x * gain + shift
    if settings.activation is not glu:
        return settings.activation(x * gain + shift)
    # Halves first: XLA would write the whole normalised array to memory before it splits it.
    value, gate = (
        x * gain + shift
        for x, gain, shift in zip(*(jnp.split(array, 2, axis=-1) for array in (x, gain, shift)))
    )
    return value * nn.sigmoid(gate)


def _before_activation(activation, x, gain, shift, dy):
    """The gradient with respect to the activation's argument, float32: parts along the channels."""
    dy = dy.astype(jnp.float32)
    if activation is None:
        return [dy]
    if activation is not glu:
        return [jax.vjp(activation, x.astype(jnp.float32) * gain + shift)[1](dy)[0]]
    value, gate = (
        x.astype(jnp.float32) * gain + shift
        for x, gain, shift in zip(*(jnp.split(array, 2, axis=-1) for array in (x, gain, shift)))
    )
    opened = nn.sigmoid(gate)
    return [dy * opened, dy * value * opened * (1.0 - opened)]


def _batch_statistics(settings, x, weight):
    """Mean and biased variance `[C / packed]` over batch, pixels and devices, and their count."""
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.float32)
    per_example = x.size // x.shape[-1] // x.shape[0] * settings.packed
    if weight is None:
        count = jnp.float32(per_example * x.shape[0])
        total, squares = x.sum(axes), (x * x).sum(axes)
    else:
        count = per_example * weight.sum()
        weight = weight.reshape((-1,) + (1,) * (x.ndim - 1))
        total, squares = (weight * x).sum(axes), (weight * x * x).sum(axes)
    total, squares, count = _sum_over_devices(
        settings, (_fold(settings, total), _fold(settings, squares), count)
    )
    count = jnp.maximum(count, 1.0)  # a device's only example may be one that doesn't count
    mean = total / count
    return mean, jnp.maximum(squares / count - mean * mean, 0.0), count


def _sum_over_devices(settings, sums):
    """What BatchNorm has the devices exchange: sums over the channels, and a count."""
    with jax.named_scope("statistics"):  # the purpose, for training/ahead_of_time.py
        return sums if settings.axis_name is None else jax.lax.psum(sums, settings.axis_name)


def _spread(settings, channels):
    """`[C / packed]` to the channels of `x`: first and second half, each once for every pixel."""
    if settings.packed == 1:
        return channels
    return jnp.tile(channels.reshape(2, 1, -1), (1, settings.packed, 1)).reshape(-1)


def _fold(settings, sums):
    """Sums over the channels of `x` to `[C / packed]`; undoes `_spread`."""
    if settings.packed == 1:
        return sums
    return sums.reshape(2, settings.packed, -1).sum(1).reshape(-1)
