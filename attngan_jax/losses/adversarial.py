"""Adversarial losses, gradient penalties, the conditioning augmentation's KL term.

The paper's Sec. 3.1 and the released `losses.py`, but for the penalties on the discriminator's
gradient at real images, which are not in the paper.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class LogitLosses(NamedTuple):
    """Losses per logit: of the discriminator for a real and a fake example, of the generator."""

    real: jax.Array
    fake: jax.Array
    generator: jax.Array


def bce(logits: jax.Array) -> LogitLosses:
    """Binary cross entropy: -log p and -log(1 - p), p = sigmoid(logit) (the paper, Eqs. 4, 5)."""
    return LogitLosses(jax.nn.softplus(-logits), jax.nn.softplus(logits), jax.nn.softplus(-logits))


def hinge(logits: jax.Array) -> LogitLosses:
    """Hinge loss (Lim and Ye, "Geometric GAN", 2017). Not in the paper."""
    return LogitLosses(jax.nn.relu(1.0 - logits), jax.nn.relu(1.0 + logits), -logits)


# Another loss is one function of logits and one entry here.
ADVERSARIAL_LOSSES = {"bce": bce, "hinge": hinge}


def discriminator_loss(
    real: jax.Array,
    fake: jax.Array,
    wrong: jax.Array,
    wrong_weight: jax.Array,
    *,
    unconditional: tuple[jax.Array, jax.Array] | None = None,
    loss: str = "bce",
) -> jax.Array:
    """Loss of one discriminator, a scalar.

    Args:
      real, fake: conditional logits `[B]` of real and generated images with their sentence.
      wrong: conditional logits `[B]` of real images with the next example's sentence.
      wrong_weight: `[B]`, each mismatched pair's weight in the mean; see `wrong_pair_weight`.
      unconditional: logits `[B]` of real and of generated images, if there is such a head.
      loss: one of `ADVERSARIAL_LOSSES`.

    Differs from the paper: Eq. 5 halves the sum of the conditional and the unconditional loss and
    has no mismatched pairs; this is the released code's `discriminator_loss`.
    """
    losses = ADVERSARIAL_LOSSES[loss]
    cond_real, cond_fake = losses(real).real.mean(), losses(fake).fake.mean()
    cond_wrong = (losses(wrong).fake * wrong_weight).sum()
    if unconditional is None:
        return cond_real + (cond_fake + cond_wrong) / 2
    uncond_real = losses(unconditional[0]).real.mean()
    uncond_fake = losses(unconditional[1]).fake.mean()
    return (uncond_real + cond_real) / 2 + (uncond_fake + cond_fake + cond_wrong) / 3


def wrong_pair_weight(has_next: jax.Array, global_batch: int, num_devices: int) -> jax.Array:
    """Weights `[B]` of the pairs (image i, caption i + 1), i < B - 1, of the global batch.

    `has_next` bool `[B]` is False for the global batch's last example alone.
    """
    return has_next * (num_devices / (global_batch - 1))


def generator_loss(
    conditional: jax.Array, unconditional: jax.Array | None, *, loss: str = "bce"
) -> jax.Array:
    """Loss of the generator at one stage, a scalar, from logits `[B]` of its images.

    `loss` is one of `ADVERSARIAL_LOSSES`.

    Differs from the paper: Eq. 4 halves it; the released code's `generator_loss` does not.
    """
    losses = ADVERSARIAL_LOSSES[loss]
    total = losses(conditional).generator.mean()
    return total if unconditional is None else total + losses(unconditional).generator.mean()


def kl_loss(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, I)) of `[B, C]`, averaged over batch and dimensions."""
    return -0.5 * (1.0 + log_variance - mean**2 - jnp.exp(log_variance)).mean()


def _sum_of_logits(module, variables, images, sentence):
    """The sum of all logits; its gradient is each example's own, where there is no BatchNorm."""
    outputs, _ = module.apply(variables, images, sentence, train=True, mutable=["batch_stats"])
    return sum(logits.sum() for logits in outputs if logits is not None)


def r1(module, variables, images, sentence) -> jax.Array:
    """Half the squared norm of the gradient by images `[B, S, S, C]`, the batch's mean.

    R1 of Mescheder et al., "Which Training Methods for GANs do actually Converge?" (ICML 2018).
    """
    gradient = jax.grad(_sum_of_logits, argnums=2)(module, variables, images, sentence)
    return 0.5 * (gradient**2).sum((1, 2, 3)).mean()


def matching_aware(module, variables, images, sentence) -> jax.Array:
    """The sixth power of the gradient's norms by image and by sentence `[B, D]`, the batch's mean.

    Of Tao et al., "DF-GAN" (CVPR 2022, Eq. 2, p = 6), there with the weight 2.
    """
    gradients = jax.grad(_sum_of_logits, argnums=(2, 3))(module, variables, images, sentence)
    by_image, by_sentence = (jnp.sqrt((g**2).sum(range(1, g.ndim)) + 1e-12) for g in gradients)
    return ((by_image + by_sentence) ** 6).mean()


# Another penalty is one function and one entry here.
PENALTIES = {"r1": r1, "matching_aware": matching_aware}
