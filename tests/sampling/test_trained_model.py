"""Images depend on captions, noise and weights, not on how many are made at a time."""

import dataclasses

import jax
import numpy as np
import pytest

from attngan_jax.sampling import sample_captions
from attngan_jax.sampling.trained_model import generate_images
from tests.reference_vectors import FORWARD, assert_close, network, normal


@pytest.mark.parametrize("legacy_mask", [False, True])
@pytest.mark.parametrize("at_once", [1, 3, 4, None])
def test_a_few_examples_at_a_time(at_once, legacy_mask):
    module, variables = network("generator", legacy_mask=legacy_mask)
    B, T, C = 6, 5, module.condition_dim
    z_dim = variables["params"]["initial"]["dense"]["kernel"].shape[0] - C
    D = variables["params"]["conditioning"]["dense"]["kernel"].shape[0]
    shapes = {"z": (B, z_dim), "e": (B, C), "s": (B, D), "w": (B, T, D)}
    mask = np.arange(T)[None] < np.array([5, 1, 2, 3, 4, 5])[:, None]
    inputs = [*(normal(name, shape) for name, shape in shapes.items()), mask]
    whole = jax.jit(lambda v: module.apply(v, *inputs, train=False))(variables)
    parts = jax.jit(lambda v, *x: generate_images(module, v, *x, at_once=at_once))
    parts = parts(variables, *inputs)
    for one, other in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        assert_close(one, other, FORWARD)


def test_images_of_captions_in_batches(trained):
    captions, lengths = np.array([[1, 2, 3, 0], [1, 3, 0, 0]], np.int32), np.array([3, 2])
    made = []
    for batch_size in (2, 4, 100):  # three batches of two, two of four, one
        config = trained.config.copy_and_resolve_references()
        config.eval.batch_size = batch_size
        model = dataclasses.replace(trained, config=config)
        options = dict(seed=3, with_attention=True)
        made.append(sample_captions.generate(model, captions, lengths, 3, **options))
    for other in made[1:]:
        assert_close(other.sentence, made[0].sentence, FORWARD)
        for size, images in made[0].images.items():
            np.testing.assert_allclose(images.astype(int), other.images[size], atol=1)
    images = made[0].images[16]
    assert images.shape == (6, 16, 16, 3) and images.dtype == np.uint8
    assert made[0].images.keys() == {8, 16} and made[0].attention[16].shape == (6, 8, 8, 4)
    assert (images[0] != images[1]).any() and (images[0] != images[3]).any()
    other_seed = sample_captions.generate(trained, captions, lengths, 3, seed=4)
    assert (other_seed.images[16] != images).any() and not other_seed.attention
