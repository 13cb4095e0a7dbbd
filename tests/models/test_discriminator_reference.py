"""The discriminators, number for number with the original's `D_NET64`, `D_NET128`, `D_NET256`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.interop import state_dict_from_variables
from attngan_jax.losses import adversarial
from tests.reference_vectors import (
    FORWARD,
    GRADIENT,
    assert_close,
    assert_each_close,
    images,
    network,
    nhwc,
    norms,
    numpy_tree,
    recorded,
)

SIZES = [64, 128, 256]


@pytest.mark.parametrize("size", SIZES)
def test_features_and_probabilities(size):
    vectors = recorded(f"discriminator_{size}")
    module, variables = network(f"discriminator_{size}")
    real = images(vectors["image_seed_tags"][0], size)

    @jax.jit
    def judge(variables):
        features = module.apply(variables, real, train=False, method="features")
        return features, *module.apply(variables, real, vectors["sent"], train=False)

    features, conditional, unconditional = judge(variables)
    assert_close(features, nhwc(vectors["features_eval"]), FORWARD)
    assert_close(jax.nn.sigmoid(conditional), vectors["cond_prob_eval"], FORWARD)
    assert_close(jax.nn.sigmoid(unconditional), vectors["uncond_prob_eval"], FORWARD)


@pytest.mark.parametrize("size", SIZES)
def test_loss_and_gradients_in_training(size):
    """The pairs (image i, caption i + 1), i < B - 1, as a smaller batch of their own."""
    vectors = recorded(f"discriminator_{size}")
    module, variables = network(f"discriminator_{size}")
    real, fake = (images(tag, size) for tag in vectors["image_seed_tags"])
    sentence = vectors["sent"]
    B = len(sentence)

    def logits(module):
        on_real, on_fake = (module.features(x, train=True) for x in (real, fake))
        return (
            [
                module.conditional_logits(on_real, sentence, train=True),
                module.conditional_logits(on_fake, sentence, train=True),
                module.conditional_logits(on_real[:-1], sentence[1:], train=True),
            ],
            (module.unconditional_logits(on_real), module.unconditional_logits(on_fake)),
        )

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        (conditional, unconditional), _ = module.apply(
            variables | {"params": params}, mutable=["batch_stats"], method=logits
        )
        return adversarial.discriminator_loss(
            *conditional, jnp.full(B - 1, 1 / (B - 1)), unconditional=unconditional
        )

    value, gradients = loss(variables["params"])
    np.testing.assert_allclose(value, vectors["loss_train"], rtol=FORWARD)
    gradients = state_dict_from_variables(
        "discriminator", numpy_tree(variables | {"params": gradients})
    )
    names = [
        name
        for name in gradients
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    assert_each_close(
        norms({name: gradients[name] for name in names}), vectors["grad_l2_train"], GRADIENT
    )
