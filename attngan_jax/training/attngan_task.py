"""Stage 2: generator and discriminators, with the encoders frozen (Sec. 3.1)."""

import jax
import jax.numpy as jnp
import optax

from attngan_jax.configuration import Config
from attngan_jax.losses import adversarial
from attngan_jax.training import parallel
from attngan_jax.training.accumulation import microbatched
from attngan_jax.training.damsm_task import matching_losses, update
from attngan_jax.training.networks import (
    build_discriminators,
    build_generator,
    build_image_encoder,
    build_text_encoder,
    image_sizes,
    normalise,
    word_mask,
)
from attngan_jax.training.state import AttnganState, Network, average_statistics, stage_key


class AttnganTask:
    """What the training loop needs to know of stage 2."""

    name = "attngan"

    def __init__(self, config: Config, vocabulary_size: int):
        self.config = config
        self.settings = gan = config.attngan
        self.image_sizes = image_sizes(config)
        self.max_words = config.data.max_words
        self.text_encoder = build_text_encoder(config, vocabulary_size)
        self.image_encoder = build_image_encoder(config)
        self.generator = build_generator(config)
        self.discriminators = build_discriminators(config)

        def adam(rate):
            schedule = optax.cosine_decay_schedule(
                rate, gan.num_train_steps, gan.final_learning_rate_fraction
            )
            return optax.adam(schedule, gan.adam_b1, gan.adam_b2)

        self.generator_optimizer = adam(gan.generator_learning_rate)
        self.discriminator_optimizer = adam(gan.discriminator_learning_rate)

    def create_train_state(self, key: jax.Array) -> AttnganState:
        """Fresh networks. Works under `jax.eval_shape`."""
        generator_key, *keys = jax.random.split(key, 1 + len(self.discriminators))
        g, D = self.config.generator, self.config.text_encoder.embedding_dim
        sentence, words = jnp.zeros((1, D)), jnp.zeros((1, self.max_words, D))
        generator = self.generator.init(
            generator_key,
            jnp.zeros((1, g.z_dim)),
            jnp.zeros((1, g.condition_dim)),
            sentence,
            words,
            jnp.ones(words.shape[:2], bool),
            train=False,
        )
        discriminators = [
            d.init(k, jnp.zeros((1, d.image_size, d.image_size, 3)), sentence, train=False)
            for d, k in zip(self.discriminators, keys)
        ]

        def network(variables, optimizer):
            return Network(
                variables["params"], variables["batch_stats"], optimizer.init(variables["params"])
            )

        return AttnganState(
            step=jnp.int32(0),
            generator=network(generator, self.generator_optimizer),
            discriminators=tuple(network(d, self.discriminator_optimizer) for d in discriminators),
            # A copy: the state is donated, and one buffer cannot be donated twice.
            ema_params=jax.tree.map(jnp.copy, generator["params"]),
        )

    def train_step(self, state: AttnganState, frozen: dict, batch: dict):
        """One update of every discriminator, then of the generator; returns state, metrics.

        `frozen` holds the variables of the `text` and `image` encoder.
        """
        gan, mask = self.settings, word_mask(batch)
        words, sentence = self.text_encoder.apply(frozen["text"], batch["caption"], mask)
        z, noise = self.noise(state.step, mask.shape[0])

        def generate(params, inputs):  # Eq. 1
            output, updated = self.generator.apply(
                {"params": params, "batch_stats": state.generator.batch_stats},
                *inputs,
                train=True,
                mutable=["batch_stats"],
            )
            return (output.images, output.mean, output.log_variance), updated["batch_stats"]

        inputs = (z, noise, sentence, words, mask)
        outputs, pullback, batch_stats = jax.vjp(
            lambda params: self.microbatched(generate)(params, inputs),
            state.generator.params,
            has_aux=True,
        )

        discriminators, metrics = [], {}
        for module, network, fake in zip(self.discriminators, state.discriminators, outputs[0]):
            real = batch[f"image_{module.image_size}"]
            network, loss = self.update_discriminator(module, network, real, fake, sentence)
            discriminators.append(network)
            metrics[f"d_loss_{module.image_size}"] = loss

        def generator_objective(outputs):
            return self.generator_objective(
                outputs, discriminators, frozen["image"], words, sentence, mask, batch["class_id"]
            )

        cotangents, (terms, d_stats) = jax.grad(generator_objective, has_aux=True)(outputs)
        (grads,) = pullback(cotangents)
        grads, terms = parallel.mean_over_devices((grads, terms))
        generator = update(
            state.generator.replace(batch_stats=batch_stats), self.generator_optimizer, grads
        )
        discriminators = tuple(
            network.replace(batch_stats=stats) for network, stats in zip(discriminators, d_stats)
        )
        ema_params = optax.incremental_update(
            generator.params, state.ema_params, 1.0 - gan.ema_decay
        )
        state = AttnganState(state.step + 1, generator, discriminators, ema_params)
        if self.config.per_device_batch_norm:
            state = average_statistics(state)
        return state, metrics | terms

    def microbatched(self, network):
        """`network(params, batch)` in as little memory as the config asks for."""
        return microbatched(
            network, remat=self.config.remat, num_microbatches=self.settings.accumulation_steps
        )

    def noise(self, step, local_batch: int) -> tuple[jax.Array, jax.Array]:
        """z `[B, Z]` and conditioning augmentation's noise `[B, condition_dim]` of a step."""
        key = stage_key(self.config.seed, self.name, step)
        g = self.config.generator
        drawn = parallel.example_normal(key, local_batch, g.z_dim + g.condition_dim)
        return drawn[:, : g.z_dim], drawn[:, g.z_dim :]

    def update_discriminator(self, module, network: Network, real, fake, sentence):
        """One update on real images (uint8), generated ones and mismatched pairs (Eq. 5)."""
        B = real.shape[0]
        global_batch = B * parallel.num_devices()
        positions = parallel.example_positions(B)
        has_next = positions < global_batch - 1
        next_sentence = jnp.roll(parallel.gather(sentence), -1, axis=0)[positions]
        weight = adversarial.wrong_pair_weight(has_next, global_batch, parallel.num_devices())

        def logits(module, real, fake, sentence, next_sentence, has_next):
            # In the released code's order, which is that of the running averages, here and below.
            real_features = module.features(normalise(real), train=True)
            fake_features = module.features(fake, train=True)
            conditional = (
                module.conditional_logits(real_features, sentence, train=True),
                module.conditional_logits(fake_features, sentence, train=True),
                module.conditional_logits(real_features, next_sentence, train=True, mask=has_next),
            )
            if not module.unconditional:
                return conditional, None
            return conditional, (
                module.unconditional_logits(real_features),
                module.unconditional_logits(fake_features),
            )

        def judge(params, inputs):
            made, updated = module.apply(
                {"params": params, "batch_stats": network.batch_stats},
                *inputs,
                mutable=["batch_stats"],
                method=logits,
            )
            return made, updated["batch_stats"]

        def loss_fn(params):
            (conditional, unconditional), batch_stats = self.microbatched(judge)(
                params, (real, fake, sentence, next_sentence, has_next)
            )
            loss = adversarial.discriminator_loss(*conditional, weight, unconditional=unconditional)
            return loss, batch_stats

        (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(network.params)
        grads, loss = parallel.mean_over_devices((grads, loss))
        network = network.replace(batch_stats=batch_stats)
        return update(network, self.discriminator_optimizer, grads), loss

    def generator_objective(
        self, outputs, discriminators, image_encoder, words, sentence, mask, class_ids
    ):
        """Loss of the generator (Eq. 3) as a function of what it made; its terms as metrics."""
        images, mean, log_variance = outputs
        weight = self.settings.damsm_weight
        terms, d_stats = {}, []
        for module, network, fake in zip(self.discriminators, discriminators, images):

            def judge(variables, inputs, module=module):
                logits, updated = module.apply(
                    variables, *inputs, train=True, mutable=["batch_stats"]
                )
                return logits, updated["batch_stats"]

            logits, batch_stats = self.microbatched(judge)(network.variables, (fake, sentence))
            terms[f"g_loss_{module.image_size}"] = adversarial.generator_loss(*logits)  # Eq. 4
            d_stats.append(batch_stats)
        total = sum(terms.values())
        if weight:

            def encode(variables, images):
                return self.image_encoder.apply(variables, images, train=False), {}

            (regions, code), _ = self.microbatched(encode)(image_encoder, images[-1])
            damsm = matching_losses(self.config, regions, code, words, sentence, mask, class_ids)
            terms["damsm_loss"] = weight * damsm.total
            total += terms["damsm_loss"]
        terms["kl_loss"] = adversarial.kl_loss(mean, log_variance)
        total += self.settings.kl_weight * terms["kl_loss"]
        terms["g_loss"] = total
        return total, (terms, d_stats)
