"""DAMSM's losses against a plain NumPy loop, and their invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.losses import damsm

B, M, T, R, D = 4, 4, 5, 6, 7
GAMMA1, GAMMA2, GAMMA3 = 4.0, 5.0, 10.0
LENGTHS = np.array([5, 2, 3, 1])


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    regions, codes = rng.normal(size=(B, R, D)), rng.normal(size=(B, D))
    words, sentences = rng.normal(size=(M, T, D)), rng.normal(size=(M, D))
    return tuple(x.astype(np.float32) for x in (regions, codes, words, sentences))


def mask():
    return np.arange(T)[None] < LENGTHS[:, None]


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


@pytest.mark.parametrize("block_size", [1, 2, 4])
def test_word_scores_equal_a_loop(features, block_size):
    regions, _, words, _ = features
    want = [[word_score(v, e[:n]) for e, n in zip(words, LENGTHS)] for v in regions]
    got = damsm.word_scores(
        regions, words, mask(), gamma1=GAMMA1, gamma2=GAMMA2, block_size=block_size
    )
    np.testing.assert_allclose(got, want, rtol=2e-5)


@pytest.mark.parametrize("classes", [[0, 1, 2, 3], [5, 1, 5, 5], [-1, -1, -1, -1]])
def test_loss_equals_a_loop_with_same_class_pairs_left_out(features, classes):
    regions, codes, words, sentences = features
    by_words = GAMMA3 * np.array(
        [[word_score(v, e[:n]) for e, n in zip(words, LENGTHS)] for v in regions]
    )
    by_sentence = GAMMA3 * np.array([[cosine(c, s) for s in sentences] for c in codes])
    classes = np.array(classes)
    got = damsm.damsm_loss(
        regions,
        codes,
        classes,
        words,
        sentences,
        mask(),
        classes,
        gamma1=GAMMA1,
        gamma2=GAMMA2,
        gamma3=GAMMA3,
    )
    want = [
        cross_entropy(by_words, classes),
        cross_entropy(by_words.T, classes),
        cross_entropy(by_sentence, classes),
        cross_entropy(by_sentence.T, classes),
    ]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.total, sum(want), rtol=1e-4)


def test_padding_changes_nothing(features):
    regions, _, words, _ = features
    more = np.concatenate([words, np.full((M, 3, D), 9.0, np.float32)], axis=1)
    more_mask = np.concatenate([mask(), np.zeros((M, 3), bool)], axis=1)
    score = dict(gamma1=GAMMA1, gamma2=GAMMA2)
    np.testing.assert_allclose(
        damsm.word_scores(regions, more, more_mask, **score),
        damsm.word_scores(regions, words, mask(), **score),
        rtol=1e-5,
    )


def test_gradient_is_finite_where_padding_is_zero(features):
    regions, _, words, _ = features
    words = words * mask()[..., None]

    def total(words):
        return damsm.word_scores(regions, words, mask(), gamma1=GAMMA1, gamma2=GAMMA2).sum()

    gradient = jax.grad(total)(words)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[1, 2:]).max() == 0  # beyond the second caption's two words


def test_attention_rows_are_distributions(features):
    regions, _, words, _ = features
    alpha, _ = damsm.region_attention(words, mask(), regions, gamma1=GAMMA1)
    assert alpha.shape == (B, M, T, R)
    np.testing.assert_allclose(alpha.sum(-1), 1.0, rtol=1e-5)


def test_matching_loss_of_known_scores():
    scores = jnp.array([[np.log(3.0), 0.0], [0.0, np.log(3.0)]])
    classes = jnp.array([0, 1])
    for loss in damsm.matching_loss(scores, classes, classes):
        np.testing.assert_allclose(loss, np.log(4 / 3), rtol=1e-6)


@functools.partial(jax.jit, static_argnames="block_size")
def word_loss(regions, words, block_size=None):
    """Both word terms, with gradients towards both."""
    everything = jnp.ones(words.shape[:2], bool)
    classes = jnp.full(len(regions), -1)

    def loss(regions, words):
        scores = damsm.word_scores(
            regions, words, everything, gamma1=GAMMA1, gamma2=GAMMA2, block_size=block_size
        )
        return sum(damsm.matching_loss(GAMMA3 * scores, classes, classes))

    return jax.value_and_grad(loss, argnums=(0, 1))(regions, words)


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_blocks_change_no_gradient(features, block_size):
    regions, _, words, _ = features
    (whole, gradients), (loss, blocked) = (
        word_loss(regions, words, block_size=size) for size in (B, block_size)
    )
    np.testing.assert_allclose(loss, whole, rtol=1e-6)
    for gradient, expected in zip(blocked, gradients):
        np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())


def test_gradient_equals_finite_differences(features):
    regions, _, words, _ = features
    rng = np.random.default_rng(1)
    directions = [rng.normal(size=x.shape).astype(np.float32) for x in (regions, words)]
    step = 1e-2
    ahead, back = (
        word_loss(
            *(x + sign * step * direction for x, direction in zip((regions, words), directions))
        )[0]
        for sign in (1, -1)
    )
    slope = sum((g * d).sum() for g, d in zip(word_loss(regions, words)[1], directions))
    np.testing.assert_allclose(slope, (ahead - back) / (2 * step), rtol=1e-2)


def test_products_are_float32_on_every_device(features):
    """By default a TPU multiplies float32 matrices in bfloat16, forward and backward."""
    regions, codes, words, sentences = features
    classes = jnp.arange(B)

    def total(regions, codes, words, sentences):
        return damsm.damsm_loss(
            regions,
            codes,
            classes,
            words,
            sentences,
            mask(),
            classes,
            gamma1=GAMMA1,
            gamma2=GAMMA2,
            gamma3=GAMMA3,
        ).total

    lowered = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3))).lower(regions, codes, words, sentences)
    products = [line for line in lowered.as_text().splitlines() if "dot_general" in line]
    assert len(products) >= 9
    for line in products:
        assert "precision = [HIGHEST, HIGHEST]" in line, line


def test_memory_of_a_large_batch():
    """Every image of a global batch of 512 with every caption, at CUB's sizes, on one device."""
    array = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731
    compiled = word_loss.lower(array(512, 289, 256), array(512, 18, 256)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes <= 2**30
