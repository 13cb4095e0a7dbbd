"""Random changes of images: what each of them does, and that gradients pass."""

import jax
import jax.numpy as jnp
import numpy as np

from attngan_jax.training.augmentation import augment, nearly_normal
from tests.reference_vectors import normal

B, S = 40, 16
IMAGES = np.asarray(normal("augmented", (B, S, S, 2)))
KEYS = jax.random.split(jax.random.key(3), B)


def test_without_settings_nothing_changes():
    assert augment(IMAGES, KEYS) is IMAGES


def test_an_image_is_moved_by_whole_pixels_and_its_edge_repeated():
    limit, moves = 2, set()
    padded = np.pad(IMAGES, ((0, 0), (limit,) * 2, (limit,) * 2, (0, 0)), mode="edge")
    for b, image in enumerate(augment(IMAGES, KEYS, shift=limit / S)):
        found = [
            (i, j)
            for i in range(2 * limit + 1)
            for j in range(2 * limit + 1)
            if np.array_equal(image, padded[b, i : i + S, j : j + S])
        ]
        assert len(found) == 1
        moves.update(found)
    assert len(moves) > 15  # of 25


def test_a_square_is_cut_out():
    cut = np.asarray(augment(IMAGES, KEYS, cutout=0.5)) == 0
    assert np.array_equal(cut[..., 0], cut[..., 1])
    counts = cut[..., 0].sum((1, 2))
    assert counts.max() == (S // 2 + 1) ** 2 and counts.min() < counts.max()  # less at the border
    rows, columns = cut[..., 0].any(2), cut[..., 0].any(1)
    assert np.array_equal(cut[..., 0], rows[:, :, None] & columns[:, None, :])
    assert np.array_equal(np.asarray(augment(IMAGES, KEYS, cutout=0.5))[~cut], IMAGES[~cut])


def test_blur_takes_patterns_of_two_pixels_and_leaves_flat_ones():
    pattern = np.indices((S, S)).sum(0) % 2 * 2.0 - 1
    images = np.broadcast_to(pattern[None, ..., None], IMAGES.shape)
    left = np.abs(augment(images, KEYS, blur=1.0))[:, 2:-2, 2:-2]
    shares = left[:, 0, 0, 0]
    np.testing.assert_allclose(left, np.broadcast_to(shares[:, None, None, None], left.shape))
    assert shares.min() < 0.2 and shares.max() > 0.8  # passes are uniform between none and one
    flat = np.full_like(IMAGES, 0.3)
    np.testing.assert_allclose(augment(flat, KEYS, blur=2.5), flat, rtol=1e-6)


def test_the_deviation_of_noise_is_an_images_own():
    deviations = (augment(IMAGES, KEYS, noise=0.4) - IMAGES).std((1, 2, 3))
    assert 0 < deviations.min() < 0.1 and 0.3 < deviations.max() < 0.45
    assert 0.15 < deviations.mean() < 0.25


def test_an_image_is_changed_by_its_own_key():
    settings = dict(shift=0.2, cutout=0.3, blur=2.0, noise=0.1)
    together = augment(IMAGES, KEYS, **settings)
    alone = augment(IMAGES[5:6], KEYS[5:6], **settings)
    np.testing.assert_allclose(together[5:6], alone, rtol=1e-6, atol=1e-6)
    assert not np.allclose(augment(IMAGES[5:6], KEYS[6:7], **settings), alone)


def test_gradients_pass_through_all_of_them():
    def total(images):
        settings = dict(shift=0.2, cutout=0.3, blur=2.0)
        return augment(images, KEYS, **settings).sum()

    gradient = jax.grad(total)(jnp.asarray(IMAGES))
    # Every pixel that is not cut out is seen with all its weight.
    seen = augment(jnp.ones_like(IMAGES), KEYS, shift=0.2, cutout=0.3, blur=2.0)
    np.testing.assert_allclose(gradient.sum((1, 2, 3)), seen.sum((1, 2, 3)), rtol=1e-4)


def test_noise_has_the_moments_of_a_normal_one_but_for_its_tails():
    noise = np.asarray(nearly_normal(jax.random.key(0), (100, 1_000)), np.float64)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.01
    assert abs((noise**3).mean()) < 0.04 and 2.6 < (noise**4).mean() < 2.8  # 3 - 1.2 / 4
    assert 3 < np.abs(noise).max() < 3.5
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.02
