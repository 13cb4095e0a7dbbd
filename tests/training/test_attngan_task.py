"""Stage 2: one update is the paper's algorithm, in its order."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attngan_jax.losses.damsm import damsm_loss
from attngan_jax.training import attngan_task, networks, parallel
from attngan_jax.training.damsm_task import encode_captions
from attngan_jax.training.networks import normalise, word_mask
from tests.tiny_configs import procedural_birds
from tests.training import one_device
from tests.training.one_device import on_one_device

DECAY, KL_WEIGHT = 0.9, 2.5


@pytest.fixture(scope="module")
def update(tiny_data_dir, tiny_dataset):
    """A second update (the first has started the optimizers), with all that it was made of."""
    config = procedural_birds.get_config()
    config.attngan.ema_decay, config.attngan.kl_weight = DECAY, KL_WEIGHT
    config.attngan.final_learning_rate_fraction = 0.1
    config.attngan.augment_shift = 0.0
    task, frozen = one_device.make_task("attngan", config, tiny_dataset)
    first, second = one_device.batches(task, tiny_dataset, 2)
    before, _ = one_device.train(task, frozen, [first])
    step = parallel.parallel_step(task.train_step, one_device.mesh())
    batch = parallel.shard_batch(second, one_device.mesh())
    frozen_before = jax.device_get(frozen)
    after, metrics = step(jax.tree.map(jnp.copy, before), frozen, batch)
    for a, b in zip(jax.tree.leaves(frozen_before), jax.tree.leaves(frozen)):
        np.testing.assert_array_equal(a, b)  # read, never changed; a donated buffer would raise
    generated, captions = on_one_device(functools.partial(generate, task, before, frozen))(batch)
    states = dict(frozen=frozen, before=before, after=after, metrics=jax.device_get(metrics))
    made = dict(batch=batch, generated=generated, captions=jax.device_get(captions))
    return types.SimpleNamespace(task=task, **states, **made)


def generate(task, state, frozen, batch):
    """What the generator makes of a batch before its update, and the captions."""
    mask = word_mask(batch)
    encode = functools.partial(task.text_encoder.apply, frozen["text"])
    words, sentence, swapped = encode_captions(encode, batch)
    inputs = (*task.noise(state.step, len(mask)), sentence, words, mask)
    variables = state.generator.variables
    output, _ = task.generator.apply(variables, *inputs, train=True, mutable=["batch_stats"])
    generated = (output.images, output.mean, output.log_variance)
    return generated, (words, sentence, mask, batch["class_id"], swapped)


def pairs_of_networks(update):
    """For each discriminator: its name, module and state before, what it sees of real images and of
    generated ones: its stage's, and the last one DAMSM's features of 2 x 2 regions, enlarged."""
    task, fakes = update.task, update.generated[0]
    assert [module.image_size for module in task.discriminators] == [8, 16, 8]
    reals = [normalise(update.batch[f"image_{size}"]) for size in (8, 16)]
    pairs = list(zip(reals, fakes))
    regions = []
    for images, use in zip(pairs[-1], ("real", "generated")):
        embed = functools.partial(task.embed, step=update.before.step, use=use)
        features, _ = on_one_device(embed)(images, update.frozen["image"])
        regions.append(jax.image.resize(features.reshape(8, 2, 2, 8), (8, 8, 8, 8), "bilinear"))
    named = zip(("8", "16", "regions"), task.discriminators, update.before.discriminators)
    for network, pair in zip(named, [*pairs, regions]):
        yield *network, *pair


def terms(update, discriminators):
    """The terms of the generator's loss, against these discriminators."""
    loss = update.task.generator_objective
    image_encoder = update.frozen["image"]
    run = on_one_device(
        lambda d: loss(update.generated, update.before.step, d, image_encoder, update.captions)
    )
    _, (result, _) = run(discriminators)
    return jax.device_get(result)


def test_the_generator_faces_discriminators_that_are_updated_already(update):
    new, old = (terms(update, s.discriminators) for s in (update.after, update.before))
    for name in ("g_loss_8", "g_loss_16", "g_loss_regions", "damsm_loss", "kl_loss"):
        np.testing.assert_allclose(update.metrics[name], new[name], rtol=1e-5)
        if name.startswith("g_loss"):
            assert abs(old[name] / new[name] - 1) > 1e-3


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def test_losses_of_discriminators_are_those_before_their_update(update):
    """As in the released code: the mismatched pairs are cut out, not masked."""
    sentence = update.captions[1]

    def logits(module, real, fake):
        real, fake = (module.features(images, train=True) for images in (real, fake))
        pairs = ((real, sentence), (fake, sentence), (real[:-1], sentence[1:]))
        conditional = [module.conditional_logits(*pair, train=True) for pair in pairs]
        return conditional, [module.unconditional_logits(images) for images in (real, fake)]

    for name, module, network, real, fake in pairs_of_networks(update):
        apply = functools.partial(module.apply, mutable=["batch_stats"], method=logits)
        made, _ = on_one_device(apply)(network.variables, real, fake)
        (real_c, fake_c, wrong_c), (real_u, fake_u) = made
        positive = -np.log(sigmoid(real_u)).mean() - np.log(sigmoid(real_c)).mean()
        negative = -sum(np.log(sigmoid(-x)).mean() for x in (fake_u, fake_c, wrong_c))
        loss = update.metrics[f"d_loss_{name}"]
        np.testing.assert_allclose(loss, positive / 2 + negative / 3, rtol=1e-4)


def test_running_averages_of_discriminators_see_the_real_images_first(update):
    sentence = update.captions[1]
    next_sentence, has_next = np.roll(sentence, -1, axis=0), np.arange(8) < 7

    def one_by_one(module, real, fake):
        real, fake = (module.features(images, train=True) for images in (real, fake))
        module.conditional_logits(real, sentence, train=True)
        module.conditional_logits(fake, sentence, train=True)
        module.conditional_logits(real, next_sentence, train=True, mask=has_next)

    mismatched = on_one_device(attngan_task.mismatched_sentences)(sentence)
    np.testing.assert_array_equal(mismatched[0], next_sentence)
    np.testing.assert_array_equal(mismatched[1], has_next)
    for _, module, network, real, fake in pairs_of_networks(update):
        step = functools.partial(update.task.update_discriminator, module)
        updated, _ = on_one_device(step)(network, 0, real, fake, sentence, *mismatched)
        apply = functools.partial(module.apply, mutable=["batch_stats"], method=one_by_one)
        _, want = on_one_device(apply)(network.variables, real, fake)
        for a, b in zip(jax.tree.leaves(updated.batch_stats), jax.tree.leaves(want)):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_generator_loss_is_the_weighted_sum_of_its_terms(update):
    metrics, (_, mean, log_variance) = update.metrics, update.generated
    kl = -0.5 * np.mean(1 + log_variance - mean**2 - np.exp(log_variance))
    np.testing.assert_allclose(metrics["kl_loss"], kl, rtol=1e-4)
    names = ("g_loss_8", "g_loss_16", "g_loss_regions", "damsm_loss")
    total = sum(metrics[name] for name in names)
    np.testing.assert_allclose(metrics["g_loss"], total + KL_WEIGHT * kl, rtol=1e-5)


def test_damsm_s_term_has_its_weight_and_this_stage_s_gamma3(update):
    gan, damsm = update.task.settings, update.task.config.damsm
    assert gan.gamma3 != damsm.gamma3
    embed = functools.partial(update.task.embed, step=update.before.step, use="generated")
    embeddings = on_one_device(embed)(update.generated[0][-1], update.frozen["image"])
    words, sentence, mask, classes, swapped = update.captions
    gammas = dict(gamma1=damsm.gamma1, gamma2=damsm.gamma2, gamma3=gan.gamma3)
    captions = words, sentence, mask, classes
    want = damsm_loss(*embeddings, classes, *captions, swapped=swapped, **gammas).total
    np.testing.assert_allclose(update.metrics["damsm_loss"], gan.damsm_weight * want, rtol=1e-4)


def test_moving_average_of_the_new_parameters(update):
    old, new = update.before.ema_params, update.after.generator.params
    want = jax.tree.map(lambda a, b: DECAY * a + (1 - DECAY) * b, *jax.device_get((old, new)))
    got = one_device.by_path(update.after.ema_params)
    for name, value in one_device.by_path(want).items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-7)
        assert (got[name] != one_device.by_path(old)[name]).any()


def test_the_generator_runs_forward_once(update):
    """Only its images end in tanh: count them in the whole step."""
    shapes = [
        equation.outvars[0].aval.shape
        for equation in one_device.step_equations(update.task, update.frozen, update.batch)
        if equation.primitive.name == "tanh"
    ]
    assert sorted(s for s in shapes if len(s) == 4) == [(8, 8, 8, 3), (8, 16, 16, 3)]


def test_noise_differs_from_step_to_step_and_example_to_example(update):
    noise = on_one_device(lambda step: update.task.noise(step, 8))
    (z0, c0), (z1, c1) = noise(jnp.int32(0)), noise(jnp.int32(1))
    assert z0.shape == (8, 4) and c0.shape == (8, 6)
    values = np.concatenate([np.ravel(x) for x in (z0, c0, z1, c1)])
    assert len(np.unique(values)) == values.size


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_learning_rates_fall_by_a_cosine(name, update):
    gan, optimizer = update.task.settings, getattr(update.task, f"{name}_optimizer")
    schedule = (gan[f"{name}_learning_rate"], gan.num_train_steps, gan.final_learning_rate_fraction)
    schedule = optax.cosine_decay_schedule(*schedule)
    params = {"w": jnp.float32(0.0)}
    state = optimizer.init(params)
    for step in range(3):
        change, state = optimizer.update({"w": jnp.float32(1.0)}, state, params)
        np.testing.assert_allclose(change["w"], -schedule(step), rtol=1e-3)


@pytest.mark.parametrize(
    "trunk, image_size, regions, side",
    [("inception_v3", 299, 17, 16), ("cnn", 64, 8, 8), ("cnn", 128, 16, 16), ("cnn", 16, 2, 8)],
)
def test_a_discriminator_fits_the_regions(trunk, image_size, regions, side):
    config = procedural_birds.get_config()
    config.image_encoder.update(trunk=trunk, image_size=image_size)
    assert networks.build_discriminators(config)[-1].image_size == side
    row, column = np.mgrid[:regions, :regions].reshape(2, -1)
    features = jnp.asarray(np.stack([row, column], -1)[None], jnp.float32)  # [1, R, 2]
    made = np.asarray(networks.region_map(features, side))
    assert made.shape == (1, side, side, 2)
    assert (made[0, -1, 0] > made[0, 0, 0]).tolist() == [True, False]  # rows go down
    assert (made[0, 0, -1] > made[0, 0, 0]).tolist() == [False, True]
