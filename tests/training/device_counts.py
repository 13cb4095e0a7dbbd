"""Three steps of both stages on 1, 2, 4 and 8 devices, to a file: run by test_parallel.py.

python -m tests.training.device_counts DATA_DIR FILE
"""

import pickle
import sys

import jax

from attngan_jax.data import datasets
from attngan_jax.training import parallel
from tests import tiny_runs
from tests.tiny_configs import procedural_birds
from tests.training import one_device

NUM_STEPS = 3
DEVICES = (1, 2, 4, 8)


def steps(stage: str, config, dataset) -> dict:
    """By number of devices: the state after three steps, each step's metrics, and how often the
    step was traced."""
    task, frozen = one_device.make_task(stage, config, dataset)
    first = jax.device_get(one_device.first_state(task))
    batches = one_device.batches(task, dataset, NUM_STEPS)
    results = {}
    for num_devices in DEVICES:
        mesh, traces = one_device.mesh(num_devices), []

        def counted(*arguments, traces=traces):
            traces.append(1)
            return task.train_step(*arguments)

        step = parallel.parallel_step(counted, mesh)
        state, variables = jax.device_put((first, frozen), parallel.replicated(mesh))
        metrics = []
        for batch in batches:
            state, scalars = step(state, variables, parallel.shard_batch(batch, mesh))
            metrics.append(jax.device_get(scalars))
        state = {
            jax.tree_util.keystr(path): x
            for path, x in jax.tree_util.tree_leaves_with_path(jax.device_get(state))
        }
        results[num_devices] = {"state": state, "metrics": metrics, "traces": len(traces)}
    return results


def main(data_dir: str, path: str) -> None:
    """Writes `{stage: steps(...)}`."""
    config = procedural_birds.get_config()
    config.data.data_dir = data_dir
    config.damsm.batch_size = config.attngan.batch_size = 16
    dataset = datasets.load(config)
    results = {stage: steps(stage, config, dataset) for stage in ("damsm", "attngan")}
    with open(path, "wb") as file:
        pickle.dump(results, file)


if __name__ == "__main__":
    jax.config.update("jax_compilation_cache_dir", tiny_runs.CACHE)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    main(*sys.argv[1:])
