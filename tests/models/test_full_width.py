"""Full width: CUB's and COCO's networks with seeded weights, and a fourth stage of 512 pixels.

The vectors of the original are narrow. Here the same names and shapes at full width go through the
package and through `plain_original`, which the vectors hold to the original.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.interop import variables_from_state_dict
from attngan_jax.interop.name_tables import TABLES
from attngan_jax.models.inception import InceptionV3
from attngan_jax.training.attngan_task import AttnganTask
from tests.models import plain_original
from tests.reference_vectors import (
    BATCH,
    FORWARD,
    SPEC,
    assert_close,
    btd,
    module,
    nhwc,
    normal,
    recorded,
    state_dict,
)

B, T, D = 2, 18, 256
CUB_WORDS = 5_450


def seeded(kind, **dimensions):
    """The state_dict of a network of these dimensions."""
    return state_dict([(row.pt, row.shape) for row in TABLES[kind].rows(dimensions)])


def generator_dimensions(name):
    g = importlib.import_module(f"configs.{name}").get_config().generator
    return {
        key: g[key]
        for key in (
            "num_stages",
            "base_size",
            "gf_dim",
            "z_dim",
            "condition_dim",
            "num_residual_blocks",
            "attention",
        )
    } | {"embedding_dim": D}


def test_the_plain_networks_are_the_originals():
    """At the vectors' narrow widths, where the original's numbers are known."""
    vectors, weights = recorded("generator_eval"), state_dict(SPEC["specs"]["generator"])
    T = vectors["words"].shape[2]
    images, maps = jax.jit(
        lambda weights: plain_original.generator(
            weights,
            vectors["z"],
            vectors["eps"],
            vectors["sent"],
            vectors["words"],
            np.ones((BATCH, T), bool),
            num_stages=3,
            base_size=64,
            residuals=SPEC["dims"]["GAN__R_NUM"],
        )
    )(weights)
    checked = 0
    for key, expected in vectors.items():
        if "_stride" in key:
            kind, number, stride = key.split("_")
            arrays, n = (images, int(number)) if kind == "image" else (maps, int(number))
            stride = int(stride.removeprefix("stride"))
            assert_close(arrays[n][:, :, ::stride, ::stride], expected, FORWARD)
            checked += 1
    assert checked == 5
    vectors, weights = recorded("text_encoder_lstm"), state_dict(SPEC["specs"]["text_encoder_lstm"])
    words, sentence = plain_original.lstm(weights, vectors["captions"], vectors["lengths"])
    assert_close(words, vectors["words"], FORWARD)
    assert_close(sentence, vectors["sent"], FORWARD)


@pytest.mark.parametrize("name, num_stages", [("cub", 3), ("coco", 2)])
def test_generator(name, num_stages):
    dimensions = generator_dimensions(name) | {"num_stages": num_stages}
    weights = seeded("generator", **dimensions)
    z, noise = normal("z", (B, dimensions["z_dim"])), normal("e", (B, dimensions["condition_dim"]))
    sentence, words = normal("s", (B, D)), np.float32(0.3) * normal("w", (B, D, T))
    mask = np.arange(T)[None] < np.array([[T], [7]])
    expected_images, expected_maps = jax.jit(
        lambda weights: plain_original.generator(
            weights,
            z,
            noise,
            sentence,
            words,
            mask,
            num_stages=num_stages,
            base_size=dimensions["base_size"],
            residuals=dimensions["num_residual_blocks"],
        )
    )(weights)
    network = module("generator", weights)
    output = jax.jit(lambda v: network.apply(v, z, noise, sentence, btd(words), mask, train=False))(
        variables_from_state_dict("generator", weights)
    )
    assert [image.shape[1] for image in output.images] == [64, 128, 256][:num_stages]
    for image, expected in zip(output.images, expected_images, strict=True):
        assert np.std(image) > 0.05  # neither grey nor black and white
        assert_close(image, nhwc(np.asarray(expected)), FORWARD)
    for attention, expected in zip(output.attention, expected_maps, strict=True):
        assert_close(attention, nhwc(np.asarray(expected)), FORWARD)


def test_text_encoder():
    weights = seeded(
        "text_encoder", vocabulary_size=CUB_WORDS, word_dim=300, embedding_dim=D, rnn_type="lstm"
    )
    lengths = np.array([T, 6])
    mask = np.arange(T)[None] < lengths[:, None]
    caption = np.random.default_rng(0).integers(1, CUB_WORDS, (B, T)) * mask
    network = module("text_encoder", weights)
    words, sentence = jax.jit(network.apply)(
        variables_from_state_dict("text_encoder", weights), caption.astype(np.int32), mask
    )
    expected_words, expected_sentence = plain_original.lstm(weights, caption, lengths)
    assert_close(words, btd(expected_words), FORWARD)
    assert_close(sentence, expected_sentence, FORWARD)


def test_image_encoder_projects_the_trunks_features():
    """The trunk has one width, at which the vectors check it; the projections are wider here."""
    weights = seeded("image_encoder", trunk="inception_v3", embedding_dim=D)
    variables = variables_from_state_dict("image_encoder", weights)
    pixels = nhwc(np.tanh(normal("x", (B, 3, 64, 64))))
    local, pooled = jax.jit(lambda v: InceptionV3().apply(v, pixels, train=False))(
        {name: tree["inception"] for name, tree in variables.items()}
    )
    regions, code = jax.jit(
        lambda v: module("image_encoder", weights).apply(v, pixels, train=False)
    )(variables)
    kernel = weights["emb_features.weight"][:, :, 0, 0]
    assert regions.shape == (B, 289, D) and code.shape == (B, D)
    assert_close(regions[:, 17], np.asarray(local)[:, 1, 0] @ kernel.T, FORWARD)
    assert_close(regions[:, 288], np.asarray(local)[:, 16, 16] @ kernel.T, FORWARD)
    assert_close(
        code, pooled @ weights["emb_cnn_code.weight"].T + weights["emb_cnn_code.bias"], FORWARD
    )


def test_a_fourth_stage_of_512_pixels():
    """Shapes of a whole training state and of the images, at full width, nothing computed."""
    config = importlib.import_module("configs.cub").get_config()
    config.generator.num_stages = 4
    task = AttnganTask(config, CUB_WORDS)
    assert task.image_sizes == (64, 128, 256, 512)
    state = jax.eval_shape(task.create_train_state, jax.random.key(0))
    array = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731
    images = [array(B, size, size, 3) for size in task.image_sizes]
    made = jax.eval_shape(
        lambda v, *inputs: task.generator.apply(v, *inputs, train=False),
        state.generator.variables,
        array(B, 100),
        array(B, 100),
        array(B, D),
        array(B, T, D),
        jax.ShapeDtypeStruct((B, T), bool),
    )
    assert [image.shape for image in made.images] == [image.shape for image in images]
    assert [maps.shape for maps in made.attention] == [(B, s, s, T) for s in (64, 128, 256)]
    for network, discriminator, image in zip(state.discriminators, task.discriminators, images):
        assert network.params["conditional_head"]["kernel"].shape == (4, 4, 512, 1)
        logits = jax.eval_shape(
            lambda v, *inputs, d=discriminator: d.apply(v, *inputs, train=False),
            network.variables,
            image,
            array(B, D),
        )
        assert [head.shape for head in logits] == [(B,), (B,)]
    assert state.discriminators[-1].params["down_5"]["conv"]["kernel"].shape == (4, 4, 2048, 4096)
