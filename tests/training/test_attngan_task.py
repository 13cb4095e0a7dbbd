"""Stage 2: one update is the paper's algorithm, in its order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attngan_jax.training import parallel
from attngan_jax.training.networks import normalise, word_mask
from tests.tiny_configs import procedural_birds
from tests.training import one_device

DECAY, KL_WEIGHT = 0.9, 2.5


@pytest.fixture(scope="module")
def update(tiny_data_dir, tiny_dataset):
    """A second update (the first has set the optimisers going), with all that it was made of."""
    config = procedural_birds.get_config()
    config.attngan.ema_decay, config.attngan.kl_weight = DECAY, KL_WEIGHT
    config.attngan.final_learning_rate_fraction = 0.1
    task, frozen = one_device.make_task("attngan", config, tiny_dataset)
    mesh = one_device.mesh()
    first, second = (
        parallel.shard_batch(batch, mesh) for batch in one_device.batches(task, tiny_dataset, 2)
    )
    frozen_before = jax.device_get(frozen)
    step = parallel.parallel_step(task.train_step, mesh)
    before, _ = step(one_device.first_state(task), frozen, first)
    after, metrics = step(jax.tree.map(jnp.copy, before), frozen, second)
    return dict(
        task=task,
        frozen=frozen,
        frozen_before=frozen_before,
        before=before,
        after=after,
        metrics=jax.device_get(metrics),
        batch=second,
    )


@pytest.fixture(scope="module")
def made(update):
    """What the generator of before the update made of the batch."""
    task, batch, generator = update["task"], update["batch"], update["before"].generator

    def generate(batch):
        mask = word_mask(batch)
        words, sentence = task.text_encoder.apply(update["frozen"]["text"], batch["caption"], mask)
        z, noise = task.noise(update["before"].step, len(mask))
        output, _ = task.generator.apply(
            generator.variables,
            z,
            noise,
            sentence,
            words,
            mask,
            train=True,
            mutable=["batch_stats"],
        )
        return (output.images, output.mean, output.log_variance), words, sentence, mask

    return one_device.on_one_device(generate)(batch)


def objective(update, made, discriminators):
    outputs, words, sentence, mask = made
    _, (terms, _) = one_device.on_one_device(
        lambda discriminators: update["task"].generator_objective(
            outputs,
            discriminators,
            update["frozen"]["image"],
            words,
            sentence,
            mask,
            update["batch"]["class_id"],
        )
    )(discriminators)
    return jax.device_get(terms)


def test_the_generator_faces_discriminators_that_are_updated_already(update, made):
    met = objective(update, made, update["after"].discriminators)
    old = objective(update, made, update["before"].discriminators)
    for name in ("g_loss_8", "g_loss_16"):
        np.testing.assert_allclose(update["metrics"][name], met[name], rtol=1e-5)
        assert abs(old[name] / met[name] - 1) > 1e-3
    for name in ("damsm_loss", "kl_loss"):
        np.testing.assert_allclose(update["metrics"][name], met[name], rtol=1e-5)


def test_discriminators_are_judged_before_their_update(update, made):
    """By the released code's own way: the mismatched pairs are cut out, not masked."""
    (images, _, _), _, sentence, _ = made

    def logits(module, real, fake):
        real_features = module.features(real, train=True)
        fake_features = module.features(fake, train=True)
        conditional = [
            module.conditional_logits(features, text, train=True)
            for features, text in (
                (real_features, sentence),
                (fake_features, sentence),
                (real_features[:-1], sentence[1:]),
            )
        ]
        return conditional, [
            module.unconditional_logits(features) for features in (real_features, fake_features)
        ]

    for module, network, fake in zip(
        update["task"].discriminators, update["before"].discriminators, images
    ):
        real = normalise(update["batch"][f"image_{module.image_size}"])
        ((real_c, fake_c, wrong_c), (real_u, fake_u)), _ = one_device.on_one_device(
            functools.partial(module.apply, mutable=["batch_stats"], method=logits)
        )(network.variables, real, fake)
        want = (-np.log(sigmoid(real_u)).mean() - np.log(sigmoid(real_c)).mean()) / 2 - (
            np.log(sigmoid(-fake_u)).mean()
            + np.log(sigmoid(-fake_c)).mean()
            + np.log(sigmoid(-wrong_c)).mean()
        ) / 3
        np.testing.assert_allclose(
            update["metrics"][f"d_loss_{module.image_size}"], want, rtol=1e-4
        )


def test_running_averages_of_discriminators_see_the_real_images_first(update, made):
    (images, _, _), _, sentence, _ = made

    def one_by_one(module, real, fake, sentence, next_sentence, has_next):
        real_features = module.features(real, train=True)
        fake_features = module.features(fake, train=True)
        module.conditional_logits(real_features, sentence, train=True)
        module.conditional_logits(fake_features, sentence, train=True)
        module.conditional_logits(real_features, next_sentence, train=True, mask=has_next)

    has_next = np.arange(len(sentence)) < len(sentence) - 1
    next_sentence = np.roll(sentence, -1, axis=0)
    for module, network, fake in zip(
        update["task"].discriminators, update["before"].discriminators, images
    ):
        real = update["batch"][f"image_{module.image_size}"]
        updated, _ = one_device.on_one_device(
            functools.partial(update["task"].update_discriminator, module)
        )(network, real, fake, sentence)
        _, want = one_device.on_one_device(
            functools.partial(module.apply, mutable=["batch_stats"], method=one_by_one)
        )(network.variables, normalise(real), fake, sentence, next_sentence, has_next)
        for a, b in zip(jax.tree.leaves(updated.batch_stats), jax.tree.leaves(want)):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def test_generator_loss_is_the_weighted_sum_of_its_terms(update, made):
    metrics, (_, mean, log_variance) = update["metrics"], made[0]
    kl = -0.5 * np.mean(1 + log_variance - mean**2 - np.exp(log_variance))
    np.testing.assert_allclose(metrics["kl_loss"], kl, rtol=1e-4)
    np.testing.assert_allclose(
        metrics["g_loss"],
        metrics["g_loss_8"]
        + metrics["g_loss_16"]
        + metrics["damsm_loss"]
        + KL_WEIGHT * metrics["kl_loss"],
        rtol=1e-5,
    )


def test_moving_average_of_the_new_parameters(update):
    before, after = jax.device_get((update["before"], update["after"]))
    want = jax.tree.map(
        lambda old, new: DECAY * old + (1 - DECAY) * new, before.ema_params, after.generator.params
    )
    for a, b in zip(jax.tree.leaves(after.ema_params), jax.tree.leaves(want)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    changed = jax.tree.map(lambda old, new: (old != new).any(), before.ema_params, after.ema_params)
    assert all(jax.tree.leaves(changed))


def test_encoders_are_read_and_never_changed(update):
    for a, b in zip(jax.tree.leaves(update["frozen_before"]), jax.tree.leaves(update["frozen"])):
        np.testing.assert_array_equal(a, b)  # a donated buffer would raise here


def test_the_generator_runs_forward_once(update):
    """Only its images end in tanh: count them in the whole step."""
    task = update["task"]
    step = parallel.parallel_step(task.train_step, one_device.mesh())
    jaxpr = jax.make_jaxpr(step)(update["before"], update["frozen"], update["batch"])
    made = [shape for shape in tanh_shapes(jaxpr.jaxpr) if len(shape) == 4]
    assert sorted(made) == [(8, 8, 8, 3), (8, 16, 16, 3)]


def tanh_shapes(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "tanh":
            yield equation.outvars[0].aval.shape
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from tanh_shapes(inner)


def test_noise_differs_from_step_to_step_and_example_to_example(update):
    task = update["task"]
    draw = one_device.on_one_device(lambda step: task.noise(step, 8))
    (z0, c0), (z1, c1) = draw(jnp.int32(0)), draw(jnp.int32(1))
    assert z0.shape == (8, 4) and c0.shape == (8, 6)
    values = np.concatenate([np.ravel(x) for x in (z0, c0, z1, c1)])
    assert len(np.unique(values)) == values.size


def test_learning_rates_fall_by_a_cosine(update):
    gan = update["task"].settings
    schedule = optax.cosine_decay_schedule(
        1.0, gan.num_train_steps, gan.final_learning_rate_fraction
    )
    updates = []
    for optimizer in (update["task"].generator_optimizer, update["task"].discriminator_optimizer):
        params = {"w": jnp.float32(0.0)}
        state = optimizer.init(params)
        for _ in range(3):
            change, state = optimizer.update({"w": jnp.float32(1.0)}, state, params)
            updates.append(float(change["w"]))
    rates = [gan.generator_learning_rate] * 3 + [gan.discriminator_learning_rate] * 3
    want = [-rate * float(schedule(step)) for rate, step in zip(rates, (0, 1, 2, 0, 1, 2))]
    np.testing.assert_allclose(updates, want, rtol=1e-3)
