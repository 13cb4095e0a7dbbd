"""Penalties on the discriminator's gradient at real images. Not in the paper."""

import jax
import jax.numpy as jnp


def _logits(module, variables, images, sentence):
    """The sum of all logits; its gradient is each example's own, where there is no BatchNorm."""
    outputs, _ = module.apply(variables, images, sentence, train=True, mutable=["batch_stats"])
    return sum(logits.sum() for logits in outputs if logits is not None)


def r1(module, variables, images, sentence) -> jax.Array:
    """Half the squared norm of the gradient by images `[B, S, S, C]`, the batch's mean.

    R1 of Mescheder et al., "Which Training Methods for GANs do actually Converge?" (ICML 2018).
    """
    gradient = jax.grad(_logits, argnums=2)(module, variables, images, sentence)
    return 0.5 * (gradient**2).sum((1, 2, 3)).mean()


def matching_aware(module, variables, images, sentence) -> jax.Array:
    """The sixth power of the gradient's norms by image and by sentence `[B, D]`, the batch's mean.

    Of Tao et al., "DF-GAN" (CVPR 2022, Eq. 2, p = 6), there with the weight 2.
    """
    gradients = jax.grad(_logits, argnums=(2, 3))(module, variables, images, sentence)
    by_image, by_sentence = (jnp.sqrt((g**2).sum(range(1, g.ndim)) + 1e-12) for g in gradients)
    return ((by_image + by_sentence) ** 6).mean()


# Another penalty is one function and one entry here.
PENALTIES = {"r1": r1, "matching_aware": matching_aware}
