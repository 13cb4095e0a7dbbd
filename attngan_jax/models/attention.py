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
      legacy_mask: the released code's rule (`GlobalAttentionGeneral.forward`), which tiles the
        mask along the pixels while the rows are batch-major, so that row r = b N + n gets the mask
        of sample r mod B, by a slip. Only its published weights want it.

    Returns:
      context `[B, N, C]` and attention `[B, N, T]`, float32, whose rows sum to 1.
    """
    B, N, _ = hidden.shape
    scores = jnp.einsum("bnc,btc->bnt", hidden, words, preferred_element_type=jnp.float32)
    mask = word_mask[:, None, :]
    if legacy_mask:
        mask = jnp.tile(word_mask, (N, 1)).reshape(B, N, -1)
    attention = jax.nn.softmax(jnp.where(mask, scores, NEGATIVE), axis=-1)
    context = jnp.einsum("bnt,btc->bnc", attention.astype(words.dtype), words)
    return context, attention
