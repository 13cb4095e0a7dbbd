"""Band powers of images whose spectrum is known."""

import numpy as np
import pytest

from attngan_jax.evaluation.metrics.spectrum import BANDS, BRIGHTNESS, band_power, spectrum

PLACES = np.arange(64) / 64


def wave(down, across, amplitude=1.0):
    """A grey image `[1, 64, 64, 3]` of so many cycles."""
    phase = 2 * np.pi * (down * PLACES[:, None] + across * PLACES)
    return np.repeat(amplitude * np.cos(phase)[None, :, :, None], 3, axis=-1)


@pytest.mark.parametrize(
    "down, across, band", [(1, 0, 0), (3, 4, 1), (0, 16, 2), (12, 12, 3), (31, 0, 4)]
)
def test_a_wave_has_its_power_in_its_own_band(down, across, band):
    power = np.asarray(band_power(wave(down, across, 3.0)))[0]
    expected = np.zeros(len(BANDS))
    expected[band] = 3.0**2 / 2  # a cosine's mean square
    np.testing.assert_allclose(power, expected, atol=1e-3)


def test_the_mean_and_the_corners_belong_to_no_band():
    grey = np.full((2, 64, 64, 3), 0.7)
    np.testing.assert_allclose(band_power(grey), 0.0, atol=1e-5)
    np.testing.assert_allclose(band_power(wave(30, 30)), 0.0, atol=1e-5)  # a radius of 42


def test_colours_count_by_their_brightness():
    green = wave(6, 0) * np.array([0.0, 1.0, 0.0])
    np.testing.assert_allclose(band_power(green)[0, 1], BRIGHTNESS[1] ** 2 / 2, rtol=1e-4)


def test_the_ratio_of_white_noise_is_that_of_the_variances():
    rng = np.random.default_rng(0)
    faint, strong = (s * rng.normal(size=(60, 64, 64, 3)) for s in (1.0, 3.0))
    ratios = spectrum(np.asarray(band_power(strong)), np.asarray(band_power(faint)))
    assert list(ratios) == ["1-4", "5-8", "9-16", "17-24", "25-31"]
    np.testing.assert_allclose(list(ratios.values()), 9.0, rtol=0.15)
