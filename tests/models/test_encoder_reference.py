"""The encoders, number for number with the original's `RNN_ENCODER` and `CNN_ENCODER`."""

import jax
import numpy as np
import pytest

from tests.reference_vectors import FORWARD, assert_close, btd, network, nhwc, normal, recorded


@pytest.mark.parametrize("rnn_type", ["lstm", "gru"])
def test_text_encoder(rnn_type):
    vectors = recorded(f"text_encoder_{rnn_type}")
    module, variables = network(f"text_encoder_{rnn_type}")
    captions = vectors["captions"].astype(np.int32)
    mask = np.arange(captions.shape[1])[None] < vectors["lengths"][:, None]
    assert np.array_equal(mask, captions != 0)
    words, sentence = jax.jit(module.apply)(variables, captions, mask)
    assert_close(words, btd(vectors["words"]), FORWARD)
    assert_close(sentence, vectors["sent"], FORWARD)


def blocky_images(size):
    """`[2, S, S, 3]`, made of 8 x 8 blocks."""
    block = -(-size // 8)
    pixels = np.tanh(2 * normal(f"img{size}", (2, 3, 8, 8)))
    return nhwc(pixels.repeat(block, 2).repeat(block, 3)[:, :, :size, :size])


@pytest.mark.parametrize("size", [64, 256, 299])
def test_image_encoder(size):
    vectors = recorded("image_encoder")
    module, variables = network("image_encoder")
    regions, code = jax.jit(lambda v, x: module.apply(v, x, train=False))(
        variables, blocky_images(size)
    )
    expected = nhwc(vectors[f"regions_{size}"])
    assert_close(regions, expected.reshape(len(expected), 17 * 17, -1), FORWARD)
    assert_close(code, vectors[f"code_{size}"], FORWARD)
