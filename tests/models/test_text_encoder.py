"""Text encoders: what every entry of the registry promises, dropout, pooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.models.text_encoder import TEXT_ENCODERS

B, T, D, RATE = 4, 5, 6, 0.25
LENGTHS = np.array([5, 1, 3, 2])
MASK = np.arange(T)[None] < LENGTHS[:, None]
CAPTION = (1 + np.arange(B * T, dtype=np.int32).reshape(B, T)) * MASK
KEYS = jax.random.split(jax.random.key(3), B)


def encoder(name, sentence_pooling="last"):
    """The module, and its variables."""
    sizes = dict(vocabulary_size=1 + B * T, word_dim=8, embedding_dim=D)
    options = dict(forget_bias=1.0, sentence_pooling=sentence_pooling, dropout_rate=RATE)
    module = TEXT_ENCODERS[name](**sizes, **options, dtype=jnp.float32)
    return module, module.init(jax.random.key(0), CAPTION, MASK)


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_every_text_encoder_keeps_its_promises(name):
    """Shapes; padding gives zeros and changes nothing; dropout belongs to the example.

    So a batch that is split over devices has the dropout of the whole batch.
    """
    module, variables = encoder(name)
    words, sentence = module.apply(variables, CAPTION, MASK)
    assert words.shape == (B, T, D) and sentence.shape == (B, D)
    assert words.dtype == sentence.dtype == jnp.float32
    assert not np.asarray(words)[~MASK].any()
    padded = module.apply(variables, np.where(MASK, CAPTION, 7), MASK)
    for a, b in zip((words, sentence), padded):
        np.testing.assert_array_equal(a, b)
    whole = module.apply(variables, CAPTION, MASK, dropout_keys=KEYS)
    assert np.abs(whole[1] - sentence).max() > 1e-3
    for b in range(B):
        part = slice(b, b + 1)
        alone = module.apply(variables, CAPTION[part], MASK[part], dropout_keys=KEYS[part])
        for found, want in zip(alone, whole):
            np.testing.assert_allclose(found[0], want[b], atol=1e-6)


def test_dropout_scales_the_embeddings_that_it_keeps():
    """No word stands twice, so that dropout is the same as another embedding table."""
    module, variables = encoder("lstm")
    table = variables["params"]["embedding"]["embedding"]
    for b in range(B):
        keep = jax.random.bernoulli(KEYS[b], 1 - RATE, (T, 8))
        table = table.at[CAPTION[b]].set(jnp.where(keep, table[CAPTION[b]] / (1 - RATE), 0.0))
    dropped = {"params": variables["params"] | {"embedding": {"embedding": table}}}
    found = module.apply(variables, CAPTION, MASK, dropout_keys=KEYS)
    for a, b in zip(found, module.apply(dropped, CAPTION, MASK)):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_sentence_is_pooled_over_the_words(pooling):
    module, variables = encoder("gru", pooling)
    words, sentence = module.apply(variables, CAPTION, MASK)
    want = [getattr(np, pooling)(w[:n], axis=0) for w, n in zip(np.asarray(words), LENGTHS)]
    np.testing.assert_allclose(sentence, want, atol=1e-6)


@pytest.mark.parametrize("limit", [0.1, 2.0])
def test_word_embeddings_start_within_their_limit(limit):
    sizes = dict(vocabulary_size=100, word_dim=8, embedding_dim=D)
    module = TEXT_ENCODERS["lstm"](**sizes, embedding_limit=limit)
    table = module.init(jax.random.key(0), CAPTION, MASK)["params"]["embedding"]["embedding"]
    assert 0.9 * limit < np.abs(table).max() <= limit
