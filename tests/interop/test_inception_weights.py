"""Inception-v3 from files of every layout, made here: names, layouts, and what is left out."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from original_weights import FILES, torchvision

from attngan_jax.errors import UserError
from attngan_jax.interop import inception_weights, tensorflow_files, write_safetensors
from attngan_jax.interop.name_tables import inception_convolutions
from attngan_jax.models.inception import InceptionV3

PARTS = dict(gamma="weight", beta="bias", moving_mean="running_mean", moving_variance="running_var")


def units():
    """Each convolution's name, its kernel in TensorFlow's layout, and its BatchNorm."""
    for name in inception_convolutions():
        kernel = torchvision()[f"{name}.conv.weight"].transpose(2, 3, 1, 0)
        yield name, kernel, {tf: torchvision()[f"{name}.bn.{pt}"] for tf, pt in PARTS.items()}


def logits(classes):
    return np.arange(2048 * classes, dtype=np.float32).reshape(2048, classes) % 1013


def assert_trunk(variables, scaled=True):
    params, stats = variables["params"], variables["batch_stats"]
    for name, kernel, norm in units():
        unit, running = params, stats
        for part in name.split("."):
            unit, running = unit[part], running[part]
        np.testing.assert_array_equal(unit["conv"]["kernel"], kernel)
        np.testing.assert_array_equal(unit["norm"]["scale"], norm["gamma"] if scaled else 1)
        np.testing.assert_array_equal(unit["norm"]["bias"], norm["beta"])
        np.testing.assert_array_equal(running["norm"]["mean"], norm["moving_mean"])
        np.testing.assert_array_equal(running["norm"]["var"], norm["moving_variance"])


def test_torchvisions_trunk_and_classifier(tmp_path):
    path, out = tmp_path / "inception.safetensors", tmp_path / "out.safetensors"
    write_safetensors(path, torchvision())
    assert inception_weights.convert_classifier(path, out) == "torchvision"
    classifier = inception_weights.read_classifier(out)
    assert classifier.family == "torchvision"
    np.testing.assert_array_equal(classifier.kernel, torchvision()["fc.weight"].T)
    np.testing.assert_array_equal(classifier.bias, torchvision()["fc.bias"])
    assert_trunk(classifier.variables)
    weights = inception_weights.chosen_inception_weights(str(path))
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    key, images = jax.random.key(0), jnp.zeros((1, 299, 299, 3))
    expected = jax.eval_shape(lambda: InceptionV3().init(key, images, train=False))
    assert jax.tree.map(np.shape, weights.variables) == jax.tree.map(np.shape, dict(expected))
    assert_trunk(weights.variables)


def test_pytorch_fids_weights_are_those_of_the_graph(tmp_path):
    """Torchvision's names with 1,008 outputs; its bias is not used, as in the graph."""
    path, out = tmp_path / "pt_inception-2015-12-05.safetensors", tmp_path / "out.safetensors"
    fc = {"fc.weight": logits(1008).T.copy(), "fc.bias": np.ones(1008, np.float32)}
    write_safetensors(path, torchvision() | fc)
    assert inception_weights.convert_classifier(path, out) == "tf-2015"
    weights = inception_weights.read_classifier(out)
    assert weights.family == "tf-2015" and not weights.bias.any()
    np.testing.assert_array_equal(weights.kernel, logits(1008))
    assert_trunk(weights.variables)


def test_trunks_that_are_refused(tmp_path):
    """Half a trunk, downloads that are not what their names say, no choice, and no file."""
    half = {n: a for n, a in torchvision().items() if not n.startswith(("Mixed_7", "fc"))}
    write_safetensors(tmp_path / "half.safetensors", half)
    other = {"fc.weight": np.ones((1008, 2048), "f4"), "fc.bias": np.ones(1008, "f4")}
    write_safetensors(tmp_path / "classes.safetensors", torchvision() | other)
    data = (FILES / "network_zip.pth").read_bytes()
    own = f"net-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    for name in ("net-0cc3c7bd.pth", own):
        (tmp_path / name).write_bytes(data)
    for name, message in (
        ("classes.safetensors", r"fc.weight \[1008, 2048\]: these are not the shapes of 1000"),
        ("half.safetensors", "missing Mixed_7a.branch3x3_1.conv.weight"),
        ("net-0cc3c7bd.pth", "damaged"),
        (own, "another network"),
        ("missing.pth", "cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            inception_weights.chosen_inception_weights(str(tmp_path / name))
    with pytest.raises(UserError, match="weights=FILE.*trunk=cnn.*configs/folder_small.py"):
        inception_weights.chosen_inception_weights("")
    assert inception_weights.chosen_inception_weights("random") is None


def test_scopes_of_tensorflows_files():
    """As the public files have them, for one convolution of every kind of place."""
    graph = {
        "Conv2d_1a_3x3": "conv",
        "Conv2d_4a_3x3": "conv_4",
        "Mixed_5b.branch1x1": "mixed/conv",
        "Mixed_5c.branch5x5_2": "mixed_1/tower/conv_1",
        "Mixed_5d.branch3x3dbl_3": "mixed_2/tower_1/conv_2",
        "Mixed_5d.branch_pool": "mixed_2/tower_2/conv",
        "Mixed_6a.branch3x3": "mixed_3/conv",
        "Mixed_6a.branch3x3dbl_1": "mixed_3/tower/conv",
        "Mixed_6e.branch7x7dbl_5": "mixed_7/tower_1/conv_4",
        "Mixed_7a.branch3x3_1": "mixed_8/tower/conv",
        "Mixed_7a.branch7x7x3_4": "mixed_8/tower_1/conv_3",
        "Mixed_7b.branch3x3_2b": "mixed_9/tower/mixed/conv_1",
        "Mixed_7c.branch3x3dbl_2": "mixed_10/tower_1/conv_1",
        "Mixed_7c.branch3x3dbl_3b": "mixed_10/tower_1/mixed/conv_1",
    }
    assert {name: tensorflow_files.graph_scope(name) for name in graph} == graph
    slim = {
        "Conv2d_2b_3x3": "conv2",
        "Mixed_5b.branch5x5_2": "mixed_35x35x256a/branch5x5/Conv_1",
        "Mixed_6a.branch3x3": "mixed_17x17x768a/branch3x3/Conv",
        "Mixed_6c.branch_pool": "mixed_17x17x768c/branch_pool/Conv",
        "Mixed_6c.branch7x7dbl_5": "mixed_17x17x768c/branch7x7dbl/Conv_4",
        "Mixed_7c.branch3x3_2b": "mixed_8x8x2048b/branch3x3/Conv_2",
    }
    assert {name: tensorflow_files.slim_scope(name) for name in slim} == slim
    for scope_of in (tensorflow_files.graph_scope, tensorflow_files.slim_scope):
        assert len(set(map(scope_of, inception_convolutions()))) == len(inception_convolutions())


@pytest.mark.parametrize("scaled", [True, False])  # a norm that does not scale ignores its gamma
def test_the_graph_of_2015(scaled, tmp_path):
    tf = pytest.importorskip("tensorflow")
    graph, fc, out = tf.compat.v1.GraphDef(), logits(1008), tmp_path / "out.safetensors"

    def constant(name, value):
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))

    for name, kernel, norm in units():
        scope = tensorflow_files.graph_scope(name)
        constant(f"{scope}/conv2d_params", kernel)
        for part, value in norm.items():
            constant(f"{scope}/batchnorm/{part}", value)
        node = graph.node.add(name=f"{scope}/batchnorm", op="BatchNormWithGlobalNormalization")
        node.attr["scale_after_normalization"].b = scaled
    constant("softmax/weights", fc)
    constant("softmax/biases", np.ones(fc.shape[1], np.float32))
    (tmp_path / "graph.pb").write_bytes(graph.SerializeToString())
    family = inception_weights.convert_classifier(tmp_path / "graph.pb", out)
    weights = inception_weights.read_classifier(out)
    assert family == weights.family == "tf-2015" and len(weights.sha256) == 64
    np.testing.assert_array_equal(weights.kernel, fc)
    assert weights.bias.shape == (1008,) and not weights.bias.any()  # it is used without
    assert_trunk(weights.variables, scaled)


@pytest.mark.parametrize("reduction", ["mixed_17x17x1280a", "mixed_8x8x1280a"])
def test_the_cub_classifier(reduction, tmp_path):
    """Moving averages are taken, the first of the 51 logits is not, and there is no gamma."""
    tf = pytest.importorskip("tensorflow")
    fc, bias, average = logits(51), np.arange(51, dtype=np.float32), "ExponentialMovingAverage"
    variables = {
        f"logits/logits/weights/{average}": fc,
        "global_step": np.int64(5),
        "logits/logits/weights": 0 * fc,
        f"logits/logits/biases/{average}": bias,
    }
    for name, kernel, norm in units():
        scope = tensorflow_files.slim_scope(name).replace("mixed_17x17x1280a", reduction)
        variables[f"{scope}/weights/{average}"] = kernel
        for part in ("beta", "moving_mean", "moving_variance"):
            variables[f"{scope}/BatchNorm/{part}/{average}"] = norm[part]
    prefix, out = str(tmp_path / "model.ckpt-5000"), tmp_path / "cub.safetensors"
    names, values = list(variables), [tf.constant(value) for value in variables.values()]
    slices = [""] * len(names)
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=slices, tensors=values)
    assert inception_weights.convert_classifier(prefix, out) == "cub-50"
    weights = inception_weights.read_classifier(out)
    np.testing.assert_array_equal(weights.kernel, fc[:, 1:])
    np.testing.assert_array_equal(weights.bias, bias[1:])
    assert_trunk(weights.variables, scaled=False)


def test_files_that_are_no_classifiers(tmp_path):
    pytest.importorskip("tensorflow")
    out = tmp_path / "out.safetensors"
    (tmp_path / "graph.pb").write_bytes(b"no graph")
    (tmp_path / "empty.pb").write_bytes(b"")
    trunk = {n: a for n, a in torchvision().items() if not n.startswith("fc.")}
    write_safetensors(tmp_path / "trunk.safetensors", trunk)
    wide = torchvision() | {"fc.bias": np.zeros(1001, np.float32)}
    write_safetensors(tmp_path / "wide.safetensors", wide)
    for name, message in (
        ("graph.pb", "graph.pb"),
        ("empty.pb", "has no constant conv"),
        ("trunk.safetensors", "not a torchvision .* fc.weight is missing"),
        ("wide.safetensors", r"fc.bias has the shape \[1001\], not \[1000\]"),
    ):
        with pytest.raises(UserError, match=message):
            inception_weights.convert_classifier(tmp_path / name, out)
    assert not out.exists()
    with pytest.raises(UserError, match="does not say which classifier it is.*convert classifier"):
        inception_weights.read_classifier(tmp_path / "trunk.safetensors")
    with pytest.raises(UserError, match="cannot be read .*convert classifier --source"):
        inception_weights.read_classifier(tmp_path / "missing.safetensors")
