"""Three steps of both stages on 1, 2, 4 and 8 devices, to a file: run by test_parallel.py.

    python -m tests.training.device_counts DATA_DIR FILE
"""

import pickle
import sys

import jax

from attngan_jax.data import datasets
from attngan_jax.training import parallel
from tests.tiny_configs import procedural_birds
from tests.training import one_device

NUM_STEPS = 3
DEVICES = (1, 2, 4, 8)
VARIANTS = {
    "damsm": {}, "attngan": {}, "attngan_in_pieces": {"attngan.accumulation_steps": 2},
}


def steps(stage: str, config, dataset, num_devices: int) -> dict:
    """The state after three steps, each step's metrics, and how often the step was traced."""
    task, frozen = one_device.make_task(stage, config, dataset)
    mesh, traces = one_device.mesh(num_devices), []

    def counted(*arguments):
        traces.append(1)
        return task.train_step(*arguments)

    step = parallel.parallel_step(counted, mesh)
    create = jax.jit(task.create_train_state, out_shardings=parallel.replicated(mesh))
    state = create(one_device.stage_key(config.seed, task.name, -1))
    frozen = jax.device_put(frozen, parallel.replicated(mesh))
    metrics = []
    for batch in one_device.batches(task, dataset, NUM_STEPS):
        state, scalars = step(state, frozen, parallel.shard_batch(batch, mesh))
        metrics.append(jax.device_get(scalars))
    state = {jax.tree_util.keystr(path): x for path, x in
             jax.tree_util.tree_leaves_with_path(jax.device_get(state))}
    return {"state": state, "metrics": metrics, "traces": len(traces)}


def main(data_dir: str, path: str) -> None:
    """Writes `{(variant, devices): steps(...)}`."""
    results = {}
    for variant, keys in VARIANTS.items():
        for num_devices in DEVICES:
            config = procedural_birds.get_config()
            config.data.data_dir = data_dir
            config.damsm.batch_size = config.attngan.batch_size = 16
            config.update_from_flattened_dict(keys)
            if keys and num_devices in (2, 4):
                continue  # the ends are enough
            results[variant, num_devices] = steps(
                variant.split("_")[0], config, datasets.load(config), num_devices)
    with open(path, "wb") as file:
        pickle.dump(results, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
