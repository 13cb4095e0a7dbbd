"""Layers that generator, discriminators and image encoder share, as in the released `model.py`."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from attngan_jax.models.convolution import convolve, convolve_upsampled

Dtype = Any

# The released code's `weights_init`: orthogonal kernels, BatchNorm scales of N(1, 0.02).
kernel_init = nn.initializers.orthogonal()
conv = functools.partial(nn.Conv, padding=1, use_bias=False, kernel_init=kernel_init)
dense = functools.partial(nn.Dense, kernel_init=kernel_init)


def scale_init(key, shape, dtype=jnp.float32):
    """N(1, 0.02), for BatchNorm scales."""
    return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


def embedding_init(key, shape, dtype=jnp.float32, limit: float = 0.1):
    """U(-limit, limit), for the encoders; 0.1 in the released code (`init_trainable_weights`)."""
    return jax.random.uniform(key, shape, dtype, -limit, limit)


def glu(x: jax.Array) -> jax.Array:
    """Gated linear unit `[..., 2C] -> [..., C]`: the first half gated by the second (`GLU`)."""
    value, gate = jnp.split(x, 2, axis=-1)
    return value * nn.sigmoid(gate)


def leaky_relu(x: jax.Array) -> jax.Array:
    """LeakyReLU with a slope of 0.2, which is also the gradient at 0, as in PyTorch."""
    return jnp.where(x > 0, x, 0.2 * x)


class BatchNorm(nn.Module):
    """Batch normalisation with PyTorch's conventions, over one device or the whole mesh.

    Differs from `flax.linen.BatchNorm`: the running variance is the unbiased one. Statistics and
    normalisation are float32 whatever the compute dtype.

    Attributes:
      axis_name: mesh axis to take the batch statistics over; None for this device's examples alone.
      momentum: weight of the new statistics in the running ones.
    """

    axis_name: str | None = None
    momentum: float = 0.1
    epsilon: float = 1e-5
    dtype: Dtype = jnp.float32
    scale_init: Any = scale_init

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Normalises `x [B, ..., C]`; `mask` bool `[B]` leaves examples out of the statistics."""
        C = x.shape[-1:]
        scale = self.param("scale", self.scale_init, C, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, C, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, C, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, C, jnp.float32)
        x = x.astype(jnp.promote_types(self.dtype, jnp.float32))
        if train:
            # `init` runs outside the mesh, where the axis has no meaning.
            axis_name = None if self.is_initializing() else self.axis_name
            mean, var, count = batch_statistics(x, mask, axis_name)
        else:
            mean, var = running_mean.value, running_var.value
        if train and not self.is_initializing():
            update_running_statistics(running_mean, running_var, mean, var, count, self.momentum)
        # scale (x - mean) / sqrt(var + epsilon) + bias, as one multiplication and sum a value.
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x * gain + (bias - mean * gain)).astype(self.dtype)


def update_running_statistics(running_mean, running_var, mean, var, count, momentum) -> None:
    """Moves both averages towards a batch's mean and its unbiased variance, as PyTorch does."""
    unbiased = var * (count / jnp.maximum(count - 1.0, 1.0))  # n / (n - 1)
    for running, new in ((running_mean, mean), (running_var, unbiased)):
        new = jax.lax.stop_gradient(new)
        running.value = (1.0 - momentum) * running.value + momentum * new


def batch_statistics(x: jax.Array, mask: jax.Array | None, axis_name: str | None):
    """Mean and biased variance `[C]` of `x [B, ..., C]`, over the devices too, and their count."""
    axes = tuple(range(x.ndim - 1))
    where = None if mask is None else mask.reshape(-1, *[1] * len(axes))
    examples = len(x) if mask is None else mask.sum()
    count = jnp.float32(x[0, ..., 0].size * examples)
    # Sums and sums of squares in one pass, and in one exchange between the devices.
    sums = x.sum(axes, where=where), (x * x).sum(axes, where=where), count
    if axis_name is not None:
        with jax.named_scope("statistics"):  # the purpose, for training/ahead_of_time.py
            sums = jax.lax.psum(sums, axis_name)
    total, squares, count = sums
    count = jnp.maximum(count, 1.0)  # the mask may leave out all examples there are
    mean = total / count
    var = squares / count - mean * mean  # E[x^2] - E[x]^2, which rounding may make negative
    return mean, jnp.maximum(var, 0.0), count


class SpectralNorm(nn.Module):
    """Takes BatchNorm's place: a convolution's result over its kernel's largest singular value.

    Spectral normalisation (Miyato et al., ICLR 2018, Algorithm 1): one step of power iteration a
    training pass, on the kernel as a matrix `[..., features]`. The layer's Lipschitz constant then
    stays near 1, without any statistics of the batch. Not in the released code.
    """

    @nn.compact
    def __call__(self, y: jax.Array, kernel: jax.Array, *, train: bool) -> jax.Array:
        """`y [B, H, W, features]`, the sums, and `kernel [K, K, C, features]` that they are by."""
        features = y.shape[-1:]
        bias = self.param("bias", nn.initializers.zeros, features, jnp.float32)
        right = self.variable(
            "batch_stats", "right", jnp.full, features, features[0] ** -0.5, jnp.float32
        )
        matrix = kernel.reshape(-1, *features)
        fixed = jax.lax.stop_gradient(matrix)
        v = right.value
        if train:
            v = _unit(_unit(fixed @ v) @ fixed)
        if train and not self.is_initializing():
            right.value = v
        largest = _unit(fixed @ v) @ matrix @ v
        return y / largest.astype(y.dtype) + bias.astype(y.dtype)


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)


class Kernel(nn.Module):
    """A convolution's kernel, as `nn.Conv` has it, for layers that need more than its result."""

    features: int
    size: tuple[int, int] = (3, 3)
    init: Any = kernel_init

    @nn.compact
    def __call__(self, C: int) -> jax.Array:
        """Float32 `[*size, C, features]`, for `C` channels of input."""
        return self.param("kernel", self.init, (*self.size, C, self.features), jnp.float32)


class ConvNorm(nn.Module):
    """Convolution without bias, padded by 1, then BatchNorm: what most blocks are made of.

    `norm`: "batch" or "spectral", for `SpectralNorm`.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    norm: str = "batch"

    @nn.compact
    def __call__(self, x, *, train: bool, mask=None):
        """`[B, H, W, C] -> [B, H / stride, W / stride, features]`; kernel 3, or 4 for stride 2."""
        size = (self.kernel_size, self.kernel_size)
        kernel = Kernel(self.features, size, name="conv")(x.shape[-1])
        y = convolve(x, kernel, self.dtype, self.stride)
        if self.norm == "spectral":
            return SpectralNorm(name="norm")(y, kernel, train=train)
        return BatchNorm(self.axis_name, dtype=self.dtype, name="norm")(y, train=train, mask=mask)


def upsampled_taps(upsampling: str, packed: int = 1) -> tuple[np.ndarray, tuple[int, int]]:
    """What the taps of a 3x3 kernel see of an image, upsampled by two or not (""), along one axis.

    Groups of `packed` pixels give `packed` or twice as many results. Returns the weights
    `[groups read, packed, results, 3]` of each pixel in what each tap of each result sees, and how
    many of the groups read lie before and after the result's own.
    """
    scale = 2 if upsampling else 1
    seen = np.arange(scale * packed)[:, None] + np.arange(3) - 1  # pixels of the upsampled image
    nearest, place = np.divmod(seen, scale)
    pixels = [(nearest, 1.0)]
    if upsampling == "bilinear":
        pixels = [(nearest, 0.75), (nearest - 1 + 2 * place, 0.25)]
    first, last = (int(pick([read // packed for read, _ in pixels])) for pick in (np.min, np.max))
    weights = np.zeros((last - first + 1, packed, scale * packed, 3), np.float32)
    for read, weight in pixels:
        weights[read // packed - first, read % packed, *np.indices(seen.shape)] = weight
    return weights, (-first, last)


class UpsampledConv(nn.Module):
    """3x3 convolution of the image upsampled by two, which is never made (in `upBlock`).

    By nearest neighbour, as in the released code, an output pixel sees only 2 x 2 input pixels; see
    `convolve_upsampled`.

    Bilinearly it sees 3 x 3 of them, so that one convolution gives all four pixels. Neighbours then
    share most of what they see, and no pattern of one or two pixels comes by itself (Odena et al.,
    "Deconvolution and Checkerboard Artifacts", Distill 2016). The zeros beyond the edges are around
    the small image here, so that borders fade, and around the upsampled one above.
    """

    features: int
    upsampling: str = "nearest"  # or "bilinear"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C] -> [B, 2H, 2W, features]`."""
        B, H, W, C = x.shape
        kernel = self.param("kernel", kernel_init, (3, 3, C, self.features), jnp.float32)
        if self.upsampling == "nearest":
            return convolve_upsampled(x, kernel, self.dtype)
        taps = upsampled_taps(self.upsampling)[0][:, 0]  # [3 pixels, 2 results, 3 taps]
        spread = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
        kernels = spread("yis,xjt,stcf->yxcijf", taps, taps, kernel)
        y = convolve(x, kernels.reshape(3, 3, C, -1), self.dtype)
        y = y.reshape(B, H, W, 2, 2, -1).swapaxes(2, 3)
        return y.reshape(B, 2 * H, 2 * W, self.features)


class UpBlock(nn.Module):
    """Doubles the resolution: upsampling, 3x3 convolution, BatchNorm, GLU (`upBlock`)."""

    features: int
    upsampling: str = "nearest"
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """`[B, H, W, C] -> [B, 2H, 2W, features]`."""
        x = UpsampledConv(2 * self.features, self.upsampling, self.dtype, name="conv")(x)
        return glu(BatchNorm(self.axis_name, dtype=self.dtype, name="norm")(x, train=train))


class ResidualBlock(nn.Module):
    """`x + BN(conv(GLU(BN(conv(x)))))`, the width kept (`ResBlock`)."""

    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """`[B, H, W, C] -> [B, H, W, C]`."""
        C, fields = x.shape[-1], dict(axis_name=self.axis_name, dtype=self.dtype)
        h = glu(ConvNorm(2 * C, **fields, name="conv_0")(x, train=train))
        return x + ConvNorm(C, **fields, name="conv_1")(h, train=train)
