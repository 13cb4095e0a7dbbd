"""The generator in the TPU's layout: the same parameters, images, statistics and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax import tpu_layout
from attngan_jax.models.generator import Generator
from attngan_jax.training import networks
from configs import default
from tests.reference_vectors import normal

B, T, D = 2, 4, 12


def inputs():
    sizes = {"z": (B, 7), "noise": (B, 5), "sentence": (B, D), "words": (B, T, D)}
    mask = np.arange(T)[None] < np.array([T, 2])[:, None]
    return *(jnp.asarray(normal(name, shape)) for name, shape in sizes.items()), mask


# gf_dim 6 is packed two by two in a stage, 48 has no lanes to spare there.
@pytest.mark.parametrize(
    "gf_dim, attention, single_image, bilinear_up_to",
    [(6, True, False, 32), (6, False, False, 0), (48, True, True, 16)],
)
def test_the_packed_generator_is_the_plain_one(gf_dim, attention, single_image, bilinear_up_to):
    fields = dict(num_stages=3, base_size=8, gf_dim=gf_dim, condition_dim=5)
    fields |= dict(num_residual_blocks=1, attention=attention, single_image=single_image)
    fields["bilinear_up_to"] = bilinear_up_to
    plain, packed = Generator(**fields), tpu_layout.PackedGenerator(**fields)
    trees = [
        jax.jit(lambda m=m: m.init(jax.random.key(0), *inputs(), train=False))()
        for m in (plain, packed)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.shape, b.shape), *trees)
    # BatchNorm's scales, biases and running statistics are 1-D; none is left as it was made.
    variables = jax.tree.map(
        lambda x: x + 0.1 * normal("v", x.shape) ** 2 if x.ndim == 1 else x, trees[0]
    )

    def run(module, train):
        def loss(params):
            output, updated = module.apply(
                variables | {"params": params}, *inputs(), train=train, mutable=["batch_stats"]
            )
            weighted = [(i * normal(str(i.shape), i.shape)).sum() for i in output.images]
            return sum(weighted), (output, updated)

        return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])

    for train in (False, True):
        for one, other in zip(*(jax.tree.leaves(run(m, train)) for m in (plain, packed))):
            scale = np.abs(one).max() + 1e-6
            np.testing.assert_allclose(other / scale, one / scale, atol=1e-4)


@pytest.mark.parametrize("rows, columns", [(1, 2), (2, 2), (2, 4)])
def test_packing_is_undone(rows, columns):
    x = normal("x", (2, 4, 8, 3))
    packed = tpu_layout.pack(jnp.asarray(x), rows, columns)
    assert packed.values.shape == (2, 4 // rows, 8 // columns, rows * columns * 3)
    np.testing.assert_array_equal(tpu_layout.unpack(packed), x)


def test_the_config_or_the_devices_choose_the_layout():
    config = default.get_config()
    assert type(networks.build_generator(config)) is Generator  # on the CPU
    config.platform = "tpu"
    assert type(networks.build_generator(config)) is tpu_layout.PackedGenerator
