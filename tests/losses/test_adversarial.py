"""Adversarial losses and the KL term in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.losses import adversarial

REAL, FAKE, WRONG = (jnp.array(x) for x in ([1.0, -2.0], [0.5, 3.0], [-1.0, 7.0]))
UNCONDITIONAL = jnp.array([0.3, 0.1]), jnp.array([-0.7, 0.2])
WEIGHT = jnp.array([1.0, 0.0])  # leaves the last mismatched pair out


def log_sigmoid(x):
    return np.log(1 / (1 + np.exp(-np.asarray(x))))


# Name -> the formulas for a real image, a fake one, and the generator's.
FORMULAS = {
    "bce": (lambda x: -log_sigmoid(x), lambda x: -log_sigmoid(-x), lambda x: -log_sigmoid(x)),
    "hinge": (lambda x: np.maximum(0, 1 - x), lambda x: np.maximum(0, 1 + x), lambda x: -x),
}


@pytest.mark.parametrize("loss", adversarial.ADVERSARIAL_LOSSES)
def test_losses_in_closed_form(loss):
    """An entry of the registry serves the discriminator and the generator, with either head."""
    real, fake, generator = FORMULAS[loss]
    got = adversarial.discriminator_loss(REAL, FAKE, WRONG, WEIGHT, loss=loss)
    mismatched = fake(WRONG)[0]
    want = real(REAL).mean() + (fake(FAKE).mean() + mismatched) / 2
    np.testing.assert_allclose(got, want, rtol=1e-5)
    both = dict(unconditional=UNCONDITIONAL, loss=loss)
    got = adversarial.discriminator_loss(REAL, FAKE, WRONG, WEIGHT, **both)
    want = (real(REAL).mean() + real(UNCONDITIONAL[0]).mean()) / 2
    want += (fake(FAKE).mean() + fake(UNCONDITIONAL[1]).mean() + mismatched) / 3
    np.testing.assert_allclose(got, want, rtol=1e-5)
    got = adversarial.generator_loss(REAL, None, loss=loss)
    np.testing.assert_allclose(got, generator(REAL).mean(), rtol=1e-5)
    got = adversarial.generator_loss(REAL, FAKE, loss=loss)
    np.testing.assert_allclose(got, generator(REAL).mean() + generator(FAKE).mean(), rtol=1e-5)


def test_the_default_is_the_released_code_s():
    discriminator_loss, generator_loss = adversarial.discriminator_loss, adversarial.generator_loss
    arguments = REAL, FAKE, WRONG, WEIGHT
    assert discriminator_loss(*arguments) == discriminator_loss(*arguments, loss="bce")
    assert generator_loss(REAL, FAKE) == generator_loss(REAL, FAKE, loss="bce")


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_wrong_pair_weights_average_over_the_global_batch(num_devices):
    values = np.arange(8.0)
    weight = adversarial.wrong_pair_weight(np.arange(8) < 7, 8, num_devices)
    shares = (values * weight).reshape(num_devices, -1).sum(1)
    np.testing.assert_allclose(shares.mean(), values[:7].mean(), rtol=1e-6)


def test_kl_of_unit_normal_is_zero_and_of_a_shifted_one_half_its_square():
    zeros = jnp.zeros((3, 5))
    assert adversarial.kl_loss(zeros, zeros) == 0
    np.testing.assert_allclose(adversarial.kl_loss(zeros + 2.0, zeros), 2.0, rtol=1e-6)
    np.testing.assert_allclose(adversarial.kl_loss(zeros, zeros + 1.0), (np.e - 2) / 2, rtol=1e-5)


def test_losses_are_finite_at_extreme_logits():
    extreme = jnp.array([200.0, -200.0])
    loss = adversarial.discriminator_loss(extreme, extreme, extreme, jnp.ones(2))
    assert np.isfinite(loss) and loss > 100
