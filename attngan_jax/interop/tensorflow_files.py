"""Inception-v3 out of TensorFlow's files, under torchvision's names."""

import glob
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attngan_jax import plain_files
from attngan_jax.errors import UserError
from attngan_jax.interop.name_tables import inception_convolutions
from attngan_jax.interop.torch_files import MAX_EXPANSION

NO_BACKGROUND = slice(1, None)  # of the CUB classifier's 51 logits the first stands for nothing

# In the order of torchvision and of the graph: the stem, the blocks, and the checkpoint's blocks.
_STEM = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]
MAX_REPEATED = 2**16  # numbers of a constant that are given as one
_BLOCKS = "5b 5c 5d 6a 6b 6c 6d 6e 7a 7b 7c".split()
_SLIM_BLOCKS = """35x35x256a 35x35x288a 35x35x288b 17x17x768a 17x17x768b 17x17x768c 17x17x768d
    17x17x768e 17x17x1280a 8x8x2048a 8x8x2048b""".split()


def read_graph(path: str | Path) -> dict[str, np.ndarray]:
    """The frozen graph of 2015-12-05 (`classify_image_graph_def.pb`) as a state dict.

    Its 1,008 outputs are used without the bias, which becomes zeros: the Inception Score's own
    code multiplies the pooled features by `softmax/weights` alone. Raises `UserError`.
    """
    try:
        content = plain_files.read_bytes(path, plain_files.MAX_WEIGHTS_BYTES)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    tf = _tensorflow()
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(content)
    except Exception as error:  # protobuf's own, of a module that is private
        message = f"{path} is no graph of TensorFlow, or was cut short: download it again"
        raise UserError(message) from error
    constants = {node.name: node.attr["value"].tensor for node in graph.node if node.op == "Const"}
    arrays: dict[str, Any] = {
        name: _array(tensor, f"{path}: {name[:80]}")
        for name, tensor in constants.items()
        if tensor.dtype == tf.float32.as_datatype_enum
    }
    for node in graph.node:  # the old BatchNorm multiplies by gamma only if it is told to
        is_norm = node.op == "BatchNormWithGlobalNormalization"
        if is_norm and not node.attr["scale_after_normalization"].b:
            arrays[f"{node.name}/gamma"] = None
    try:
        state_dict = _convolutions(arrays, graph_scope, "conv2d_params", "batchnorm")
        weights = arrays["softmax/weights"]
        bias = np.zeros(weights.shape[1], np.float32)
    except KeyError as error:
        what = "the Inception graph of 2015-12-05: it has no constant"
        raise UserError(f"{path} is not {what} {error.args[0]}") from error
    except (ValueError, IndexError) as error:
        what = "the Inception graph of 2015-12-05: a constant has another shape"
        raise UserError(f"{path} is not {what} ({error})") from error
    return state_dict | {"fc.weight": weights.T, "fc.bias": bias}


def _array(tensor: Any, what: str) -> np.ndarray:
    """A constant's float32 numbers, which it must hold one by one, if they are many."""
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    content = tensor.tensor_content
    numbers = np.frombuffer(content, "<f4") if content and len(content) % 4 == 0 else None
    if numbers is None:
        numbers = np.array(tensor.float_val, np.float32)
    if len(numbers) == 1 and 0 < math.prod(shape) <= MAX_REPEATED and min(shape, default=0) >= 0:
        numbers = np.repeat(numbers, math.prod(shape))
    if min(shape, default=0) < 0 or math.prod(shape) != len(numbers):
        problem = f"has {len(numbers):,} numbers and declares the shape {shape[:8]}"
        raise UserError(f"{what} {problem}: download the file again")
    return numbers.reshape(shape)


def _tensorflow() -> Any:
    try:
        import tensorflow
    except ImportError as error:
        hint = "pip install tensorflow, for this conversion alone"
        raise UserError(f"files of TensorFlow are read with it ({error}): {hint}") from error
    return tensorflow


def _read_tensors(prefix: Path) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint by name.

    A process of its own reads them: TensorFlow ends the one that it is in at some wrong numbers.
    """
    for file in prefix.parent.glob(f"{glob.escape(prefix.name)}*"):
        plain_files.check_plain(file)
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "tensors.npz"
        command = [sys.executable, "-m", __name__, str(prefix.absolute()), str(arrays)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        options: dict = dict(capture_output=True, text=True, errors="replace", env=environment)
        done = subprocess.run(command, **options)
        if done.returncode == 0:
            return plain_files.read_arrays(arrays.read_bytes(), kinds="biuf")
    said = done.stderr.splitlines() if done.returncode == 1 else []
    reason = said[-1] if said else "it is damaged"
    raise UserError(f"{prefix} is no checkpoint of TensorFlow that can be read: {reason}")


def _save_tensors(prefix: str, path: str) -> None:
    """Saves a checkpoint's numbers as `.npz`, if the files can hold what it declares.

    TensorFlow would take the memory first.
    """
    tf = _tensorflow()
    try:
        reader = tf.train.load_checkpoint(prefix)
        kinds, shapes = reader.get_variable_to_dtype_map(), reader.get_variable_to_shape_map()
        shapes = {name: shape for name, shape in shapes.items() if kinds[name].is_floating}
        declared = sum(math.prod(shape) * kinds[name].size for name, shape in shapes.items())
        files = [Path(prefix), *map(Path, glob.glob(f"{glob.escape(prefix)}.data-*"))]
        there = sum(file.stat().st_size for file in files if file.is_file())
        if not 0 <= declared <= MAX_EXPANSION * there:
            problem = f"it declares {declared:,} bytes and its data has {there:,}"
            raise UserError(f"{problem}: give it with its file .data-00000-of-00001")
        np.savez(path, **{name: reader.get_tensor(name) for name in shapes})
    except (tf.errors.OpError, ValueError, RuntimeError, LookupError, MemoryError) as error:
        hint = "give the path without .index or .data"
        raise UserError(f"{' '.join(str(error).split())[:200]}; {hint}") from error


def read_slim_checkpoint(prefix: str | Path) -> dict[str, np.ndarray]:
    """The CUB classifier's checkpoint as a state dict: moving averages, logits 1 to 50 of 51."""
    tensors = _read_tensors(Path(prefix))
    gammas = [f"{slim_scope(name)}/BatchNorm/gamma" for name in inception_convolutions()]
    arrays: dict[str, Any] = dict.fromkeys(gammas)
    for name in sorted(tensors):  # averages come after their variables
        # A reduction goes by either size.
        known = name.removesuffix("/ExponentialMovingAverage")
        arrays[known.replace("mixed_8x8x1280a", "mixed_17x17x1280a")] = tensors[name]
    try:
        state_dict = _convolutions(arrays, slim_scope, "weights", "BatchNorm")
        weights = arrays["logits/logits/weights"][:, NO_BACKGROUND]
        bias = arrays["logits/logits/biases"][NO_BACKGROUND]
    except KeyError as error:
        what = "a TF-slim Inception-v3: it has no"
        raise UserError(f"{prefix} is not {what} {error.args[0]}") from error
    except (ValueError, IndexError) as error:
        what = "a TF-slim Inception-v3: an array has another shape"
        raise UserError(f"{prefix} is not {what} ({error})") from error
    return state_dict | {"fc.weight": weights.T, "fc.bias": bias}


def _convolutions(
    arrays: Mapping[str, Any], scope_of: Callable[[str], str], kernel: str, norm: str
) -> dict[str, np.ndarray]:
    """All convolutions with their BatchNorm; a gamma of None is not used. Raises `KeyError`,
    or `ValueError` for an array of other axes.
    """
    state_dict: dict[str, np.ndarray] = {}
    for name in inception_convolutions():
        scope = scope_of(name)
        gamma, beta = arrays[f"{scope}/{norm}/gamma"], arrays[f"{scope}/{norm}/beta"]
        state_dict |= {
            f"{name}.conv.weight": np.transpose(arrays[f"{scope}/{kernel}"], (3, 2, 0, 1)),
            f"{name}.bn.weight": np.ones_like(beta) if gamma is None else gamma,
            f"{name}.bn.bias": beta,
            f"{name}.bn.running_mean": arrays[f"{scope}/{norm}/moving_mean"],
            f"{name}.bn.running_var": arrays[f"{scope}/{norm}/moving_variance"],
        }
    return state_dict


def _numbered(stem: str, place: int) -> str:
    """TensorFlow's names of equals: conv, conv_1, conv_2."""
    return f"{stem}_{place}" if place else stem


def _split(name: str) -> tuple[str, str, int, str]:
    """`Mixed_7c.branch3x3dbl_3a` is ("7c", "branch3x3dbl", 2, "a"); the stem has no block."""
    if name in _STEM:
        return "", "", _STEM.index(name), ""
    block, branch, number, letter = re.findall(r"Mixed_(..)\.(.+?)(?:_(\d)([ab]?))?$", name)[0]
    return block, branch, int(number or 1) - 1, letter


def graph_scope(name: str) -> str:
    """`Mixed_5b.branch5x5_2` is `mixed/tower/conv_1`: branches of one convolution that come first
    have no tower, and the forks of the last blocks have a scope of their own."""
    block, branch, place, letter = _split(name)
    if not block:
        return _numbered("conv", place)
    scope = _numbered("mixed", _BLOCKS.index(block))
    if name.endswith(branch) and branch != "branch_pool":
        return f"{scope}/conv"
    towers = {"branch3x3": 0, "branch5x5": 0, "branch7x7": 0, "branch_pool": 2}
    tower = _numbered("tower", towers.get(branch, int(block != "6a")))
    conv = f"mixed/{_numbered('conv', 'ab'.index(letter))}" if letter else _numbered("conv", place)
    return f"{scope}/{tower}/{conv}"


def slim_scope(name: str) -> str:
    """`Mixed_5b.branch5x5_2` is `mixed_35x35x256a/branch5x5/Conv_1`."""
    block, branch, place, letter = _split(name)
    if not block:
        return f"conv{place}"
    scope = f"mixed_{_SLIM_BLOCKS[_BLOCKS.index(block)]}"
    return f"{scope}/{branch}/{_numbered('Conv', place + (letter == 'b'))}"


if __name__ == "__main__":
    try:
        _save_tensors(*sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
