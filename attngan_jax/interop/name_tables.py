"""The name tables: which array of the released networks is which of this package.

A network's `*_rows` is its table, for given dimensions, which have the names of the config's keys.
`_*_dimensions` reads them off a state_dict's shapes; one that can't be read is 0.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from attngan_jax.models.inception import InceptionV3

LOCAL_FEATURES, POOLED_FEATURES = 768, 2048  # of Inception-v3's Mixed_6e and Mixed_7c

Shape = tuple[int, ...]
Arrays = Mapping[str, np.ndarray]
Dimensions = Mapping[str, Any]


class Layout(NamedTuple):
    """How an array goes from PyTorch's layout to Flax's, and back."""

    to_flax: Callable[[np.ndarray], np.ndarray]
    to_pt: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda x: x, lambda x: x)
# Fully connected and recurrent weights: [out, in] <-> [in, out].
DENSE = Layout(np.transpose, np.transpose)
# Convolutions: [out, in, H, W] <-> [H, W, in, out].
CONV = Layout(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))
# 1x1 convolutions that are a matrix here: [out, in, 1, 1] <-> [in, out].
MATRIX = Layout(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None])


class Row(NamedTuple):
    """One array of a network."""

    pt: str  # name in the PyTorch state_dict
    flax: str  # path, "params/..." or "batch_stats/..."; "" for BatchNorm's count of batches
    shape: Shape  # in PyTorch's layout
    layout: Layout = SAME


def layer(pt: str, flax: str, shape: Shape, bias: bool = False) -> list[Row]:
    """A convolution, of shape [out, in, H, W], or a fully connected layer, [out, in]."""
    layout = CONV if len(shape) == 4 else DENSE
    rows = [Row(f"{pt}.weight", f"params/{flax}/kernel", shape, layout)]
    return rows + [Row(f"{pt}.bias", f"params/{flax}/bias", shape[:1])] * bias


def norm(pt: str, flax: str, features: int) -> list[Row]:
    """BatchNorm, in PyTorch's order."""
    params, stats = f"params/{flax}", f"batch_stats/{flax}"
    arrays = dict(weight=f"{params}/scale", bias=f"{params}/bias")
    arrays |= dict(running_mean=f"{stats}/mean", running_var=f"{stats}/var")
    rows = [Row(f"{pt}.{name}", path, (features,)) for name, path in arrays.items()]
    return [*rows, Row(f"{pt}.num_batches_tracked", "", ())]


def conv_norm(pt: str, flax: str, shape: Shape, members: tuple = (0, 1)) -> list[Row]:
    """`ConvNorm`, whose convolution and BatchNorm are these members of `pt`."""
    conv, bn = (f"{pt}.{member}" for member in members)
    return layer(conv, f"{flax}/conv", shape) + norm(bn, f"{flax}/norm", shape[0])


def conv_spectral(pt: str, flax: str, shape: Shape, members: tuple = (0, 1)) -> list[Row]:
    """`ConvNorm` with spectral normalisation, by the names of `torch.nn.utils.spectral_norm`."""
    conv, out = f"{pt}.{members[0]}", shape[:1]
    return [
        Row(f"{conv}.bias", f"params/{flax}/norm/bias", out),
        Row(f"{conv}.weight_orig", f"params/{flax}/conv/kernel", shape, CONV),
        Row(f"{conv}.weight_u", f"batch_stats/{flax}/norm/right", out),
    ]


def generator_rows(d: Dimensions, single_image: bool = False) -> list[Row]:
    """`G_NET`, or `G_DCGAN`, which makes the last image only."""
    C, condition, stages = d["gf_dim"], d["condition_dim"], d["num_stages"]
    ups = d["base_size"].bit_length() - 3  # doublings from 4 pixels on
    width = C << ups
    rows = layer("ca_net.fc", "conditioning/dense", (4 * condition, d["embedding_dim"]), bias=True)
    rows += layer("h_net1.fc.0", "initial/dense", (32 * width, condition + d["z_dim"]))
    rows += norm("h_net1.fc.1", "initial/norm", 32 * width)
    for i in range(ups):
        shape = (width >> i, width >> i, 3, 3)
        rows += conv_norm(f"h_net1.upsample{i + 1}", f"initial/up_{i}", shape, (1, 2))
    for stage in range(stages):
        if stage > 0:
            rows += _refinement_rows(d, f"h_net{stage + 1}", f"refine_{stage}")
        if not single_image:
            rows += layer(f"img_net{stage + 1}.img.0", f"image_{stage}/conv", (3, C, 3, 3))
    if single_image:
        rows += layer("img_net.img.0", f"image_{stages - 1}/conv", (3, C, 3, 3))
    return rows


def _refinement_rows(d: Dimensions, pt: str, flax: str) -> list[Row]:
    C, context = d["gf_dim"], d["embedding_dim"] if d["attention"] else d["condition_dim"]
    project = f"params/{flax}/project/kernel"
    rows = [Row(f"{pt}.att.conv_context.weight", project, (C, context, 1, 1), MATRIX)]
    for i in range(d["num_residual_blocks"]):
        block, residual = f"{pt}.residual.{i}.block", f"{flax}/residual_{i}"
        rows += conv_norm(block, f"{residual}/conv_0", (4 * C, 2 * C, 3, 3))
        rows += conv_norm(block, f"{residual}/conv_1", (2 * C, 2 * C, 3, 3), (3, 4))
    return rows + conv_norm(f"{pt}.upsample", f"{flax}/upsample", (2 * C, 2 * C, 3, 3), (1, 2))


def _generator_dimensions(arrays: Arrays) -> Dimensions:
    ups = _highest(r"h_net1\.upsample(\d+)\.", arrays)
    condition = _size(arrays, "ca_net.fc.weight", 0) // 4
    embedding = _size(arrays, "ca_net.fc.weight", 1)
    context = _size(arrays, "h_net2.att.conv_context.weight", 1)
    return dict(
        num_stages=max(1, _highest(r"h_net(\d+)\.", arrays)),
        base_size=4 * 2**ups,
        gf_dim=_size(arrays, "h_net1.fc.1.weight", 0) // (32 * 2**ups),
        z_dim=_size(arrays, "h_net1.fc.0.weight", 1) - condition,
        condition_dim=condition,
        num_residual_blocks=1 + _highest(r"h_net\d+\.residual\.(\d+)\.", arrays, -1),
        embedding_dim=embedding,
        attention=context != condition or context == embedding,
    )


def discriminator_rows(d: Dimensions) -> list[Row]:
    """`D_NET64`, `D_NET128`, `D_NET256`, and so on; below 64 pixels the first block is shorter."""
    C, downs = d["df_dim"], d["image_size"].bit_length() - 3  # halvings, down to 4 pixels
    first = min(downs, 4)  # halvings in the first block of layers, which is named after its end

    def width(times: int) -> int:
        return min(times * C, d["max_width"])

    begin, stem = max(0, 4 - downs), f"img_code_s{2**first}"
    shape: Shape = (width(1 << begin), 3, 4, 4)
    if d["norm"] == "spectral":  # not in the released code, whose names of layers are kept
        block_rows, rows = conv_spectral, conv_spectral(stem, "stem", shape)
    else:
        block_rows, rows = conv_norm, layer(f"{stem}.0", "stem", shape)
    for i in range(downs - 1):
        block, member = (2**first, 3 * i + 2) if i < first - 1 else (2 ** (i + 2), 0)
        shape = (width(1 << begin + i + 1), width(1 << begin + i), 4, 4)
        rows += block_rows(f"img_code_s{block}", f"down_{i}", shape, (member, member + 1))
    for i in range(downs - 4):
        times = 1 << downs - 2 - i
        shape = (width(times), width(2 * times), 3, 3)
        rows += block_rows(f"img_code_s{2**downs}_{i + 1}", f"squeeze_{i}", shape)
    F = width(8)
    head, joint = (1, F, 4, 4), (F, F + d["embedding_dim"], 3, 3)
    if d["unconditional"]:
        rows += layer("UNCOND_DNET.outlogits.0", "unconditional_head", head, bias=True)
    rows += block_rows("COND_DNET.jointConv", "joint", joint)
    return rows + layer("COND_DNET.outlogits.0", "conditional_head", head, bias=True)


def _discriminator_dimensions(arrays: Arrays) -> Dimensions:
    joint, spectral = "COND_DNET.jointConv.0", any(name.endswith(".weight_u") for name in arrays)
    weight = "weight_orig" if spectral else "weight"
    features = _size(arrays, f"{joint}.{weight}", 0)
    image_size = 4 * max(2, _highest(r"img_code_s(\d+)\.", arrays))
    stem = _size(arrays, f"img_code_s{min(16, image_size // 4)}.0.{weight}", 0)
    widths = [_size(arrays, name, 0) for name in arrays if "img_code" in name]
    return dict(
        image_size=image_size,
        df_dim=stem * image_size // 64 if image_size < 64 else stem,
        max_width=max(widths, default=0),
        norm="spectral" if spectral else "batch",
        embedding_dim=_size(arrays, f"{joint}.{weight}", 1) - features,
        unconditional=any(name.startswith("UNCOND_DNET.") for name in arrays),
    )


def text_encoder_rows(d: Dimensions) -> list[Row]:
    """`RNN_ENCODER`, an LSTM (gates i, f, g, o) or a GRU (r, z, n) in both directions."""
    F, E = d["embedding_dim"] // 2, d["word_dim"]
    gates = 3 * F if d["rnn_type"] == "gru" else 4 * F
    rows = [Row("encoder.weight", "params/embedding/embedding", (d["vocabulary_size"], E))]
    for direction, end in (("forward", "l0"), ("backward", "l0_reverse")):
        for pt, flax, size in (("ih", "input", E), ("hh", "recurrent", F)):
            kernel = f"params/{direction}/{flax}_kernel"
            rows.append(Row(f"rnn.weight_{pt}_{end}", kernel, (gates, size), DENSE))
        for pt, flax in (("ih", "input"), ("hh", "recurrent")):
            rows.append(Row(f"rnn.bias_{pt}_{end}", f"params/{direction}/{flax}_bias", (gates,)))
    return rows


def _text_encoder_dimensions(arrays: Arrays) -> Dimensions:
    gates, features = (_size(arrays, "rnn.weight_hh_l0", axis) for axis in (0, 1))
    return dict(
        vocabulary_size=_size(arrays, "encoder.weight", 0),
        word_dim=_size(arrays, "encoder.weight", 1),
        embedding_dim=2 * features,
        rnn_type="gru" if features and gates == 3 * features else "lstm",
    )


@functools.cache
def inception_convolutions() -> dict[str, Shape]:
    """Inception-v3's convolutions: torchvision's names, in its order."""
    shapes = {}

    def init():
        variables = InceptionV3().init(jax.random.key(0), jnp.zeros((1, 299, 299, 3)), train=False)
        flat = traverse_util.flatten_dict(variables["params"], sep=".")
        shapes.update({name: array.shape for name, array in flat.items() if array.ndim == 4})

    jax.eval_shape(init)  # what it returned would be sorted by name
    kernels = {name.removesuffix(".conv.kernel"): shape for name, shape in shapes.items()}
    return {name: (O, I, H, W) for name, (H, W, I, O) in kernels.items()}


def inception_rows(below: str = "") -> list[Row]:
    """Inception-v3 under torchvision's names; after `below`, our paths are the same."""
    rows = []
    for name, shape in inception_convolutions().items():
        rows += conv_norm(name, below + name.replace(".", "/"), shape, ("conv", "bn"))
    return rows


def image_encoder_rows(d: Dimensions) -> list[Row]:
    """`CNN_ENCODER`: Inception-v3 and two projections.

    The released code has no small trunk: its blocks get our names, and the shapes of the file.
    """
    D = d["embedding_dim"]
    if d["trunk"] == "cnn":
        rows, local, pooled = [], d["local_features"], d["pooled_features"]
        for name, shape in d["cnn_blocks"].items():
            rows += conv_norm(f"cnn.{name}", f"cnn/{name}", shape, ("conv", "bn"))
    else:
        rows, local, pooled = inception_rows("inception/"), LOCAL_FEATURES, POOLED_FEATURES
    rows.append(Row("emb_features.weight", "params/regions/kernel", (D, local, 1, 1), MATRIX))
    return rows + layer("emb_cnn_code", "code", (D, pooled), bias=True)


def _image_encoder_dimensions(arrays: Arrays) -> Dimensions:
    found = {name: re.fullmatch(r"cnn\.(\w+)\.conv\.weight", name) for name in arrays}
    shapes = {match[1]: np.shape(arrays[name]) for name, match in found.items() if match}
    blocks = {name: shape for name, shape in shapes.items() if len(shape) == 4}
    return dict(
        trunk="cnn" if blocks else "inception_v3",
        cnn_dim=_size(arrays, "cnn.down_0.conv.weight", 0),
        cnn_blocks=blocks,
        local_features=_size(arrays, "emb_features.weight", 1),
        pooled_features=_size(arrays, "emb_cnn_code.weight", 1),
        embedding_dim=_size(arrays, "emb_features.weight", 0),
    )


def counts(params: Mapping) -> Dimensions:
    """The dimensions that a network's names depend on, read off its parameters, whatever it is."""
    return dict(
        num_stages=1 + _highest(r"refine_(\d+)", params),
        base_size=4 << 1 + _highest(r"up_(\d+)", params.get("initial", {}), -1),
        num_residual_blocks=1 + _highest(r"residual_(\d+)", params.get("refine_1", {}), -1),
        image_size=8 << 1 + _highest(r"down_(\d+)", params, -1),
        unconditional="unconditional_head" in params,
        norm="batch" if "scale" in params.get("joint", {}).get("norm", {}) else "spectral",
        trunk="cnn" if "cnn" in params else "inception_v3",
        cnn_blocks=dict.fromkeys(params.get("cnn", {}), (0, 0, 0, 0)),
    )


def _highest(pattern: str, names: Iterable[str], otherwise: int = 0) -> int:
    numbers = (re.match(pattern, name) for name in names)
    return max((int(found[1]) for found in numbers if found), default=otherwise)


def _size(arrays: Arrays, name: str, axis: int) -> int:
    shape = np.shape(arrays.get(name, ()))
    return shape[axis] if axis < len(shape) else 0


class Table(NamedTuple):
    """A network's arrays from its dimensions, and its dimensions from its arrays."""

    rows: Callable[[Dimensions], list[Row]]
    dimensions: Callable[[Arrays], Dimensions]


_dcgan_rows = functools.partial(generator_rows, single_image=True)
TABLES = {
    "generator": Table(generator_rows, _generator_dimensions),
    "generator_dcgan": Table(_dcgan_rows, _generator_dimensions),
    "discriminator": Table(discriminator_rows, _discriminator_dimensions),
    "text_encoder": Table(text_encoder_rows, _text_encoder_dimensions),
    "image_encoder": Table(image_encoder_rows, _image_encoder_dimensions),
}
