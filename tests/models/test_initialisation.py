"""The released code's initialisation, of every network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from attngan_jax.models.discriminator import Discriminator
from attngan_jax.models.generator import Generator
from attngan_jax.models.image_encoder import ImageEncoder
from attngan_jax.models.text_encoder import TextEncoder

B, T, D = 2, 3, 16
ARRAYS = {
    "generator": lambda key: Generator(2, 16, 8, 6, 1).init(
        key,
        *(jnp.zeros(shape) for shape in ((B, 5), (B, 6), (B, D), (B, T, D))),
        jnp.ones((B, T), bool),
        train=False,
    ),
    "discriminator": lambda key: Discriminator(8, 32).init(
        key, jnp.zeros((B, 32, 32, 3)), jnp.zeros((B, D)), train=False
    ),
    "text_encoder": lambda key: TextEncoder(400, 20, D, "lstm").init(
        key, jnp.zeros((B, T), jnp.int32), jnp.ones((B, T), bool)
    ),
    "image_encoder": lambda key: ImageEncoder("cnn", D, 16).init(
        key, jnp.zeros((B, 32, 32, 3)), train=False
    ),
}


def parameters(name):
    """Path -> array."""
    params = jax.jit(ARRAYS[name])(jax.random.key(0))["params"]
    return traverse_util.flatten_dict(jax.device_get(params), sep="/")


def assert_uniform(array, bound):
    assert np.abs(array).max() <= bound
    np.testing.assert_allclose(array.std(), bound / 3**0.5, rtol=0.15)
    assert abs(array.mean()) < 0.15 * bound


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_kernels_are_orthogonal(name):
    kernels = {path: array for path, array in parameters(name).items() if path.endswith("kernel")}
    assert len(kernels) > 5
    for path, kernel in kernels.items():
        matrix = kernel.reshape(-1, kernel.shape[-1])
        product = min(matrix @ matrix.T, matrix.T @ matrix, key=np.size)
        np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-5, err_msg=path)


@pytest.mark.parametrize("name", ["generator", "discriminator", "image_encoder"])
def test_scales_of_batch_norm_are_near_one(name):
    arrays = parameters(name)
    scales = np.concatenate([array for path, array in arrays.items() if path.endswith("scale")])
    assert len(scales) > 100
    np.testing.assert_allclose(scales.mean(), 1.0, atol=5 * 0.02 / len(scales) ** 0.5)
    np.testing.assert_allclose(scales.std(), 0.02, rtol=0.2)
    assert all(not array.any() for path, array in arrays.items() if path.endswith("norm/bias"))


def test_embeddings_and_projections_are_uniform():
    assert_uniform(parameters("text_encoder")["embedding/embedding"], 0.1)
    image = parameters("image_encoder")
    assert_uniform(image["regions/kernel"], 0.1)
    assert_uniform(image["code/kernel"], 0.1)


def test_recurrent_weights_are_as_pytorch_draws_them():
    arrays = parameters("text_encoder")
    for direction in ("forward", "backward"):
        for weight in ("input_kernel", "recurrent_kernel"):
            assert_uniform(arrays[f"{direction}/{weight}"], (D // 2) ** -0.5)
