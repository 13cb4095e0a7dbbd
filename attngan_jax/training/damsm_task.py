"""Stage 1: pretraining the text and image encoders on the matching losses (Sec. 3.2)."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from attngan_jax.configuration import Config
from attngan_jax.losses.damsm import DamsmLoss, SwappedCaptions, damsm_loss
from attngan_jax.models.inception import resize
from attngan_jax.training import accumulation, networks, parallel
from attngan_jax.training.augmentation import augment
from attngan_jax.training.state import DamsmState, Network, average_statistics, stage_key

PRETRAINED = "inception"  # the trunk whose weights do not train


def split_trunk(params: dict) -> tuple[dict, dict]:
    """The image encoder's parameters that train, and those of a pretrained trunk, which do not."""
    trained = {name: value for name, value in params.items() if name != PRETRAINED}
    return trained, {name: value for name, value in params.items() if name == PRETRAINED}


def learning_rate(damsm: Config) -> optax.Schedule:
    """`learning_rate`, times decay_rate every decay_steps, down to a tenth (`pretrain_DAMSM`)."""
    rate, decay = damsm.learning_rate, (damsm.decay_steps, damsm.decay_rate)
    return optax.exponential_decay(rate, *decay, staircase=True, end_value=rate / 10)


class DamsmTask:
    """Stage 1 as the training loop sees it: its name, its batches, its state and its step."""

    name = "damsm"

    def __init__(self, config: Config, vocabulary_size: int):
        self.config = config
        self.settings = damsm = config.damsm
        self.image_sizes = (config.image_encoder.image_size,)
        self.max_words = config.data.damsm_max_words
        self.few_swapped_colors = False
        self.text_encoder = networks.build_text_encoder(config, vocabulary_size)
        self.image_encoder = networks.build_image_encoder(config)
        self.apply = functools.partial(
            accumulation.apply, remat=config.remat, num_microbatches=damsm.accumulation_steps
        )
        self.image_optimizer = optax.adam(learning_rate(damsm), damsm.adam_b1, damsm.adam_b2)
        clipping = optax.clip_by_global_norm(damsm.max_grad_norm)
        self.text_optimizer = optax.chain(clipping, self.image_optimizer)

    def create_train_state(self, key: jax.Array) -> DamsmState:
        """Fresh encoders. Works under `jax.eval_shape`."""
        text_key, image_key = jax.random.split(key)
        text, image = self.init_text(text_key), self.init_image(image_key)
        trained, _ = split_trunk(image["params"])
        opt_state = self.image_optimizer.init(trained)
        return DamsmState(
            step=jnp.int32(0),
            text=Network.create(text, self.text_optimizer),
            image=Network(image["params"], image["batch_stats"], opt_state),
        )

    def init_text(self, key: jax.Array) -> Mapping[str, Any]:
        """A fresh text encoder's variables."""
        caption = jnp.zeros((1, self.max_words), jnp.int32)
        return self.text_encoder.init(key, caption, caption == 0)

    def init_image(self, key: jax.Array) -> Mapping[str, Any]:
        """A fresh image encoder's variables."""
        images = jnp.zeros((1, self.image_sizes[0], self.image_sizes[0], 3))
        return self.image_encoder.init(key, images, train=False)

    def train_step(self, state: DamsmState, frozen: None, batch: dict):
        """One update of both encoders on one device's share `batch`; returns state, metrics."""
        mask = networks.word_mask(batch)
        images = networks.normalise(batch[f"image_{self.image_sizes[0]}"])
        key = stage_key(self.config.seed, self.name, state.step)
        keys = parallel.example_keys(key, len(mask))
        view_key = stage_key(self.config.seed, f"{self.name} view", state.step)
        images = view(self.config, images, parallel.example_keys(view_key, len(mask)))
        trained, pretrained = split_trunk(state.image.params)

        def loss_fn(text_params, image_params):
            encode = functools.partial(self.text_encoder.apply, {"params": text_params})
            words, sentence, swapped = encode_captions(encode, batch, dropout_keys=keys)
            variables = state.image.variables | {"params": image_params | pretrained}
            embeddings, batch_stats = self.apply(self.image_encoder, variables, images, train=True)
            captions = (words, sentence, mask, batch["class_id"], swapped)
            loss = matching_losses(self.config, self.settings.gamma3, embeddings, captions)
            return loss.total, (loss, batch_stats)

        gradient = jax.grad(loss_fn, argnums=(0, 1), has_aux=True)
        grads, (loss, batch_stats) = gradient(state.text.params, trained)
        (text_grads, image_grads), loss = parallel.mean_over_devices((grads, loss))
        text = state.text.update(self.text_optimizer, text_grads, {})  # clips the gradient
        image = state.image.replace(params=trained)
        image = image.update(self.image_optimizer, image_grads, batch_stats)
        image = image.replace(params=image.params | pretrained)  # which no optimizer sees
        state = DamsmState(state.step + 1, text, image)
        if self.config.per_device_batch_norm:
            state = average_statistics(state)
        losses = {"word_loss": loss.word_loss, "sentence_loss": loss.sentence_loss}
        return state, {"damsm_loss": loss.total} | losses


def view(config: Config, images: jax.Array, keys: jax.Array) -> jax.Array:
    """Images `[B, S, S, 3]` as the image encoder sees them in training, its own and stage 2's.

    They are changed at the encoder's own size, to which it would resize them.
    """
    settings = {name: config.damsm[f"view_{name}"] for name in ("shift", "blur", "noise")}
    if not any(settings.values()):
        return images
    return augment(resize(images, config.image_encoder.image_size), keys, **settings)


def encode_captions(
    encode: Callable, batch: dict, dropout_keys: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, SwappedCaptions | None]:
    """Words `[B, T, D]` and sentence `[B, D]` of a batch by a text encoder, and those of the
    captions with a word exchanged, if it has any. These have the dropout of their original."""
    caption, mask = batch["caption"], networks.word_mask(batch)

    def encoded(captions, masks, repeats):
        if dropout_keys is None:
            return encode(captions, masks)
        return encode(captions, masks, dropout_keys=jnp.repeat(dropout_keys, repeats, axis=0))

    if "swapped_caption" not in batch:
        return *encoded(caption, mask, 1), None
    captions = jnp.concatenate([caption[:, None], batch["swapped_caption"]], axis=1)
    B, N, T = captions.shape
    words, sentences = encoded(captions.reshape(B * N, T), jnp.repeat(mask, N, axis=0), N)
    words, sentences = words.reshape(B, N, T, -1), sentences.reshape(B, N, -1)
    masks = jnp.broadcast_to(mask[:, None], (B, N - 1, T))
    differs = (captions[:, 1:] != captions[:, :1]).any(-1)
    swapped = SwappedCaptions(words[:, 1:], sentences[:, 1:], masks, differs)
    return words[:, 0], sentences[:, 0], swapped


@jax.named_scope("damsm_loss")  # its name in profiles and in compile_check's list
def matching_losses(config: Config, gamma3: float, embeddings: tuple, captions: tuple) -> DamsmLoss:
    """L_DAMSM's terms (Eqs. 6-13): this device's images with the captions of all devices.

    `embeddings` are region features `[B, R, D]` and image embeddings `[B, D]`; `captions` words
    `[B, T, D]`, sentences `[B, D]`, mask `[B, T]`, classes `[B]`, and `SwappedCaptions` or None.

    With `per_device_negatives`, with its own captions alone: a batch over N devices then trains as
    N small batches do.
    """
    (region_features, image_embedding), swapped = embeddings, captions[-1]
    captions, axis_name = captions[:-1], None
    class_ids = captions[-1]  # of this device's images
    if not config.per_device_negatives:  # captions are small: 18 KB each, regions are 296 KB
        captions, axis_name = parallel.gather(captions), parallel.AXIS
    options = {name: config.damsm[name] for name in ("gamma1", "gamma2")}
    options |= dict(gamma3=gamma3, swapped=swapped, axis_name=axis_name)
    return damsm_loss(region_features, image_embedding, class_ids, *captions, **options)
