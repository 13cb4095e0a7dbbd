"""Less memory, the same step: what is computed again or in pieces changes no number."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from attngan_jax.errors import UserError
from attngan_jax.models import layers
from attngan_jax.models.layers import ConvNorm
from attngan_jax.training import accumulation, parallel
from tests.training import one_device
from tests.training.jaxprs import equations


class SmallNetwork(nn.Module):
    """Two blocks, as every network here has them."""

    @nn.compact
    def __call__(self, images):
        h = nn.relu(ConvNorm(3, axis_name="data")(images, train=True))
        return nn.tanh(ConvNorm(2, axis_name="data")(h, train=True)).mean((1, 2))


@pytest.fixture(scope="module")
def small():
    """The network's variables, and images whose odd ones repeat the even ones."""
    rng = np.random.default_rng(0)
    images = np.repeat(rng.normal(size=(4, 4, 4, 3)), 2, axis=0).astype(np.float32)
    variables = jax.device_get(
        one_device.on_one_device(SmallNetwork().init)(jax.random.key(0), images)
    )
    return variables, jnp.asarray(images)


def network(stats, calls=None):
    def apply(params, images):
        if calls is not None:
            calls.append(images.shape)
        outputs, updated = SmallNetwork().apply(
            {"params": params, "batch_stats": stats}, images, mutable=["batch_stats"]
        )
        return outputs, updated["batch_stats"]

    return apply


def gradient(variables, remat, num_microbatches, calls=None):
    """A function of a device's images: outputs, batch_stats and the gradient of a loss that
    knows each example by its place."""
    apply = accumulation.microbatched(
        network(variables["batch_stats"], calls), remat=remat, num_microbatches=num_microbatches
    )

    def loss(params, images):
        outputs, stats = apply(params, images)
        places = parallel.example_positions(len(images))[:, None]
        return (outputs * jnp.cos(places)).mean(), (outputs, stats)

    def result(images):
        grads, (outputs, stats) = jax.grad(loss, has_aux=True)(variables["params"], images)
        return parallel.gather(outputs), *parallel.mean_over_devices((stats, grads))

    return result


def run(function, images, num_devices):
    return jax.device_get(
        jax.jit(
            jax.shard_map(
                function,
                mesh=one_device.mesh(num_devices),
                in_specs=PartitionSpec("data"),
                out_specs=PartitionSpec(),
                check_vma=False,
            )
        )(images)
    )


@pytest.mark.parametrize(
    "remat, num_microbatches, num_devices",
    [
        ("layers", 1, 1),
        ("networks", 1, 2),
        ("none", 2, 1),
        ("none", 2, 2),
        ("none", 2, 4),
        ("layers", 2, 2),
    ],
)
def test_a_network_in_less_memory_gives_the_same(remat, num_microbatches, num_devices, small):
    """Two pieces are alike here, so that BatchNorm gives each the whole batch's statistics."""
    variables, images = small
    want = run(gradient(variables, "none", 1), images, 1)
    calls = []
    got = run(gradient(variables, remat, num_microbatches, calls), images, num_devices)
    assert set(calls) == {(8 // num_devices // num_microbatches, 4, 4, 3)}
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(want), jax.tree.leaves(got)):
        unbiased = 1.02 if "var" in jax.tree_util.keystr(path) else 1.0  # of 128 and of 64 values
        np.testing.assert_allclose(a, b, rtol=unbiased - 1 + 1e-4, atol=1e-6)


def test_running_statistics_are_the_mean_of_the_pieces(small):
    """Pieces that differ: each has its own statistics, and none has more weight."""
    variables, images = small
    images = images.at[1::2].set(jnp.cumsum(images[1::2], axis=2))
    _, stats, _ = run(gradient(variables, "none", 2), images, 2)
    each = [run(gradient(variables, "none", 1), images[k::2], 1)[1] for k in (0, 1)]
    for got, a, b in zip(*map(jax.tree.leaves, (stats, *each))):
        np.testing.assert_allclose(got, (a + b) / 2, rtol=1e-4, atol=1e-6)
    first, second = (tree["ConvNorm_0"]["norm"]["var"] for tree in each)
    assert np.abs(first / second - 1).max() > 1e-2


def operations(jaxpr):
    return (equation.primitive.name for equation in equations(jaxpr))


@pytest.mark.parametrize("remat, convolutions", [("none", 5), ("layers", 5), ("networks", 7)])
def test_what_is_computed_again(remat, convolutions, small):
    """Two forward, two gradients each but for the images'; again: both. Never twice the sums
    over the devices."""
    variables, images = small
    mapped = jax.shard_map(
        gradient(variables, remat, 1),
        mesh=one_device.mesh(2),
        in_specs=PartitionSpec("data"),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    used = list(operations(jax.make_jaxpr(mapped)(images).jaxpr))
    sums = sum(name.startswith("psum") for name in used)
    expected = list(
        operations(
            jax.make_jaxpr(
                jax.shard_map(
                    gradient(variables, "none", 1),
                    mesh=one_device.mesh(2),
                    in_specs=PartitionSpec("data"),
                    out_specs=PartitionSpec(),
                    check_vma=False,
                )
            )(images).jaxpr
        )
    )
    assert used.count("conv_general_dilated") == convolutions
    assert sums == sum(name.startswith("psum") for name in expected)


@pytest.mark.parametrize("stage", ["damsm", "attngan"])
def test_accumulated_equals_whole_batch_where_batch_norm_allows_it(
    stage, tiny_config, tiny_dataset, monkeypatch
):
    """With statistics that don't depend on the batch: one update, and Adam's moments with it."""

    def constants(x, mask, axis_name):
        return jnp.full(x.shape[-1], 0.1), jnp.full(x.shape[-1], 0.9), jnp.float32(64.0)

    monkeypatch.setattr(layers, "batch_statistics", constants)
    tiny_config.generator.single_image = True
    results = []
    for num_microbatches, num_devices in ((1, 1), (2, 2)):
        tiny_config[stage].accumulation_steps = num_microbatches
        task, frozen = one_device.make_task(stage, tiny_config, tiny_dataset)
        mesh = one_device.mesh(num_devices)
        (batch,) = one_device.batches(task, tiny_dataset, 1)
        state, frozen = jax.device_put(
            (one_device.first_state(task), frozen), parallel.replicated(mesh)
        )
        step = parallel.parallel_step(task.train_step, mesh)
        results.append(jax.device_get(step(state, frozen, parallel.shard_batch(batch, mesh))))
    whole, accumulated = results
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(whole), jax.tree.leaves(accumulated)
    ):
        error = np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-7)
        assert error < 2e-4, f"{jax.tree_util.keystr(path)} differs by {error}"


@pytest.mark.parametrize("stage, networks", [("damsm", 1), ("attngan", 6)])
def test_the_config_chooses_what_is_computed_again(stage, networks, tiny_config, tiny_dataset):
    """Stage 2 asks for it six times: the generator, two discriminators twice, the image encoder.

    DAMSM's scores are computed again whatever the config says, without a policy: not counted.
    """
    tiny_config.remat = "layers"
    task, frozen = one_device.make_task(stage, tiny_config, tiny_dataset)
    (batch,) = one_device.batches(task, tiny_dataset, 1)
    step = parallel.parallel_step(task.train_step, one_device.mesh())
    jaxpr = jax.make_jaxpr(step)(one_device.first_state(task), frozen, batch)
    again = [
        equation.params["policy"]
        for equation in equations(jaxpr.jaxpr)
        if equation.primitive.name in ("remat2", "checkpoint")
    ]
    assert sum(policy is not None for policy in again) == networks, again


def test_pieces_that_do_not_come_out_even_name_the_key(tiny_config):
    tiny_config.attngan.accumulation_steps = 4
    parallel.check_stage(tiny_config, "attngan", one_device.mesh(1))
    for batch_size, num_devices in ((8, 4), (4, 1)):
        tiny_config.attngan.batch_size = batch_size
        with pytest.raises(
            UserError,
            match=rf"batch_size is {batch_size}, which does not make "
            "config.attngan.accumulation_steps=4 pieces",
        ):
            parallel.check_stage(tiny_config, "attngan", one_device.mesh(num_devices))
