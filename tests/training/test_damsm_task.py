"""Stage 1: its schedule, its clipping, what trains and what stays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.training import damsm_task, networks
from tests.tiny_configs import procedural_birds
from tests.training import one_device


def test_images_span_minus_one_to_one():
    pixels = jnp.array([0, 51, 255], jnp.uint8)
    np.testing.assert_allclose(networks.normalise(pixels), [-1.0, -0.6, 1.0], rtol=1e-6)


def test_word_mask_is_true_at_words():
    batch = {"caption": jnp.zeros((3, 4), jnp.int32), "caption_length": jnp.array([4, 0, 2])}
    np.testing.assert_array_equal(networks.word_mask(batch), [[1, 1, 1, 1], [0] * 4, [1, 1, 0, 0]])


def test_learning_rate_falls_by_the_epoch_to_a_tenth(tiny_config):
    tiny_config.damsm.update({"learning_rate": 2e-3, "decay_rate": 0.98, "decay_steps": 10})
    rates = [damsm_task.learning_rate(tiny_config.damsm)(n) for n in (0, 9, 10, 25, 10_000)]
    want = [2e-3, 2e-3, 1.96e-3, 2e-3 * 0.98**2, 2e-4]
    np.testing.assert_allclose(rates, want, rtol=1e-5)


@pytest.fixture(scope="module")
def one_step(tiny_dataset):
    """The states around one update on one device, and its metrics."""
    config = procedural_birds.get_config()
    config.damsm.max_grad_norm, config.damsm.adam_b1 = 0.25, 0.5
    task, _ = one_device.make_task("damsm", config, tiny_dataset)
    after, (metrics,) = one_device.train(task, None, one_device.batches(task, tiny_dataset, 1))
    return one_device.first_state(task), after, metrics


def test_the_text_encoder_s_gradient_is_clipped_and_the_image_encoder_s_is_not(one_step):
    _, after, _ = one_step

    def is_adam(part):
        return hasattr(part, "mu")

    norms = []
    for network in (after.text, after.image):
        parts = jax.tree.leaves(network.opt_state, is_leaf=is_adam)
        (adam,) = filter(is_adam, parts)
        # After one update Adam's first moment is half the gradient.
        norms.append(2 * np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(adam.mu))))
    np.testing.assert_allclose(norms[0], 0.25, rtol=1e-4)
    assert norms[1] > 0.25


def test_the_loss_is_the_sum_of_its_parts(one_step):
    _, _, metrics = one_step
    parts = metrics["word_loss"] + metrics["sentence_loss"]
    np.testing.assert_allclose(metrics["damsm_loss"], parts, rtol=1e-6)


def test_every_parameter_trains(one_step):
    before, after, _ = one_step
    assert int(after.step) == 1
    for name in ("text", "image"):
        old, new = (one_device.by_path(getattr(state, name).params) for state in (before, after))
        for path in old:
            assert (old[path] != new[path]).any(), path


def test_a_pretrained_trunk_is_separate():
    trained, pretrained = {"regions": 2, "code": 3}, {"inception": {"kernel": 1}}
    assert damsm_task.split_trunk(pretrained | trained) == (trained, pretrained)
    assert damsm_task.split_trunk({"cnn": 1, "code": 3}) == ({"cnn": 1, "code": 3}, {})


def test_swapped_captions_are_encoded_like_any_with_the_dropout_of_their_original(tiny_config):
    tiny_config.text_encoder.dropout_rate = 0.5
    task = damsm_task.DamsmTask(tiny_config, 9)
    encode = functools.partial(task.text_encoder.apply, task.init_text(jax.random.key(0)))
    caption = np.array([[1, 2, 3, 0], [4, 5, 0, 0]], np.int32)
    swapped = np.array([[[1, 2, 3, 0], [1, 7, 3, 0]], [[8, 5, 0, 0], [4, 6, 0, 0]]], np.int32)
    batch = {"caption": caption, "caption_length": np.array([3, 2]), "swapped_caption": swapped}
    keys = jax.random.split(jax.random.key(1), 2)
    words, sentences, own = damsm_task.encode_captions(encode, batch, dropout_keys=keys)
    plain = encode(caption, networks.word_mask(batch), dropout_keys=keys)
    np.testing.assert_array_equal(own.differs, [[False, True], [True, True]])
    np.testing.assert_array_equal(own.word_mask[:, 0], networks.word_mask(batch))
    np.testing.assert_allclose(sentences, plain[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(own.sentences[0, 0], sentences[0], rtol=1e-5)  # nothing exchanged
    for k in range(2):
        alone = {"caption": swapped[:, k], "caption_length": np.array([3, 2])}
        want = damsm_task.encode_captions(encode, alone, dropout_keys=keys)
        assert want[2] is None
        np.testing.assert_allclose(own.words[:, k], want[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(own.sentences[:, k], want[1], rtol=1e-5, atol=1e-6)
    assert words.shape == (2, 4, tiny_config.text_encoder.embedding_dim)
