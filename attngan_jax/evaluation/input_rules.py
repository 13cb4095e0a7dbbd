"""Families of Inception features: whose weights, and by which rule an image becomes their input.

Two programs with the same weights give numbers that do not compare if they resize or scale images
differently. Each rule is that of the program named beside it, as its code has it.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from attngan_jax.models.inception import INPUT_SIZE, resize

PILLOW_BITS = 22  # of the fraction of Pillow's coefficients for 8-bit images
# As torchvision's networks are trained: mean and deviation of ImageNet's values in [0, 1].
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Family:
    """`prepare(uint8 images [B, S, S, 3])` gives the network's input `[B, 299, 299, 3]`."""

    weights: str  # one of `interop.inception_weights.FAMILIES`
    rule: str  # what `prepare` does, in words
    prepare: Callable[[jax.Array], jax.Array]


def _plain(images: jax.Array) -> jax.Array:
    return resize(images.astype(jnp.float32) / 127.5 - 1.0, INPUT_SIZE)


def _graph(images: jax.Array) -> jax.Array:
    return (resize_tensorflow_1(images.astype(jnp.float32), INPUT_SIZE) - 128.0) / 128.0


def _pillow_then_plain(images: jax.Array) -> jax.Array:
    return resize_pillow(images, INPUT_SIZE).astype(jnp.float32) / 127.5 - 1.0


def _pillow_then_graph(images: jax.Array) -> jax.Array:
    return (resize_pillow(images, INPUT_SIZE).astype(jnp.float32) - 128.0) / 128.0


def _dm_gan(images: jax.Array) -> jax.Array:
    """Black to white is -0.030 to 0.428 in red, -0.088 to 0.360 in green, -0.188 to 0.262 in blue.

    `normalize_input` of pytorch-fid until 16 February 2019 took its input for one that torchvision
    had normalised, which it was not.
    """
    x = resize_pillow(images, INPUT_SIZE).astype(jnp.float32) / 255.0
    mean, deviation = np.array(IMAGENET_MEAN), np.array(IMAGENET_DEVIATION)
    return x * np.float32(deviation / 0.5) + np.float32((mean - 0.5) / 0.5)


_BILINEAR = "bilinear interpolation to 299 without antialiasing"
_PILLOW = "Pillow's bilinear filter to 299, rounded to 8 bits"
_PLAIN, _OF_GRAPH = "values in [-1, 1]", "values (x - 128) / 128"
FAMILIES = {
    # torchvision's weights as they are meant to be used; nobody's published FID is of it.
    "torchvision": Family("torchvision", f"{_BILINEAR}, {_PLAIN}", _plain),
    # DM-GAN's eval/FID, which TISE and DF-GAN took over: most published FIDs of CUB are of it.
    "torchvision-dmgan": Family(
        "torchvision", f"{_PILLOW}, values by pytorch-fid's normalize_input of 2018", _dm_gan
    ),
    # TTUR (the first FID), torch-fidelity, improved-gan's Inception Score: the graph resizes.
    "tf-2015": Family(
        "tf-2015",
        "bilinear interpolation to 299 with TensorFlow 1's corner alignment of pixels, "
        + _OF_GRAPH,
        _graph,
    ),
    # pytorch-fid since May 2019.
    "tf-2015-pytorch-fid": Family("tf-2015", f"{_BILINEAR}, {_PLAIN}", _plain),
    # The Inception Score of COCO in the code of DM-GAN and TISE.
    "tf-2015-dmgan": Family("tf-2015", f"{_PILLOW}, {_OF_GRAPH}", _pillow_then_graph),
    # StackGAN-inception-model, DM-GAN and TISE.
    "cub-50": Family("cub-50", f"{_PILLOW}, {_PLAIN}", _pillow_then_plain),
}
FID_FAMILIES = tuple(name for name, family in FAMILIES.items() if family.weights != "cub-50")


def resize_tensorflow_1(images: jax.Array, size: int) -> jax.Array:
    """`tf.image.resize_bilinear` of TensorFlow 1: pixel i is at i * scale, not at its middle.

    `[B, S, S, C] -> [B, size, size, C]`; the 2015 graph resizes so, which shows in its features.
    """
    S = images.shape[1]
    if S == size:
        return images
    place = np.arange(size, dtype=np.float32) * np.float32(S / size)
    lower = np.minimum(place.astype(int), S - 1)
    upper, share = np.minimum(lower + 1, S - 1), jnp.asarray(place - lower)
    rows = images[:, lower] * (1.0 - share)[:, None, None] + images[:, upper] * share[:, None, None]
    return rows[:, :, lower] * (1.0 - share)[:, None] + rows[:, :, upper] * share[:, None]


def resize_pillow(images: jax.Array, size: int) -> jax.Array:
    """`Image.resize(..., BILINEAR)` of Pillow, bit by bit; what `scipy.misc.imresize` did, too.

    uint8 `[B, S, S, C] -> [B, size, size, C]`: a triangle, wider where images are reduced, with
    integer coefficients, columns first and rounded to 8 bits in between.
    """
    if images.shape[1] == size:
        return images
    pixels, coefficients = _pillow_coefficients(images.shape[1], size)

    def along(axis: int, x: jax.Array) -> jax.Array:
        shape = [1] * x.ndim
        shape[axis] = size
        total = jnp.full((), 1 << (PILLOW_BITS - 1), jnp.int32)
        for places, weights in zip(pixels, coefficients):
            total = total + jnp.take(x, places, axis=axis) * weights.reshape(shape)
        return jnp.clip(total >> PILLOW_BITS, 0, 255)

    return along(1, along(2, images.astype(jnp.int32))).astype(jnp.uint8)


def _pillow_coefficients(source: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels make each output pixel, and their integer weights: both int32 `[K, size]`."""
    scale = source / size
    reach = max(scale, 1.0)
    taps = math.ceil(reach) * 2 + 1
    pixels, weights = np.zeros((taps, size), np.int32), np.zeros((taps, size), np.int32)
    for n in range(size):
        center = (n + 0.5) * scale
        first, last = max(int(center - reach + 0.5), 0), min(int(center + reach + 0.5), source)
        used = np.arange(first, last)
        triangle = np.maximum(1.0 - np.abs((used - center + 0.5) / reach), 0.0)
        triangle /= triangle.sum()
        pixels[: len(used), n] = used
        weights[: len(used), n] = np.floor(0.5 + triangle * (1 << PILLOW_BITS))
    return pixels, weights
