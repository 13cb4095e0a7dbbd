"""Images generated a few at a time are those of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.sampling.trained_model import generate_in_chunks
from tests.reference_vectors import FORWARD, assert_close, network, normal


@pytest.mark.parametrize("legacy_mask", [False, True])
@pytest.mark.parametrize("chunk_size", [1, 3, 4, None])
def test_a_few_examples_at_a_time(chunk_size, legacy_mask):
    module, variables = network("generator", legacy_mask=legacy_mask)
    B, T = 6, 5
    z_dim = variables["params"]["initial"]["dense"]["kernel"].shape[0] - module.condition_dim
    D = variables["params"]["conditioning"]["dense"]["kernel"].shape[0]
    mask = np.arange(T)[None] < np.array([5, 1, 2, 3, 4, 5])[:, None]
    inputs = (
        normal("z", (B, z_dim)),
        normal("e", (B, module.condition_dim)),
        normal("s", (B, D)),
        normal("w", (B, T, D)),
        mask,
    )
    whole = jax.jit(lambda v: module.apply(v, *inputs, train=False))(variables)
    parts = jax.jit(
        lambda v: generate_in_chunks(module, v, *map(jnp.asarray, inputs), chunk_size=chunk_size)
    )(variables)
    for one, other in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        assert_close(one, other, FORWARD)
