"""Reading collectives from compiled text and from traced steps."""

import jax
import jax.numpy as jnp
import pytest

from attngan_jax.training import ahead_of_time, parallel
from benchmarks.tpu import collectives, hlo

# In the words of the TPU's compiler, shortened.
MODULE = """HloModule jit_step

%body (arg: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %ar.1 = f32[4,8]{1,0:T(8,128)} all-reduce(%x), channel_id=1, replica_groups={{0,1,2,3}}
}

%inner (arg: f32[2]) -> f32[2] {
  %ar.2 = bf16[16]{0:T(256)(2,1)} all-reduce(%x), channel_id=2, replica_groups={{0,1,2,3}}
  %w.2 = (s32[]) while(%t), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"3"}}
}

%fused_a (p: f32[2,20,8]) -> f32[8,20,8] {
  %ag.1 = f32[8,20,8]{2,1,0} all-gather(%p), replica_groups={{0,1,2,3}}, dimensions={0}, \
frontend_attributes={chain_id="0"}
}

%fused_b (p: f32[2,20,8]) -> f32[8,20,8] {
  %ag.2 = f32[8,20,8]{2,1,0} all-gather(%p), replica_groups={{0,1,2,3}}, dimensions={0}, \
frontend_attributes={chain_id="0"}
}

ENTRY %main (p0: f32[8]) -> f32[8] {
  %ar.3 = (f32[8]{0}, /*index=1*/f32[]) all-reduce(%a, %b), replica_groups={{0,1,2,3}}
  %w.1 = (s32[]) while(%t), condition=%c, body=%inner, backend_config={"known_trip_count":{"n":"5"}}
  %ag.3 = (pred[2,20]{1,0}, pred[8,20]{1,0}) all-gather-start(%m), replica_groups={{0,1,2,3}}
  %ag.4 = pred[8,20]{1,0} all-gather-done(%ag.3)
  ROOT %rs.1 = f32[2,8]{1,0} reduce-scatter(%g), replica_groups=[1,4]<=[4], dimensions={0}
}
"""


def test_loops_multiply_and_spread_collectives_count_once():
    assert collectives.compiled(hlo.parse(MODULE)) == {
        "all-reduce": {"operations": 15 + 5 + 1, "bytes": 15 * 128 + 5 * 32 + 36},
        "all-gather": {"operations": 2, "bytes": 8 * 20 * 8 * 4 + 160},
        "reduce-scatter": {"operations": 1, "bytes": 4 * 2 * 8 * 4},
    }


def test_a_module_without_collectives_has_none():
    module = hlo.parse("ENTRY %main (a: f32[8]) -> f32[8] {\n  %b = f32[8] add(%a, %a)\n}")
    assert collectives.compiled(module) == {}


@pytest.fixture
def mesh():
    return parallel.make_mesh(jax.devices()[:4])


def test_an_exchange_that_nobody_of_the_package_asks_for_is_other(mesh):
    def step(x):
        def body(total, row):
            return total + jax.lax.psum(row, parallel.AXIS), None

        def statistics(x):
            with jax.named_scope("_sum_over_devices"):
                return jax.lax.psum(x, parallel.AXIS)

        total, _ = jax.lax.scan(body, jnp.zeros(3), x)
        total = jax.vmap(statistics)(total[:2]).sum() + total
        return parallel.mean_over_devices(total)

    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=jax.P(parallel.AXIS), out_specs=jax.P(), check_vma=False
    )
    jaxpr = jax.jit(mapped).trace(jax.ShapeDtypeStruct((8, 3), jnp.float32)).jaxpr.jaxpr
    assert collectives.traced(jaxpr) == {
        "other": {"operations": 2, "bytes": 24},
        "statistics": {"operations": 1, "bytes": 8},
        "gradients": {"operations": 1, "bytes": 12},
    }


@pytest.mark.parametrize("stage", ("damsm", "attngan"))
def test_devices_exchange_gradients_statistics_captions_and_nothing_else(tiny_config, mesh, stage):
    step = ahead_of_time.abstract_step(tiny_config, stage, mesh, 50)
    traced = step.step.trace(step.state, step.frozen, step.batch)
    found = collectives.traced(traced.jaxpr.jaxpr)
    assert set(found) == {"gradients", "statistics", "captions", "softmax"}

    scalars = len(jax.tree.leaves(traced.out_info[1]))  # metrics, averaged with the gradients
    networks = (
        (step.state.text, step.state.image)
        if stage == "damsm"
        else (step.state.generator, *step.state.discriminators)
    )
    parameters = sum(x.size for x in jax.tree.leaves([n.params for n in networks]))
    assert 0 <= found["gradients"]["bytes"] - 4 * parameters <= 4 * (scalars + 1)

    B, T, D = 8, tiny_config.data.max_words, tiny_config.text_encoder.embedding_dim
    captions = 4 * B * (T * D + D) + B * T + 4 * B  # words, sentences, masks, classes
    again = 4 * B * (T * D + D) if stage == "damsm" else 4 * B * D * len(networks[1:])
    assert found["captions"]["bytes"] == captions + again  # gradients; the next captions of Eq. 5
    assert found["softmax"]["bytes"] == 2 * 3 * 4 * B  # highest score, sum, gradient; both losses
