"""State dicts in .npz and .safetensors files, and Inception's weights in any of them."""

import hashlib
import io
import zipfile

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from original_weights import FILES, NAMES, assert_same, seeded

from attngan_jax.errors import UserError
from attngan_jax.interop import inception_weights, read_state_dict, write_safetensors
from attngan_jax.models.inception import InceptionV3

ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "count": np.array(3),
    "half": np.array([0.1], np.float16),
}


def refused(path, word="\\S"):
    with pytest.raises(UserError, match=word) as raised:
        read_state_dict(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def in_c_order(arrays):
    return {name: np.array(array, order="C") for name, array in arrays.items()}


def test_safetensors_out_and_in(tmp_path):
    arrays = ARRAYS | {"brain": np.array([0.1, -3e38], ml_dtypes.bfloat16)}
    write_safetensors(tmp_path / "a.safetensors", arrays)
    read = read_state_dict(tmp_path / "a.safetensors")
    assert_same(dict(sorted(read.items())), in_c_order(dict(sorted(arrays.items()))))
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_safetensors_are_those_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    write_safetensors(tmp_path / "a.safetensors", ARRAYS)
    tensors = load_file(tmp_path / "a.safetensors")
    assert tensors["count"].dtype == torch.int64
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(tensors[name].numpy(), array)


def test_npz(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    assert_same(in_c_order(read_state_dict(tmp_path / "a.npz")), in_c_order(ARRAYS))


def test_npz_with_objects_is_not_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{"an": "object"}], dtype=object))
    refused(tmp_path / "a.npz")


def test_npz_bombs(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(10**7))
    refused(tmp_path / "a.npz", "times larger")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (2**45,)}
    )
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue() + b"1234")
    refused(tmp_path / "b.npz")


def test_truncated_files(tmp_path):
    np.savez(tmp_path / "whole.npz", **ARRAYS)
    write_safetensors(tmp_path / "whole.safetensors", ARRAYS)
    for ending in ("npz", "safetensors"):
        data = (tmp_path / f"whole.{ending}").read_bytes()
        for length in (0, 10, len(data) // 2, len(data) - 1):
            path = tmp_path / f"cut.{ending}"
            path.write_bytes(data[:length])
            refused(path)


@pytest.fixture(scope="module")
def torchvision():
    """A state_dict of torchvision's `inception_v3`, auxiliary classifier and all."""
    trunk = [row for row in NAMES["image_encoder"] if not row[0].startswith("emb_")]
    return seeded(
        trunk
        + [
            ["AuxLogits.conv0.conv.weight", [128, 768, 1, 1]],
            ["AuxLogits.fc.weight", [1000, 768]],
            ["fc.weight", [1000, 2048]],
            ["fc.bias", [1000]],
        ]
    )


def test_inception_weights(torchvision, tmp_path):
    path = tmp_path / "inception.safetensors"
    write_safetensors(path, torchvision)
    weights = inception_weights.read_inception_weights(path)
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    expected = jax.eval_shape(
        lambda: InceptionV3().init(jax.random.key(0), jnp.zeros((1, 299, 299, 3)), train=False)
    )
    assert jax.tree.map(np.shape, weights.variables) == jax.tree.map(np.shape, dict(expected))
    norm = weights.variables["batch_stats"]["Mixed_7c"]["branch_pool"]["norm"]
    np.testing.assert_array_equal(norm["var"], torchvision["Mixed_7c.branch_pool.bn.running_var"])
    kernel, bias = weights.classifier
    np.testing.assert_array_equal(kernel.T, torchvision["fc.weight"])
    np.testing.assert_array_equal(bias, torchvision["fc.bias"])


def test_inception_weights_of_half_a_network(torchvision, tmp_path):
    path = tmp_path / "inception.safetensors"
    write_safetensors(
        path,
        {
            name: array
            for name, array in torchvision.items()
            if not name.startswith(("Mixed_7", "fc"))
        },
    )
    with pytest.raises(UserError, match="missing Mixed_7a.branch3x3_1.conv.weight"):
        inception_weights.read_inception_weights(path)


def test_a_download_is_checked_against_its_name(tmp_path):
    data = (FILES / "network_zip.pth").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    right, wrong = tmp_path / f"net-{digest[:8]}.pth", tmp_path / "net-0cc3c7bd.pth"
    right.write_bytes(data)
    wrong.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        inception_weights.read_inception_weights(wrong)
    with pytest.raises(UserError, match="another network"):
        inception_weights.read_inception_weights(right)


def test_the_choice_of_inception_weights():
    assert inception_weights.chosen_inception_weights("random") is None
    with pytest.raises(UserError, match="image_encoder.weights=FILE"):
        inception_weights.chosen_inception_weights("")
    with pytest.raises(UserError, match="cannot be read"):
        inception_weights.chosen_inception_weights("missing.pth")
