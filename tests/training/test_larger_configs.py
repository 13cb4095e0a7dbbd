"""Configs that no test can train at their size take a step of both stages at a tiny one."""

import numpy as np
import pytest

from attngan_jax.configs import cub_plus, procedural_birds_256
from tests.tiny_configs import procedural_birds
from tests.tiny_configs.sizes import shrink
from tests.training import one_device


@pytest.mark.parametrize("larger", [procedural_birds_256, cub_plus])
def test_a_tiny_copy_takes_a_step_of_both_stages(larger, tiny_data_dir, tiny_dataset):
    config = shrink(larger.get_config())
    config.data = procedural_birds.get_config().data
    config.data.data_dir = tiny_data_dir
    config.procedural_birds = procedural_birds.get_config().procedural_birds
    for stage in ("damsm", "attngan"):
        task, frozen = one_device.make_task(stage, config, tiny_dataset)
        batches = one_device.batches(task, tiny_dataset, 1)
        _, (metrics,) = one_device.train(task, frozen, batches)
        assert all(np.isfinite(value) for value in metrics.values())
