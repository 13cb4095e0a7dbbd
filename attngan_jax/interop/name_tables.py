"""The name tables: which array of the original's networks is which of ours.

Each network has three functions. `*_rows` is the table, made for the network's dimensions;
`*_dimensions` reads these off a state_dict's shapes; `*_counts` reads off our parameters how many
blocks there are, which is all that the names depend on. Dimensions have the names of the config's
keys; one that can't be read is 0.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from attngan_jax.interop.inception_table import LOCAL_FEATURES, POOLED_FEATURES, inception_rows
from attngan_jax.interop.weight_mapping import (
    DENSE,
    MATRIX,
    SAME,
    Row,
    conv,
    conv_norm,
    dense,
    norm,
)

Shapes = Mapping[str, tuple[int, ...]]
Dimensions = dict[str, Any]


class Table(NamedTuple):
    """The three functions of a network."""

    rows: Callable[[Dimensions], list[Row]]
    dimensions: Callable[[Shapes], Dimensions]
    counts: Callable[[Mapping], Dimensions]


def generator_rows(d: Dimensions, single_image: bool = False) -> list[Row]:
    """`G_NET`."""
    C, condition = d["gf_dim"], d["condition_dim"]
    ups = _log2(d["base_size"]) - 2
    width = C * 2**ups
    context = d["embedding_dim"] if d["attention"] else condition
    rows = dense("ca_net.fc", "conditioning/dense", (4 * condition, d["embedding_dim"]))
    rows += dense("h_net1.fc.0", "initial/dense", (32 * width, condition + d["z_dim"]), bias=False)
    rows += norm("h_net1.fc.1", "initial/norm", 32 * width)
    for i in range(ups):
        rows += conv_norm(
            f"h_net1.upsample{i + 1}.1",
            f"h_net1.upsample{i + 1}.2",
            f"initial/up_{i}",
            (width >> i, width >> i, 3, 3),
        )
    for stage in range(d["num_stages"]):
        if stage > 0:
            rows += _refinement_rows(
                f"h_net{stage + 1}", f"refine_{stage}", C, context, d["num_residual_blocks"]
            )
        if not single_image:
            rows += conv(f"img_net{stage + 1}.img.0", f"image_{stage}/conv", (3, C, 3, 3))
    if single_image:
        rows += conv("img_net.img.0", f"image_{d['num_stages'] - 1}/conv", (3, C, 3, 3))
    return rows


def dcgan_rows(d: Dimensions) -> list[Row]:
    """`G_DCGAN`, which makes the last image only."""
    return generator_rows(d, single_image=True)


def _refinement_rows(theirs: str, ours: str, C: int, context: int, residuals: int) -> list[Row]:
    rows = [
        Row(
            f"{theirs}.att.conv_context.weight",
            f"params/{ours}/project/kernel",
            MATRIX,
            (C, context, 1, 1),
        )
    ]
    for i in range(residuals):
        block = f"{theirs}.residual.{i}.block"
        rows += conv_norm(
            f"{block}.0", f"{block}.1", f"{ours}/residual_{i}/conv_0", (4 * C, 2 * C, 3, 3)
        )
        rows += conv_norm(
            f"{block}.3", f"{block}.4", f"{ours}/residual_{i}/conv_1", (2 * C, 2 * C, 3, 3)
        )
    return rows + conv_norm(
        f"{theirs}.upsample.1", f"{theirs}.upsample.2", f"{ours}/upsample", (2 * C, 2 * C, 3, 3)
    )


def generator_dimensions(shapes: Shapes) -> Dimensions:
    """Dimensions of a `G_NET` or `G_DCGAN`."""
    ups = _highest(r"h_net1\.upsample(\d+)\.", shapes)
    condition = _size(shapes, "ca_net.fc.weight", 0) // 4
    embedding = _size(shapes, "ca_net.fc.weight", 1)
    context = _size(shapes, "h_net2.att.conv_context.weight", 1)
    return {
        "num_stages": max(1, _highest(r"h_net(\d+)\.", shapes)),
        "base_size": 4 * 2**ups,
        "gf_dim": _size(shapes, "h_net1.fc.1.weight", 0) // (32 * 2**ups),
        "z_dim": _size(shapes, "h_net1.fc.0.weight", 1) - condition,
        "condition_dim": condition,
        "num_residual_blocks": 1 + _highest(r"h_net\d+\.residual\.(\d+)\.", shapes, -1),
        "embedding_dim": embedding,
        "attention": context != condition or context == embedding,
    }


def generator_counts(params: Mapping) -> Dimensions:
    """What the names of a generator depend on."""
    return {
        "num_stages": 1 + _children(params, "refine_"),
        "base_size": 4 * 2 ** _children(params.get("initial", {}), "up_"),
        "num_residual_blocks": _children(params.get("refine_1", {}), "residual_"),
    }


def discriminator_rows(d: Dimensions) -> list[Row]:
    """`D_NET64`, `D_NET128`, `D_NET256`, and so on; below 64 pixels the first block is shorter."""
    C, downs = d["df_dim"], _log2(d["image_size"]) - 2
    first = min(downs, 4)  # halvings in the first block of layers, which is named after its end
    width = C << max(0, 4 - downs)
    block = f"img_code_s{2**first}"
    rows = conv(f"{block}.0", "stem", (width, 3, 4, 4))
    for i in range(downs - 1):
        if i < first - 1:
            names = f"{block}.{3 * i + 2}", f"{block}.{3 * i + 3}"
        else:
            names = f"img_code_s{2 ** (i + 2)}.0", f"img_code_s{2 ** (i + 2)}.1"
        rows += conv_norm(*names, f"down_{i}", (width << i + 1, width << i, 4, 4))
    for i in range(downs - 4):
        squeeze = f"img_code_s{2**downs}_{i + 1}"
        features = C << downs - 2 - i
        rows += conv_norm(
            f"{squeeze}.0", f"{squeeze}.1", f"squeeze_{i}", (features, 2 * features, 3, 3)
        )
    if d["unconditional"]:
        rows += conv("UNCOND_DNET.outlogits.0", "unconditional_head", (1, 8 * C, 4, 4), bias=True)
    rows += conv_norm(
        "COND_DNET.jointConv.0",
        "COND_DNET.jointConv.1",
        "joint",
        (8 * C, 8 * C + d["embedding_dim"], 3, 3),
    )
    return rows + conv("COND_DNET.outlogits.0", "conditional_head", (1, 8 * C, 4, 4), bias=True)


def discriminator_dimensions(shapes: Shapes) -> Dimensions:
    """Dimensions of a discriminator."""
    features = _size(shapes, "COND_DNET.jointConv.1.weight", 0)
    return {
        "image_size": 4 * max(2, _highest(r"img_code_s(\d+)\.", shapes)),
        "df_dim": features // 8,
        "embedding_dim": _size(shapes, "COND_DNET.jointConv.0.weight", 1) - features,
        "unconditional": any(name.startswith("UNCOND_DNET.") for name in shapes),
    }


def discriminator_counts(params: Mapping) -> Dimensions:
    """What the names of a discriminator depend on."""
    return {
        "image_size": 8 * 2 ** _children(params, "down_"),
        "unconditional": "unconditional_head" in params,
    }


def text_encoder_rows(d: Dimensions) -> list[Row]:
    """`RNN_ENCODER`, an LSTM (gates i, f, g, o) or a GRU (r, z, n) in both directions."""
    F, E = d["embedding_dim"] // 2, d["word_dim"]
    gates = 3 * F if d["rnn_type"] == "gru" else 4 * F
    rows = [Row("encoder.weight", "params/embedding/embedding", SAME, (d["vocabulary_size"], E))]
    for ours, end in (("forward", ""), ("backward", "_reverse")):
        rows += [
            Row(f"rnn.weight_ih_l0{end}", f"params/{ours}/input_kernel", DENSE, (gates, E)),
            Row(f"rnn.weight_hh_l0{end}", f"params/{ours}/recurrent_kernel", DENSE, (gates, F)),
            Row(f"rnn.bias_ih_l0{end}", f"params/{ours}/input_bias", SAME, (gates,)),
            Row(f"rnn.bias_hh_l0{end}", f"params/{ours}/recurrent_bias", SAME, (gates,)),
        ]
    return rows


def text_encoder_dimensions(shapes: Shapes) -> Dimensions:
    """Dimensions of a text encoder."""
    gates, features = (_size(shapes, "rnn.weight_hh_l0", axis) for axis in (0, 1))
    return {
        "vocabulary_size": _size(shapes, "encoder.weight", 0),
        "word_dim": _size(shapes, "encoder.weight", 1),
        "embedding_dim": 2 * features,
        "rnn_type": "gru" if features and gates == 3 * features else "lstm",
    }


def text_encoder_counts(params: Mapping) -> Dimensions:
    """Nothing: the names are always the same."""
    return {}


def image_encoder_rows(d: Dimensions) -> list[Row]:
    """`CNN_ENCODER`: Inception-v3 and two projections.

    The original has no name for our small trunk: its blocks get ours, and the shapes of the file.
    """
    if d["trunk"] == "cnn":
        rows = [
            row
            for name, shape in d["cnn_blocks"].items()
            for row in conv_norm(f"cnn.{name}.conv", f"cnn.{name}.bn", f"cnn/{name}", shape)
        ]
        local, pooled = d["local_features"], d["pooled_features"]
    else:
        rows = inception_rows()
        local, pooled = LOCAL_FEATURES, POOLED_FEATURES
    D = d["embedding_dim"]
    rows.append(Row("emb_features.weight", "params/regions/kernel", MATRIX, (D, local, 1, 1)))
    return rows + dense("emb_cnn_code", "code", (D, pooled))


def image_encoder_dimensions(shapes: Shapes) -> Dimensions:
    """Dimensions of an image encoder."""
    found = ((re.fullmatch(r"cnn\.(\w+)\.conv\.weight", name), shapes[name]) for name in shapes)
    blocks = {match[1]: shape for match, shape in found if match and len(shape) == 4}
    return {
        "trunk": "cnn" if blocks else "inception_v3",
        "cnn_dim": _size(shapes, "cnn.down_0.conv.weight", 0),
        "cnn_blocks": blocks,
        "local_features": _size(shapes, "emb_features.weight", 1),
        "pooled_features": _size(shapes, "emb_cnn_code.weight", 1),
        "embedding_dim": _size(shapes, "emb_features.weight", 0),
    }


def image_encoder_counts(params: Mapping) -> Dimensions:
    """What the names of an image encoder depend on."""
    return {
        "trunk": "cnn" if "cnn" in params else "inception_v3",
        "cnn_blocks": dict.fromkeys(params.get("cnn", {}), (0, 0, 0, 0)),
    }


def _highest(pattern: str, names: Iterable[str], otherwise: int = 0) -> int:
    numbers = (re.match(pattern, name) for name in names)
    return max((int(found[1]) for found in numbers if found), default=otherwise)


def _size(shapes: Shapes, name: str, axis: int) -> int:
    shape = shapes.get(name, ())
    return shape[axis] if axis < len(shape) else 0


def _children(params: Mapping, prefix: str) -> int:
    return sum(name.startswith(prefix) for name in params)


def _log2(n: int) -> int:
    return n.bit_length() - 1


TABLES = {
    "generator": Table(generator_rows, generator_dimensions, generator_counts),
    "generator_dcgan": Table(dcgan_rows, generator_dimensions, generator_counts),
    "discriminator": Table(discriminator_rows, discriminator_dimensions, discriminator_counts),
    "text_encoder": Table(text_encoder_rows, text_encoder_dimensions, text_encoder_counts),
    "image_encoder": Table(image_encoder_rows, image_encoder_dimensions, image_encoder_counts),
}
