"""Pixels packed into channels, the layout for TPUs: the same numbers, gradients and statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.models.discriminator import Discriminator
from attngan_jax.models.generator import Generator
from attngan_jax.models.packing import (
    PAIRS,
    QUADS,
    UNPACKED,
    Packing,
    pack,
    packed_conv,
    unpack,
    unpack_into,
)
from tests.models.grouped import in_groups

EIGHTS = Packing(2, 4)


@pytest.mark.parametrize(
    "kernel_size, stride, upsample, of, to, groups",
    [
        (3, 1, False, UNPACKED, UNPACKED, (1, 1)),
        (3, 1, False, PAIRS, PAIRS, (2, 2)),
        (3, 1, False, PAIRS, PAIRS, (1, 2)),
        (3, 1, False, EIGHTS, EIGHTS, (1, 1)),
        (3, 1, True, UNPACKED, QUADS, (1, 2)),
        (3, 1, True, PAIRS, EIGHTS, (2, 2)),
        (4, 2, False, EIGHTS, PAIRS, (1, 1)),
        (4, 2, False, PAIRS, UNPACKED, (1, 1)),
    ],
)
def test_a_packed_convolution_is_the_convolution_of_the_pixels(
    kernel_size, stride, upsample, of, to, groups
):
    x, kernel = (
        jax.random.normal(jax.random.key(i), shape)
        for i, shape in enumerate(((2, 8, 12, 4), (kernel_size, kernel_size, 4, 6)))
    )
    pixels = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2) if upsample else x
    plain = jax.lax.conv_general_dilated(
        pixels,
        kernel,
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    made = packed_conv(
        in_groups(pack(x, of), of.pixels, groups[0]),
        kernel,
        of,
        to,
        stride=stride,
        upsample=upsample,
        groups=groups,
    )
    np.testing.assert_allclose(made, in_groups(pack(plain, to), to.pixels, groups[1]), atol=2e-5)


@pytest.mark.parametrize(
    "kernel_size, stride, of, to, padding",
    [
        (3, 2, QUADS, UNPACKED, 0),
        (3, 1, QUADS, QUADS, 0),
        (5, 1, PAIRS, PAIRS, 2),
        (3, 2, UNPACKED, UNPACKED, 0),
    ],
)
def test_another_padding(kernel_size, stride, of, to, padding):
    x, kernel = (
        jax.random.normal(jax.random.key(i), shape)
        for i, shape in enumerate(((2, 8, 12, 4), (kernel_size, kernel_size, 4, 6)))
    )
    plain = jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding),) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    made = packed_conv(pack(x, of), kernel, of, to, stride=stride, padding=padding)
    np.testing.assert_allclose(made, pack(plain, to), atol=2e-5)


def test_a_result_of_odd_sides_does_not_pack():
    with pytest.raises(ValueError, match="5 pixels don't lie 2 side by side"):
        packed_conv(
            jnp.zeros((1, 4, 4, 3)), jnp.zeros((4, 4, 3, 5)), UNPACKED, QUADS, stride=2, padding=4
        )


def test_packing_moves_pixels_and_back():
    x = jnp.arange(2 * 4 * 8 * 3).reshape(2, 4, 8, 3)
    assert pack(x, EIGHTS)[1, 1, 0].tolist() == x[1, 2:4, :4].reshape(-1).tolist()
    np.testing.assert_array_equal(unpack(pack(x, EIGHTS), EIGHTS), x)
    for into in (PAIRS, UNPACKED):
        made = unpack_into(pack(x, EIGHTS).astype(jnp.float32), EIGHTS, into)
        np.testing.assert_array_equal(made, pack(x, into))


@pytest.mark.parametrize("into", [PAIRS, UNPACKED])
def test_moved_bfloat16_is_exact_and_comes_back(into):
    x, dy = (jax.random.normal(jax.random.key(i), (2, 4, 8, 6), jnp.bfloat16) for i in range(2))
    made, pullback = jax.vjp(lambda x: unpack_into(x, EIGHTS, into), pack(x, EIGHTS))
    np.testing.assert_array_equal(made, pack(x, into))
    np.testing.assert_array_equal(pullback(pack(dy, into))[0], pack(dy, EIGHTS))


def test_moved_float32_is_exact_where_products_are_not():
    """A TPU multiplies float32 in bfloat16 where nothing else is asked for."""
    jaxpr = jax.make_jaxpr(lambda x: unpack_into(x, EIGHTS, PAIRS))(jnp.zeros((1, 2, 2, 24)))
    (moved,) = (
        equation for equation in jaxpr.eqns if equation.primitive.name == "conv_general_dilated"
    )
    assert set(moved.params["precision"]) == {jax.lax.Precision.HIGHEST}


def test_a_stride_that_falls_between_packed_pixels_is_refused():
    with pytest.raises(ValueError, match="1 side by side cannot be made of 4 with a stride of 2"):
        packed_conv(
            jnp.zeros((1, 4, 4, 12)), jnp.zeros((4, 4, 3, 5)), Packing(1, 4), UNPACKED, stride=2
        )


def generator_results(train, **variant):
    """Images, attention, new statistics and gradients, by the usual layout and the packed one."""
    fields = (
        dict(num_stages=3, base_size=8, gf_dim=4, condition_dim=5, num_residual_blocks=1) | variant
    )
    z, noise, sentence, words = (
        jax.random.normal(jax.random.key(i), shape)
        for i, shape in enumerate(((3, 6), (3, 5), (3, 8), (3, 4, 8)))
    )
    inputs = (z, noise, sentence, words, jnp.arange(4) < jnp.array([4, 2, 3])[:, None])
    variables = Generator(**fields).init(jax.random.key(9), *inputs, train=False)

    def results(packed):
        def loss(params):
            output, updated = Generator(**fields, packed=packed).apply(
                variables | {"params": params}, *inputs, train=train, mutable=["batch_stats"]
            )
            return sum((image**2).mean() for image in output.images), (output, updated)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])

    return results(False), results(True)


@pytest.mark.parametrize(
    "train, variant",
    [
        (True, {}),
        (False, {}),
        (True, {"legacy_mask": True}),
        (True, {"attention": False}),
        (True, {"single_image": True}),
        (True, {"gf_dim": 48, "num_stages": 2}),
    ],
)
def test_the_generator(train, variant):
    assert_same(*generator_results(train, **variant))


@pytest.mark.parametrize("df_dim, image_size", [(4, 8), (4, 16), (4, 128), (96, 16)])
def test_the_discriminator(df_dim, image_size):
    images = jax.random.normal(jax.random.key(0), (3, image_size, image_size, 3))
    sentence = jax.random.normal(jax.random.key(1), (3, 8))
    variables = Discriminator(df_dim, image_size).init(
        jax.random.key(2), images, sentence, train=False
    )

    def results(packed):
        def loss(params, images):
            logits, updated = Discriminator(df_dim, image_size, packed=packed).apply(
                variables | {"params": params},
                images,
                sentence,
                train=True,
                mutable=["batch_stats"],
            )
            return sum((logit * jnp.arange(3.0)).sum() for logit in logits), (logits, updated)

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(variables["params"], images)

    assert_same(results(False), results(True))


def assert_same(usual, packed):
    assert jax.tree.structure(usual) == jax.tree.structure(packed)
    for a, b in zip(jax.tree.leaves(usual), jax.tree.leaves(packed)):
        assert a.shape == b.shape
        assert np.linalg.norm(a - b) <= 2e-4 * np.linalg.norm(a) + 1e-6
