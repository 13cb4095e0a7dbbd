"""Inception-v3 with images side by side in its first layers, the layout for TPUs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.models import inception
from attngan_jax.models.inception import InceptionV3
from attngan_jax.models.packing import (
    UNPACKED,
    kernel_of_images,
    pack_images,
    packed_conv,
    unpack_images,
)
from tests.models.grouped import in_groups


def test_packing_moves_images_and_back():
    x = jnp.arange(4 * 3 * 5 * 6).reshape(4, 3, 5, 6)
    packed = pack_images(x, 2)
    assert packed[1, 2, 3].tolist() == [*x[2, 2, 3].tolist(), *x[3, 2, 3].tolist()]
    np.testing.assert_array_equal(unpack_images(packed, 2, 1), x)
    np.testing.assert_array_equal(unpack_images(in_groups(packed, 2, 2), 2, 2), x)


@pytest.mark.parametrize("groups", [(1, 1), (1, 2), (2, 2)])
def test_a_kernel_of_images_convolves_each_alone(groups):
    x, kernel = (
        jax.random.normal(jax.random.key(i), shape)
        for i, shape in enumerate(((6, 7, 5, 4), (3, 3, 4, 6)))
    )
    kernels = kernel_of_images(kernel, 3, groups)
    made = packed_conv(in_groups(pack_images(x, 3), 3, groups[0]), kernels, UNPACKED, UNPACKED)
    plain = packed_conv(x, kernel, UNPACKED, UNPACKED)
    np.testing.assert_allclose(made, in_groups(pack_images(plain, 3), 3, groups[1]), atol=2e-5)


@pytest.fixture(scope="module")
def variables():
    """With other statistics, scales and biases than the neutral ones of a new network."""
    rng = np.random.default_rng(0)
    new = jax.jit(
        lambda: InceptionV3().init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), train=False)
    )()
    return jax.tree.map(
        lambda x: np.asarray(x) + np.float32(0.3 * (x.ndim == 1)) * rng.random(x.shape, np.float32),
        new,
    )


def test_it_starts_from_the_same_variables():
    def init(packed):
        return jax.jit(
            lambda: InceptionV3(packed=packed).init(
                jax.random.key(0), jnp.zeros((2, 64, 64, 3)), train=False
            )
        )()

    jax.tree.map(np.testing.assert_array_equal, init(False), init(True))


def test_features(variables):
    images = np.random.default_rng(1).uniform(-1.0, 1.0, (4, 256, 256, 3)).astype(np.float32)

    def features(packed):
        return jax.jit(
            lambda images: InceptionV3(packed=packed).apply(variables, images, train=False)
        )(images)

    for a, b in zip(features(False), features(True)):
        assert a.shape == b.shape
        assert np.linalg.norm(a - b) <= 2e-5 * np.linalg.norm(a)


def test_an_odd_batch_is_not_packed(variables):
    def traced(packed, batch_size):
        return str(
            jax.make_jaxpr(
                lambda images: InceptionV3(packed=packed).apply(variables, images, train=False)
            )(jnp.zeros((batch_size, 64, 64, 3)))
        )

    assert traced(False, 3) == traced(True, 3)
    assert traced(False, 2) != traced(True, 2)


@pytest.mark.parametrize("batch_size, image_size", [(4, 256), (6, 64), (2, 299)])
def test_the_gradient_of_images(variables, monkeypatch, batch_size, image_size):
    """Through the stem alone: where a ReLU or a pool behind it is undecided, rounding decides."""
    monkeypatch.setattr(inception, "_TO_MIXED_6E", {})
    monkeypatch.setattr(inception, "_TO_POOL", {})
    rng = np.random.default_rng(2)
    images = rng.uniform(-1.0, 1.0, (batch_size, image_size, image_size, 3))
    weight = rng.normal(size=(batch_size, 35, 35, 192))

    def results(packed):
        def objective(images):
            features, _ = InceptionV3(packed=packed, dtype=jnp.float64).apply(
                variables, images, train=False
            )
            return (weight * features).sum(), features

        return jax.jit(jax.grad(objective, has_aux=True))(images)

    with jax.enable_x64(True):
        usual, packed = results(False), results(True)
    for a, b in zip(usual, packed):
        assert a.shape == b.shape and np.linalg.norm(a) > 0
        assert np.linalg.norm(a - b) <= 1e-6 * np.linalg.norm(a)
