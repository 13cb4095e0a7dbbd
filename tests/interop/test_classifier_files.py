"""Classifiers from files of the three layouts, made here: names, layouts, and what is left out."""

import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.interop import classifier_files, tensorflow_files, write_safetensors
from attngan_jax.interop.inception_table import CONVOLUTIONS

tf = pytest.importorskip("tensorflow")


def seeded(name, shape):
    """Numbers that belong to a name and are cheap to make."""
    start = sum(map(ord, name)) % 97
    return (np.arange(np.prod(shape), dtype=np.float32) % 1013 + start).reshape(shape) / 1000


@pytest.fixture(scope="module")
def wanted():
    """A state dict under torchvision's names: for each convolution its five arrays."""
    arrays = {}
    for name, shape in CONVOLUTIONS.items():
        arrays[f"{name}.conv.weight"] = seeded(name, shape)
        for part in ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
            arrays[f"{name}.{part}"] = seeded(name + part, shape[:1])
    return arrays


def units(wanted):
    for name in CONVOLUTIONS:
        yield (
            name,
            wanted[f"{name}.conv.weight"].transpose(2, 3, 1, 0),
            {
                part: wanted[f"{name}.bn.{theirs}"]
                for part, theirs in (
                    ("gamma", "weight"),
                    ("beta", "bias"),
                    ("moving_mean", "running_mean"),
                    ("moving_variance", "running_var"),
                )
            },
        )


def write_graph(path, wanted, fc, scaled=True):
    graph = tf.compat.v1.GraphDef()

    def constant(name, value):
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))

    for name, kernel, norm in units(wanted):
        scope = tensorflow_files._graph_scope(name)
        constant(f"{scope}/conv2d_params", kernel)
        for part, value in norm.items():
            constant(f"{scope}/batchnorm/{part}", value)
        node = graph.node.add(name=f"{scope}/batchnorm", op="BatchNormWithGlobalNormalization")
        node.attr["scale_after_normalization"].b = scaled
    constant("softmax/weights", fc)
    constant("softmax/biases", np.ones(fc.shape[1], np.float32))
    path.write_bytes(graph.SerializeToString())


def test_scopes_of_the_graph_are_those_of_2015():
    """As the public graph has them, for one convolution of every kind of place."""
    places = {
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
    for name, scope in places.items():
        assert tensorflow_files._graph_scope(name) == scope
    assert len({tensorflow_files._graph_scope(name) for name in CONVOLUTIONS}) == len(CONVOLUTIONS)
    slim = {
        "Conv2d_2b_3x3": "conv2",
        "Mixed_5b.branch5x5_2": "mixed_35x35x256a/branch5x5/Conv_1",
        "Mixed_6c.branch7x7dbl_5": "mixed_17x17x768c/branch7x7dbl/Conv_4",
        "Mixed_7c.branch3x3_2b": "mixed_8x8x2048b/branch3x3/Conv_2",
    }
    for name, scope in slim.items():
        assert tensorflow_files._slim_scopes(name)[0] == scope


def test_the_graph_of_2015(wanted, tmp_path):
    fc = seeded("fc", (2048, 1008))
    write_graph(tmp_path / "graph.pb", wanted, fc)
    assert (
        classifier_files.convert_classifier(tmp_path / "graph.pb", tmp_path / "out.safetensors")
        == "tf-2015"
    )
    weights = classifier_files.read_classifier(tmp_path / "out.safetensors")
    assert weights.family == "tf-2015" and len(weights.sha256) == 64
    np.testing.assert_array_equal(weights.kernel, fc)
    assert weights.bias.shape == (1008,) and not weights.bias.any()  # it is used without
    assert_trunk(weights, wanted)


def test_a_norm_that_does_not_scale_ignores_its_gamma(wanted, tmp_path):
    write_graph(tmp_path / "graph.pb", wanted, seeded("fc", (2048, 1008)), scaled=False)
    state_dict = tensorflow_files.read_graph(tmp_path / "graph.pb")
    assert (state_dict["Mixed_7c.branch1x1.bn.weight"] == 1).all()


def assert_trunk(weights, wanted, gamma=True):
    params, stats = weights.variables["params"], weights.variables["batch_stats"]
    for name in ("Conv2d_3b_1x1", "Mixed_5b.branch5x5_2", "Mixed_7c.branch3x3dbl_3b"):
        unit, running = params, stats
        for part in name.split("."):
            unit, running = unit[part], running[part]
        np.testing.assert_array_equal(
            unit["conv"]["kernel"], wanted[f"{name}.conv.weight"].transpose(2, 3, 1, 0)
        )
        scale = wanted[f"{name}.bn.weight"] if gamma else np.ones(len(unit["norm"]["scale"]))
        np.testing.assert_array_equal(unit["norm"]["scale"], scale)
        np.testing.assert_array_equal(unit["norm"]["bias"], wanted[f"{name}.bn.bias"])
        np.testing.assert_array_equal(running["norm"]["mean"], wanted[f"{name}.bn.running_mean"])
        np.testing.assert_array_equal(running["norm"]["var"], wanted[f"{name}.bn.running_var"])


def test_the_cub_classifier(wanted, tmp_path):
    """Moving averages are taken, the first of the 51 logits is not, and there is no gamma."""
    fc, bias = seeded("fc", (2048, 51)), seeded("bias", (51,))
    variables = {
        "logits/logits/weights/ExponentialMovingAverage": fc,
        "global_step": np.int64(5),
        "logits/logits/weights": 0 * fc,
        "logits/logits/biases/ExponentialMovingAverage": bias,
    }
    for name, kernel, norm in units(wanted):
        scope = tensorflow_files._slim_scopes(name)[0]
        variables[f"{scope}/weights/ExponentialMovingAverage"] = kernel
        variables |= {
            f"{scope}/BatchNorm/{part}/ExponentialMovingAverage": value
            for part, value in norm.items()
            if part != "gamma"
        }
    prefix = str(tmp_path / "model.ckpt-5000")
    names = list(variables)
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(variables[name]) for name in names],
    )
    assert classifier_files.convert_classifier(prefix, tmp_path / "cub.safetensors") == "cub-50"
    weights = classifier_files.read_classifier(tmp_path / "cub.safetensors")
    np.testing.assert_array_equal(weights.kernel, fc[:, 1:])
    np.testing.assert_array_equal(weights.bias, bias[1:])
    assert_trunk(weights, wanted, gamma=False)


def test_torchvisions_weights(wanted, tmp_path):
    given = wanted | {
        "fc.weight": seeded("fc", (1000, 2048)),
        "fc.bias": seeded("b", (1000,)),
        "AuxLogits.conv0.conv.weight": np.ones((1, 1, 1, 1), np.float32),
    }
    write_safetensors(tmp_path / "inception.safetensors", given)
    out = tmp_path / "out.safetensors"
    assert (
        classifier_files.convert_classifier(tmp_path / "inception.safetensors", out)
        == "torchvision"
    )
    weights = classifier_files.read_classifier(out)
    np.testing.assert_array_equal(weights.kernel, given["fc.weight"].T)
    assert_trunk(weights, wanted)


def test_files_that_are_none_of_these(wanted, tmp_path):
    out = tmp_path / "out.safetensors"
    (tmp_path / "graph.pb").write_bytes(b"no graph")
    with pytest.raises(UserError, match="graph.pb"):
        classifier_files.convert_classifier(tmp_path / "graph.pb", out)
    (tmp_path / "empty.pb").write_bytes(b"")
    with pytest.raises(UserError, match="has no constant conv"):
        classifier_files.convert_classifier(tmp_path / "empty.pb", out)
    write_safetensors(tmp_path / "trunk.safetensors", wanted)
    with pytest.raises(UserError, match="not a torchvision .* fc.weight is missing"):
        classifier_files.convert_classifier(tmp_path / "trunk.safetensors", out)
    assert not out.exists()
    with pytest.raises(UserError, match="does not say which classifier it is.*convert classifier"):
        classifier_files.read_classifier(tmp_path / "trunk.safetensors")
    with pytest.raises(UserError, match="cannot be read .*convert classifier --source"):
        classifier_files.read_classifier(tmp_path / "missing.safetensors")
