"""How much fine and coarse structure images have: the power of their brightness by frequency."""

import jax
import jax.numpy as jnp
import numpy as np

BANDS = ((1, 4), (5, 8), (9, 16), (17, 24), (25, 31))  # cycles an image at 64 pixels, inclusive
BRIGHTNESS = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def band_power(images: jax.Array) -> jax.Array:
    """Power `[B, bands]` of the brightness of `[B, 64, 64, 3]` in each of BANDS.

    A component of the two-dimensional discrete Fourier transform belongs to the band of its
    radius, rounded. No window is applied, so that what happens at the borders counts.
    """
    B, S = images.shape[:2]
    brightness = images.astype(jnp.float32) @ jnp.array(BRIGHTNESS)
    power = abs(jnp.fft.fft2(brightness)) ** 2 / S**4
    frequency = np.fft.fftfreq(S, 1 / S)
    radius = np.rint(np.hypot(frequency[:, None], frequency))
    masks = np.stack([(low <= radius) & (radius <= high) for low, high in BANDS])
    return jnp.einsum("bij,nij->bn", power, masks.astype(np.float32))


def spectrum(generated: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Mean power of `band_power` `[N, bands]` in generated images over that in real ones."""
    ratios = np.asarray(generated, np.float64).mean(0) / np.asarray(real, np.float64).mean(0)
    return {f"{low}-{high}": float(ratio) for (low, high), ratio in zip(BANDS, ratios)}
