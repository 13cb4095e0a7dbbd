"""Deep attentional multimodal similarity: does an image match a caption? (Sec. 3.2)"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

NEGATIVE = -1e9
EPSILON = 1e-8  # of the cosines, as in the released code
# Else TPUs and GPUs multiply float32 matrices in bfloat16 or TF32, and |c|^2 may come out negative.
PRECISION = jax.lax.Precision.HIGHEST
BLOCK_ELEMENTS = 2**20  # of the attention maps at a time: 4 MiB in float32, which caches hold


class DamsmLoss(NamedTuple):
    """The four terms of Eq. 13; each a scalar."""

    word_image_to_text: jax.Array
    word_text_to_image: jax.Array
    sentence_image_to_text: jax.Array
    sentence_text_to_image: jax.Array

    @property
    def word_loss(self) -> jax.Array:
        """L_1^w + L_2^w."""
        return self.word_image_to_text + self.word_text_to_image

    @property
    def sentence_loss(self) -> jax.Array:
        """L_1^s + L_2^s."""
        return self.sentence_image_to_text + self.sentence_text_to_image

    @property
    def total(self) -> jax.Array:
        """L_DAMSM."""
        return self.word_loss + self.sentence_loss


class SwappedCaptions(NamedTuple):
    """K captions of each of B images that describe it wrongly, see data/swapped_words.py."""

    words: jax.Array  # [B, K, T, D]
    sentences: jax.Array  # [B, K, D]
    word_mask: jax.Array  # bool [B, K, T]
    differs: jax.Array  # bool [B, K], False for a caption that nothing could be exchanged in


def region_attention(
    words: jax.Array, word_mask: jax.Array, region_features: jax.Array, *, gamma1: float
) -> tuple[jax.Array, jax.Array]:
    """Which regions does each word look at: alpha of Eq. 9, and s of Eq. 7.

    `words [M, T, D]`, `word_mask [M, T]`, `region_features [R, D]` of an image or `[B, R, D]` of
    several, every image with every caption; both results are `[M, T, R]` or `[B, M, T, R]`.
    """
    s = jnp.einsum("mtd,...rd->...mtr", words, region_features, precision=PRECISION)  # Eq. 7
    masked = jnp.where(word_mask[..., None], s, NEGATIVE)
    normalised = jax.nn.softmax(masked, axis=-2)  # Eq. 8, over words
    return jax.nn.softmax(gamma1 * normalised, axis=-1), s  # Eq. 9, over regions


def relevance(alpha: jax.Array, region_features: jax.Array, words: jax.Array) -> jax.Array:
    """R(c_i, e_i): cosines of words and their context vectors c_i.

    `alpha [M, T, R]`, `region_features [R, D]`, `words [M, T, D]` -> `[M, T]`.
    """
    c = jnp.einsum("mtr,rd->mtd", alpha, region_features, precision=PRECISION)  # sum_j alpha_j v_j
    return _cosine((c * words).sum(-1), (c * c).sum(-1) * (words * words).sum(-1))


def relevance_without_contexts(alpha, s, region_features, words) -> jax.Array:
    """The same as `relevance`, with `s [M, T, R]` of Eq. 7, cheaper where R < D.

    `c.e = sum_j alpha_j s_j` and `|c|^2 = alpha' (v v') alpha` need no array `[M, T, D]`, only
    products of the `[M, T, R]` that exist anyway: half the time at R = 64 and D = 256.
    """
    products = jnp.einsum("rd,qd->rq", region_features, region_features, precision=PRECISION)
    half = jnp.einsum("mtr,rq->mtq", alpha, products, precision=PRECISION)
    return _cosine((alpha * s).sum(-1), (half * alpha).sum(-1) * (words * words).sum(-1))


def _cosine(products, squares):
    """`a.b / (|a| |b|)` from `a.b` and `|a|^2 |b|^2`."""
    return products * jax.lax.rsqrt(jnp.maximum(squares, EPSILON**2))


def word_scores(
    region_features: jax.Array,
    words: jax.Array,
    word_mask: jax.Array,
    *,
    gamma1: float,
    gamma2: float,
    block_size: int | None = None,
) -> jax.Array:
    """Image-caption match by words, log of Eq. 10's sum: `[B, M]`.

    Args:
      region_features: `[B, R, D]`. words: `[M, T, D]`. word_mask: bool `[M, T]`, True at words.
      block_size: images at a time, so that the `[block, M, T, R]` maps never exist for all B; they
        are computed again in the backward pass. Default: as many as `BLOCK_ELEMENTS` allows.

    Differs from the paper: Eq. 10 raises the sum to 1 / gamma2; the released code
    (`words_loss`) drops that power.
    """
    (B, R, D), (M, T) = region_features.shape, word_mask.shape
    if block_size is None:
        block_size = max(1, BLOCK_ELEMENTS // (M * T * R))
    block_size = next(size for size in range(min(block_size, B), 0, -1) if B % size == 0)

    def image_scores(v):  # [R, D] of one image, v_j -> [M]
        alpha, s = region_attention(words, word_mask, v, gamma1=gamma1)  # Eqs. 7 to 9
        if R < D:
            r = relevance_without_contexts(alpha, s, v, words)
        else:
            r = relevance(alpha, v, words)  # R(c_i, e_i)
        return jax.nn.logsumexp(jnp.where(word_mask, gamma2 * r, NEGATIVE), axis=1)  # Eq. 10

    if block_size == B:
        return jax.vmap(image_scores)(region_features)
    # A vmap over one image would be several times slower on the CPU.
    vmapped = block_size if block_size > 1 else None
    return jax.lax.map(jax.checkpoint(image_scores), region_features, batch_size=vmapped)


def sentence_scores(image_embeddings: jax.Array, sentences: jax.Array) -> jax.Array:
    """Image-caption match by global vectors: cosines `[B, M]` of `[B, D]` and `[M, D]`."""
    products = jnp.einsum("bd,md->bm", image_embeddings, sentences, precision=PRECISION)
    squares = (image_embeddings**2).sum(-1)[:, None] * (sentences**2).sum(-1)
    return _cosine(products, squares)


def matching_loss(
    scores: jax.Array,
    image_classes: jax.Array,
    caption_classes: jax.Array,
    *,
    swapped_scores: jax.Array | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Cross entropy of the true pair among all captions, and among all images (Eqs. 11, 12).

    Args:
      scores: `[B, M]`, already times gamma3. Row b belongs with column b, or with column
        `axis_index * B + b` when the images are spread over a mesh and the captions gathered.
      image_classes: int `[B]`, caption_classes: int `[M]`. Pairs of one class that are not the
        true pair are no negatives; class -1 means no class, and all other pairs are negatives.
      swapped_scores: `[B, K]`, of further captions that are negatives of their own image alone.

    Returns:
      image-to-text and text-to-image loss.

    Differs from the paper: means instead of sums, and the same-class masking (released code).
    """
    B, M = scores.shape
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * B
    truth = (jnp.arange(B) + first)[:, None] == jnp.arange(M)[None]
    same = (image_classes[:, None] == caption_classes[None]) & (image_classes[:, None] >= 0)
    scores = jnp.where(same & ~truth, NEGATIVE, scores)
    true_scores = jnp.where(truth, scores, 0.0).sum(1)
    over_captions = scores if swapped_scores is None else jnp.hstack([scores, swapped_scores])
    image_to_text = jax.nn.logsumexp(over_captions, axis=1) - true_scores
    over_images = _logsumexp_over_images(scores, axis_name)
    text_to_image = jax.lax.dynamic_slice_in_dim(over_images, first, B) - true_scores
    return image_to_text.mean(), text_to_image.mean()


@jax.named_scope("softmax")
def _logsumexp_over_images(scores, axis_name):
    if axis_name is None:
        return jax.nn.logsumexp(scores, axis=0)
    top = jax.lax.pmax(jax.lax.stop_gradient(scores.max(0)), axis_name)
    return top + jnp.log(jax.lax.psum(jnp.exp(scores - top).sum(0), axis_name))


def damsm_loss(
    region_features: jax.Array,
    image_embeddings: jax.Array,
    image_classes: jax.Array,
    words: jax.Array,
    sentences: jax.Array,
    word_mask: jax.Array,
    caption_classes: jax.Array,
    *,
    gamma1: float,
    gamma2: float,
    gamma3: float,
    swapped: SwappedCaptions | None = None,
    axis_name: str | None = None,
) -> DamsmLoss:
    """All four terms of L_DAMSM (Eq. 13).

    Images: region_features `[B, R, D]`, image_embeddings `[B, D]`, classes `[B]`. Captions: words
    `[M, T, D]`, sentences `[M, D]`, mask `[M, T]`, classes `[M]`; M = B, or the gathered global
    batch. The released code has no `swapped` captions.
    """

    def words_match(v, words, mask):
        return word_scores(v, words, mask, gamma1=gamma1, gamma2=gamma2)

    classes, own_words, own_sentences = (image_classes, caption_classes), None, None
    if swapped is not None:

        def own(score, images, *captions):  # each image's with its own captions, [B, K]
            one = jax.vmap(lambda image, *captions: score(image[None], *captions)[0])
            return jnp.where(swapped.differs, gamma3 * one(images, *captions), NEGATIVE)

        own_words = own(words_match, region_features, swapped.words, swapped.word_mask)
        own_sentences = own(sentence_scores, image_embeddings, swapped.sentences)

    def loss(scores, swapped_scores):
        options: dict = dict(swapped_scores=swapped_scores, axis_name=axis_name)
        return matching_loss(gamma3 * scores, *classes, **options)

    return DamsmLoss(
        *loss(words_match(region_features, words, word_mask), own_words),
        *loss(sentence_scores(image_embeddings, sentences), own_sentences),
    )
