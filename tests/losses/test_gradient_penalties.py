"""Gradient penalties of a discriminator whose gradients are known."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from attngan_jax.losses.adversarial import PENALTIES, matching_aware, r1
from tests.reference_vectors import normal

B, S, D = 3, 4, 5
IMAGES, SENTENCE = normal("penalty images", (B, S, S, 3)), normal("penalty words", (B, D))
WEIGHTS, WORD_WEIGHTS = normal("penalty weights", (S, S, 3)), normal("penalty word weights", (D,))


class Quadratic(nn.Module):
    """The gradient by image b is 2 w x_b, that by its sentence v."""

    unconditional: bool = True

    @nn.compact
    def __call__(self, images, sentence, *, train):
        assert train
        squares = (WEIGHTS * images**2).sum((1, 2, 3))
        conditional = sentence @ WORD_WEIGHTS
        return (conditional, squares) if self.unconditional else (conditional + squares, None)


def norms():
    return np.sqrt(((2 * WEIGHTS * IMAGES) ** 2).sum((1, 2, 3)))


def test_r1_is_half_the_squared_gradient_by_the_image():
    for unconditional in (True, False):
        got = r1(Quadratic(unconditional), {}, IMAGES, SENTENCE)
        np.testing.assert_allclose(got, (norms() ** 2 / 2).mean(), rtol=1e-5)


def test_the_matching_aware_penalty_is_the_sixth_power_of_both_norms():
    got = matching_aware(Quadratic(), {}, IMAGES, SENTENCE)
    want = ((norms() + np.linalg.norm(WORD_WEIGHTS)) ** 6).mean()
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_flat_discriminator_is_not_penalised():
    zero = jnp.zeros_like(IMAGES)
    assert r1(Quadratic(), {}, zero, SENTENCE) == 0
    assert PENALTIES == {"r1": r1, "matching_aware": matching_aware}
