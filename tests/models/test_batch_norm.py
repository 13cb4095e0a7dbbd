"""BatchNorm's own gradient against the one that JAX derives from the formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec

from attngan_jax.models.batch_norm import BatchNorm, Settings, glu, leaky_relu, normalise_batch
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
@pytest.mark.parametrize("activation", [None, glu, leaky_relu, nn.relu, nn.tanh])
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
            lambda *inputs: normalise_batch(settings, masked, *inputs, weight)[0], x, scale, bias)
        dx, dscale, dbias = pullback(dy)
        return y, dx, *jax.lax.psum((dscale, dbias), "data")  # of each device's own copies

    divided, everywhere = PartitionSpec("data"), PartitionSpec()
    made = jax.jit(jax.shard_map(
        share, mesh=one_device.mesh(num_devices),
        in_specs=(divided, everywhere, everywhere, divided, divided),
        out_specs=(divided, divided, everywhere, everywhere), check_vma=False))(
            x, scale, bias, weight, dy)
    y, pullback = jax.vjp(
        lambda *inputs: written_out(activation, *inputs, weight), x, scale, bias)
    for got, want in zip(made, (y, *pullback(dy))):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


def test_packed_pixels_share_their_statistics():
    """Two pixels side by side, in two groups of channels, are the same two pixels."""
    x = jax.random.normal(jax.random.key(0), (B, 3, 4, 6))
    packed = x.reshape(B, 3, 2, 2, 2, 3).transpose(0, 1, 2, 4, 3, 5).reshape(B, 3, 2, 12)
    results = []
    for packing, x_here in ((1, x), (2, packed)):
        norm = BatchNorm(activation=glu, packed=packing)
        variables = norm.init(jax.random.key(1), x_here, train=True)

        def loss(params, x, norm=norm, variables=variables):
            y, updated = norm.apply(variables | {"params": params}, x, train=True,
                                    mutable=["batch_stats"])
            return (y**2).sum(), (y, updated)

        (_, (y, updated)), grads = jax.value_and_grad(loss, has_aux=True)(
            variables["params"], x_here)
        results.append((y.reshape(B, 3, 4, 3), updated, grads))
    for a, b in zip(*map(jax.tree.leaves, results)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
