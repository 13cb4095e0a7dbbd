"""Stage 1: pretraining the text and image encoders on the matching losses (Sec. 3.2)."""

import jax
import jax.numpy as jnp
import optax

from attngan_jax.configuration import Config
from attngan_jax.losses.damsm import DamsmLoss, damsm_loss
from attngan_jax.training import parallel
from attngan_jax.training.accumulation import microbatched
from attngan_jax.training.networks import (
    build_image_encoder,
    build_text_encoder,
    normalise,
    word_mask,
)
from attngan_jax.training.state import DamsmState, Network, average_statistics, stage_key

PRETRAINED = "inception"  # the trunk whose weights stay as they came


def split_trunk(params: dict) -> tuple[dict, dict]:
    """Image-encoder parameters that train, and those of a pretrained trunk, which don't."""
    trained = {name: value for name, value in params.items() if name != PRETRAINED}
    return trained, {name: value for name, value in params.items() if name == PRETRAINED}


def learning_rate(damsm) -> optax.Schedule:
    """`learning_rate`, times decay_rate every decay_steps, down to a tenth (`pretrain_DAMSM`)."""
    return optax.exponential_decay(
        damsm.learning_rate,
        damsm.decay_steps,
        damsm.decay_rate,
        staircase=True,
        end_value=damsm.learning_rate / 10,
    )


class DamsmTask:
    """What the training loop needs to know of stage 1."""

    name = "damsm"

    def __init__(self, config: Config, vocabulary_size: int):
        self.config = config
        self.settings = config.damsm
        self.image_sizes = (config.image_encoder.image_size,)
        self.max_words = config.data.damsm_max_words
        self.text_encoder = build_text_encoder(config, vocabulary_size)
        self.image_encoder = build_image_encoder(config)
        adam = optax.adam(
            learning_rate(self.settings), self.settings.adam_b1, self.settings.adam_b2
        )
        self.image_optimizer = adam
        self.text_optimizer = optax.chain(
            optax.clip_by_global_norm(self.settings.max_grad_norm), adam
        )

    def create_train_state(self, key: jax.Array) -> DamsmState:
        """Fresh encoders. Works under `jax.eval_shape`."""
        text_key, image_key = jax.random.split(key)
        size = self.image_sizes[0]
        caption = jnp.zeros((1, self.max_words), jnp.int32)
        text = self.text_encoder.init(text_key, caption, caption == 0)["params"]
        image = self.image_encoder.init(image_key, jnp.zeros((1, size, size, 3)), train=False)
        trained, _ = split_trunk(image["params"])
        return DamsmState(
            step=jnp.int32(0),
            text=Network(text, {}, self.text_optimizer.init(text)),
            image=Network(
                image["params"], image["batch_stats"], self.image_optimizer.init(trained)
            ),
        )

    def train_step(self, state: DamsmState, frozen: dict, batch: dict):
        """One update of both encoders on one device's share `batch`; returns state, metrics."""
        del frozen
        settings = self.settings
        key = stage_key(self.config.seed, self.name, state.step)
        mask, images = word_mask(batch), batch[f"image_{self.image_sizes[0]}"]
        keys = parallel.example_keys(key, images.shape[0])
        trained, pretrained = split_trunk(state.image.params)

        def encode_images(image_params, images):
            encoded, updated = self.image_encoder.apply(
                {"params": image_params | pretrained, "batch_stats": state.image.batch_stats},
                normalise(images),
                train=True,
                mutable=["batch_stats"],
            )
            return encoded, updated["batch_stats"]

        encode_images = microbatched(
            encode_images, remat=self.config.remat, num_microbatches=settings.accumulation_steps
        )

        def loss_fn(text_params, image_params):
            words, sentence = self.text_encoder.apply(
                {"params": text_params}, batch["caption"], mask, dropout_keys=keys
            )
            (regions, code), batch_stats = encode_images(image_params, images)
            loss = matching_losses(
                self.config, regions, code, words, sentence, mask, batch["class_id"]
            )
            return loss.total, (loss, batch_stats)

        grads, (loss, batch_stats) = jax.grad(loss_fn, argnums=(0, 1), has_aux=True)(
            state.text.params, trained
        )
        grads, loss = parallel.mean_over_devices((grads, loss))
        text = update(state.text, self.text_optimizer, grads[0])
        image = update(
            Network(trained, batch_stats, state.image.opt_state), self.image_optimizer, grads[1]
        )
        state = DamsmState(state.step + 1, text, image.replace(params=image.params | pretrained))
        if self.config.per_device_batch_norm:
            state = average_statistics(state)
        return state, {
            "damsm_loss": loss.total,
            "word_loss": loss.word_loss,
            "sentence_loss": loss.sentence_loss,
        }


def matching_losses(config: Config, regions, codes, words, sentences, mask, class_ids) -> DamsmLoss:
    """L_DAMSM's terms on this device: its images with the captions of all devices.

    With `per_device_negatives`, with its own captions alone: a batch over N devices then trains as
    N small ones do.
    """
    captions, axis_name = (words, sentences, mask, class_ids), None
    if not config.per_device_negatives:
        captions, axis_name = parallel.gather(captions), parallel.AXIS
    damsm = config.damsm
    return damsm_loss(
        regions,
        codes,
        class_ids,
        *captions,
        gamma1=damsm.gamma1,
        gamma2=damsm.gamma2,
        gamma3=damsm.gamma3,
        axis_name=axis_name,
    )


def update(network: Network, optimizer: optax.GradientTransformation, grads) -> Network:
    """One optimiser step of a network."""
    updates, opt_state = optimizer.update(grads, network.opt_state, network.params)
    return network.replace(params=optax.apply_updates(network.params, updates), opt_state=opt_state)
