"""The generator, number for number with the original's `G_NET` and `G_DCGAN`."""

import jax
import numpy as np
import pytest

from attngan_jax.interop import state_dict_from_variables
from tests.reference_vectors import (
    FORWARD,
    GRADIENT,
    assert_close,
    assert_each_close,
    btd,
    network,
    nhwc,
    norms,
    numpy_tree,
    recorded,
    strided,
)

FILES = ["generator", "generator_2stage", "generator_dcgan"]
STATISTICS = ("running_mean", "running_var")


def draw(name, vectors, *, train, word_mask=None):
    """Output and updated variables of a network on a file's inputs."""
    module, variables = network(name)
    words = btd(vectors["words"])
    mask = np.ones(words.shape[:2], bool) if word_mask is None else word_mask
    run = jax.jit(lambda v, *inputs: module.apply(v, *inputs, train=train, mutable=["batch_stats"]))
    output, updated = run(variables, vectors["z"], vectors["eps"], vectors["sent"], words, mask)
    return output, variables | updated


def check_images_and_maps(output, vectors):
    checked = 0
    for key, expected in vectors.items():
        kind, _, rest = key.partition("_")
        if kind not in ("image", "attention"):
            continue
        arrays = output.images if kind == "image" else output.attention
        # The file numbers the images it has; the masked one has the last image alone.
        array = np.asarray(arrays[int(rest.split("_")[0])])
        if rest.endswith("mean_std"):
            # The images' own spread is the scale, of the mean too.
            assert_close([array.mean(), array.std()], expected, FORWARD)
        else:
            assert_close(strided(array, int(rest.split("stride")[1])), nhwc(expected), FORWARD)
        checked += 1
    return checked


@pytest.mark.parametrize("name", FILES)
def test_with_running_statistics(name):
    vectors = recorded(f"{name}_eval")
    output, _ = draw(name, vectors, train=False)
    assert (
        check_images_and_maps(output, vectors)
        == {"generator": 8, "generator_2stage": 5, "generator_dcgan": 4}[name]
    )
    assert_close(output.mean, vectors["mu"], FORWARD)
    assert_close(output.log_variance, vectors["logvar"], FORWARD)


@pytest.mark.parametrize("name", FILES)
def test_with_batch_statistics(name):
    vectors = recorded(f"{name}_train")
    output, variables = draw(name, vectors, train=True)
    check_images_and_maps(output, vectors)
    assert_close(output.mean, vectors["mu"], FORWARD)
    assert_close(output.log_variance, vectors["logvar"], FORWARD)
    kind = "generator_dcgan" if name.endswith("dcgan") else "generator"
    updated = state_dict_from_variables(kind, numpy_tree(variables))
    assert_each_close(norms(updated, STATISTICS), vectors["running_stats_l2"], GRADIENT)


def test_padding_is_not_looked_at():
    vectors = recorded("generator_masked")
    word_mask = ~vectors["padding_mask"]
    output, _ = draw("generator", vectors, train=False, word_mask=word_mask)
    assert check_images_and_maps(output, vectors) == 2
    assert np.all(np.asarray(output.attention[0])[..., ~word_mask[0]] == 0)
