"""Random changes of images inside a training step, through which gradients pass."""

import jax
import jax.numpy as jnp


def augment(
    images: jax.Array,
    keys: jax.Array,
    *,
    shift: float = 0.0,
    cutout: float = 0.0,
    blur: float = 0.0,
    noise: float = 0.0,
) -> jax.Array:
    """Images `[B, S, S, C]` in [-1, 1], each changed by its own key `[B]`.

    Args:
      shift: moved by up to this share of the side, in whole pixels; the edge is repeated.
      cutout: a square of this share of the side, anywhere, becomes 0 (Zhao et al., "Differentiable
        Augmentation for Data-Efficient GAN Training", NeurIPS 2020, has it and the shift).
      blur: the greatest number of passes of the kernel (1, 2, 1) / 4 in both directions.
      noise: the greatest standard deviation of `nearly_normal` noise; an image's own is uniform
        below it.
    """
    settings = dict(shift=shift, cutout=cutout, blur=blur, noise=noise)
    if not any(settings.values()):
        return images
    return jax.vmap(lambda image, key: _augment_one(image, key, **settings))(images, keys)


def _augment_one(image, key, *, shift, cutout, blur, noise):
    keys = jax.random.split(key, 5)
    side = image.shape[0]
    if limit := round(shift * side):
        padded = jnp.pad(image, ((limit, limit), (limit, limit), (0, 0)), mode="edge")
        row, column = jax.random.randint(keys[0], (2,), 0, 2 * limit + 1)
        image = jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)
    if blur:
        passes = jax.random.uniform(keys[1], maxval=blur)
        for i in range(-int(-blur // 1)):
            share = jnp.clip(passes - i, 0.0, 1.0)  # of the last pass, a part
            image = image + share * (_binomial(image) - image)
    if length := round(cutout * side):
        middle = jax.random.randint(keys[2], (2,), 0, side)
        near = jnp.abs(jnp.arange(side)[:, None] - middle) * 2 <= length  # [S, 2]
        image = jnp.where((near[:, :1] & near[:, 1])[..., None], 0.0, image)
    if noise:
        deviation = jax.random.uniform(keys[3], maxval=noise)
        image = image + deviation * nearly_normal(keys[4], image.shape)
    return image


def nearly_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Noise of mean 0 and variance 1: the sums of four random bytes, up to 3.5 on either side.

    Normal numbers take three times as long on a CPU, a sixth of a step of the quickstart's DAMSM.
    """
    bits = jax.random.bits(key, shape, jnp.uint32)
    first, *others = ((bits >> (8 * i)) & 255 for i in range(4))
    sums = sum(others, first).astype(jnp.float32)
    return (sums - 4 * 127.5) * (4 * (256**2 - 1) / 12) ** -0.5


def _binomial(image: jax.Array) -> jax.Array:
    """(1, 2, 1) / 4 down and across, the edge repeated."""
    for axis in (0, 1):
        width = [(1, 1) if i == axis else (0, 0) for i in range(image.ndim)]
        padded = jnp.pad(image, width, mode="edge")
        before, after = (
            jax.lax.slice_in_dim(padded, start, start + image.shape[axis], axis=axis)
            for start in (0, 2)
        )
        image = 0.5 * image + 0.25 * (before + after)
    return image
