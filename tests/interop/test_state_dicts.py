"""The original's names and layouts to ours and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from original_weights import KINDS, assert_same, seeded, state_dict

from attngan_jax.errors import UserError
from attngan_jax.interop import (
    dimensions_from_state_dict,
    state_dict_from_variables,
    variables_from_state_dict,
)
from attngan_jax.models.discriminator import Discriminator
from attngan_jax.models.generator import Generator
from attngan_jax.models.image_encoder import ImageEncoder
from attngan_jax.models.text_encoder import TextEncoder

GENERATOR = {
    "base_size": 64,
    "gf_dim": 8,
    "z_dim": 12,
    "condition_dim": 10,
    "num_residual_blocks": 2,
    "embedding_dim": 32,
    "attention": True,
}
DISCRIMINATOR = {"df_dim": 4, "embedding_dim": 32, "unconditional": True}
TEXT_ENCODER = {"vocabulary_size": 50, "word_dim": 300, "embedding_dim": 32}
DIMENSIONS = {
    "generator": GENERATOR | {"num_stages": 3},
    "generator_2stage": GENERATOR | {"num_stages": 2},
    "generator_dcgan": GENERATOR | {"num_stages": 3},
    "discriminator_64": DISCRIMINATOR | {"image_size": 64},
    "discriminator_128": DISCRIMINATOR | {"image_size": 128},
    "discriminator_256": DISCRIMINATOR | {"image_size": 256},
    "text_encoder_lstm": TEXT_ENCODER | {"rnn_type": "lstm"},
    "text_encoder_gru": TEXT_ENCODER | {"rnn_type": "gru"},
    "image_encoder": {
        "trunk": "inception_v3",
        "embedding_dim": 32,
        "cnn_dim": 0,
        "cnn_blocks": {},
        "local_features": 768,
        "pooled_features": 2048,
    },
}


def model_variables(kind, d):
    """Shapes of a fresh network of these dimensions."""
    key, mask = jax.random.key(0), jnp.ones((2, 5), bool)
    if kind == "discriminator":
        module = Discriminator(d["df_dim"], d["image_size"], d["unconditional"])
        inputs = (
            jnp.zeros((2, d["image_size"], d["image_size"], 3)),
            jnp.zeros((2, d["embedding_dim"])),
        )
    elif kind == "text_encoder":
        module = TextEncoder(d["vocabulary_size"], d["word_dim"], d["embedding_dim"], d["rnn_type"])
        return jax.eval_shape(lambda: module.init(key, jnp.zeros((2, 5), jnp.int32), mask))
    elif kind == "image_encoder":
        module = ImageEncoder(d["trunk"], d["embedding_dim"], d["cnn_dim"])
        inputs = (jnp.zeros((2, 64, 64, 3)),)
    else:
        module = Generator(
            d["num_stages"],
            d["base_size"],
            d["gf_dim"],
            d["condition_dim"],
            d["num_residual_blocks"],
            d["attention"],
            kind == "generator_dcgan",
        )
        D = d["embedding_dim"]
        inputs = (
            jnp.zeros((2, d["z_dim"])),
            jnp.zeros((2, d["condition_dim"])),
            jnp.zeros((2, D)),
            jnp.zeros((2, 5, D)),
            mask,
        )
    return jax.eval_shape(lambda: module.init(key, *inputs, train=False))


def shapes(variables):
    return {
        path: (leaf.shape, leaf.dtype)
        for path, leaf in traverse_util.flatten_dict(variables, sep="/").items()
    }


def random_variables(abstract, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(x.dtype), abstract)


@pytest.mark.parametrize("network", KINDS)
def test_dimensions_are_read_off_the_weights(network):
    assert dimensions_from_state_dict(KINDS[network], state_dict(network)) == DIMENSIONS[network]


@pytest.mark.parametrize("network", KINDS)
def test_round_trip_is_exact(network):
    original = state_dict(network)
    variables = variables_from_state_dict(KINDS[network], original)
    assert set(variables) == {"params", "batch_stats"}
    assert_same(original, state_dict_from_variables(KINDS[network], variables))


@pytest.mark.parametrize("network", KINDS)
def test_variables_are_those_of_the_model(network):
    variables = variables_from_state_dict(KINDS[network], state_dict(network))
    expected = {"batch_stats": {}} | model_variables(KINDS[network], DIMENSIONS[network])
    assert shapes(variables) == shapes(expected)


@pytest.mark.parametrize(
    "kind, dimensions",
    [
        ("generator", GENERATOR | {"num_stages": 1, "base_size": 16}),
        ("generator", GENERATOR | {"num_stages": 4, "num_residual_blocks": 3}),
        ("generator", GENERATOR | {"num_stages": 2, "attention": False}),
        ("generator_dcgan", GENERATOR | {"num_stages": 1}),
        *(("discriminator", DISCRIMINATOR | {"image_size": size}) for size in (8, 16, 32, 512)),
        ("discriminator", DISCRIMINATOR | {"image_size": 256, "unconditional": False}),
        ("image_encoder", {"trunk": "cnn", "embedding_dim": 6, "cnn_dim": 4}),
    ],
)
def test_other_shapes_of_our_networks_go_out_and_in(kind, dimensions):
    """Networks that the original has no names for get names by the same rules."""
    variables = random_variables(model_variables(kind, dimensions))
    original = state_dict_from_variables(kind, variables)
    again = variables_from_state_dict(kind, original)
    jax.tree.map(np.testing.assert_array_equal, again, dict(variables))
    read = dimensions_from_state_dict(kind, original)
    if dimensions.get("num_stages") == 1:  # then there is no residual block to count
        read["num_residual_blocks"] = dimensions["num_residual_blocks"]
    assert dimensions.items() <= read.items()


def test_layouts():
    """One number of each layout, placed by hand."""
    original = state_dict("generator")
    params = variables_from_state_dict("generator", original)["params"]
    residual = params["refine_2"]["residual_1"]["conv_0"]["conv"]["kernel"]
    assert residual[2, 0, 5, 7] == original["h_net3.residual.1.block.0.weight"][7, 5, 2, 0]
    assert (
        params["refine_1"]["project"]["kernel"][31, 3]
        == (original["h_net2.att.conv_context.weight"][3, 31, 0, 0])
    )
    assert params["initial"]["dense"]["kernel"][21, 99] == original["h_net1.fc.0.weight"][99, 21]


def test_lstm_keeps_both_biases_and_the_gates_order():
    original = state_dict("text_encoder_lstm")
    backward = variables_from_state_dict("text_encoder", original)["params"]["backward"]
    np.testing.assert_array_equal(backward["input_bias"], original["rnn.bias_ih_l0_reverse"])
    np.testing.assert_array_equal(backward["recurrent_bias"], original["rnn.bias_hh_l0_reverse"])
    np.testing.assert_array_equal(
        backward["recurrent_kernel"][3], original["rnn.weight_hh_l0_reverse"][:, 3]
    )


def test_counters_come_back_as_they_were():
    counting = state_dict("discriminator_64")
    counting["COND_DNET.jointConv.1.num_batches_tracked"] = np.array(2**40 + 1)
    of_2018 = {
        name: array
        for name, array in state_dict("discriminator_64").items()
        if not name.endswith("num_batches_tracked")
    }
    for original in (counting, of_2018):
        variables = variables_from_state_dict("discriminator", original)
        assert_same(original, state_dict_from_variables("discriminator", variables))
        module = Discriminator(4, 64)
        logits, _ = module.apply(
            variables, jnp.ones((1, 64, 64, 3)), jnp.ones((1, 32)), train=False
        )
        assert np.isfinite(logits).all()


def test_half_precision_stays_bit_for_bit():
    original = state_dict("text_encoder_gru", np.float16)
    variables = variables_from_state_dict("text_encoder", original)
    assert_same(original, state_dict_from_variables("text_encoder", variables))


def test_arrays_do_not_share_memory_with_the_state_dict():
    original = state_dict("text_encoder_gru")
    variables = variables_from_state_dict("text_encoder", original)
    variables["params"]["embedding"]["embedding"][:] = 7
    assert not (original["encoder.weight"] == 7).any()


def broken(network, change):
    original = state_dict(network)
    change(original)
    return original


def error(kind, original):
    with pytest.raises(UserError) as raised:
        variables_from_state_dict(kind, original)
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_missing_names_are_listed():
    message = error(
        "generator",
        broken(
            "generator",
            lambda sd: [sd.pop(name) for name in list(sd) if name.startswith("h_net3.residual.1.")],
        ),
    )
    assert "missing h_net3.residual.1.block.0.weight" in message
    assert "and 7 more" in message
    assert "generator.num_residual_blocks" in message


def test_surplus_names_are_listed():
    message = error("discriminator", state_dict("discriminator_64") | {"extra": np.zeros(1)})
    assert "surplus extra" in message and "missing" not in message


def test_misshapen_names_are_listed_with_the_config_value():
    def narrow(sd):
        sd["h_net2.upsample.1.weight"] = sd["h_net2.upsample.1.weight"][:12]

    message = error("generator", broken("generator", narrow))
    assert "h_net2.upsample.1.weight [12, 16, 3, 3] instead of [16, 16, 3, 3]" in message
    assert "gf_dim" in message


@pytest.mark.parametrize(
    "kind, network, explanation",
    [
        ("generator_dcgan", "generator", "img_net"),
        ("generator", "generator_dcgan", "generator.single_image"),
        ("generator", "text_encoder_lstm", "another network"),
        ("text_encoder", "discriminator_64", "another network"),
        ("discriminator", "image_encoder", "another network"),
    ],
)
def test_files_of_another_network_are_told(kind, network, explanation):
    assert explanation in error(kind, state_dict(network))


def test_data_parallel_prefix_is_explained():
    wrapped = {f"module.{name}": array for name, array in state_dict("text_encoder_gru").items()}
    wrapped["encoder.weight"] = wrapped.pop("module.encoder.weight")
    assert "net.module.state_dict()" in error("text_encoder", wrapped)


def test_wrong_rank_is_an_error_of_one_line():
    def flatten(sd):
        sd["img_net1.img.0.weight"] = sd["img_net1.img.0.weight"].ravel()

    assert "img_net1.img.0.weight [216]" in error("generator", broken("generator", flatten))


def test_no_weights_and_unknown_kinds():
    assert "empty" in error("generator", {})
    assert "no kind" in error("discriminators", seeded([("a", [1])]))


def test_variables_of_another_network_are_refused():
    variables = variables_from_state_dict("text_encoder", state_dict("text_encoder_gru"))
    with pytest.raises(UserError, match="missing params/"):
        state_dict_from_variables("discriminator", variables)
    variables["params"]["forward"]["input_kernel"] = np.zeros((3, 3, 3))
    with pytest.raises(UserError, match="weight_ih_l0"):
        state_dict_from_variables("text_encoder", variables)
