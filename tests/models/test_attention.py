"""Word attention: the equations as loops, and the released code's tiled mask as it describes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.models.attention import word_attention
from attngan_jax.models.generator import Generator

B, N, T, C = 3, 4, 5, 6
LENGTHS = np.array([5, 2, 3])
MASK = np.arange(T)[None] < LENGTHS[:, None]


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    return rng.standard_normal((B, N, C), np.float32), rng.standard_normal((B, T, C), np.float32)


def loops(hidden, words, mask_of_row):
    """Context and attention, pixel by pixel; `mask_of_row(b, n)` says which words count."""
    context, attention = np.zeros((B, N, C)), np.zeros((B, N, T))
    for b in range(B):
        for n in range(N):
            mask = mask_of_row(b, n)
            scores = np.array([hidden[b, n] @ words[b, t] for t in range(T)], np.float64)
            weights = np.where(mask, np.exp(scores - scores[mask].max()), 0.0)
            attention[b, n] = weights / weights.sum()
            context[b, n] = attention[b, n] @ words[b]
    return context, attention


def test_every_pixel_looks_at_its_own_captions_words(inputs):
    for found, expected in zip(word_attention(*inputs, MASK), loops(*inputs, lambda b, n: MASK[b])):
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_legacy_mask_is_the_tiled_one(inputs):
    """Row r = b N + n of the scores gets the mask of sample r mod B."""
    legacy = word_attention(*inputs, MASK, legacy_mask=True)
    for found, expected in zip(legacy, loops(*inputs, lambda b, n: MASK[(b * N + n) % B])):
        np.testing.assert_allclose(found, expected, atol=2e-6)
    _, right = word_attention(*inputs, MASK)
    # Rows that by chance get their own caption's mask are the same, the others are not.
    differs = np.any(np.asarray(legacy[1]) != right, axis=-1)
    np.testing.assert_array_equal(
        differs, [[(b * N + n) % B != b for n in range(N)] for b in range(B)]
    )


def test_the_masks_agree_where_captions_are_of_one_length(inputs):
    mask = np.repeat(MASK[1:2], B, axis=0)
    for right, legacy in zip(
        word_attention(*inputs, mask), word_attention(*inputs, mask, legacy_mask=True)
    ):
        np.testing.assert_array_equal(right, legacy)


def test_a_caption_without_words_gives_no_nan(inputs):
    context, attention = word_attention(*inputs, np.zeros((B, T), bool))
    assert np.isfinite(context).all()
    np.testing.assert_allclose(attention, 1 / T, rtol=1e-6)


def test_the_generator_passes_the_switch_on():
    fields = dict(num_stages=2, base_size=8, gf_dim=4, condition_dim=4, num_residual_blocks=1)
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    arrays = draw(B, 3), draw(B, 4), draw(B, 6), draw(B, T, 6)
    variables = jax.jit(
        lambda: Generator(**fields).init(jax.random.key(0), *arrays, MASK, train=False)
    )()

    def image(legacy, mask):
        module = Generator(**fields, legacy_mask=legacy)
        return np.asarray(module.apply(variables, *arrays, mask, train=False).images[-1])

    assert np.abs(image(False, MASK) - image(True, MASK)).max() > 1e-4
    full = np.ones_like(MASK)
    np.testing.assert_array_equal(image(False, full), image(True, full))
