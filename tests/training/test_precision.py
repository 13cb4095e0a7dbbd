"""bfloat16 is for the networks alone, and trains as float32 does."""

import jax
import numpy as np
import pytest

from attngan_jax.training import parallel
from tests.training import one_device


@pytest.mark.parametrize("stage", ["damsm", "attngan"])
def test_only_networks_compute_in_bfloat16(stage, tiny_config, tiny_dataset):
    """State, softmax, logarithms and what the devices exchange are float32; convolutions aren't."""
    tiny_config.compute_dtype = "bfloat16"
    task, frozen = one_device.make_task(stage, tiny_config, tiny_dataset)
    state = one_device.first_state(task)
    step = parallel.parallel_step(task.train_step, one_device.mesh(2))
    (batch,) = one_device.batches(task, tiny_dataset, 1)
    for tree in (state, *jax.eval_shape(step, state, frozen, batch)):
        assert {str(x.dtype) for x in jax.tree.leaves(tree)} <= {"float32", "int32"}
    used = {}
    for equation in one_device.step_equations(task, frozen, batch, 2):
        dtypes = {str(getattr(x.aval, "dtype", "")) for x in equation.invars}
        used.setdefault(equation.primitive.name, set()).update(dtypes)
    assert "bfloat16" in used["conv_general_dilated"]
    sums = [name for name in used if name.startswith(("psum", "all_gather", "pmax"))]
    assert sums
    for name in ("exp", "log", "log1p", "rsqrt", *sums):
        assert "bfloat16" not in used.get(name, set()), name


@pytest.mark.slow
def test_fifty_steps_stay_within_three_percent_of_float32(tiny_config, tiny_dataset):
    tiny_config.damsm.batch_size = 16
    tiny_config.text_encoder.dropout_rate = 0.0
    losses = {}
    for dtype in ("float32", "bfloat16"):
        tiny_config.compute_dtype = dtype
        task, _ = one_device.make_task("damsm", tiny_config, tiny_dataset)
        _, metrics = one_device.train(task, None, one_device.batches(task, tiny_dataset, 50))
        losses[dtype] = np.array([row["damsm_loss"] for row in metrics])
    first, last = (losses["float32"][part].mean() for part in (slice(5), slice(-10, None)))
    assert last < 0.95 * first  # it learns, so there is something to spoil
    np.testing.assert_allclose(losses["bfloat16"][-10:].mean(), last, rtol=0.03)
    assert (losses["bfloat16"] != losses["float32"]).all()
