"""Adversarial losses and the KL term in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.losses import adversarial

REAL, FAKE, WRONG = (jnp.array(x) for x in ([1.0, -2.0], [0.5, 3.0], [-1.0, 7.0]))
WEIGHT = jnp.array([1.0, 0.0])


def nll(probabilities):
    return -np.log(probabilities)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


def test_discriminator_loss_leaves_the_last_pair_out():
    unconditional = jnp.array([0.3, 0.1]), jnp.array([-0.7, 0.2])
    got = adversarial.discriminator_loss(REAL, FAKE, WRONG, WEIGHT, unconditional=unconditional)
    real = nll(sigmoid(REAL)).mean() + nll(sigmoid(unconditional[0])).mean()
    fake = (
        nll(1 - sigmoid(FAKE)).mean()
        + nll(1 - sigmoid(unconditional[1])).mean()
        + nll(1 - sigmoid(-1.0))
    )
    np.testing.assert_allclose(got, real / 2 + fake / 3, rtol=1e-5)


def test_discriminator_loss_without_unconditional_head():
    got = adversarial.discriminator_loss(REAL, FAKE, WRONG, WEIGHT)
    want = nll(sigmoid(REAL)).mean() + (nll(1 - sigmoid(FAKE)).mean() + nll(1 - sigmoid(-1.0))) / 2
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_wrong_pair_weights_average_over_the_global_batch(num_devices):
    values = np.arange(8.0)
    has_next = np.arange(8) < 7
    weight = adversarial.wrong_pair_weight(has_next, 8, num_devices)
    shares = (values * weight).reshape(num_devices, -1).sum(1)
    np.testing.assert_allclose(shares.mean(), values[:7].mean(), rtol=1e-6)


def test_generator_loss_adds_both_heads():
    got = adversarial.generator_loss(REAL, FAKE)
    np.testing.assert_allclose(
        got, nll(sigmoid(REAL)).mean() + nll(sigmoid(FAKE)).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        adversarial.generator_loss(REAL, None), nll(sigmoid(REAL)).mean(), rtol=1e-5
    )


def test_kl_of_unit_normal_is_zero_and_of_a_shifted_one_half_its_square():
    zeros = jnp.zeros((3, 5))
    assert adversarial.kl_loss(zeros, zeros) == 0
    np.testing.assert_allclose(adversarial.kl_loss(zeros + 2.0, zeros), 2.0, rtol=1e-6)
    np.testing.assert_allclose(adversarial.kl_loss(zeros, zeros + 1.0), (np.e - 2) / 2, rtol=1e-5)


def test_losses_are_finite_at_extreme_logits():
    extreme = jnp.array([200.0, -200.0])
    loss = adversarial.discriminator_loss(extreme, extreme, extreme, jnp.ones(2))
    assert np.isfinite(loss) and loss > 100
