"""Less memory, the same step: rematerialisation and microbatches change no number."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.models import layers, winograd
from attngan_jax.models.convolution import convolve
from attngan_jax.models.layers import ConvNorm
from attngan_jax.training import accumulation, parallel
from tests.training import one_device

SHAPES = []  # of the images of each call of SmallNetwork


class SmallNetwork(nn.Module):
    """Two blocks, as every network here has them."""

    @nn.compact
    def __call__(self, images, *, train):
        SHAPES.append(images.shape)
        h = nn.relu(ConvNorm(3, axis_name="data")(images, train=train))
        return nn.tanh(ConvNorm(2, axis_name="data")(h, train=train)).mean((1, 2))


@pytest.fixture(scope="module")
def small():
    """The network's variables, and images whose odd ones repeat the even ones."""
    images, key = np.random.default_rng(0).normal(size=(4, 4, 4, 3)), jax.random.key(0)
    images = jnp.repeat(images.astype(np.float32), 2, axis=0)
    variables = one_device.on_one_device(lambda x: SmallNetwork().init(key, x, train=True))(images)
    return jax.device_get(variables), images


def gradient(variables, num_devices, **settings):
    """A function of a batch: outputs, batch_stats and the gradient of a loss that knows each
    example by its place."""

    def loss(params, images):
        inputs = (variables | {"params": params}, images)
        outputs, stats = accumulation.apply(SmallNetwork(), *inputs, train=True, **settings)
        places = parallel.example_positions(len(images))[:, None]
        return (outputs * jnp.cos(places)).mean(), (outputs, stats)

    def result(images):
        grads, (outputs, stats) = jax.grad(loss, has_aux=True)(variables["params"], images)
        return parallel.gather(outputs), *parallel.mean_over_devices((stats, grads))

    return one_device.mapped(result, num_devices)


SMALL_CASES = [("layers", 1, 1), ("networks", 1, 2), ("layers", 2, 2)]
SMALL_CASES += [("none", 2, num_devices) for num_devices in (1, 2, 4)]


@pytest.mark.parametrize("remat, num_microbatches, num_devices", SMALL_CASES)
def test_a_network_in_less_memory_gives_the_same(remat, num_microbatches, num_devices, small):
    """The two microbatches are alike here, so BatchNorm gives each the whole batch's statistics."""
    variables, images = small
    want = one_device.by_path(gradient(variables, 1)(images))
    SHAPES.clear()
    settings = dict(remat=remat, num_microbatches=num_microbatches)
    got = one_device.by_path(gradient(variables, num_devices, **settings)(images))
    assert set(SHAPES) == {(8 // num_devices // num_microbatches, 4, 4, 3)}
    for name in want:
        unbiased = 0.02 if "var" in name else 0.0  # of 128 and of 64 values
        np.testing.assert_allclose(want[name], got[name], rtol=unbiased + 1e-4, atol=1e-6)


def test_running_statistics_are_the_mean_of_the_microbatches(small):
    """Microbatches that differ: each has its own statistics, and none has more weight."""
    variables, images = small
    images = images.at[1::2].set(jnp.cumsum(images[1::2], axis=2))
    _, stats, _ = gradient(variables, 2, num_microbatches=2)(images)
    each = [gradient(variables, 1)(images[k::2])[1] for k in (0, 1)]
    for got, a, b in zip(*map(jax.tree.leaves, (stats, *each))):
        np.testing.assert_allclose(got, (a + b) / 2, rtol=1e-4, atol=1e-6)
    first, second = (tree["ConvNorm_0"]["norm"]["var"] for tree in each)
    assert np.abs(first / second - 1).max() > 1e-2


@pytest.mark.parametrize("remat, convolutions", [("none", 5), ("layers", 5), ("networks", 7)])
def test_what_is_computed_again(remat, convolutions, small):
    """Two forward, two gradients each except the images'; again: both. The sums over the devices
    never."""
    variables, images = small

    def count(operation, remat):
        jaxpr = jax.make_jaxpr(gradient(variables, 2, remat=remat))(images).jaxpr
        names = [equation.primitive.name for equation in one_device.equations(jaxpr)]
        return sum(name.startswith(operation) for name in names)

    assert count("conv_general_dilated", remat) == convolutions
    assert count("psum", remat) == count("psum", "none") > 0


def test_what_has_gradients_of_its_own_is_not_computed_again(monkeypatch):
    monkeypatch.setattr(winograd, "pays", lambda *_: True)
    arrays = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2))

    def products(policy):
        def loss(x, kernel):
            return jnp.sin(convolve(x, kernel, x.dtype)).sum()

        again = jax.checkpoint(loss, policy=policy)
        return jax.jit(jax.value_and_grad(again)).lower(*arrays).as_text().count("dot_general")

    count = products(jax.checkpoint_policies.everything_saveable)
    assert products(accumulation._POLICIES["layers"]) == count
    assert products(accumulation._POLICIES["networks"]) > count


@pytest.mark.parametrize("stage", ["damsm", "attngan"])
def test_accumulated_equals_whole_batch(stage, tiny_config, tiny_dataset, monkeypatch):
    """With statistics that don't depend on the batch: one update, and Adam's moments with it."""

    def constants(x, mask, axis_name):
        return jnp.full(x.shape[-1], 0.1), jnp.full(x.shape[-1], 0.9), jnp.float32(64.0)

    monkeypatch.setattr(layers, "batch_statistics", constants)
    tiny_config.generator.single_image = True
    results = []
    for count in (1, 2):
        tiny_config[stage].accumulation_steps = count
        task, frozen = one_device.make_task(stage, tiny_config, tiny_dataset)
        batches = one_device.batches(task, tiny_dataset, 1)
        results.append(one_device.train(task, frozen, batches, num_devices=count))
    one_device.assert_close_trees(*results, 2e-4)


@pytest.mark.parametrize("stage, networks", [("damsm", 1), ("attngan", 10)])
def test_the_config_chooses_what_is_computed_again(stage, networks, tiny_config, tiny_dataset):
    """In stage 2 the generator, three discriminators twice, the image encoder three times; DAMSM's
    scores are computed again whatever the config says, without a policy: not counted."""
    tiny_config.remat = "layers"
    task, frozen = one_device.make_task(stage, tiny_config, tiny_dataset)
    (batch,) = one_device.batches(task, tiny_dataset, 1)
    equations = one_device.step_equations(task, frozen, batch)
    again = [e for e in equations if e.primitive.name in ("remat2", "checkpoint")]
    assert sum(e.params["policy"] is not None for e in again) == networks, again


def test_a_batch_that_microbatches_do_not_divide_names_the_key(tiny_config):
    tiny_config.attngan.accumulation_steps = 4
    parallel.check_stage(tiny_config, "attngan", one_device.mesh(1))
    for batch_size, num_devices in ((8, 4), (4, 1)):
        tiny_config.attngan.batch_size = batch_size
        message = f"batch_size is {batch_size}, which config.attngan.accumulation_steps=4 does not"
        with pytest.raises(UserError, match=message):
            parallel.check_stage(tiny_config, "attngan", one_device.mesh(num_devices))
