"""DAMSM's losses against a plain NumPy loop, and their invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.losses import damsm
from tests.reference_vectors import assert_close, normal

B, M, T, D = 4, 4, 5, 7
REGIONS = (6, 9)  # fewer than D and more: two ways to the same relevance
GAMMA1, GAMMA2, GAMMA3 = 4.0, 5.0, 10.0
GAMMAS = dict(gamma1=GAMMA1, gamma2=GAMMA2, gamma3=GAMMA3)
LENGTHS = np.array([5, 2, 3, 1])
MASK = np.arange(T)[None] < LENGTHS[:, None]
WORDS, EMBEDDINGS, SENTENCES = normal("w", (M, T, D)), normal("e", (B, D)), normal("s", (M, D))
word_scores = functools.partial(damsm.word_scores, gamma1=GAMMA1, gamma2=GAMMA2)


def regions(R):
    return normal("v", (B, R, D))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def word_score(v, e):
    """Eqs. 7 to 10 for one image `[R, D]` and one caption without padding `[T, D]`."""
    s = softmax(e @ v.T, axis=0)
    alpha = softmax(GAMMA1 * s, axis=1)
    return np.log(sum(np.exp(GAMMA2 * cosine(a @ v, word)) for a, word in zip(alpha, e)))


def cross_entropy(scores, classes):
    losses = []
    for i, row in enumerate(scores):
        kept = [j for j in range(len(row)) if j == i or classes[j] != classes[i] or classes[i] < 0]
        losses.append(np.log(np.exp(row[kept]).sum()) - row[i])
    return np.mean(losses)


@pytest.mark.parametrize("R", REGIONS)
@pytest.mark.parametrize("block_size", [1, 2, 4])
def test_word_scores_equal_a_loop(block_size, R):
    want = [[word_score(v, e[:n]) for e, n in zip(WORDS, LENGTHS)] for v in regions(R)]
    got = word_scores(regions(R), WORDS, MASK, block_size=block_size)
    np.testing.assert_allclose(got, want, rtol=2e-5)


@pytest.mark.parametrize("R", REGIONS)
@pytest.mark.parametrize("classes", [[0, 1, 2, 3], [5, 1, 5, 5], [-1, -1, -1, -1]])
def test_loss_equals_a_loop_with_same_class_pairs_left_out(classes, R):
    v, classes = regions(R), np.array(classes)
    by_words = [[GAMMA3 * word_score(v_b, e[:n]) for e, n in zip(WORDS, LENGTHS)] for v_b in v]
    by_sentence = [[GAMMA3 * cosine(c, s) for s in SENTENCES] for c in EMBEDDINGS]
    got = damsm.damsm_loss(v, EMBEDDINGS, classes, WORDS, SENTENCES, MASK, classes, **GAMMAS)
    want = [
        cross_entropy(scores, classes)
        for by in map(np.array, (by_words, by_sentence))
        for scores in (by, by.T)
    ]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.total, sum(want), rtol=1e-4)


@pytest.mark.parametrize("R", [*REGIONS, 64])
def test_both_ways_to_the_relevance_agree_in_values_and_gradients(R):
    v, dr = normal("v", (R, D)), normal("dr", (M, T))

    def results(way):
        def run(v, words):
            alpha, s = damsm.region_attention(words, MASK, v, gamma1=GAMMA1)
            return way(alpha, s, v, words)

        r, pullback = jax.vjp(run, v, WORDS)
        return r, *pullback(dr)

    by_contexts = results(lambda alpha, s, v, words: damsm.relevance(alpha, v, words))
    for a, b in zip(results(damsm.relevance_without_contexts), by_contexts):
        assert_close(a, b, 2e-5)


@pytest.mark.parametrize("R", REGIONS)
def test_padding_changes_nothing(R):
    more = np.concatenate([WORDS, np.full((M, 3, D), 9.0, np.float32)], axis=1)
    more_mask = np.concatenate([MASK, np.zeros((M, 3), bool)], axis=1)
    found, want = word_scores(regions(R), more, more_mask), word_scores(regions(R), WORDS, MASK)
    np.testing.assert_allclose(found, want, rtol=1e-5)


@pytest.mark.parametrize("R", REGIONS)
def test_gradient_is_finite_where_padding_is_zero(R):
    words = WORDS * MASK[..., None]
    gradient = jax.grad(lambda words: word_scores(regions(R), words, MASK).sum())(words)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[1, 2:]).max() == 0  # beyond the second caption's two words


def test_attention_rows_are_distributions():
    alpha, _ = damsm.region_attention(WORDS, MASK, regions(6), gamma1=GAMMA1)
    assert alpha.shape == (B, M, T, 6)
    np.testing.assert_allclose(alpha.sum(-1), 1.0, rtol=1e-5)


def test_matching_loss_of_known_scores():
    scores = jnp.array([[np.log(3.0), 0.0], [0.0, np.log(3.0)]])
    classes = jnp.array([0, 1])
    for loss in damsm.matching_loss(scores, classes, classes):
        np.testing.assert_allclose(loss, np.log(4 / 3), rtol=1e-6)


@functools.partial(jax.jit, static_argnames="block_size")
def word_loss(regions, words, block_size=None):
    """Both word terms, with gradients towards both."""
    everything, classes = jnp.ones(words.shape[:2], bool), jnp.full(len(regions), -1)

    def loss(regions, words):
        scores = word_scores(regions, words, everything, block_size=block_size)
        return sum(damsm.matching_loss(GAMMA3 * scores, classes, classes))

    return jax.value_and_grad(loss, argnums=(0, 1))(regions, words)


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_blocks_change_no_gradient(block_size):
    whole, gradients = word_loss(regions(6), WORDS, block_size=B)
    loss, blocked = word_loss(regions(6), WORDS, block_size=block_size)
    np.testing.assert_allclose(loss, whole, rtol=1e-6)
    for gradient, expected in zip(blocked, gradients):
        assert_close(gradient, expected, 1e-5)


@pytest.mark.parametrize("R", REGIONS)
def test_gradient_equals_finite_differences(R):
    arrays, step = (regions(R), WORDS), 3e-3
    directions = [normal("direction", x.shape) for x in arrays]
    moved = ([x + s * d for x, d in zip(arrays, directions)] for s in (step, -step))
    ahead, back = (word_loss(*pair)[0] for pair in moved)
    slope = sum((g * d).sum() for g, d in zip(word_loss(*arrays)[1], directions))
    np.testing.assert_allclose(slope, (ahead - back) / (2 * step), rtol=1e-2)


@pytest.mark.parametrize("R", REGIONS)
def test_products_are_float32_on_every_device(R):
    """By default a TPU multiplies float32 matrices in bfloat16, forward and backward."""

    def total(regions, embeddings, words, sentences):
        captions, classes = (words, sentences, MASK), jnp.arange(B)
        return damsm.damsm_loss(regions, embeddings, classes, *captions, classes, **GAMMAS).total

    gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3)))
    lowered = gradient.lower(regions(R), EMBEDDINGS, WORDS, SENTENCES)
    products = [line for line in lowered.as_text().splitlines() if "dot_general" in line]
    assert len(products) >= 9
    for line in products:
        assert "precision = [HIGHEST, HIGHEST]" in line, line


def test_memory_of_a_large_batch():
    """Every image of a global batch of 512 with every caption, at CUB's sizes, on one device."""
    array = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    compiled = word_loss.lower(array((512, 289, 256)), array((512, 18, 256))).compile()
    assert compiled.memory_analysis().temp_size_in_bytes <= 2**30


@pytest.mark.parametrize("R", REGIONS)
def test_swapped_captions_are_negatives_of_their_own_image_alone(R):
    K, classes = 2, np.array([-1] * B)
    words, sentences = normal("w2", (B, K, T, D)), normal("s2", (B, K, D))
    differs = np.array([[True, True], [True, False], [False, False], [True, True]])
    masks = np.broadcast_to(MASK[:, None], (B, K, T))
    swapped = damsm.SwappedCaptions(words, sentences, masks, differs)
    captions = (WORDS, SENTENCES, MASK, classes)
    v = regions(R)
    got = damsm.damsm_loss(v, EMBEDDINGS, classes, *captions, **GAMMAS, swapped=swapped)
    plain = damsm.damsm_loss(v, EMBEDDINGS, classes, *captions, **GAMMAS)

    def want(score, images, batch, own):
        losses = []
        for b in range(B):
            scores = [score(images[b], caption, b) for caption in batch]
            scores += [score(images[b], own[b][k], b) for k in range(K) if differs[b, k]]
            losses.append(np.log(np.exp(GAMMA3 * np.array(scores)).sum()) - GAMMA3 * scores[b])
        return np.mean(losses)

    cut = [e[:n] for e, n in zip(WORDS, LENGTHS)]
    own = [[words[b, k, : LENGTHS[b]] for k in range(K)] for b in range(B)]
    by_words = want(lambda image, caption, b: word_score(image, caption), v, cut, own)
    by_sentence = want(lambda i, c, b: cosine(i, c), EMBEDDINGS, SENTENCES, sentences)
    assert_close(got.word_image_to_text, by_words, 1e-5)
    assert_close(got.sentence_image_to_text, by_sentence, 1e-5)
    for name in ("word_text_to_image", "sentence_text_to_image"):
        assert getattr(got, name) == getattr(plain, name)  # an image's own, not a caption's
