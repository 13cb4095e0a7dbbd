"""Full width: CUB's and COCO's networks with seeded weights, and a fourth stage of 512 pixels.

The vectors of the original are narrow. Here the same names and shapes at full width go through the
package, and through the original's operations written out below, which the vectors check: images
stay `[B, C, H, W]`, upsampling makes the large image, and nothing of the package is used.
"""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.interop import variables_from_state_dict
from attngan_jax.interop.name_tables import TABLES
from attngan_jax.models.generator import GeneratorOutput
from attngan_jax.models.inception import InceptionV3
from attngan_jax.training.attngan_task import AttnganTask
from tests import reference_vectors as ref
from tests.models.test_reference import check_images_and_maps

B, T, D = 2, 18, 256
CUB_WORDS = 5_450


def conv(x, kernel):
    layout, ones = ("NCHW", "OIHW", "NCHW"), (1, 1)
    return jax.lax.conv_general_dilated(x, kernel, ones, (ones, ones), dimension_numbers=layout)


def norm(x, weights, name):
    mean, var, scale, bias = (
        weights[f"{name}.{part}"].reshape(1, -1, *[1] * (x.ndim - 2))
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias


def glu(x):
    half = x.shape[1] // 2
    return x[:, :half] / (1 + jnp.exp(-x[:, half:]))


def up_block(x, weights, name):
    large = x.repeat(2, axis=2).repeat(2, axis=3)
    return glu(norm(conv(large, weights[f"{name}.1.weight"]), weights, f"{name}.2"))


def residual(x, weights, name):
    h = glu(norm(conv(x, weights[f"{name}.0.weight"]), weights, f"{name}.1"))
    return x + norm(conv(h, weights[f"{name}.3.weight"]), weights, f"{name}.4")


@functools.partial(jax.jit, static_argnums=(0, 1))
def generate(num_stages, num_residual_blocks, weights, z, noise, sentence, words, word_mask):
    """`G_NET` from 64 pixels; words `[B, D, T]`. The output's arrays are `[B, H, W, C]`."""
    x = glu(sentence @ weights["ca_net.fc.weight"].T + weights["ca_net.fc.bias"])
    mean, log_variance = jnp.split(x, 2, axis=1)
    condition = mean + noise * jnp.exp(0.5 * log_variance)
    h = jnp.concatenate([condition, z], 1) @ weights["h_net1.fc.0.weight"].T
    h = glu(norm(h, weights, "h_net1.fc.1")).reshape(len(h), -1, 4, 4)
    for i in range(1, 5):
        h = up_block(h, weights, f"h_net1.upsample{i}")
    images, maps = [jnp.tanh(conv(h, weights["img_net1.img.0.weight"]))], []
    for stage in range(2, num_stages + 1):
        name = f"h_net{stage}"
        project = weights[f"{name}.att.conv_context.weight"][..., 0, 0]
        source = jnp.einsum("cd,bdt->bct", project, words)
        scores = jnp.einsum("bchw,bct->bthw", h, source)
        exponent = jnp.where(word_mask[:, :, None, None], jnp.exp(scores - scores.max()), 0.0)
        attention = exponent / exponent.sum(1, keepdims=True)
        h = jnp.concatenate([h, jnp.einsum("bct,bthw->bchw", source, attention)], 1)
        for i in range(num_residual_blocks):
            h = residual(h, weights, f"{name}.residual.{i}.block")
        h = up_block(h, weights, f"{name}.upsample")
        images.append(jnp.tanh(conv(h, weights[f"img_net{stage}.img.0.weight"])))
        maps.append(attention)
    images, maps = ([jnp.moveaxis(x, 1, -1) for x in arrays] for arrays in (images, maps))
    return GeneratorOutput(images, maps, mean, log_variance)


def lstm(weights, caption, lengths):
    """`RNN_ENCODER`: words `[B, T, D]` and sentence `[B, D]`, one word of one caption at a time."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    (B, T), F = caption.shape, weights["rnn.weight_hh_l0"].shape[1]
    words, sentence = np.zeros((B, T, 2 * F)), np.zeros((B, 2 * F))
    for half, end in ((slice(F), ""), (slice(F, 2 * F), "_reverse")):
        w_in, w_state, b_in, b_state = (
            weights[f"rnn.{part}_l0{end}"].astype(np.float64)
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        for b in range(B):
            h, c = np.zeros(F), np.zeros(F)
            for t in range(lengths[b])[:: -1 if end else 1]:
                x = weights["encoder.weight"][caption[b, t]]
                i, f, g, o = np.split(w_in @ x + b_in + w_state @ h + b_state, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = words[b, t, half] = sigmoid(o) * np.tanh(c)
            sentence[b, half] = h
    return words, sentence


def seeded(kind, **dimensions):
    """The state_dict of a network of these dimensions."""
    return ref.state_dict([(row.pt, row.shape) for row in TABLES[kind].rows(dimensions)])


def evaluate(module, variables, *inputs):
    return jax.jit(functools.partial(module.apply, train=False))(variables, *inputs)


def test_the_functions_above_are_the_original():
    """At the vectors' narrow widths, where the original's numbers are known."""
    vectors = ref.recorded("generator_eval")
    weights = ref.state_dict(ref.SPEC["specs"]["generator"])
    inputs = [vectors[name] for name in ("z", "eps", "sent", "words")]
    mask = np.ones((ref.BATCH, vectors["words"].shape[2]), bool)
    output = generate(3, ref.SPEC["dims"]["GAN__R_NUM"], weights, *inputs, mask)
    assert check_images_and_maps(output, vectors) == 8
    vectors = ref.recorded("text_encoder_lstm")
    weights = ref.state_dict(ref.SPEC["specs"]["text_encoder_lstm"])
    words, sentence = lstm(weights, vectors["captions"], vectors["lengths"])
    ref.assert_close(words, ref.btd(vectors["words"]))
    ref.assert_close(sentence, vectors["sent"])


@pytest.mark.parametrize("name, num_stages", [("cub", 3), ("coco", 2)])
def test_generator(name, num_stages):
    g = importlib.import_module(f"configs.{name}").get_config().generator
    weights = seeded("generator", **dict(g.to_dict(), num_stages=num_stages, embedding_dim=D))
    variables = variables_from_state_dict("generator", weights)
    sizes = (g.z_dim, g.condition_dim, D)
    inputs = [ref.normal(tag, (B, size)) for tag, size in zip("zes", sizes)]
    words, mask = np.float32(0.3) * ref.normal("w", (B, D, T)), np.arange(T) < np.array([[T], [7]])
    expected = generate(num_stages, g.num_residual_blocks, weights, *inputs, words, mask)
    output = evaluate(ref.module("generator", weights), variables, *inputs, ref.btd(words), mask)
    assert [image.shape[1] for image in output.images] == [64, 128, 256][:num_stages]
    assert all(np.std(image) > 0.05 for image in output.images)  # neither grey nor black and white
    for found, want in zip(jax.tree.leaves(output), jax.tree.leaves(expected), strict=True):
        ref.assert_close(found, want)


def test_text_encoder():
    sizes = dict(vocabulary_size=CUB_WORDS, word_dim=300, embedding_dim=D, rnn_type="lstm")
    weights, lengths = seeded("text_encoder", **sizes), np.array([T, 6])
    mask = np.arange(T)[None] < lengths[:, None]
    caption = np.random.default_rng(0).integers(1, CUB_WORDS, (B, T)) * mask
    variables = variables_from_state_dict("text_encoder", weights)
    run = jax.jit(ref.module("text_encoder", weights).apply)
    encoded = run(variables, caption.astype(np.int32), mask)
    for found, want in zip(encoded, lstm(weights, caption, lengths)):
        ref.assert_close(found, want)


def test_image_encoder_projects_the_trunks_features():
    """The trunk has one width, at which the vectors check it; the projections are wider here."""
    weights = seeded("image_encoder", trunk="inception_v3", embedding_dim=D)
    variables = variables_from_state_dict("image_encoder", weights)
    trunk = {name: tree["inception"] for name, tree in variables.items()}
    pixels = ref.nhwc(np.tanh(ref.normal("x", (B, 3, 64, 64))))
    local, pooled = evaluate(InceptionV3(), trunk, pixels)
    regions, embedding = evaluate(ref.module("image_encoder", weights), variables, pixels)
    local, kernel = np.asarray(local), weights["emb_features.weight"][:, :, 0, 0]
    assert regions.shape == (B, 289, D) and embedding.shape == (B, D)
    ref.assert_close(regions[:, 17], local[:, 1, 0] @ kernel.T)
    ref.assert_close(regions[:, 288], local[:, 16, 16] @ kernel.T)
    projected = pooled @ weights["emb_cnn_code.weight"].T + weights["emb_cnn_code.bias"]
    ref.assert_close(embedding, projected)


def test_a_fourth_stage_of_512_pixels():
    """Shapes of a whole training state and of the images, at full width, nothing computed."""
    config = importlib.import_module("configs.cub").get_config()
    config.generator.num_stages = 4
    task = AttnganTask(config, CUB_WORDS)
    assert task.image_sizes == (64, 128, 256, 512)
    state = jax.eval_shape(task.create_train_state, jax.random.key(0))
    inputs = (jnp.zeros(shape) for shape in ((B, 100), (B, 100), (B, D), (B, T, D)))
    run = functools.partial(task.generator.apply, train=False)
    made = jax.eval_shape(run, state.generator.variables, *inputs, jnp.ones((B, T), bool))
    assert [image.shape for image in made.images] == [(B, s, s, 3) for s in task.image_sizes]
    assert [maps.shape for maps in made.attention] == [(B, s, s, T) for s in (64, 128, 256)]
    for network, module, image in zip(state.discriminators, task.discriminators, made.images):
        assert network.params["conditional_head"]["kernel"].shape == (4, 4, 512, 1)
        run = functools.partial(module.apply, train=False)
        logits = jax.eval_shape(run, network.variables, image, jnp.zeros((B, D)))
        assert [head.shape for head in logits] == [(B,), (B,)]
    assert network.params["down_5"]["conv"]["kernel"].shape == (4, 4, 2048, 4096)
    init = functools.partial(module.clone(max_width=512).init, train=False)
    limited = jax.eval_shape(init, jax.random.key(0), image, jnp.zeros((B, D)))["params"]
    for params, widest, millions in ((network.params, 4096, 281.59), (limited, 512, 25.98)):
        leaves = jax.tree.leaves(params)
        assert max(leaf.shape[-1] for leaf in leaves) == widest
        assert round(sum(leaf.size for leaf in leaves) / 1e6, 2) == millions
