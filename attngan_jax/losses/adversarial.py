"""Adversarial losses and the conditioning augmentation's KL term (Sec. 3.1; `losses.py`)."""

import jax
import jax.numpy as jnp


def is_real(logits: jax.Array) -> jax.Array:
    """-log p(real), per example: binary cross entropy with target 1."""
    return jax.nn.softplus(-logits)


def is_fake(logits: jax.Array) -> jax.Array:
    """-log(1 - p(real)), per example: binary cross entropy with target 0."""
    return jax.nn.softplus(logits)


def discriminator_loss(
    real: jax.Array,
    fake: jax.Array,
    wrong: jax.Array,
    wrong_weight: jax.Array,
    *,
    unconditional: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """Loss of one discriminator, a scalar.

    Args:
      real, fake: conditional logits `[B]` of real and generated images with their sentence.
      wrong: conditional logits `[B]` of real images with the next example's sentence.
      wrong_weight: `[B]`, each mismatched pair's weight in the mean; see `wrong_pair_weight`.
      unconditional: logits `[B]` of real and of generated images, if there is such a head.

    Differs from the paper: Eq. 5 halves the sum of the conditional and the unconditional loss and
    has no mismatched pairs; this is the released code's `discriminator_loss`.
    """
    cond_real, cond_fake = is_real(real).mean(), is_fake(fake).mean()
    cond_wrong = (is_fake(wrong) * wrong_weight).sum()
    if unconditional is None:
        return cond_real + (cond_fake + cond_wrong) / 2
    uncond_real, uncond_fake = is_real(unconditional[0]).mean(), is_fake(unconditional[1]).mean()
    return (uncond_real + cond_real) / 2 + (uncond_fake + cond_fake + cond_wrong) / 3


def wrong_pair_weight(has_next: jax.Array, global_batch: int, num_devices: int) -> jax.Array:
    """Weights `[B]` of the pairs (image i, caption i + 1), i < B - 1, of the global batch.

    `has_next` bool `[B]` is False for the global batch's last example alone.
    """
    return has_next * (num_devices / (global_batch - 1))


def generator_loss(conditional: jax.Array, unconditional: jax.Array | None) -> jax.Array:
    """Loss of the generator at one stage, a scalar, from logits `[B]` of its images.

    Differs from the paper: Eq. 4 halves it; the released code's `generator_loss` does not.
    """
    loss = is_real(conditional).mean()
    return loss if unconditional is None else loss + is_real(unconditional).mean()


def kl_loss(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, I)) of `[B, C]`, averaged over batch and dimensions."""
    return -0.5 * (1.0 + log_variance - mean**2 - jnp.exp(log_variance)).mean()
