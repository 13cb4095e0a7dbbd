"""Word attention of the generator: which words does each pixel look at (Sec. 3.1)."""

import jax
import jax.numpy as jnp

NEGATIVE = -1e9  # finite, so that a caption without any word gives no NaN


def word_attention(
    hidden: jax.Array,
    words: jax.Array,
    word_mask: jax.Array,
    *,
    legacy_mask: bool = False,
    packed: int = 1,
) -> tuple[jax.Array, jax.Array]:
    """Context of every pixel, a mixture of the words, `c_j = sum_i beta_ji e'_i` (Eq. 2).

    Args:
      hidden: `[B, N, C]`, the pixels' hidden features h; with `packed` pixels P side by side
        `[B, N / P, P C]`.
      words: `[B, T, C]`, word features already projected into h's space (e' = U e).
      word_mask: bool `[B, T]`, True where there is a word.
      legacy_mask: the released code's rule (`GlobalAttentionGeneral.forward`), which tiles the
        mask along the pixels while the rows are batch-major, so that row r = b N + n gets the mask
        of sample r mod B, by a slip. Only its published weights want it.

    Returns:
      context, shaped as `hidden`, and attention `[B, N, T]`, float32, whose rows sum to 1.
    """
    (B, N, _), T = hidden.shape, words.shape[1]
    if packed > 1:  # the words once for each of the pixels, each time for that pixel alone
        words = jnp.einsum("pq,btc->bptqc", jnp.eye(packed, dtype=words.dtype), words)
        words = words.reshape(B, packed * T, -1)
    scores = jnp.einsum("bnc,btc->bnt", hidden, words, preferred_element_type=jnp.float32)
    scores = scores.reshape(B, N, packed, T)
    mask = word_mask[:, None, None, :]
    if legacy_mask:
        mask = jnp.tile(word_mask, (N * packed, 1)).reshape(scores.shape)
    attention = jax.nn.softmax(jnp.where(mask, scores, NEGATIVE), axis=-1)
    mixture = attention.reshape(B, N, packed * T).astype(words.dtype)
    context = jnp.einsum("bnt,btc->bnc", mixture, words)
    return context, attention.reshape(B, N * packed, T)
