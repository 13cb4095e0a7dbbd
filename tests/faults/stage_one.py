"""Trains stage 1 of the tiny run alone: python -m tests.faults.stage_one WORKDIR DATA"""

import pathlib
import sys

from attngan_jax.data import datasets
from attngan_jax.training import checkpoints, loop
from attngan_jax.training.damsm_task import DamsmTask
from tests.tiny_configs import procedural_birds


def train(workdir: str, data_dir: str) -> None:
    """Six steps, a row and a checkpoint every second."""
    config = procedural_birds.get_config()
    config.data.data_dir = data_dir
    config.damsm.update(num_train_steps=6)
    pathlib.Path(workdir).mkdir(exist_ok=True)
    checkpoints.set_aside_damaged(workdir, "damsm")
    dataset = datasets.load(config)
    loop.train(DamsmTask(config, len(dataset.vocabulary)), dataset, workdir)


if __name__ == "__main__":
    train(*sys.argv[1:])
