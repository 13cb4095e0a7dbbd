"""The number of devices changes no number: losses, gradients, parameters, statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from attngan_jax.errors import UserError
from attngan_jax.training import parallel
from tests.training import one_device

NUM_STEPS = 3


def three_steps(stage, config, dataset, num_devices):
    task, frozen = one_device.make_task(stage, config, dataset)
    mesh = one_device.mesh(num_devices)
    step = parallel.parallel_step(task.train_step, mesh)
    state = jax.device_put(one_device.first_state(task), parallel.replicated(mesh))
    frozen = jax.device_put(frozen, parallel.replicated(mesh))
    losses = []
    for batch in one_device.batches(task, dataset, NUM_STEPS):
        state, metrics = step(state, frozen, parallel.shard_batch(batch, mesh))
        losses.append(jax.device_get(metrics))
    return jax.device_get(state), losses


@pytest.mark.parametrize("stage", ["damsm", "attngan"])
def test_one_and_four_devices_agree(stage, tiny_config, tiny_dataset):
    """Adam does not see a gradient's scale, so its moments are compared too: a sum in place of
    a mean would make them 4 and 16 times as large."""
    one, losses_of_one = three_steps(stage, tiny_config, tiny_dataset, 1)
    four, losses_of_four = three_steps(stage, tiny_config, tiny_dataset, 4)
    for a, b in zip(losses_of_one, losses_of_four):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-4, err_msg=name)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(four)):
        error = np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-7)
        assert error < 2e-4, f"{jax.tree_util.keystr(path)} differs by {error}"


def test_statistics_of_each_device_alone_are_a_choice(tiny_config, tiny_dataset):
    tiny_config.per_device_batch_norm = True
    one, _ = three_steps("damsm", tiny_config, tiny_dataset, 1)
    four, _ = three_steps("damsm", tiny_config, tiny_dataset, 4)
    variances = [tree.image.batch_stats["cnn"]["down_0"]["norm"]["var"] for tree in (one, four)]
    assert np.abs(variances[0] / variances[1] - 1).max() > 1e-3


def on_four(function, *arguments, out_specs):
    mapped = jax.shard_map(function, mesh=one_device.mesh(4), in_specs=PartitionSpec("data"),
                           out_specs=out_specs, check_vma=False)
    return np.asarray(jax.jit(mapped)(*arguments))


def test_the_gradient_of_the_mean_loss_is_the_mean_of_gradients():
    x = np.random.default_rng(0).normal(size=(8,)).astype(np.float32)

    def gradient(x):
        # A loss that couples the devices: everybody's x, gathered.
        def loss(w):
            return (w * x * parallel.gather(w * x).sum()).mean()

        return parallel.mean_over_devices(jax.grad(loss)(jnp.float32(3.0)))

    got = on_four(gradient, x, out_specs=PartitionSpec())
    np.testing.assert_allclose(got, 2 * 3.0 * x.mean() * x.sum(), rtol=1e-5)


def test_noise_belongs_to_the_examples_not_to_the_devices():
    key = jax.random.key(5)

    def draw(x):
        return parallel.example_normal(key, len(x), 3)

    four = on_four(draw, jnp.zeros(8), out_specs=PartitionSpec("data"))
    one = one_device.on_one_device(lambda: parallel.example_normal(key, 8, 3))()
    np.testing.assert_array_equal(four, one)
    assert len(np.unique(four)) == 24


def test_positions_and_gathered_rows_are_in_the_order_of_the_batch():
    x = jnp.arange(8) * 10
    positions = on_four(lambda x: parallel.example_positions(len(x)), x,
                        out_specs=PartitionSpec("data"))
    gathered = on_four(lambda x: parallel.gather({"x": x})["x"], x, out_specs=PartitionSpec())
    np.testing.assert_array_equal(positions, np.arange(8))
    np.testing.assert_array_equal(gathered, x)


def test_a_batch_size_that_does_not_divide_names_the_key():
    parallel.check_batch_size(8, one_device.mesh(4), "config.x")
    with pytest.raises(UserError, match="^config.x is 10, which 4 devices do not divide"):
        parallel.check_batch_size(10, one_device.mesh(4), "config.x")
