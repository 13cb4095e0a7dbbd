"""The number of devices changes no number: losses, gradients, parameters, statistics."""

import os
import pathlib
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.data import datasets
from attngan_jax.training import parallel
from tests import tiny_runs
from tests.training import one_device


def steps(stage, config, dataset, counts=(1, 2, 4, 8)):
    """By number of devices: the state after three steps, each step's metrics, how often the step
    was traced."""
    task, frozen = one_device.make_task(stage, config, dataset)
    batches = one_device.batches(task, dataset, 3)
    results = {}
    for num_devices in counts:
        traces = []

        def counted(*arguments, traces=traces):
            traces.append(1)
            return task.train_step(*arguments)

        state, metrics = one_device.train(task, frozen, batches, num_devices, step=counted)
        results[num_devices] = one_device.by_path(state), metrics, len(traces)
    return results


def write_steps(data_dir, path):
    """Writes `{stage: steps(...)}`, in a process that has eight devices.

    "regions" is stage 2 with a discriminator of regions."""
    from tests.conftest import config_in

    config = config_in(data_dir)
    config.damsm.batch_size = config.attngan.batch_size = 16
    config.discriminator.regions = False
    # The faster a GAN learns, the faster rounding grows in it.
    config.attngan.update(generator_learning_rate=2.5e-3, discriminator_learning_rate=2.5e-3)
    dataset = datasets.load(config)
    results = {stage: steps(stage, config, dataset) for stage in ("damsm", "attngan")}
    # At 2.5e-3 to 3e-4 of a running mean in the discriminator of regions, at 1e-3 to 5e-5.
    config.discriminator.regions = True
    config.attngan.update(generator_learning_rate=1e-3, discriminator_learning_rate=1e-3)
    results["regions"] = steps("attngan", config, dataset, counts=(1, 8))
    pathlib.Path(path).write_bytes(pickle.dumps(results))


@pytest.fixture(scope="module")
def on_devices(tiny_data_dir, tmp_path_factory):
    """Three steps of both stages on 1, 2, 4 and 8 devices."""
    path = tmp_path_factory.mktemp("device_counts") / "results"
    command = ("-m", "tests.training.test_parallel", tiny_data_dir, path)
    done = tiny_runs.start_python(*command, devices=8)
    assert done.returncode == 0, done.stderr[-3000:]
    return pickle.loads(path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage, num_devices",
    [*((stage, n) for stage in ("damsm", "attngan") for n in (2, 4, 8)), ("regions", 8)],
)
def test_the_number_of_devices_changes_no_number(stage, num_devices, on_devices):
    """Adam does not see a gradient's scale, so its moments are compared too: a sum in place of
    a mean would make them N and N^2 times as large."""
    (one, one_metrics, _), (many, metrics, _) = (on_devices[stage][n] for n in (1, num_devices))
    for a, b in zip(one_metrics, metrics, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-4, err_msg=name)
    one_device.assert_close_trees(one, many, 2e-4)


@pytest.mark.slow
def test_a_step_is_traced_once(on_devices):
    assert {traces for stage in on_devices.values() for _, _, traces in stage.values()} == {1}


@pytest.mark.parametrize("key", ["per_device_batch_norm", "per_device_negatives"])
def test_statistics_and_negatives_of_each_device_are_a_choice(key, tiny_config, tiny_dataset):
    """With it a batch over four devices is four small batches; on one device it is nothing."""
    losses = {}
    tiny_config.damsm.swapped_captions = 0  # whose number is the same on any number of devices
    if key == "per_device_negatives":
        tiny_config.damsm.gamma3 = 1e-3  # all captions seem alike: the loss counts them
    for num_devices, alone in ((1, False), (4, False), (4, True)):
        tiny_config[key] = alone
        task, _ = one_device.make_task("damsm", tiny_config, tiny_dataset)
        batches = one_device.batches(task, tiny_dataset, 1)
        _, (metrics,) = one_device.train(task, None, batches, num_devices)
        losses[num_devices, alone] = float(metrics["damsm_loss"])
    np.testing.assert_allclose(losses[1, False], losses[4, False], rtol=2e-4)
    assert abs(losses[4, True] / losses[4, False] - 1) > 1e-3
    if key == "per_device_negatives":  # two captions to choose from, not eight: log 2, not log 8
        assert 0.3 < losses[4, True] / losses[4, False] < 0.4


def test_the_gradient_of_the_mean_loss_is_the_mean_of_gradients():
    x = np.random.default_rng(0).normal(size=(8,)).astype(np.float32)

    def gradient(x):
        # A loss that couples the devices through the gathered x.
        def loss(w):
            return (w * x * parallel.gather(w * x).sum()).mean()

        return parallel.mean_over_devices(jax.grad(loss)(jnp.float32(3.0)))

    got = one_device.mapped(gradient, 4)(x)
    np.testing.assert_allclose(got, 2 * 3.0 * x.mean() * x.sum(), rtol=1e-5)


def test_random_keys_belong_to_the_examples_not_to_the_devices():
    def draw(x):
        keys = parallel.example_keys(jax.random.key(5), len(x))
        return jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)

    one, four = (one_device.mapped(draw, n, out_specs=parallel.SPLIT)(jnp.zeros(8)) for n in (1, 4))
    np.testing.assert_array_equal(four, one)
    assert len(np.unique(four)) == 24


def test_positions_and_gathered_rows_are_in_the_order_of_the_batch():
    def positions_and_rows(x):
        return parallel.gather((parallel.example_positions(len(x)), {"x": x}))

    x = jnp.arange(8) * 10
    positions, gathered = one_device.mapped(positions_and_rows, 4)(x)
    np.testing.assert_array_equal(positions, np.arange(8))
    np.testing.assert_array_equal(gathered["x"], x)


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    ("count", "setting", "expected"), [(1_000, {}, CORES), (2, {"JAX_NUM_CPU_DEVICES": "3"}, 3)]
)
def test_a_cpu_is_split_into_devices(count, setting, expected):
    """At most one for each core, and not against the environment; a process of its own each."""
    code = "import sys, jax; from attngan_jax.training import parallel; "
    code += "parallel.split_cpu(int(sys.argv[1])); print(len(jax.devices()))"
    unset = ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    command = [sys.executable, "-c", code, str(count)]
    done = subprocess.run(command, env=environment | setting, capture_output=True, check=True)
    assert int(done.stdout) == expected


if __name__ == "__main__":
    write_steps(*sys.argv[1:])
