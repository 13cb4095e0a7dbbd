"""PyTorch's names and layouts to Flax's and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from original_weights import KINDS, assert_same, weights

from attngan_jax import interop
from attngan_jax.errors import UserError
from attngan_jax.interop import state_dict_from_variables, variables_from_state_dict
from attngan_jax.interop.name_tables import TABLES
from attngan_jax.models.discriminator import Discriminator
from attngan_jax.models.image_encoder import ImageEncoder
from tests import reference_vectors

GENERATOR = dict(base_size=64, gf_dim=8, z_dim=12, condition_dim=10, num_residual_blocks=2)
GENERATOR |= dict(embedding_dim=32, attention=True, num_stages=3)


def discriminator(image_size, max_width=None, **other):
    """Dimensions; without a limit the width is 4 at 64 pixels and doubles five times to 256."""
    max_width = max_width or max(32, image_size // 2)
    common = dict(df_dim=4, embedding_dim=32, unconditional=True, image_size=image_size)
    common["norm"] = "batch"
    return common | {"max_width": max_width} | other


TEXT_ENCODER = dict(vocabulary_size=50, word_dim=300, embedding_dim=32)
INCEPTION = dict(trunk="inception_v3", embedding_dim=32, cnn_dim=0, cnn_blocks={})
DIMENSIONS = {  # of the released networks in spec.json
    "generator": GENERATOR,
    "generator_2stage": GENERATOR | {"num_stages": 2},
    "generator_dcgan": GENERATOR,
    **{f"discriminator_{s}": discriminator(s) for s in (64, 128, 256)},
    **{f"text_encoder_{t}": TEXT_ENCODER | {"rnn_type": t} for t in ("lstm", "gru")},
    "image_encoder": INCEPTION | {"local_features": 768, "pooled_features": 2048},
}


def model_variables(kind, state_dict):
    """Shapes of a fresh network of the dimensions that the weights have."""
    d, mask = interop.dimensions_from_state_dict(kind, state_dict), jnp.ones((2, 5), bool)
    D, train = d["embedding_dim"], {"train": False}
    zeros = lambda *shape: jnp.zeros((2, *shape))  # noqa: E731
    if kind == "text_encoder":
        inputs, train = [jnp.zeros((2, 5), jnp.int32), mask], {}
    elif kind == "image_encoder":
        inputs = [zeros(64, 64, 3)]
    elif kind == "discriminator":
        inputs = [zeros(d["image_size"], d["image_size"], 3), zeros(D)]
    else:
        inputs = [zeros(d["z_dim"]), zeros(d["condition_dim"]), zeros(D), zeros(5, D), mask]
    module = reference_vectors.module(kind, state_dict)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, **train))
    return {"params": {}, "batch_stats": {}} | variables


def check_both_ways(kind, state_dict, dimensions):
    assert interop.dimensions_from_state_dict(kind, state_dict) == dimensions
    variables = variables_from_state_dict(kind, state_dict)
    module_variables = model_variables(kind, state_dict)
    types = [jax.tree.map(lambda x: (x.shape, x.dtype), v) for v in (variables, module_variables)]
    assert types[0] == types[1]
    assert_same(state_dict, state_dict_from_variables(kind, variables))


@pytest.mark.parametrize("network, kind", KINDS.items())
def test_released_networks_in_and_out(network, kind):
    check_both_ways(kind, weights(network), DIMENSIONS[network])


@pytest.mark.parametrize(
    "kind, dimensions",
    [
        ("generator", GENERATOR | {"num_stages": 4, "num_residual_blocks": 3}),
        ("generator", GENERATOR | {"num_stages": 2, "attention": False}),
        # With one stage there is no residual block to count, and no attention to be seen.
        ("generator", GENERATOR | dict(num_stages=1, base_size=16, num_residual_blocks=0)),
        ("generator_dcgan", GENERATOR | dict(num_stages=1, num_residual_blocks=0)),
        *(("discriminator", discriminator(size)) for size in (8, 16, 32, 512)),
        *(("discriminator", discriminator(512, max_width)) for max_width in (16, 48, 64)),
        ("discriminator", discriminator(256, unconditional=False)),
        *(("discriminator", discriminator(size, norm="spectral")) for size in (8, 64, 256)),
    ],
)
def test_other_shapes_of_our_networks_in_and_out(kind, dimensions):
    """Networks that the released code has no names for get names by the same rules."""
    rows = [(row.pt, row.shape) for row in TABLES[kind].rows(dimensions)]
    check_both_ways(kind, reference_vectors.state_dict(rows), dimensions)


def test_the_small_trunk_out_and_in():
    module, images = ImageEncoder("cnn", 6, 4), jnp.zeros((1, 64, 64, 3))
    fresh = jax.eval_shape(lambda: module.init(jax.random.key(0), images, train=False))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(x.dtype), fresh)
    state_dict = state_dict_from_variables("image_encoder", variables)
    again = variables_from_state_dict("image_encoder", state_dict)
    jax.tree.map(np.testing.assert_array_equal, again, dict(variables))
    read = interop.dimensions_from_state_dict("image_encoder", state_dict)
    assert read.items() >= dict(trunk="cnn", embedding_dim=6, cnn_dim=4).items()


def test_layouts():
    """One number of each layout, placed by hand, and the LSTM's biases and order of gates."""
    pt = weights("generator")
    params = variables_from_state_dict("generator", pt)["params"]
    residual = params["refine_2"]["residual_1"]["conv_0"]["conv"]["kernel"]
    assert residual[2, 0, 5, 7] == pt["h_net3.residual.1.block.0.weight"][7, 5, 2, 0]
    project = params["refine_1"]["project"]["kernel"]
    assert project[31, 3] == pt["h_net2.att.conv_context.weight"][3, 31, 0, 0]
    assert params["initial"]["dense"]["kernel"][21, 99] == pt["h_net1.fc.0.weight"][99, 21]
    pt = weights("text_encoder_lstm")
    backward = variables_from_state_dict("text_encoder", pt)["params"]["backward"]
    np.testing.assert_array_equal(backward["input_bias"], pt["rnn.bias_ih_l0_reverse"])
    np.testing.assert_array_equal(backward["recurrent_bias"], pt["rnn.bias_hh_l0_reverse"])
    kernel = pt["rnn.weight_hh_l0_reverse"]
    np.testing.assert_array_equal(backward["recurrent_kernel"][3], kernel[:, 3])


def test_counters_come_back_as_they_were():
    name, pt = "COND_DNET.jointConv.1.num_batches_tracked", weights("discriminator_64")
    of_2018 = {name: array for name, array in pt.items() if "num_batches_tracked" not in name}
    for counted in (pt | {name: np.array(2**40 + 1)}, pt | {name: np.array(3, "i4")}, of_2018):
        variables = variables_from_state_dict("discriminator", counted)
        assert_same(counted, state_dict_from_variables("discriminator", variables))
    images, sentences = jnp.ones((1, 64, 64, 3)), jnp.ones((1, 32))
    logits, _ = Discriminator(4, 64).apply(variables, images, sentences, train=False)
    assert np.isfinite(logits).all()


def test_half_precision_stays_bit_for_bit_in_arrays_of_its_own():
    half = {name: array.astype("f2") for name, array in weights("text_encoder_gru").items()}
    variables = variables_from_state_dict("text_encoder", half)
    assert_same(half, state_dict_from_variables("text_encoder", variables))
    embedding = variables["params"]["embedding"]["embedding"]
    assert not np.shares_memory(embedding, half["encoder.weight"])


G, D, GRU = (weights(name) for name in ("generator", "discriminator_64", "text_encoder_gru"))
UP, IMAGE = "h_net2.upsample.1.weight", "img_net1.img.0.weight"
ONE_BLOCK = {name: array for name, array in G.items() if "h_net3.residual.1." not in name}
EMBEDDING = "encoder.weight"
WRAPPED = {name if name == EMBEDDING else f"module.{name}": array for name, array in GRU.items()}


@pytest.mark.parametrize(
    "kind, state_dict, message",
    [
        ("generator", ONE_BLOCK, "missing h_net3.residual.1.block.0.weight.* and 7 more"),
        ("generator", ONE_BLOCK, "another generator.num_residual_blocks"),
        ("discriminator", D | {"extra": np.zeros(1)}, "^((?!missing).)*surplus extra"),
        ("generator", G | {UP: G[UP][:12]}, rf"{UP} \[12, 16, 3, 3\] instead of \[16, 16, 3, 3\]"),
        ("generator", G | {UP: G[UP][:12]}, "another generator.gf_dim"),
        ("generator", G | {IMAGE: G[IMAGE].ravel()}, rf"{IMAGE} \[216\]"),
        ("generator_dcgan", G, "img_net"),
        ("generator", weights("generator_dcgan"), "generator.single_image"),
        ("generator", weights("text_encoder_lstm"), "another network"),
        ("text_encoder", D, "another network"),
        ("discriminator", GRU, "another network"),
        ("text_encoder", WRAPPED, r"net\.module\.state"),
        ("generator", {}, "empty"),
        ("discriminators", {"a": np.zeros(1)}, "no kind"),
    ],
)
def test_other_state_dicts_are_refused_in_one_line(kind, state_dict, message):
    with pytest.raises(UserError, match=message) as raised:
        variables_from_state_dict(kind, state_dict)
    assert "\n" not in str(raised.value)


def test_variables_of_another_network_are_refused():
    variables = variables_from_state_dict("text_encoder", weights("text_encoder_gru"))
    with pytest.raises(UserError, match="missing params/"):
        state_dict_from_variables("discriminator", variables)
    variables["params"]["forward"]["input_kernel"] = np.zeros((3, 3, 3))
    with pytest.raises(UserError, match="weight_ih_l0"):
        state_dict_from_variables("text_encoder", variables)
