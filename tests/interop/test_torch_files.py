"""PyTorch's files without PyTorch: little files that it wrote, and hostile ones."""

import io
import os
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from original_weights import FILES, assert_same

from attngan_jax.errors import UserError
from attngan_jax.interop import read_state_dict

SHARED = np.arange(12, dtype=np.float32) / 8
# What make_files.py told PyTorch to save.
TENSORS = {
    "float32": np.array([[-1, -0.6, -0.2], [0.2, 0.6, 1]], np.float32),
    "float64": np.array([1 / 3, -2e300]),
    "float16": np.array([0.1, 65504, -6e-8], np.float16),
    "bfloat16": np.array([0.1, 3e38], ml_dtypes.bfloat16),
    "int64": np.array([-(2**40), 7]),
    "int32": np.array([[-5], [6]], np.int32),
    "uint8": np.array([0, 255], np.uint8),
    "bool": np.array([True, False, True]),
    "scalar": np.array(3),
    "empty": np.zeros((0, 4), np.float32),
    "shared": SHARED,
    "shared_part": SHARED[4:8],
    "transposed": SHARED.reshape(3, 4).T,
    "strided": SHARED[1::3],
    "repeated": np.full(4, 2.5, np.float32),
    "parameter": np.array([0.5, -0.5], np.float32),
}
BOTH_FORMATS = pytest.mark.parametrize("form", ["zip", "legacy"])


@BOTH_FORMATS
def test_tensors_of_every_kind(form):
    tensors = read_state_dict(FILES / f"tensors_{form}.pth")
    linspace = tensors.pop("float32")
    np.testing.assert_allclose(linspace, TENSORS["float32"], rtol=1e-6)
    assert_same(
        tensors,
        {name: np.array(array, order="C") for name, array in TENSORS.items() if name != "float32"},
    )


@BOTH_FORMATS
def test_arrays_are_contiguous_and_apart(form):
    tensors = read_state_dict(FILES / f"tensors_{form}.pth")
    assert all(array.flags.c_contiguous and array.flags.writeable for array in tensors.values())
    tensors["shared"][:] = -1
    assert (tensors["shared_part"] > 0).all() and (tensors["strided"] > 0).all()


def test_a_network_is_the_same_in_both_formats():
    network = read_state_dict(FILES / "network_zip.pth")
    assert [name for name in network] == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    ]
    assert network["0.weight"].shape == (3, 2, 3, 3) and network["0.weight"].std() > 0.1
    assert_same(network, read_state_dict(FILES / "network_legacy.pth"))


@pytest.mark.parametrize("name", ["tensors_zip", "tensors_legacy", "network_zip", "network_legacy"])
def test_against_pytorch(name):
    torch = pytest.importorskip("torch")
    theirs = torch.load(FILES / f"{name}.pth", weights_only=True)
    ours = read_state_dict(FILES / f"{name}.pth")
    assert list(ours) == list(theirs)
    for key, tensor in theirs.items():
        tensor = tensor.detach().contiguous()
        width = {2: torch.int16, 4: torch.int32, 8: torch.int64}.get(tensor.element_size())
        bits = tensor.view(width).numpy() if width else tensor.numpy()
        assert tuple(tensor.shape) == ours[key].shape
        assert bits.tobytes() == ours[key].tobytes()


# A writer of both formats, to make files that PyTorch would not.


class Call:
    """Pickles as a call of `module.name(*arguments)`."""

    def __init__(self, module, name, *arguments, state=None):
        self.module, self.name, self.arguments, self.state = module, name, arguments, state


class StorageId(tuple):
    """Pickles as a persistent id."""


class Writer(pickle._Pickler):
    """A pickler for `Call` and `StorageId`, with PyTorch's protocol 2."""

    def persistent_id(self, value):
        return tuple(value) if isinstance(value, StorageId) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Call):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
            if value.arguments != ("no call",):
                super().save(value.arguments)
                self.write(pickle.REDUCE)
            if value.state is not None:
                super().save(value.state)
                self.write(pickle.BUILD)
        else:
            super().save(value, save_persistent_id)


def pickled(value):
    stream = io.BytesIO()
    Writer(stream, 2).dump(value)
    return stream.getvalue()


def storage(count, key="0", kind="FloatStorage", view=()):
    return StorageId(("storage", Call("torch", kind, "no call"), key, "cpu", count, *view))


def tensor(storage_id, shape, strides, offset=0):
    return Call(
        "torch._utils",
        "_rebuild_tensor_v2",
        storage_id,
        offset,
        shape,
        strides,
        False,
        Call("collections", "OrderedDict"),
    )


def zip_file(value, storages=None, compression=zipfile.ZIP_STORED, name="archive/"):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr(f"{name}data.pkl", value if isinstance(value, bytes) else pickled(value))
        for key, data in ({"0": SHARED.tobytes()} if storages is None else storages).items():
            archive.writestr(f"{name}data/{key}", data)
    return stream.getvalue()


def legacy_file(value, storages=None):
    storages = {"0": SHARED.tobytes()} if storages is None else storages
    header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    data = b"".join(map(pickled, [*header, value, list(storages)]))
    return data + b"".join(
        struct.pack("<q", len(numbers) // 4) + numbers for numbers in storages.values()
    )


def read(tmp_path, data):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    return read_state_dict(path)


def refused(tmp_path, data):
    with pytest.raises(UserError) as raised:
        read(tmp_path, data)
    message = str(raised.value)
    assert "weights.pth" in message and "\n" not in message
    return message


FORMATS = pytest.mark.parametrize("file", [zip_file, legacy_file])


@FORMATS
def test_the_writer_of_these_tests_writes_what_is_read(tmp_path, file):
    value = {"a": tensor(storage(12), (3, 2), (4, 1), offset=2)}
    np.testing.assert_array_equal(read(tmp_path, file(value))["a"], SHARED.reshape(3, 4)[:, 2:])


def test_an_ordered_dict_of_python_2(tmp_path):
    """The released weights: the pairs are the OrderedDict's argument, attributes come after."""
    pairs = [["b", tensor(storage(12), (12,), (1,))], ["a", tensor(storage(12), (), ())]]
    value = Call("collections", "OrderedDict", pairs, state={"_metadata": {"": 1}})
    read_back = read(tmp_path, legacy_file(value))
    assert list(read_back) == ["b", "a"] and read_back["a"] == 0
    np.testing.assert_array_equal(read_back["b"], SHARED)


def test_views_of_storages_before_pytorch_0_4(tmp_path):
    view = storage(12, view=(("view", 4, 6),))
    value = {"a": tensor(view, (3,), (2,), offset=1)}
    np.testing.assert_array_equal(read(tmp_path, legacy_file(value))["a"], SHARED[[5, 7, 9]])
    beyond = {"a": tensor(view, (6,), (1,), offset=1)}
    assert "beyond its storage" in refused(tmp_path, legacy_file(beyond))


@FORMATS
@pytest.mark.parametrize(
    "call",
    [
        Call("posix", "system", "touch trace"),
        Call("builtins", "eval", "1"),
        Call("os", "mkdir", "trace"),
        Call("torch", "load", "other.pth"),
        Call("torch._utils", "_rebuild_tensor_v2.__globals__", ()),
        Call("collections", "OrderedDict.fromkeys", ()),
        Call("torch.nn", "Linear", 1, 1),
        Call("numpy", "load", "x"),
        Call("torch", "FloatStorage", 10**12),
    ],
)
def test_code_is_not_run(tmp_path, file, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in (call, {"a": call}, {"a": tensor(call, (1,), (1,))}):
        refused(tmp_path, file(value))
    assert os.listdir(tmp_path) == ["weights.pth"]


@FORMATS
@pytest.mark.parametrize(
    "value",
    [
        {"a": tensor(storage(12), (13,), (1,))},
        {"a": tensor(storage(12), (3, 5), (4, 1))},
        {"a": tensor(storage(12), (12,), (1,), offset=1)},
        {"a": tensor(storage(12), (12,), (-1,), offset=11)},
        {"a": tensor(storage(12), (2,), (1,), offset=-1)},
        {"a": tensor(storage(12), (2, 2), (1,))},
        {"a": tensor(storage(12), (2.0,), (1,))},
        {"a": tensor(storage(12), [2], [1])},
        {"a": tensor(12, (2,), (1,))},
        {"a": tensor(storage(12), (10**9,), (0,))},
        {"a": tensor(storage(12), (10**5, 10**5, 10**5), (0, 0, 0))},
        {str(i): tensor(storage(12), (12,), (1,)) for i in range(10**3)}
        | {f"x{i}": tensor(storage(12), (12, 10**3), (1, 0)) for i in range(99)},
        {"a": tensor(storage(13), (2,), (1,))},
        {"a": tensor(storage(10**15), (2,), (1,))},
        {"a": tensor(storage(-1), (), ())},
        {"a": tensor(storage(12, key="1"), (2,), (1,))},
        {"a": tensor(storage(12, key="../0"), (2,), (1,))},
        {
            "a": tensor(storage(12), (2,), (1,)),
            "b": tensor(storage(6, kind="DoubleStorage"), (), ()),
        },
        {"a": tensor(storage(12, kind="QInt8Storage"), (2,), (1,))},
        {"a": tensor(StorageId(("module", "x", "0")), (2,), (1,))},
        {"a": tensor(StorageId(("storage", "FloatStorage", "0", "cpu", 12)), (2,), (1,))},
        {"a": StorageId(("storage",))},
    ],
)
def test_impossible_tensors(tmp_path, file, value):
    refused(tmp_path, file(value))


@FORMATS
@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        3,
        None,
        {"a": 3},
        {"state_dict": {"a": tensor(storage(12), (2,), (1,))}},
        [tensor(storage(12), (2,), (1,))],
        {"a": storage(12)},
        Call("collections", "OrderedDict", [[3, 4]]),
        Call("collections", "OrderedDict", "no call"),
    ],
)
def test_files_that_hold_no_state_dict(tmp_path, file, value):
    refused(tmp_path, file(value))


@BOTH_FORMATS
@pytest.mark.parametrize("name", ["tensors", "network"])
def test_every_truncation_is_refused(tmp_path, form, name):
    data = (FILES / f"{name}_{form}.pth").read_bytes()
    for length in [*range(0, len(data), 7), len(data) - 1]:
        refused(tmp_path, data[:length])


@BOTH_FORMATS
def test_damage_is_refused_or_changes_numbers_only(tmp_path, form):
    """No damaged byte leads to anything but a UserError or arrays of a plain type."""
    data = (FILES / f"tensors_{form}.pth").read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 300):
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        try:
            tensors = read(tmp_path, bytes(damaged))
        except UserError:
            continue
        assert sum(array.nbytes for array in tensors.values()) <= 16 * len(data)


def test_a_zip_bomb_is_refused(tmp_path):
    """200 MB of zeros in 200 kB."""
    count = 50_000_000
    value = {"a": tensor(storage(count), (count,), (1,))}
    bomb = zip_file(value, {"0": bytes(4 * count)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 300_000
    assert "compressed" in refused(tmp_path, bomb)


def test_a_member_that_claims_to_be_large(tmp_path):
    data = bytearray(zip_file({"a": tensor(storage(12), (12,), (1,))}))
    entry = data.rindex(b"PK\x01\x02")  # the central directory's last entry: the storage
    data[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    assert "larger than the file" in refused(tmp_path, bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        b"\x80\x02",
        b"not weights",
        pickle.dumps({"a": 1}, 2),
        pickled(0x1950A86A20F9469CFC6C),
        pickled(0x1950A86A20F9469CFC6C) + pickled(1002),
        zip_file(b""),
        zip_file(b"garbage"),
        zip_file({"a": 1}, name="a/b"),
        zip_file(b"}.", name="x"),
        zip_file(pickle.dumps(1, 0)),
    ],
)
def test_other_files(tmp_path, data):
    refused(tmp_path, data)


def test_two_pickles_in_one_archive(tmp_path):
    stream = io.BytesIO(zip_file({"a": tensor(storage(12), (), ())}))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("other/data.pkl", b"}.")
    refused(tmp_path, stream.getvalue())


def test_a_folder_and_a_missing_file(tmp_path):
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(UserError, match="cannot be read"):
            read_state_dict(path)
