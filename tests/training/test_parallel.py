"""The number of devices changes no number: losses, gradients, parameters, statistics."""

import os
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from attngan_jax.errors import UserError
from attngan_jax.training import parallel
from tests import tiny_runs
from tests.training import one_device


@pytest.fixture(scope="module")
def on_devices(tiny_data_dir, tmp_path_factory):
    """Three steps of both stages on 1, 2, 4 and 8 devices, from a process that has eight."""
    path = tmp_path_factory.mktemp("device_counts") / "results"
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "8",
        "XLA_FLAGS": tiny_runs.QUICK_COMPILATION,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.device_counts", tiny_data_dir, path],
        cwd=tiny_runs.ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return pickle.loads(path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("num_devices", [2, 4, 8])
@pytest.mark.parametrize("stage", ["damsm", "attngan"])
def test_the_number_of_devices_changes_no_number(stage, num_devices, on_devices):
    """Adam does not see a gradient's scale, so its moments are compared too: a sum in place of
    a mean would make them N and N^2 times as large."""
    one, many = on_devices[stage][1], on_devices[stage][num_devices]
    for a, b in zip(one["metrics"], many["metrics"], strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-4, err_msg=name)
    assert one["state"].keys() == many["state"].keys()
    for name, a in one["state"].items():
        error = np.linalg.norm(a - many["state"][name]) / max(np.linalg.norm(a), 1e-7)
        assert error < 2e-4, f"{name} differs by {error}"


@pytest.mark.slow
def test_a_step_is_traced_once(on_devices):
    assert {run["traces"] for stage in on_devices.values() for run in stage.values()} == {1}


@pytest.mark.parametrize("key", ["per_device_batch_norm", "per_device_negatives"])
def test_each_device_alone_is_a_choice(key, tiny_config, tiny_dataset):
    """With it a batch over four devices is four small batches; on one device it is nothing."""
    losses = {}
    for num_devices, alone in ((1, False), (4, False), (4, True)):
        tiny_config[key] = alone
        task, _ = one_device.make_task("damsm", tiny_config, tiny_dataset)
        mesh = one_device.mesh(num_devices)
        (batch,) = one_device.batches(task, tiny_dataset, 1)
        state = jax.device_put(one_device.first_state(task), parallel.replicated(mesh))
        _, metrics = parallel.parallel_step(task.train_step, mesh)(
            state, None, parallel.shard_batch(batch, mesh)
        )
        losses[num_devices, alone] = float(metrics["damsm_loss"])
    np.testing.assert_allclose(losses[1, False], losses[4, False], rtol=2e-4)
    assert abs(losses[4, True] / losses[4, False] - 1) > 1e-3
    if key == "per_device_negatives":  # two captions to choose from, not eight
        assert losses[4, True] < 0.7 * losses[4, False]


def on_four(function, *arguments, out_specs):
    mapped = jax.shard_map(
        function,
        mesh=one_device.mesh(4),
        in_specs=PartitionSpec("data"),
        out_specs=out_specs,
        check_vma=False,
    )
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
    positions = on_four(
        lambda x: parallel.example_positions(len(x)), x, out_specs=PartitionSpec("data")
    )
    gathered = on_four(lambda x: parallel.gather({"x": x})["x"], x, out_specs=PartitionSpec())
    np.testing.assert_array_equal(positions, np.arange(8))
    np.testing.assert_array_equal(gathered, x)


def test_a_batch_size_that_does_not_divide_names_the_key():
    parallel.check_batch_size(8, one_device.mesh(4), "config.x")
    with pytest.raises(UserError, match="^config.x is 10, which 4 devices do not divide"):
        parallel.check_batch_size(10, one_device.mesh(4), "config.x")
