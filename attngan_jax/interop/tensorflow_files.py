"""Inception-v3 out of TensorFlow's files, under torchvision's names. The only user of TensorFlow
beside the metric writers, and only while a file is converted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from attngan_jax.errors import UserError
from attngan_jax.interop.inception_table import CONVOLUTIONS

NO_BACKGROUND = slice(1, None)  # of the CUB classifier's 51 logits the first stands for nothing

_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
_BLOCKS = (
    "Mixed_5b",
    "Mixed_5c",
    "Mixed_5d",
    "Mixed_6a",
    "Mixed_6b",
    "Mixed_6c",
    "Mixed_6d",
    "Mixed_6e",
    "Mixed_7a",
    "Mixed_7b",
    "Mixed_7c",
)
_SLIM_BLOCKS = (
    "mixed_35x35x256a",
    "mixed_35x35x288a",
    "mixed_35x35x288b",
    "mixed_17x17x768a",
    "mixed_17x17x768b",
    "mixed_17x17x768c",
    "mixed_17x17x768d",
    "mixed_17x17x768e",
    "mixed_17x17x1280a",
    "mixed_8x8x2048a",
    "mixed_8x8x2048b",
)


def read_graph(path: str | Path) -> dict[str, np.ndarray]:
    """The frozen graph of 2015-12-05 (`classify_image_graph_def.pb`) as a state dict.

    Its 1,008 outputs are used without the bias, which becomes zeros: the Inception Score's own
    code multiplies the pooled features by `softmax/weights` alone.

    Raises:
      UserError: the file can't be read, or is another graph.
    """
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # protobuf's own, of a module that is private
        raise UserError(
            f"{path} is no graph of TensorFlow, or was cut short: download it again"
        ) from error
    constants = {node.name: node for node in graph.node if node.op == "Const"}
    # The old BatchNorm multiplies by gamma only if it is told to.
    unscaled = {
        node.name
        for node in graph.node
        if node.op == "BatchNormWithGlobalNormalization"
        and not node.attr["scale_after_normalization"].b
    }

    def constant(name: str) -> np.ndarray:
        if name not in constants:
            raise UserError(
                f"{path} is not the Inception graph of 2015-12-05: it has no constant {name}"
            )
        return tf.make_ndarray(constants[name].attr["value"].tensor)

    state_dict = {}
    for name in CONVOLUTIONS:
        scope = _graph_scope(name)
        norm = f"{scope}/batchnorm"
        beta = constant(f"{norm}/beta")
        gamma = np.ones_like(beta) if norm in unscaled else constant(f"{norm}/gamma")
        state_dict |= _unit(
            name,
            constant(f"{scope}/conv2d_params"),
            gamma,
            beta,
            constant(f"{norm}/moving_mean"),
            constant(f"{norm}/moving_variance"),
        )
    weights = constant("softmax/weights")
    return state_dict | {"fc.weight": weights.T, "fc.bias": np.zeros(weights.shape[1], np.float32)}


def read_slim_checkpoint(prefix: str | Path) -> dict[str, np.ndarray]:
    """The CUB classifier's checkpoint as a state dict: moving averages, logits 1 to 50 of 51.

    Raises:
      UserError: the checkpoint can't be read, or is of another network.
    """
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError) as error:
        raise UserError(
            f"{prefix} is no checkpoint of TensorFlow that can be read: give the path "
            "without .index or .data"
        ) from error

    def variable(*names: str) -> np.ndarray | None:
        for name in names:
            for stored in (f"{name}/ExponentialMovingAverage", name):
                if stored in shapes:
                    return reader.get_tensor(stored)
        return None

    def needed(*names: str) -> np.ndarray:
        value = variable(*names)
        if value is None:
            raise UserError(f"{prefix} is not a TF-slim Inception-v3: it has no {names[0]}")
        return value

    state_dict = {}
    for name in CONVOLUTIONS:
        scopes = _slim_scopes(name)

        def of(what: str, take: Callable = needed, scopes=scopes):
            return take(*(f"{scope}/{what}" for scope in scopes))

        beta, gamma = of("BatchNorm/beta"), of("BatchNorm/gamma", variable)
        state_dict |= _unit(
            name,
            of("weights"),
            np.ones_like(beta) if gamma is None else gamma,
            beta,
            of("BatchNorm/moving_mean"),
            of("BatchNorm/moving_variance"),
        )
    weights, bias = needed("logits/logits/weights"), needed("logits/logits/biases")
    return state_dict | {"fc.weight": weights[:, NO_BACKGROUND].T, "fc.bias": bias[NO_BACKGROUND]}


def _unit(name: str, kernel, gamma, beta, mean, variance) -> dict[str, np.ndarray]:
    return {
        f"{name}.conv.weight": kernel.transpose(3, 2, 0, 1),
        f"{name}.bn.weight": gamma,
        f"{name}.bn.bias": beta,
        f"{name}.bn.running_mean": mean,
        f"{name}.bn.running_var": variance,
    }


def _places(block: str) -> dict[str, list[str]]:
    """The branches of a block with their convolutions, in torchvision's order."""
    branches: dict[str, list[str]] = {}
    for name in CONVOLUTIONS:
        if name.startswith(f"{block}."):
            branch = name.split(".")[1]
            root = (
                branch
                if branch.endswith("1x1") or branch == "branch_pool"
                else (branch.rpartition("_")[0] or branch)
            )
            branches.setdefault(root, []).append(branch)
    return branches


def _numbered(stem: str, place: int) -> str:
    """TensorFlow's names of equals: conv, conv_1, conv_2."""
    return f"{stem}_{place}" if place else stem


def _graph_scope(name: str) -> str:
    """`Mixed_5b.branch5x5_2` is `mixed/tower/conv_1`: branches of one convolution that come first
    have no tower, and the forks of the last blocks have a scope of their own."""
    if name in _STEM:
        return _numbered("conv", _STEM.index(name))
    block, branch = name.split(".")
    scope = _numbered("mixed", _BLOCKS.index(block))
    tower = 0
    for root, convolutions in _places(block).items():
        alone = root != "branch_pool" and len(convolutions) == 1
        if branch in convolutions:
            if alone:
                return f"{scope}/conv"
            place = convolutions.index(branch)
            path = f"{scope}/{_numbered('tower', tower)}"
            if branch.endswith(("a", "b")):
                return f"{path}/mixed/{_numbered('conv', int(branch.endswith('b')))}"
            return f"{path}/{_numbered('conv', place)}"
        tower += not alone
    raise KeyError(name)


def _slim_scopes(name: str) -> list[str]:
    """`Mixed_5b.branch5x5_2` is `mixed_35x35x256a/branch5x5/Conv_1`."""
    if name in _STEM:
        return [f"conv{_STEM.index(name)}"]
    block, branch = name.split(".")
    for root, convolutions in _places(block).items():
        if branch in convolutions:
            conv = _numbered("Conv", convolutions.index(branch))
            scope = _SLIM_BLOCKS[_BLOCKS.index(block)]
            # The first reduction to 8 x 8 goes by either size.
            scopes = [scope] + ["mixed_8x8x1280a"] * scope.endswith("1280a")
            return [f"{scope}/{root}/{conv}" for scope in scopes]
    raise KeyError(name)
