"""What CONTRIBUTING.md says of adding things: one function or module, and one entry."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from attngan_jax import configuration
from attngan_jax.errors import UserError
from attngan_jax.losses import adversarial
from attngan_jax.models import text_encoder
from attngan_jax.training import networks
from attngan_jax.training.attngan_task import AttnganTask
from configs import cub
from tests.training import one_device


def least_squares(logits):
    """LSGAN: a loss that nothing in the package has."""
    return adversarial.LogitLosses((logits - 1) ** 2, logits**2, (logits - 1) ** 2)


@pytest.mark.parametrize("name", ["hinge", "least_squares"])
def test_an_adversarial_loss_is_a_function_and_an_entry(
    name, tiny_config, tiny_dataset, monkeypatch
):
    losses = adversarial.ADVERSARIAL_LOSSES
    monkeypatch.setitem(losses, "least_squares", least_squares)
    tiny_config.attngan.damsm_weight = 0.0
    found = {}
    for loss in ("bce", name):
        tiny_config.attngan.adversarial_loss = loss
        configuration.check(tiny_config)
        task, frozen = one_device.make_task("attngan", tiny_config, tiny_dataset)
        batches = one_device.batches(task, tiny_dataset, 1)
        _, (found[loss],) = one_device.train(task, frozen, batches)
    for key in ("d_loss_8", "d_loss_16", "g_loss_8", "g_loss_16"):
        assert abs(found[name][key] - found["bce"][key]) > 1e-3, key
    tiny_config.attngan.adversarial_loss = "nothing"
    with pytest.raises(UserError, match="choose one of bce, hinge, least_squares"):
        configuration.check(tiny_config)


class BagOfWords(nn.Module):
    """A text encoder without any recurrence, with dropout of its own."""

    vocabulary_size: int
    embedding_dim: int
    dropout_rate: float

    @nn.compact
    def __call__(self, caption, word_mask, *, dropout_keys=None):
        words = nn.Embed(self.vocabulary_size, self.embedding_dim)(caption)
        if dropout_keys is not None:
            keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.dropout_rate))
            words = words * keep(dropout_keys)[:, None, None]
        words = words * word_mask[..., None]
        return words, words.sum(1)


def test_a_text_encoder_is_a_module_and_an_entry(tiny_config, tiny_dataset, monkeypatch):
    def bag_of_words(*, vocabulary_size, embedding_dim, dropout_rate, **_):
        return BagOfWords(vocabulary_size, embedding_dim, dropout_rate)

    monkeypatch.setitem(text_encoder.TEXT_ENCODERS, "bag_of_words", bag_of_words)
    tiny_config.text_encoder.rnn_type = "bag_of_words"
    configuration.check(tiny_config)
    for stage in ("damsm", "attngan"):
        task, frozen = one_device.make_task(stage, tiny_config, tiny_dataset)
        batches = one_device.batches(task, tiny_dataset, 1)
        _, (metrics,) = one_device.train(task, frozen, batches)
        assert all(jnp.isfinite(value) for value in metrics.values())


def test_a_stage_at_512_pixels_needs_no_file():
    config = cub.get_config()
    config.generator.num_stages = 4
    assert networks.image_sizes(config) == (64, 128, 256, 512)
    sizes = {}
    for config.discriminator.max_width in (0, 1024):
        task = AttnganTask(config, 5)
        state = jax.eval_shape(task.create_train_state, jax.random.key(0))
        last = jax.tree.leaves(state.discriminators[-1].params)
        sizes[config.discriminator.max_width] = sum(leaf.size for leaf in last)
    assert sizes[0] == pytest.approx(281.6e6, rel=0.002)
    assert sizes[1024] < 80e6
