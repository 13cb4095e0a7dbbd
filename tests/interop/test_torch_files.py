"""PyTorch's files without PyTorch: little files that it wrote, and hostile ones."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
from original_weights import FILES, assert_same

from attngan_jax.errors import UserError
from attngan_jax.interop import read_state_dict

SHARED = np.arange(12, dtype=np.float32) / 8
TENSORS = dict(  # what make_files.py told PyTorch to save
    float32=np.array([[-1, -0.6, -0.2], [0.2, 0.6, 1]], np.float32),
    float64=np.array([1 / 3, -2e300]),
    float16=np.array([0.1, 65504, -6e-8], np.float16),
    bfloat16=np.array([0.1, 3e38], ml_dtypes.bfloat16),
    int64=np.array([-(2**40), 7]),
    int32=np.array([[-5], [6]], np.int32),
    uint8=np.array([0, 255], np.uint8),
    bool=np.array([True, False, True]),
    scalar=np.array(3),
    empty=np.zeros((0, 4), np.float32),
    shared=SHARED,
    shared_part=SHARED[4:8],
    transposed=SHARED.reshape(3, 4).T,
    strided=SHARED[1::3],
    repeated=np.full(4, 2.5, np.float32),
    parameter=np.array([0.5, -0.5], np.float32),
)
BOTH_FORMATS = pytest.mark.parametrize("form", ["zip", "legacy"])


@BOTH_FORMATS
def test_tensors_of_every_kind_in_memory_of_their_own(form):
    tensors = read_state_dict(FILES / f"tensors_{form}.pth")
    np.testing.assert_allclose(tensors["float32"], TENSORS["float32"], rtol=1e-6)
    expected = {name: np.array(array, order="C") for name, array in TENSORS.items()}
    assert_same(tensors, expected | {"float32": tensors["float32"]})
    assert all(array.flags.c_contiguous and array.flags.writeable for array in tensors.values())
    tensors["shared"][:] = -1
    assert (tensors["shared_part"] > 0).all() and (tensors["strided"] > 0).all()


def test_a_network_is_the_same_in_both_formats():
    network = read_state_dict(FILES / "network_zip.pth")
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(network) == ["0.weight", "0.bias", *(f"1.{name}" for name in norm)]
    assert network["0.weight"].shape == (3, 2, 3, 3) and network["0.weight"].std() > 0.1
    assert_same(network, read_state_dict(FILES / "network_legacy.pth"))


# A writer of both formats, to make files that PyTorch would not.


class Call:
    """Pickles as a call of `module.name(*arguments)`."""

    def __init__(self, module, name, *arguments, state=None):
        self.module, self.name, self.arguments, self.state = module, name, arguments, state


class StorageId(tuple):
    """Pickles as a persistent id."""


class Writer(pickle._Pickler):
    def persistent_id(self, value):
        return tuple(value) if isinstance(value, StorageId) else None

    def save(self, value, save_persistent_id=True):
        if not isinstance(value, Call):
            return super().save(value, save_persistent_id)
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        if value.arguments != ("no call",):
            super().save(value.arguments)
            self.write(pickle.REDUCE)
        if value.state is not None:
            super().save(value.state)
            self.write(pickle.BUILD)


def pickled(value):
    stream = io.BytesIO()
    Writer(stream, 2).dump(value)
    return stream.getvalue()


def storage(count=12, key="0", kind="FloatStorage", view=()):
    return StorageId(("storage", Call("torch", kind, "no call"), key, "cpu", count, *view))


def tensor(shape, strides, offset=0, of=None):
    hooks = Call("collections", "OrderedDict")
    arguments = storage() if of is None else of, offset, shape, strides, False, hooks
    return Call("torch._utils", "_rebuild_tensor_v2", *arguments)


def zip_file(value, storages=None, compression=zipfile.ZIP_STORED, name="archive/"):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr(f"{name}data.pkl", value if isinstance(value, bytes) else pickled(value))
        for key, data in ({"0": SHARED.tobytes()} if storages is None else storages).items():
            archive.writestr(f"{name}data/{key}", data)
    return stream.getvalue()


def legacy_file(value, keys=("0",)):
    header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    data = b"".join(map(pickled, [*header, value, list(keys)]))
    return data + struct.pack("<q", len(SHARED)) + SHARED.tobytes()


@pytest.fixture
def read(tmp_path):
    def read(data):
        (tmp_path / "weights.pth").write_bytes(data)
        return read_state_dict(tmp_path / "weights.pth")

    return read


@pytest.fixture
def refused(read):
    def refused(data):
        with pytest.raises(UserError, match=r"\A.*weights\.pth.*\Z") as raised:  # one line
            read(data)
        return str(raised.value)

    return refused


FORMATS = pytest.mark.parametrize("file", [zip_file, legacy_file])
PAIR = tensor((2,), (1,))
OTHER_ID, ODD_VIEW = StorageId(("module", "x", "0")), storage(view=(None, None))


@FORMATS
def test_the_writer_of_these_tests_writes_what_is_read(read, file):
    value = {"a": tensor((3, 2), (4, 1), offset=2)}
    np.testing.assert_array_equal(read(file(value))["a"], SHARED.reshape(3, 4)[:, 2:])


def test_files_of_old_versions(read, refused):
    # By Python 2, as the released weights: an OrderedDict's pairs are its argument.
    pairs = [["b", tensor((12,), (1,))], ["a", tensor((), ())]]
    value = Call("collections", "OrderedDict", pairs, state={"_metadata": {"": 1}})
    arrays = read(legacy_file(value))
    assert list(arrays) == ["b", "a"] and arrays["a"] == 0
    np.testing.assert_array_equal(arrays["b"], SHARED)
    # Before PyTorch 0.4 a storage could be a view of another.
    view = storage(view=(("view", 4, 6),))
    value = {"a": tensor((3,), (2,), 1, view)}
    np.testing.assert_array_equal(read(legacy_file(value))["a"], SHARED[[5, 7, 9]])
    assert "beyond its storage" in refused(legacy_file({"a": tensor((6,), (1,), 1, view)}))


@FORMATS
@pytest.mark.parametrize(
    "call",
    [
        *(Call("posix", "system", "touch trace"), Call("os", "mkdir", "trace")),
        *(Call("builtins", "eval", "1"), Call("torch.nn", "Linear", 1, 1)),
        *(Call("torch", "load", "other.pth"), Call("torch", "FloatStorage", 10**12)),
        Call("torch._utils", "_rebuild_tensor_v2.__globals__", ()),
        *(Call("collections", "OrderedDict.fromkeys", ()), Call("numpy", "load", "x")),
    ],
)
def test_code_is_not_run(refused, tmp_path, file, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in (call, {"a": call}, {"a": tensor((1,), (1,), 0, call)}):
        refused(file(value))
    assert os.listdir(tmp_path) == ["weights.pth"]


@FORMATS
@pytest.mark.parametrize(
    "value",
    [
        # Beyond the storage, or no shape at all.
        *(tensor((13,), (1,)), tensor((3, 5), (4, 1)), tensor((12,), (1,), 1)),
        *(tensor((12,), (-1,), 11), tensor((2,), (1,), -1), tensor((2, 2), (1,))),
        *(tensor((2.0,), (1,)), tensor([2], [1]), tensor((2,), (1,), 0, 12)),
        # Many times larger than the file, or than any array.
        *(tensor((10**9,), (0,)), tensor((10**5, 10**5, 10**5), (0, 0, 0))),
        *(tensor((0, 2**62), (1, 1)), tensor((0, 1), (1, 2**62)), tensor((2**64,), (0,))),
        tensor(40 * (1,), 40 * (1,)),
        # Storages of another size, kind or name than the file's.
        *(tensor((2,), (1,), 0, storage(count)) for count in (13, 10**15, -1)),
        *(tensor((2,), (1,), 0, storage(key=key)) for key in ("1", "../0")),
        tensor((2,), (1,), 0, StorageId(("storage", "FloatStorage", "0", "cpu", 12))),
        *(tensor((2,), (1,), 0, of) for of in (storage(kind="QInt8Storage"), OTHER_ID, ODD_VIEW)),
        StorageId(("storage",)),
    ],
)
def test_impossible_tensors(refused, file, value):
    refused(file({"a": value}))
    refused(file({"whole": PAIR, "a": value}))


@FORMATS
@pytest.mark.parametrize(
    "value",
    [
        *({}, [], 3, None, [PAIR], {"a": 3}, {"a": storage()}, {3: PAIR}),
        *({"state_dict": {"a": 3}}, {"model": {}}, {"optimizer": {"a": PAIR}}, {"epoch": 3}),
        Call("collections", "OrderedDict", [[3, 4]]),
        Call("collections", "OrderedDict", [[((1,),), 4]]),
        Call("collections", "OrderedDict", "no call"),
        {"a": Call("torch._utils", "_rebuild_parameter", ((1,),))},
        # One storage of two types.
        {"a": PAIR, "b": tensor((), (), 0, storage(6, kind="DoubleStorage"))},
    ],
)
def test_files_that_hold_no_state_dict(refused, file, value):
    refused(file(value))


@FORMATS
@pytest.mark.parametrize(
    "value, said",
    [
        ({"state_dict": {"a": PAIR}}, "state_dict (the network's weights) is read"),
        ({"epoch": 3, "model": {"a": PAIR}}, "model (the network's weights) is read, not epoch"),
        (
            {"netG": {"b": PAIR}, "netG_avg": {"a": PAIR}, "optimizer": {3: PAIR}},
            "netG_avg (the generator's averaged weights) is read, not netG, optimizer",
        ),
        ({"module.a": PAIR}, "names start with module., of DataParallel"),
        ({"netG": {"module.a": PAIR}}, "names start with module., of DataParallel"),
    ],
)
def test_weights_in_wrappings_are_read_and_the_log_says_so(file, tmp_path, caplog, value, said):
    path = tmp_path / "wrapped.pth"
    path.write_bytes(file(value))
    with caplog.at_level("INFO", logger="absl"):
        assert_same(read_state_dict(path), {"a": SHARED[:2]})
    assert any(said in line and str(path) in line for line in caplog.messages)


@BOTH_FORMATS
@pytest.mark.parametrize("name", ["tensors", "network"])
def test_every_truncation_is_refused(refused, form, name):
    data = (FILES / f"{name}_{form}.pth").read_bytes()
    for length in [*range(0, len(data), 7), len(data) - 1]:
        refused(data[:length])


@BOTH_FORMATS
def test_damage_is_refused_or_changes_numbers_only(read, form):
    """No damaged byte leads to anything but a UserError or arrays of a plain type."""
    data = (FILES / f"tensors_{form}.pth").read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 300):
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        try:
            tensors = read(bytes(damaged))
        except UserError:
            continue
        assert sum(array.nbytes for array in tensors.values()) <= 16 * len(data)


def test_a_zip_bomb_is_refused(refused):
    """200 MB of zeros in 200 kB, and a member that only claims to be large."""
    count = 50_000_000
    value = {"a": tensor((count,), (1,), 0, storage(count))}
    bomb = zip_file(value, {"0": bytes(4 * count)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 300_000 and "compressed" in refused(bomb)
    data = bytearray(zip_file({"a": tensor((12,), (1,))}))
    entry = data.rindex(b"PK\x01\x02")  # the central directory's last entry: the storage
    data[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    assert "larger than the file" in refused(bytes(data))


@FORMATS
def test_values_many_times_larger_than_the_file(refused, file):
    """Tensors, 10^9 items for whoever makes each of the dicts, and shapes of 1,000 axes."""
    value = {str(i): tensor((12,), (1,)) for i in range(10**3)}
    value |= {f"x{i}": tensor((12, 10**3), (1, 0)) for i in range(99)}
    assert "16 times" in refused(file(value))
    pairs, shape = [[str(i), 0] for i in range(1000)], 1000 * (1,)
    dicts = [Call("collections", "OrderedDict", pairs) for _ in range(10**4)]
    tracemalloc.start()
    refused(file({"a": dicts}))
    refused(file({str(i): tensor(shape, shape) for i in range(1000)}))
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


MAGIC = pickled(0x1950A86A20F9469CFC6C)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"PK\x03\x04", b"\x80\x02", b"not weights", pickle.dumps({"a": 1}, 2)),
        *(MAGIC, MAGIC + pickled(1002), legacy_file({"a": tensor((), ())}, [[[["0"]]]])),
        *(zip_file(b""), zip_file(b"garbage"), zip_file(pickle.dumps(1, 0))),
        *(zip_file({"a": 1}, name="a/b"), zip_file(b"}.", name="x")),
        # Two pickles in one archive.
        zip_file({"a": tensor((), ())}, {"0": SHARED.tobytes(), "other/data.pkl": b"}."}),
    ],
)
def test_other_files(refused, data):
    refused(data)


def test_a_folder_and_a_missing_file(tmp_path):
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(UserError, match="cannot be read"):
            read_state_dict(path)
