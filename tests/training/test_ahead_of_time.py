"""The step compiled ahead takes what the loop gives it, and is the loop's step."""

import jax
import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.training import ahead_of_time, parallel
from tests.training import one_device


@pytest.mark.parametrize("stage", ["damsm", "attngan"])
def test_a_step_compiled_from_shapes_runs_on_arrays(stage, tiny_config, tiny_dataset):
    mesh = one_device.mesh(2)
    ahead = ahead_of_time.abstract_step(tiny_config, stage, mesh, len(tiny_dataset.vocabulary))
    compiled = ahead.lower().compile()
    _, frozen = one_device.make_task(stage, tiny_config, tiny_dataset)
    state, frozen = jax.device_put(
        (one_device.first_state(ahead.task), frozen), parallel.replicated(mesh)
    )
    (batch,) = one_device.batches(ahead.task, tiny_dataset, 1)
    batch = parallel.shard_batch(batch, mesh)
    for given, wanted in ((state, ahead.state), (frozen, ahead.frozen), (batch, ahead.batch)):
        for (path, x), y in zip(
            jax.tree_util.tree_leaves_with_path(given), jax.tree.leaves(wanted), strict=True
        ):
            assert (x.shape, x.dtype, x.sharding) == (y.shape, y.dtype, y.sharding), path
    state, metrics = compiled(state, frozen, batch)
    assert int(state.step) == 1
    assert all(np.isfinite(value) for value in jax.tree.leaves(metrics))


def test_what_cannot_be_compiled_says_why(tiny_config):
    with pytest.raises(UserError, match="there is no stage 'gan': choose one of damsm, attngan"):
        ahead_of_time.abstract_step(tiny_config, "gan", one_device.mesh(), 9)
    tiny_config.attngan.batch_size = 6
    with pytest.raises(UserError, match="config.attngan.batch_size is 6, which 4 devices"):
        ahead_of_time.abstract_step(tiny_config, "attngan", one_device.mesh(4), 9)
