"""Three steps of both stages on 1, 2, 4 and 8 devices, to a file: run by test_parallel.py.

python -m tests.training.device_counts DATA_DIR FILE
"""

import pickle
import sys

import jax

from attngan_jax.data import datasets
from tests import tiny_runs
from tests.tiny_configs import procedural_birds
from tests.training import one_device


def steps(stage: str, config, dataset) -> dict:
    """By number of devices: the state after three steps, each step's metrics, how often the step
    was traced."""
    task, frozen = one_device.make_task(stage, config, dataset)
    batches = one_device.batches(task, dataset, 3)
    results = {}
    for num_devices in (1, 2, 4, 8):
        traces = []

        def counted(*arguments, traces=traces):
            traces.append(1)
            return task.train_step(*arguments)

        state, metrics = one_device.train(task, frozen, batches, num_devices, step=counted)
        results[num_devices] = one_device.by_path(state), metrics, len(traces)
    return results


def main(data_dir: str, path: str) -> None:
    """Writes `{stage: steps(...)}`."""
    config = procedural_birds.get_config()
    config.data.data_dir = data_dir
    config.damsm.batch_size = config.attngan.batch_size = 16
    dataset = datasets.load(config)
    with open(path, "wb") as file:
        pickle.dump({stage: steps(stage, config, dataset) for stage in ("damsm", "attngan")}, file)


if __name__ == "__main__":
    jax.config.update("jax_compilation_cache_dir", tiny_runs.CACHE)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    main(*sys.argv[1:])
