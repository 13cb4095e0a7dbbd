"""BatchNorm's own gradient against the one that JAX derives from the formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec

from attngan_jax.models.batch_norm import (
    BatchNorm,
    Settings,
    glu,
    leaky_relu,
    normalise_batch,
    relu,
)
from attngan_jax.models.packing import PAIRS, pack
from tests.models.grouped import in_groups
from tests.training import one_device

B, EPSILON = 8, 1e-5
MASK = np.array([1, 1, 0, 1, 1, 0, 1, 1], np.float32)


def written_out(activation, x, scale, bias, weight):
    """The formula, over the whole batch."""
    weight = weight[:, None, None, None]
    count = weight.sum() * x[0, ..., 0].size
    mean = (weight * x).sum((0, 1, 2)) / count
    var = (weight * (x - mean) ** 2).sum((0, 1, 2)) / count
    z = scale * (x - mean) / jnp.sqrt(var + EPSILON) + bias
    return activation(z) if activation else z


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("activation", [None, glu, leaky_relu, relu, nn.tanh])
@pytest.mark.parametrize("num_devices", [1, 4])
def test_gradient(activation, masked, num_devices):
    rng = np.random.default_rng(3)
    x = rng.normal(1.0, 2.0, (B, 3, 5, 6)).astype(np.float32)
    scale, bias = (rng.normal(size=6).astype(np.float32) for _ in range(2))
    weight = MASK if masked else np.ones(B, np.float32)
    dy = rng.normal(size=(B, 3, 5, 3 if activation is glu else 6)).astype(np.float32)
    settings = Settings("data", EPSILON, activation, 1)

    def share(x, scale, bias, weight, dy):
        y, pullback = jax.vjp(
            lambda *inputs: normalise_batch(settings, masked, *inputs, weight)[0], x, scale, bias
        )
        dx, dscale, dbias = pullback(dy)
        return y, dx, *jax.lax.psum((dscale, dbias), "data")  # of each device's own copies

    divided, everywhere = PartitionSpec("data"), PartitionSpec()
    made = jax.jit(
        jax.shard_map(
            share,
            mesh=one_device.mesh(num_devices),
            in_specs=(divided, everywhere, everywhere, divided, divided),
            out_specs=(divided, divided, everywhere, everywhere),
            check_vma=False,
        )
    )(x, scale, bias, weight, dy)
    y, pullback = jax.vjp(lambda *inputs: written_out(activation, *inputs, weight), x, scale, bias)
    for got, want in zip(made, (y, *pullback(dy))):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


def test_packed_pixels_share_their_statistics():
    """Two pixels side by side, in two groups of channels, are the same two pixels."""
    x = jax.random.normal(jax.random.key(0), (B, 3, 4, 6))
    packed = in_groups(pack(x, PAIRS), 2, 2)
    results = []
    for packing, x_here in ((1, x), (2, packed)):
        norm = BatchNorm(activation=glu, packed=packing)
        variables = norm.init(jax.random.key(1), x_here, train=True)

        def loss(params, x, norm=norm, variables=variables):
            y, updated = norm.apply(
                variables | {"params": params}, x, train=True, mutable=["batch_stats"]
            )
            return (y**2).sum(), (y, updated)

        (_, (y, updated)), grads = jax.value_and_grad(loss, has_aux=True)(
            variables["params"], x_here
        )
        results.append((y.reshape(B, 3, 4, 3), updated, grads))
    for a, b in zip(*map(jax.tree.leaves, results)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def results_of(norm, x, dy, calls):
    """What `calls(apply, x)` makes of `x`, statistics after it, and gradients of params and x."""
    variables = norm.init(jax.random.key(1), x, train=True)

    def run(params, x):
        bound = norm.bind(variables | {"params": params}, mutable=["batch_stats"])
        y = calls(bound, x)
        return y, bound.variables["batch_stats"]

    @jax.jit
    def differentiated(params, x):
        y, pullback, statistics = jax.vjp(run, params, x, has_aux=True)
        return y, statistics, pullback(dy.astype(y.dtype))

    return differentiated(variables["params"], x)


@pytest.mark.parametrize("masked", [False, True])
def test_batches_one_behind_the_other_are_normalised_each_by_itself(masked):
    x = jax.random.normal(jax.random.key(0), (3 * B, 4, 4, 6))
    x = x * jnp.repeat(jnp.array([1.0, 3.0, 0.5]), B)[:, None, None, None]  # no two batches alike
    mask = jnp.concatenate([jnp.roll(jnp.asarray(MASK, bool), by) for by in range(3)])
    mask = mask if masked else None
    dy = jax.random.normal(jax.random.key(2), (3 * B, 4, 4, 3))

    def one_by_one(norm, x):
        masks = jnp.split(mask, 3) if masked else [None] * 3
        return jnp.concatenate(
            [
                norm(part, train=True, mask=part_mask)
                for part, part_mask in zip(jnp.split(x, 3), masks)
            ]
        )

    def at_once(norm, x):
        return norm(x, train=True, mask=mask, batches=3)

    results = [
        results_of(BatchNorm(activation=glu), x, dy, calls) for calls in (one_by_one, at_once)
    ]
    assert jax.tree.structure(results[0]) == jax.tree.structure(results[1])
    for a, b in zip(*map(jax.tree.leaves, results)):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("activation", [None, glu, leaky_relu])
@pytest.mark.parametrize("masked", [False, True])
def test_bfloat16_is_float32_but_for_its_rounding(activation, masked):
    """The values come and go in bfloat16; statistics and sums are float32."""
    x = (3.0 + jax.random.normal(jax.random.key(0), (B, 8, 8, 6))).astype(jnp.bfloat16)
    dy = jax.random.normal(jax.random.key(2), (B, 8, 8, 3 if activation is glu else 6))
    dy = dy.astype(jnp.bfloat16)
    mask = jnp.asarray(MASK, bool) if masked else None

    def calls(norm, x):
        return norm(x, train=True, mask=mask)

    exact = results_of(BatchNorm(activation=activation), x.astype(jnp.float32), dy, calls)
    made = results_of(BatchNorm(activation=activation, dtype=jnp.bfloat16), x, dy, calls)
    assert made[0].dtype == made[2][1].dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((made[1], made[2][0])))
    for a, b in zip(jax.tree.leaves(exact[1:2]), jax.tree.leaves(made[1:2])):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(jax.tree.leaves((exact[0], exact[2])), jax.tree.leaves((made[0], made[2]))):
        b = b.astype(jnp.float32)
        assert np.linalg.norm(a - b) <= 0.02 * np.linalg.norm(a)


@pytest.mark.parametrize("num_devices", [1, 4])
def test_packed_over_the_mesh_with_a_mask(num_devices):
    """Packed pixels, examples that don't count, several devices: the numbers of none of it."""
    x = jax.random.normal(jax.random.key(0), (B, 3, 4, 6))
    dy = jax.random.normal(jax.random.key(2), (B, 3, 4, 3))
    scale, bias = 1.0 + jnp.arange(6.0) / 10, jnp.arange(6.0) / 7

    def gradients(x, dy, pixels, num_devices):
        settings = Settings("data", EPSILON, glu, pixels)

        def share(x, weight, dy):
            y, pullback = jax.vjp(
                lambda *inputs: normalise_batch(settings, True, *inputs, weight)[0], x, scale, bias
            )
            dx, *sums = pullback(dy)
            return y, dx, *jax.lax.psum(sums, "data")

        divided, everywhere = PartitionSpec("data"), PartitionSpec()
        return jax.jit(
            jax.shard_map(
                share,
                mesh=one_device.mesh(num_devices),
                in_specs=(divided,) * 3,
                out_specs=(divided, divided, everywhere, everywhere),
                check_vma=False,
            )
        )(x, jnp.asarray(MASK), dy)

    y, dx, *sums = gradients(x, dy, 1, 1)
    packed_y, packed_dx, *packed_sums = gradients(
        in_groups(pack(x, PAIRS), 2, 2), pack(dy, PAIRS), 2, num_devices
    )
    np.testing.assert_allclose(packed_y, pack(y, PAIRS), rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(packed_dx, in_groups(pack(dx, PAIRS), 2, 2), rtol=2e-4, atol=2e-5)
    for a, b in zip(packed_sums, sums):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("activation, slope", [(leaky_relu, 0.2), (relu, 0.0)])
def test_activations_have_the_gradient_of_pytorch(activation, slope):
    x = jnp.array([-2.0, -0.5, 0.0, 0.5, 3.0])
    y, pullback = jax.vjp(activation, x)
    np.testing.assert_allclose(y, [-2 * slope, -0.5 * slope, 0.0, 0.5, 3.0], rtol=1e-6)
    np.testing.assert_allclose(pullback(jnp.ones(5))[0], [slope, slope, slope, 1.0, 1.0], rtol=1e-6)


def test_relu_stops_what_is_not_finite_and_keeps_nan():
    y, pullback = jax.vjp(relu, jnp.array([-jnp.inf, jnp.nan, -1.0, jnp.inf]))
    np.testing.assert_array_equal(y, [0.0, jnp.nan, 0.0, jnp.inf])
    np.testing.assert_array_equal(pullback(jnp.full(4, jnp.inf))[0], [0.0, 0.0, 0.0, jnp.inf])
