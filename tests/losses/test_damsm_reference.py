"""DAMSM's losses, gradients and attention, number for number with the original's `losses.py`.

Differs from the paper, in the vectors as in the code: gamma1 is 4, Eq. 10 has no power 1 / gamma2,
Eqs. 12 and 13 are means, and pairs of one class are no negatives.
"""

import jax
import numpy as np
import pytest

from attngan_jax.losses.damsm import damsm_loss, region_attention
from tests.reference_vectors import FORWARD, GRADIENT, assert_close, btd, nhwc, recorded

MASKED = {"damsm_no_classes": False, "damsm_same_class_masked": True}  # by file
GAMMAS = dict(gamma1=4.0, gamma2=5.0, gamma3=10.0)


def inputs(vectors):
    """(regions, codes, words, sentences), mask and class ids in our layouts."""
    B, D = vectors["code"].shape
    regions = nhwc(vectors["regions"]).reshape(B, -1, D)
    words = btd(vectors["words"])
    mask = np.arange(words.shape[1])[None] < vectors["lengths"][:, None]
    return (regions, vectors["code"], words, vectors["sent"]), mask, vectors["class_ids"]


@pytest.mark.parametrize("name, masked", MASKED.items())
def test_losses_and_gradients(name, masked):
    vectors = recorded(name)
    arrays, mask, class_ids = inputs(vectors)
    classes = class_ids if masked else np.full_like(class_ids, -1)

    def total(regions, codes, words, sentences):
        loss = damsm_loss(regions, codes, classes, words, sentences, mask, classes, **GAMMAS)
        return loss.total, loss

    gradients, loss = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3), has_aux=True))(*arrays)
    terms = ("w_loss0", "w_loss1", "s_loss0", "s_loss1")
    assert_close(loss, [vectors[term] for term in terms], FORWARD)
    d_regions = nhwc(vectors["d_regions"]).reshape(arrays[0].shape)
    recorded_ones = d_regions, vectors["d_code"], btd(vectors["d_words"]), vectors["d_sent"]
    for gradient, expected in zip(gradients, recorded_ones, strict=True):
        assert_close(gradient, expected, GRADIENT)


@pytest.mark.parametrize("name", MASKED)
def test_attention_of_true_pairs(name):
    vectors = recorded(name)
    (regions, _, words, _), mask, _ = inputs(vectors)
    alpha, _ = region_attention(words, mask, regions, gamma1=GAMMAS["gamma1"])
    for i in range(2):
        expected = vectors[f"attention_{i}"][0]
        length = vectors["lengths"][i]
        assert_close(alpha[i, i, :length], expected.reshape(length, -1), FORWARD)
