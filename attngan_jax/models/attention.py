"""Word attention of the generator: which words does each pixel look at (Sec. 3.1)."""

import jax
import jax.numpy as jnp

NEGATIVE = -1e9  # finite, so that a caption without any word gives no NaN


def word_attention(
    hidden: jax.Array, words: jax.Array, word_mask: jax.Array, *, legacy_mask: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Context of every pixel, a mixture of the words, `c_j = sum_i beta_ji e'_i` (Eq. 2).

    Args:
      hidden: `[B, N, C]`, the pixels' hidden features h.
      words: `[B, T, C]`, word features already projected into h's space (e' = U e).
      word_mask: bool `[B, T]`, True where there is a word.
      legacy_mask: reproduces an error of the released code (`GlobalAttentionGeneral.forward`): it
        tiles the mask along the pixels while the rows are batch-major, so that row r = b N + n gets
        the mask of sample r mod B. Needed with its published weights only.

    Returns:
      context `[B, N, C]`, and attention beta `[B, N, T]`, float32, whose rows sum to 1.
    """
    N = hidden.shape[1]
    scores = jnp.einsum("bnc,btc->bnt", hidden, words, preferred_element_type=jnp.float32)
    mask = word_mask[:, None, :]  # the same for all pixels
    if legacy_mask:
        mask = jnp.tile(word_mask, (N, 1)).reshape(scores.shape)
    attention = jax.nn.softmax(jnp.where(mask, scores, NEGATIVE), axis=-1)  # beta, over words
    context = jnp.einsum("bnt,btc->bnc", attention.astype(words.dtype), words)
    return context, attention
