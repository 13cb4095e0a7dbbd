"""Stage 2: generator and discriminators, with the encoders frozen (Sec. 3.1)."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from attngan_jax.configuration import Config
from attngan_jax.losses import adversarial
from attngan_jax.training import accumulation, networks, parallel
from attngan_jax.training.augmentation import augment
from attngan_jax.training.damsm_task import encode_captions, matching_losses, view
from attngan_jax.training.state import AttnganState, Network, average_statistics, stage_key


class AttnganTask:
    """Stage 2 as the training loop sees it: its name, its batches, its state and its step."""

    name = "attngan"

    def __init__(self, config: Config, vocabulary_size: int):
        self.config = config
        self.settings = gan = config.attngan
        self.image_sizes = networks.image_sizes(config)
        self.max_words = config.data.max_words
        self.few_swapped_colors = gan.few_swapped_colors
        self.text_encoder = networks.build_text_encoder(config, vocabulary_size)
        self.image_encoder = networks.build_image_encoder(config)
        self.generator = networks.build_generator(config)
        self.discriminators = networks.build_discriminators(config)
        names = (*map(str, self.image_sizes), "regions")
        self.discriminator_names = names[: len(self.discriminators)]  # in metrics
        self.apply = functools.partial(
            accumulation.apply, remat=config.remat, num_microbatches=gan.accumulation_steps
        )

        def adam(rate):
            fraction = gan.final_learning_rate_fraction
            schedule = optax.cosine_decay_schedule(rate, gan.num_train_steps, fraction)
            return optax.adam(schedule, gan.adam_b1, gan.adam_b2)

        self.generator_optimizer = adam(gan.generator_learning_rate)
        self.discriminator_optimizer = adam(gan.discriminator_learning_rate)

    def create_train_state(self, key: jax.Array) -> AttnganState:
        """Fresh networks. Works under `jax.eval_shape`."""
        generator_key, *keys = jax.random.split(key, 1 + len(self.discriminators))
        variables = self.init_generator(generator_key)
        # A copy: the state is donated, and one buffer cannot be donated twice.
        ema_params = jax.tree.map(jnp.copy, variables["params"])
        generator, discriminators = Network.create(variables, self.generator_optimizer), []
        D = self.config.text_encoder.embedding_dim
        for i, (module, key) in enumerate(zip(self.discriminators, keys)):
            channels = 3 if i < len(self.image_sizes) else D
            image = jnp.zeros((1, module.image_size, module.image_size, channels))
            sentence = jnp.zeros((1, D))
            variables = module.init(key, image, sentence, train=False)
            discriminators.append(Network.create(variables, self.discriminator_optimizer))
        return AttnganState(jnp.int32(0), generator, tuple(discriminators), ema_params)

    def init_generator(self, key: jax.Array) -> Mapping[str, Any]:
        """A fresh generator's variables."""
        g, T, D = self.config.generator, self.max_words, self.config.text_encoder.embedding_dim
        z, noise = jnp.zeros((1, g.z_dim)), jnp.zeros((1, g.condition_dim))
        sentence, words, mask = jnp.zeros((1, D)), jnp.zeros((1, T, D)), jnp.ones((1, T), bool)
        return self.generator.init(key, z, noise, sentence, words, mask, train=False)

    def noise(self, step: jax.Array, local_batch: int) -> tuple[jax.Array, jax.Array]:
        """z `[B, Z]` and conditioning augmentation's noise `[B, condition_dim]` of a step."""
        g = self.config.generator
        keys = parallel.example_keys(stage_key(self.config.seed, self.name, step), local_batch)
        shape = (g.z_dim + g.condition_dim,)
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        return noise[:, : g.z_dim], noise[:, g.z_dim :]

    def keys(self, step: jax.Array, use: str, local_batch: int) -> jax.Array:
        """A key `[B]` for each example of a step, for one of its uses beside `noise`."""
        key = stage_key(self.config.seed, f"{self.name} {use}", step)
        return parallel.example_keys(key, local_batch)

    def embed(self, images: jax.Array, image_encoder, step: jax.Array, use: str):
        """DAMSM's region features `[B, R, D]` and embedding `[B, D]` of images as it sees them."""
        images = view(self.config, images, self.keys(step, f"{use} view", len(images)))
        embeddings, _ = self.apply(self.image_encoder, image_encoder, images, train=False)
        return embeddings

    def as_discriminators_see(
        self, images, region_features, step: jax.Array, use: str
    ) -> list[jax.Array]:
        """What each discriminator is given: its stage's images `[B, S, S, 3]`, augmented.

        With `discriminator.regions`, for the last one a map of the last images' `region_features`.
        Discriminators of a frozen network's features are from Sauer et al., "Projected GANs
        Converge Faster" (NeurIPS 2021): there one trained on ImageNet, and in place of images.
        """
        gan = self.settings
        keys = self.keys(step, use, len(images[0]))
        options = dict(shift=gan.augment_shift, cutout=gan.augment_cutout)
        seen = [augment(stage_images, keys, **options) for stage_images in images]
        if self.config.discriminator.regions:
            seen.append(networks.region_map(region_features, self.discriminators[-1].image_size))
        return seen

    def train_step(self, state: AttnganState, frozen: dict, batch: dict):
        """One update of every discriminator, then of the generator, on a device's share `batch`.

        `frozen` holds the variables of the `text` and the `image` encoder. Returns state, metrics.
        """
        mask = networks.word_mask(batch)
        encode = functools.partial(self.text_encoder.apply, frozen["text"])
        words, sentence, swapped = encode_captions(encode, batch)
        z, noise = self.noise(state.step, len(mask))  # z, and F^ca's epsilon

        def generate(params):  # Eq. 1
            variables = state.generator.variables | {"params": params}
            inputs = (z, noise, sentence, words, mask)
            output, batch_stats = self.apply(self.generator, variables, *inputs, train=True)
            return (output.images, output.mean, output.log_variance), batch_stats

        # The generator runs forward once: the discriminators train on its images, and `pullback`
        # takes its own gradient through the same pass.
        generated, pullback, g_stats = jax.vjp(generate, state.generator.params, has_aux=True)

        sentences = (sentence, *mismatched_sentences(sentence))
        real = [networks.normalise(batch[f"image_{size}"]) for size in self.image_sizes]
        seen = []
        for use, images in (("real", real), ("generated", generated[0])):
            regions = None
            if self.config.discriminator.regions:
                regions, _ = self.embed(images[-1], frozen["image"], state.step, use)
            seen.append(self.as_discriminators_see(images, regions, state.step, use))
        discriminators, metrics = [], {}
        for name, module, network, real, fake in zip(
            self.discriminator_names, self.discriminators, state.discriminators, *seen, strict=True
        ):
            network, loss = self.update_discriminator(
                module, network, state.step, real, fake, *sentences
            )
            discriminators.append(network)
            metrics[f"d_loss_{name}"] = loss

        def objective(generated):
            captions = (words, sentence, mask, batch["class_id"], swapped)
            return self.generator_objective(
                generated, state.step, discriminators, frozen["image"], captions
            )

        cotangents, (terms, d_stats) = jax.grad(objective, has_aux=True)(generated)  # Eqs. 3, 4
        (grads,) = pullback(cotangents)  # from the images to the generator's parameters
        grads, terms = parallel.mean_over_devices((grads, terms))
        generator = state.generator.update(self.generator_optimizer, grads, g_stats)
        decay = self.settings.ema_decay
        ema_params = optax.incremental_update(generator.params, state.ema_params, 1.0 - decay)
        # The released code's discriminators update their running statistics in this pass as well.
        discriminators = [d.replace(batch_stats=stats) for d, stats in zip(discriminators, d_stats)]
        state = AttnganState(state.step + 1, generator, tuple(discriminators), ema_params)
        if self.config.per_device_batch_norm:
            state = average_statistics(state)
        return state, metrics | terms

    def update_discriminator(
        self, module, network: Network, step, real, fake, sentence, next_sentence, has_next
    ) -> tuple[Network, jax.Array]:
        """One update on real images, generated images and mismatched pairs, each `[B, ...]`."""
        num_devices = jax.lax.axis_size(parallel.AXIS)
        weight = adversarial.wrong_pair_weight(has_next, num_devices * len(real), num_devices)

        def loss_fn(params):  # Eq. 5
            variables = network.variables | {"params": params}
            inputs = (real, fake, sentence, next_sentence, has_next)
            (conditional, unconditional), batch_stats = self.apply(
                module, variables, *inputs, train=True, method=discriminator_logits
            )
            loss = adversarial.discriminator_loss(
                *conditional,
                weight,
                unconditional=unconditional,
                loss=self.settings.adversarial_loss,
            )
            return loss, batch_stats

        (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(network.params)
        if weight := self.settings.gradient_penalty:
            every = self.settings.gradient_penalty_every

            def penalty(params):
                variables = network.variables | {"params": params}
                kind = adversarial.PENALTIES[self.settings.gradient_penalty_kind]
                return weight * every * kind(module, variables, real, sentence)

            grads = jax.lax.cond(
                step % every == 0,
                lambda: jax.tree.map(jnp.add, grads, jax.grad(penalty)(network.params)),
                lambda: grads,
            )
        grads, loss = parallel.mean_over_devices((grads, loss))
        return network.update(self.discriminator_optimizer, grads, batch_stats), loss

    def generator_objective(self, generated, step, discriminators, image_encoder, captions):
        """The generator's loss (Eq. 3), its terms, and the discriminators' new statistics."""
        (images, mean, log_variance), sentence = generated, captions[1]
        settings, terms, d_stats = self.settings, {}, []
        embeddings = (None, None)
        if settings.damsm_weight or self.config.discriminator.regions:
            # The view of the discriminators' update, so that a compiler can encode it once.
            embeddings = self.embed(images[-1], image_encoder, step, "generated")
        use = "generated, for the generator"
        seen = self.as_discriminators_see(images, embeddings[0], step, use)
        for name, module, network, fake in zip(
            self.discriminator_names, self.discriminators, discriminators, seen, strict=True
        ):
            logits, batch_stats = self.apply(module, network.variables, fake, sentence, train=True)
            terms[f"g_loss_{name}"] = adversarial.generator_loss(
                *logits, loss=settings.adversarial_loss
            )  # Eq. 4
            d_stats.append(batch_stats)
        if settings.damsm_weight:
            damsm = matching_losses(self.config, settings.gamma3, embeddings, captions)  # Eq. 13
            terms["damsm_loss"] = settings.damsm_weight * damsm.total  # lambda L_DAMSM
        loss = sum(terms.values())
        terms["kl_loss"] = adversarial.kl_loss(mean, log_variance)
        terms["g_loss"] = loss + settings.kl_weight * terms["kl_loss"]
        return terms["g_loss"], (terms, d_stats)


def mismatched_sentences(sentence) -> tuple[jax.Array, jax.Array]:
    """The next example's sentence `[B, D]`, and a mask `[B]` without the global batch's last."""
    positions, sentences = parallel.example_positions(len(sentence)), parallel.gather(sentence)
    return jnp.roll(sentences, -1, axis=0)[positions], positions < len(sentences) - 1


def discriminator_logits(module, real, fake, sentence, next_sentence, has_next, *, train: bool):
    """Conditional logits of real, generated and mismatched pairs; unconditional ones, or None.

    The running statistics follow the order of the calls, which is the released code's.
    """
    real = module.features(real, train=train)
    fake = module.features(fake, train=train)
    part = module.joint_part(real, sentence.shape[-1])
    conditional = (
        module.conditional_logits(real, sentence, train=train, part=part),
        module.conditional_logits(fake, sentence, train=train),
        # Image i with sentence i + 1; the last image has none, and no part in the statistics.
        module.conditional_logits(real, next_sentence, train=train, mask=has_next, part=part),
    )
    if not module.unconditional:
        return conditional, None
    return conditional, (module.unconditional_logits(real), module.unconditional_logits(fake))
