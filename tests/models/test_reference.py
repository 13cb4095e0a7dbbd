"""Every network, number for number with the original's, in evaluation and in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.interop import state_dict_from_variables
from attngan_jax.losses import adversarial
from tests import reference_vectors as ref

ARRAYS = {"generator": 8, "generator_2stage": 5, "generator_dcgan": 4}  # of images and attention


def generate(name, vectors, *, train, word_mask=None):
    """Output and updated variables of a generator on a file's inputs."""
    module, variables = ref.network(name)
    words = ref.btd(vectors["words"])
    mask = np.ones(words.shape[:2], bool) if word_mask is None else word_mask
    inputs = vectors["z"], vectors["eps"], vectors["sent"], words, mask
    run = jax.jit(lambda v: module.apply(v, *inputs, train=train, mutable=["batch_stats"]))
    output, updated = run(variables)
    return output, variables | updated


def check_images_and_maps(output, vectors):
    """Compares what a file has of both, and counts it."""
    keys = [key.split("_", 2) for key in vectors if key.startswith(("image", "attention"))]
    for kind, n, part in keys:
        array = np.asarray((output.images if kind == "image" else output.attention)[int(n)])
        expected = vectors[f"{kind}_{n}_{part}"]
        if part == "mean_std":  # the images' own spread is the scale, of the mean too
            ref.assert_close([array.mean(), array.std()], expected)
        else:
            stride = int(part.removeprefix("stride"))
            ref.assert_close(array[:, ::stride, ::stride], ref.nhwc(expected))
    return len(keys)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", ARRAYS)
def test_generator(name, train):
    vectors = ref.recorded(f"{name}_train" if train else f"{name}_eval")
    output, variables = generate(name, vectors, train=train)
    assert check_images_and_maps(output, vectors) == ARRAYS[name]
    ref.assert_close(output.mean, vectors["mu"])
    ref.assert_close(output.log_variance, vectors["logvar"])
    if train:
        kind = "generator_dcgan" if name.endswith("dcgan") else "generator"
        updated = state_dict_from_variables(kind, jax.device_get(variables))
        norms = ref.norms(updated, ("running_mean", "running_var"))
        ref.assert_each_close(norms, vectors["running_stats_l2"])


def test_padding_is_not_looked_at():
    vectors = ref.recorded("generator_masked")
    word_mask = ~vectors["padding_mask"]
    output, _ = generate("generator", vectors, train=False, word_mask=word_mask)
    assert check_images_and_maps(output, vectors) == 2
    assert np.all(np.asarray(output.attention[0])[..., ~word_mask[0]] == 0)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_discriminator(size):
    vectors = ref.recorded(f"discriminator_{size}")
    module, variables = ref.network(f"discriminator_{size}")
    real, fake = (ref.images(tag, size) for tag in vectors["image_seed_tags"])
    sentence = vectors["sent"]

    @jax.jit
    def evaluate(variables):
        features = module.apply(variables, real, train=False, method="features")
        return features, *module.apply(variables, real, sentence, train=False)

    features, conditional, unconditional = evaluate(variables)
    ref.assert_close(features, ref.nhwc(vectors["features_eval"]))
    ref.assert_close(jax.nn.sigmoid(conditional), vectors["cond_prob_eval"])
    ref.assert_close(jax.nn.sigmoid(unconditional), vectors["uncond_prob_eval"])

    def logits(module):  # the mismatched pairs are a smaller batch of their own, as upstream
        on_real, on_fake = (module.features(x, train=True) for x in (real, fake))
        pairs = (on_real, sentence), (on_fake, sentence), (on_real[:-1], sentence[1:])
        conditional = [module.conditional_logits(*pair, train=True) for pair in pairs]
        return conditional, [module.unconditional_logits(x) for x in (on_real, on_fake)]

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        options = dict(mutable=["batch_stats"], method=logits)
        made, _ = module.apply(variables | {"params": params}, **options)
        weight = jnp.full(len(real) - 1, 1 / (len(real) - 1))
        return adversarial.discriminator_loss(*made[0], weight, unconditional=made[1])

    value, gradients = loss(variables["params"])
    np.testing.assert_allclose(value, vectors["loss_train"], rtol=ref.FORWARD)
    gradients = jax.device_get(variables | {"params": gradients})
    gradients = state_dict_from_variables("discriminator", gradients)
    ref.assert_each_close(ref.norms(gradients, ("weight", "bias")), vectors["grad_l2_train"])


@pytest.mark.parametrize("rnn_type", ["lstm", "gru"])
def test_text_encoder(rnn_type):
    vectors = ref.recorded(f"text_encoder_{rnn_type}")
    module, variables = ref.network(f"text_encoder_{rnn_type}")
    captions = vectors["captions"].astype(np.int32)
    mask = np.arange(captions.shape[1])[None] < vectors["lengths"][:, None]
    assert np.array_equal(mask, captions != 0)
    words, sentence = jax.jit(module.apply)(variables, captions, mask)
    ref.assert_close(words, ref.btd(vectors["words"]))
    ref.assert_close(sentence, vectors["sent"])


@pytest.mark.parametrize("size", [64, 256, 299])
def test_image_encoder(size):
    vectors = ref.recorded("image_encoder")
    module, variables = ref.network("image_encoder")
    block = -(-size // 8)  # images are made of 8 x 8 blocks
    pixels = np.tanh(2 * ref.normal(f"img{size}", (2, 3, 8, 8)))
    pixels = ref.nhwc(pixels.repeat(block, 2).repeat(block, 3)[:, :, :size, :size])
    run = jax.jit(lambda v, x: module.apply(v, x, train=False))
    region_features, image_embedding = run(variables, pixels)
    expected = ref.nhwc(vectors[f"regions_{size}"])
    ref.assert_close(region_features, expected.reshape(len(expected), 17 * 17, -1))
    ref.assert_close(image_embedding, vectors[f"code_{size}"])
