"""Layers and attention against their formulas; BatchNorm also over the mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from attngan_jax.models import layers
from attngan_jax.models.attention import word_attention
from tests.reference_vectors import assert_close, btd, network, normal, recorded
from tests.training import one_device

B, C = 8, 6
MASK = np.array([1, 1, 0, 0, 1, 0, 1, 1], bool)
WORD_MASK = np.arange(5)[None] < np.array([[5], [2], [3]])
HIDDEN, WORDS = normal("hidden", (3, 4, C)), normal("words", (3, 5, C))
VARIABLES = {
    "params": {"scale": 1 + normal("scale", (C,)), "bias": normal("bias", (C,))},
    "batch_stats": {"mean": normal("mean", (C,)), "var": 1 + normal("var", (C,)) ** 2},
}


def batch_norm(params, x, mask, **fields):
    """The normalised `x`, and the updated running statistics."""
    options = dict(train=True, mask=mask, mutable=["batch_stats"])
    y, updated = layers.BatchNorm(**fields).apply(VARIABLES | {"params": params}, x, **options)
    return y, updated["batch_stats"]


def formula(params, x, mask):
    """The same, as PyTorch documents it."""
    counted = x[mask].reshape(-1, C)
    mean, var = counted.mean(0), ((counted - counted.mean(0)) ** 2).mean(0)
    y = params["scale"] * (x - mean) / jnp.sqrt(var + 1e-5) + params["bias"]
    new = {"mean": mean, "var": var * len(counted) / (len(counted) - 1)}
    return y, jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, VARIABLES["batch_stats"], new)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_devices", [1, 4])
def test_batch_norm_equals_the_formula(num_devices, masked):
    """Results, running statistics, gradients; of four devices the mask leaves one without any."""
    x, dy = 1 + 2 * normal("x", (B, 3, 5, C)), normal("dy", (B, 3, 5, C))

    def share(x, mask, dy):
        def run(params, x):
            return batch_norm(params, x, mask if masked else None, axis_name="data")

        y, pullback, stats = jax.vjp(run, VARIABLES["params"], x, has_aux=True)
        dparams, dx = pullback(dy)
        return (y, dx), (stats, jax.lax.psum(dparams, "data"))  # of each device's own copies

    mesh, split = one_device.mesh(num_devices), PartitionSpec("data")
    specs = dict(in_specs=split, out_specs=(split, PartitionSpec()))
    run = jax.jit(jax.shard_map(share, mesh=mesh, **specs, check_vma=False))
    (y, dx), (stats, dparams) = run(x, MASK, dy)
    mask = MASK if masked else np.ones(B, bool)
    exact = functools.partial(formula, mask=mask)
    want_y, pullback, want_stats = jax.vjp(exact, VARIABLES["params"], x, has_aux=True)
    got, want = (y, stats, dparams, dx), (want_y, want_stats, *pullback(dy))
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_batch_norm_with_running_statistics():
    x, (params, stats) = normal("x", (B, 3, C)), VARIABLES.values()
    want = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]
    assert_close(layers.BatchNorm().apply(VARIABLES, x, train=False), want, 1e-6)


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("activation", [jnp.copy, layers.glu, layers.leaky_relu])
def test_bfloat16_is_float32_but_for_its_rounding(activation, mask):
    """The values come and go in bfloat16; statistics and their gradients are float32."""
    x = (3 + jax.random.normal(jax.random.key(0), (B, 8, 8, C))).astype(jnp.bfloat16)
    dy = jax.random.normal(jax.random.key(2), activation(x).shape, jnp.bfloat16)

    def results(dtype):
        def run(params, x):
            y, stats = batch_norm(params, x, mask, dtype=dtype)
            return activation(y), stats

        y, pullback, stats = jax.vjp(run, VARIABLES["params"], x.astype(dtype), has_aux=True)
        return stats, (y, *pullback(dy.astype(dtype)))

    results = jax.jit(results, static_argnums=0)
    (exact_stats, exact), (stats, made) = results(jnp.float32), results(jnp.bfloat16)
    y, dparams, dx = made
    assert y.dtype == dx.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((stats, dparams)))
    for a, b in zip(jax.tree.leaves(exact_stats), jax.tree.leaves(stats)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(made)):
        assert np.linalg.norm(a - b.astype(jnp.float32)) <= 0.02 * np.linalg.norm(a)


def test_leaky_relu_has_the_gradient_of_pytorch():
    y, pullback = jax.vjp(layers.leaky_relu, jnp.array([-2.0, -0.5, 0.0, 0.5, 3.0]))
    np.testing.assert_allclose(y, [-0.4, -0.1, 0.0, 0.5, 3.0], rtol=1e-6)
    np.testing.assert_allclose(pullback(jnp.ones(5))[0], [0.2, 0.2, 0.2, 1.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
def test_upsampled_convolution_and_its_gradients(upsampling):
    shapes = {"x": (2, 5, 3, 4), "kernel": (3, 3, 4, 6), "dy": (2, 10, 6, 6)}
    x, kernel, dy = (jnp.asarray(normal(*item)) for item in shapes.items())

    def written_out(x, kernel):
        B, H, W, C = x.shape
        padded = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))  # beyond the edges are zeros
        large = jax.image.resize(padded, (B, 2 * H + 8, 2 * W + 8, C), upsampling)[:, 3:-3, 3:-3]
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            large, kernel, (1, 1), "VALID", dimension_numbers=layout
        )

    def made(x, kernel):
        return layers.UpsampledConv(6, upsampling).apply({"params": {"kernel": kernel}}, x)

    pullbacks = (jax.vjp(way, x, kernel) for way in (made, written_out))
    for got, want in zip(*[(y, *pullback(dy)) for y, pullback in pullbacks]):
        assert_close(got, want, 2e-6)


@pytest.mark.parametrize("legacy_mask", [False, True])
def test_attention_equals_a_loop(legacy_mask):
    """With legacy_mask, row r = b N + n of the scores has the mask of sample r mod B."""
    context, attention = word_attention(HIDDEN, WORDS, WORD_MASK, legacy_mask=legacy_mask)
    for r, (b, n) in enumerate(np.ndindex(HIDDEN.shape[:2])):
        mask = WORD_MASK[r % len(WORDS) if legacy_mask else b]
        exponent = np.where(mask, np.exp(WORDS[b] @ HIDDEN[b, n]), 0.0)
        beta = exponent / exponent.sum()
        np.testing.assert_allclose(attention[b, n], beta, atol=2e-6)
        np.testing.assert_allclose(context[b, n], beta @ WORDS[b], atol=2e-6)


def test_a_caption_without_words_gives_no_nan():
    context, attention = word_attention(HIDDEN, WORDS, np.zeros_like(WORD_MASK))
    assert np.isfinite(context).all()
    np.testing.assert_allclose(attention, 1 / WORDS.shape[1], rtol=1e-6)


def test_the_generator_passes_the_switch_on():
    vectors = recorded("generator_2stage_eval")
    inputs = [vectors[name] for name in ("z", "eps", "sent")] + [btd(vectors["words"])]

    def image(legacy, mask):
        module, variables = network("generator_2stage", legacy_mask=legacy)
        output = jax.jit(lambda v: module.apply(v, *inputs, mask, train=False))(variables)
        return np.asarray(output.images[-1])

    full = np.ones(inputs[-1].shape[:2], bool)
    short = np.arange(full.shape[1]) < np.array([[7], [2], [3]])
    assert np.abs(image(False, short) - image(True, short)).max() > 1e-4
    np.testing.assert_array_equal(image(False, full), image(True, full))
