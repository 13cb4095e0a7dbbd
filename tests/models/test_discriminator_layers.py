"""Spectral normalisation against its formula, the joint block against its convolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.models.discriminator import Discriminator, JointBlock
from attngan_jax.models.layers import SpectralNorm
from tests.reference_vectors import assert_close, normal

KERNEL = np.asarray(normal("spectral kernel", (3, 3, 5, 7)))
SUMS = np.asarray(normal("spectral sums", (2, 4, 3, 7)))


def test_spectral_norm_finds_the_largest_singular_value():
    module = SpectralNorm()
    variables = module.init(jax.random.key(0), SUMS, KERNEL, train=True)
    bias = variables["params"]["bias"] + np.arange(7)
    for _ in range(60):
        variables |= {"params": {"bias": bias}}
        y, updated = module.apply(variables, SUMS, KERNEL, train=True, mutable=["batch_stats"])
        variables |= updated
    largest = np.linalg.svd(KERNEL.reshape(-1, 7), compute_uv=False)[0]
    assert_close(y, SUMS / largest + np.arange(7))
    assert_close(module.apply(variables, SUMS, KERNEL, train=False), y)  # which updates nothing


def test_one_step_of_power_iteration_is_made_in_each_training_pass():
    module = SpectralNorm()
    variables = module.init(jax.random.key(0), SUMS, KERNEL, train=True)
    start = variables["batch_stats"]["right"]
    assert_close(start, np.full(7, 7**-0.5))
    _, updated = module.apply(variables, SUMS, KERNEL, train=True, mutable=["batch_stats"])
    matrix = KERNEL.reshape(-1, 7)
    want = matrix.T @ (matrix @ start)
    assert_close(updated["batch_stats"]["right"], want / np.linalg.norm(want))


def test_the_gradient_of_a_normalised_kernel_leaves_its_size_alone():
    """W / sigma(W) doesn't change when W grows: the gradient is orthogonal to W."""
    module = SpectralNorm()
    variables = module.init(jax.random.key(0), SUMS, KERNEL, train=True)
    for _ in range(60):
        _, updated = module.apply(variables, SUMS, KERNEL, train=True, mutable=["batch_stats"])
        variables |= updated

    def loss(kernel):
        patch = jnp.einsum("ijcf,ijc->f", kernel, normal("patch", (3, 3, 5)))
        return (module.apply(variables, patch[None, None, None], kernel, train=False) ** 2).sum()

    gradient = jax.grad(loss)(KERNEL)
    assert abs((gradient * KERNEL).sum()) < 1e-3 * jnp.linalg.norm(gradient)


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_the_joint_block_is_a_convolution_of_features_and_tiled_sentence(norm):
    B, H, W, C, D, F = 3, 4, 5, 6, 2, 7
    block = JointBlock(F, norm)
    features, sentence = normal("joint features", (B, H, W, C)), normal("joint words", (B, D))

    def joined(block, features, sentence):
        return block(features, sentence, block.part(features, D), train=False)

    variables = block.init(jax.random.key(1), features, sentence, method=joined)

    def convolved(kernel, features, sentence):
        tiled = jnp.broadcast_to(sentence[:, None, None], (B, H, W, D))
        x = jnp.concatenate([features, tiled], -1)
        y = nn.Conv(F, (3, 3), padding=1, use_bias=False).apply({"params": {"kernel": kernel}}, x)
        if norm == "batch":
            scale = variables["params"]["norm"]["scale"]
            return y * scale / np.sqrt(1 + 1e-5)
        right = np.full(F, F**-0.5)
        left = kernel.reshape(-1, F) @ right
        return y / ((left / jnp.linalg.norm(left)) @ kernel.reshape(-1, F) @ right)

    def ours(kernel, features, sentence):
        params = variables["params"] | {"conv": {"kernel": kernel}}
        inputs = (features, sentence)
        return block.apply(variables | {"params": params}, *inputs, method=joined)

    inputs = variables["params"]["conv"]["kernel"], features, sentence
    assert inputs[0].shape == (3, 3, C + D, F)
    assert_close(ours(*inputs), convolved(*inputs))
    weights = normal("joint weights", (B, H, W, F))

    def gradients(function):
        return jax.grad(lambda *inputs: (function(*inputs) * weights).sum(), (0, 1, 2))(*inputs)

    got, want = gradients(ours), gradients(convolved)
    for a, b in zip(got[1:], want[1:]):
        assert_close(a, b)
    if norm == "batch":  # the power iteration's vectors count as constants
        assert_close(got[0], want[0])


def test_spectral_norm_takes_the_place_of_every_batch_norm():
    module = Discriminator(4, 16, norm="spectral")
    image, sentence = jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, 6))
    variables = module.init(jax.random.key(0), image, sentence, train=False)
    layers = {"stem", "down_0", "joint"}
    assert variables["batch_stats"].keys() == layers
    assert all(stats["norm"].keys() == {"right"} for stats in variables["batch_stats"].values())
    assert not any("scale" in variables["params"][name]["norm"] for name in layers)
