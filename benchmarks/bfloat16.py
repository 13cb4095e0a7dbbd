"""How near stage 1 in bfloat16 stays to float32.

    python -m benchmarks.bfloat16 [--config configs/procedural_birds.py] [--data_dir DIR]
        [--steps 50]

Prints DAMSM's loss over the steps, on the same batches from the same start, and a JSON line.
"""

import argparse
import json
import runpy

import jax
import numpy as np

from attngan_jax.data import datasets
from attngan_jax.training import loop, parallel
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.state import stage_key

LAST = 10  # steps that the comparison is the mean of


def losses(config, dataset, dtype: str, num_steps: int) -> np.ndarray:
    """`[num_steps]`, DAMSM's loss at each step."""
    config.compute_dtype = dtype
    task, mesh = DamsmTask(config, len(dataset.vocabulary)), parallel.make_mesh()
    create = jax.jit(task.create_train_state, out_shardings=parallel.replicated(mesh))
    state = create(stage_key(config.seed, task.name, -1))
    step = parallel.parallel_step(task.train_step, mesh)
    batches = loop.train_iterator(task, dataset)
    values = []
    for _ in range(num_steps):
        state, metrics = step(state, None, parallel.shard_batch(next(batches), mesh))
        values.append(metrics["damsm_loss"])
    batches.close()
    return np.array(jax.device_get(values))


def main() -> None:
    """Trains twice and compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/procedural_birds.py")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    config = runpy.run_path(arguments.config)["get_config"]()
    config.data.data_dir = arguments.data_dir
    datasets.prepare(config)
    dataset = datasets.load(config)
    of = {
        dtype: losses(config, dataset, dtype, arguments.steps) for dtype in ("float32", "bfloat16")
    }
    for first in range(0, arguments.steps, LAST):
        print(
            f"steps {first + 1} to {first + LAST}: "
            + "  ".join(
                f"{dtype} {values[first : first + LAST].mean():.4f}" for dtype, values in of.items()
            )
        )
    ends = {dtype: float(values[-LAST:].mean()) for dtype, values in of.items()}
    print(json.dumps(ends | {"percent": 100 * (ends["bfloat16"] / ends["float32"] - 1)}))


if __name__ == "__main__":
    main()
