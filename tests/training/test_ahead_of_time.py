"""The step compiled ahead takes what the loop gives it, is the loop's step, and exchanges what the
package says it does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.training import ahead_of_time, parallel
from tests.training import one_device


@pytest.mark.parametrize("stage", ["damsm", "attngan"])
def test_a_step_compiled_from_shapes_runs_on_arrays(stage, tiny_config, tiny_dataset):
    mesh = one_device.mesh(2)
    words = len(tiny_dataset.vocabulary)
    step, abstract = ahead_of_time.abstract_step(tiny_config, stage, mesh, words)
    compiled = step.lower(*abstract).compile()
    task, frozen = one_device.make_task(stage, tiny_config, tiny_dataset)
    variables = (one_device.first_state(task), frozen)
    variables = jax.device_put(variables, parallel.replicated(mesh))
    (batch,) = one_device.batches(task, tiny_dataset, 1)
    arrays = (*variables, parallel.shard_batch(batch, mesh))
    leaves = jax.tree.leaves_with_path(arrays)
    for (path, x), y in zip(leaves, jax.tree.leaves(abstract), strict=True):
        assert (x.shape, x.dtype, x.sharding) == (y.shape, y.dtype, y.sharding), path
    state, metrics = compiled(*arrays)
    assert int(state.step) == 1
    assert all(np.isfinite(value) for value in jax.tree.leaves(metrics))


def test_what_cannot_be_compiled_says_why(tiny_config):
    with pytest.raises(UserError, match="there is no stage 'gan': choose one of damsm, attngan"):
        ahead_of_time.abstract_step(tiny_config, "gan", one_device.mesh(), 9)
    tiny_config.attngan.batch_size = 6
    with pytest.raises(UserError, match="config.attngan.batch_size is 6, which 4 devices"):
        ahead_of_time.abstract_step(tiny_config, "attngan", one_device.mesh(4), 9)


def test_an_exchange_without_a_purpose_is_other():
    def step(x):
        def body(total, row):
            return total + jax.lax.psum(row, parallel.AXIS), None

        def statistics(x):
            with jax.named_scope("statistics"):
                return jax.lax.psum(x, parallel.AXIS)

        total, _ = jax.lax.scan(body, jnp.zeros(3), x)
        total = jax.vmap(statistics)(total[:2]).sum() + total
        return parallel.mean_over_devices(total)

    jaxpr = one_device.mapped(step, 4).trace(jax.ShapeDtypeStruct((8, 3), jnp.float32)).jaxpr
    assert ahead_of_time.exchanges(jaxpr.jaxpr) == {
        "other": {"operations": 2, "bytes": 24},
        "statistics": {"operations": 1, "bytes": 8},
        "gradients": {"operations": 1, "bytes": 12},
    }


@pytest.mark.parametrize("stage", ("damsm", "attngan"))
def test_devices_exchange_gradients_statistics_captions_and_nothing_else(tiny_config, stage):
    step, abstract = ahead_of_time.abstract_step(tiny_config, stage, one_device.mesh(4), 50)
    traced = step.trace(*abstract)
    found = ahead_of_time.exchanges(traced.jaxpr.jaxpr)
    assert set(found) == {"gradients", "statistics", "captions", "softmax"}

    scalars = len(jax.tree.leaves(traced.out_info[1]))  # metrics, averaged with the gradients
    state, is_first = abstract[0], stage == "damsm"
    networks = (state.text, state.image) if is_first else (state.generator, *state.discriminators)
    parameters = sum(x.size for x in jax.tree.leaves([n.params for n in networks]))
    assert 0 <= found["gradients"]["bytes"] - 4 * parameters <= 4 * (scalars + 1)

    words = {"damsm": tiny_config.data.damsm_max_words, "attngan": tiny_config.data.max_words}
    B, T, D = 8, words[stage], tiny_config.text_encoder.embedding_dim
    captions = 4 * B * (T * D + D) + B * T + 4 * B  # words, sentences, masks, classes
    again = 4 * B * (T * D + D) if is_first else 4 * B * D  # gradients; Eq. 5's next ones
    assert found["captions"]["bytes"] == captions + again
    assert found["softmax"]["bytes"] == 2 * 3 * 4 * B  # highest score, sum, gradient; both losses
