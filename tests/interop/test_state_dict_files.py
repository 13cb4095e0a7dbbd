"""State dicts in .npz and .safetensors files."""

import io
import zipfile

import ml_dtypes
import numpy as np
import pytest
from original_weights import assert_same

from attngan_jax.errors import UserError
from attngan_jax.interop import read_state_dict, write_safetensors

ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "count": np.array(3),
    "half": np.array([0.1], np.float16),
}


def refused(path, word=""):
    with pytest.raises(UserError, match=rf"\A.*{path}.*{word}.*\Z"):  # one line
        read_state_dict(path)


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
    np.savez(tmp_path / "objects.npz", a=np.array([{"an": "object"}], dtype=object))
    refused(tmp_path / "objects.npz")  # not unpickled


def test_npz_bombs(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(10**7))
    refused(tmp_path / "a.npz", "times larger")
    header, claim = io.BytesIO(), {"descr": "<f4", "fortran_order": False, "shape": (2**45,)}
    np.lib.format.write_array_header_1_0(header, claim)
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
