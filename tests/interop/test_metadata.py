"""The released metadata: what it holds comes out, everything else is refused unexecuted."""

import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.interop.metadata import (
    load_metadata,
    read_captions,
    read_class_ids,
    read_filenames,
)

# As Python 2 wrote class_info.pickle: two equal NumPy integers and one plain one.
PYTHON_2 = b"""(lp0
cnumpy.core.multiarray
scalar
p1
(cnumpy
dtype
p2
(S'i8'
p3
I0
I1
tp4
Rp5
(I3
S'<'
p6
NNNI-1
I-1
I0
tp7
bS'\\xc8\\x00\\x00\\x00\\x00\\x00\\x00\\x00'
p8
tp9
Rp10
ag10
aI7
a."""


def written(tmp_path, data):
    path = tmp_path / "file.pickle"
    path.write_bytes(data)
    return path


def refused(tmp_path, data):
    with pytest.raises(UserError) as raised:
        load_metadata(written(tmp_path, data))
    message = str(raised.value)
    assert str(tmp_path) in message and "\n" not in message
    return message


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_of_every_protocol(tmp_path, protocol):
    value = [
        0,
        -1,
        255,
        65536,
        -(2**31),
        2**40,
        -(10**30),
        True,
        False,
        None,
        1.5,
        -0.25,
        "",
        "é\n\\x'\"",
        "x" * 300,
        [[], [1, [2]]],
        (),
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 3, 4),
        {},
        {"a": 1, 2: ["b"]},
    ]
    value.append(value[-1])  # shared
    assert load_metadata(written(tmp_path, pickle.dumps(value, protocol))) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "scalar",
    [np.int64(-3), np.uint8(200), np.float32(0.1), np.bool_(True), np.array(258, ">i4")[()]],
)
def test_numpy_scalars_of_every_protocol(tmp_path, protocol, scalar):
    (read,) = load_metadata(written(tmp_path, pickle.dumps([scalar], protocol)))
    assert read == scalar and read.dtype == scalar.dtype.newbyteorder("=")


def test_class_ids_of_python_2(tmp_path):
    assert read_class_ids(written(tmp_path, PYTHON_2)) == [200, 200, 7]


def test_windows_line_ends_are_mended(tmp_path):
    """CUB's released lists were written in text mode: every name would end in a return."""
    windows = PYTHON_2.replace(b"\n", b"\r\n")
    assert read_class_ids(written(tmp_path, windows)) == [200, 200, 7]
    names = b"(lp0\r\nV002.Gull/a_1\r\np1\r\naS'b\\xe9'\r\np2\r\na."
    assert read_filenames(written(tmp_path, names)) == ["002.Gull/a_1", "bé"]


def test_captions(tmp_path):
    value = [[[1, 2], [2]], [[1]], {0: "<end>", 1: "red", 2: "bird"}, {"<end>": 0, "red": 1}]
    captions = read_captions(written(tmp_path, pickle.dumps(value, 2)))
    assert captions.train == [[1, 2], [2]] and captions.test == [[1]]
    assert captions.words == ["<end>", "red", "bird"]


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        [[[1]], [[1]], {0: "<end>"}, {}],
        [[[0]], [[0]], {1: "red"}, {}],
        [[["red"]], [[0]], {0: "<end>"}, {}],
        [[0], [0], {0: "<end>"}, {}],
    ],
)
def test_files_that_hold_no_captions(tmp_path, value):
    with pytest.raises(UserError, match="another file"):
        read_captions(written(tmp_path, pickle.dumps(value, 2)))


def test_names_and_class_ids_are_not_taken_for_each_other(tmp_path):
    numbers, names = pickle.dumps([1, 2], 2), pickle.dumps(["a"], 2)
    with pytest.raises(UserError, match="file names"):
        read_filenames(written(tmp_path, numbers))
    with pytest.raises(UserError, match="class numbers"):
        read_class_ids(written(tmp_path, names))


def test_missing_file():
    with pytest.raises(UserError, match="No such file"):
        load_metadata("/nowhere/captions.pickle")


class Runs:
    """A pickle of it runs `function(*arguments)` when Python's own unpickler reads it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_not_run(tmp_path, protocol):
    trace = tmp_path / "trace"
    hostile = pickle.dumps([1, Runs(os.mkdir, str(trace))], protocol)
    message = refused(tmp_path, hostile)
    assert "mkdir" in message and not trace.exists()
    pickle.loads(hostile)
    assert trace.exists()  # so the file was hostile


@pytest.mark.parametrize(
    "value",
    [
        Runs(eval, "1"),
        Runs(getattr, "a", "upper"),
        Runs(np.zeros, 3),
        OrderedDict(a=1),
        {1, 2},
        bytearray(b"a"),
        np.arange(3),
        np.array("text")[()],
        np.datetime64("2018-01-01"),
        1j,
        slice(1),
        b"a",
        {(1, 2): 3},
        np.dtype("i4"),
        int,
    ],
)
def test_everything_but_plain_data_is_refused(tmp_path, value):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps([value], protocol)
        if not (isinstance(value, bytes) or isinstance(value, np.dtype)):
            refused(tmp_path, data)
    with pytest.raises(UserError):
        read_captions(written(tmp_path, pickle.dumps(value, 2)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"(",
        b"garbage",
        b"\x80\x02",
        b"cos\nsystem\n.",
        b"(S'ls'\nios\nsystem\n.",
        b"(cos\nsystem\nS'ls'\no.",
        b"\x80\x02\x82\x01.",
        b"Pid\n.",
        b"I1\nQ.",
        b"]]R.",
        b"0.",
        b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
        b"cnumpy\ndtype\n}b.",
        b"cnumpy\ndtype\n(S'i8'\ntRN(S'x'\nI1\ndtb.",
        b"]N(S'x'\nI1\ndtb.",
        b"g9\n.",
        b"h\x05.",
        b"I1\n(I2\ns.",
        b"(I1\nd.",
        b"I1_\n.",
        b"I" + 5000 * b"1" + b"\n.",
        b"S'a\n.",
        b"F1e\n.",
        b"\x8c\x01\xff.",
        b"\x8a\x02\x01",
        2000 * b"(" + 2000 * b"t" + b"I1\nd.",
        b"(" + 10**6 * b"\x85" + b".",
    ],
)
def test_damaged_and_hostile_bytes(tmp_path, data):
    refused(tmp_path, data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",  # a frame: the length alone is harmless
        b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b".",  # Python's memo would take 64 GiB
    ],
)
def test_claimed_sizes_that_cost_nothing(tmp_path, data):
    assert load_metadata(written(tmp_path, data)) is None


@pytest.mark.parametrize(
    "opcode, layout",
    [(b"X", "<I"), (b"\x8d", "<Q"), (b"B", "<I"), (b"\x8e", "<Q"), (b"T", "<i"), (b"\x96", "<Q")],
)
@pytest.mark.parametrize("size", [2**31 - 1, 100])
def test_claimed_sizes_beyond_the_file(tmp_path, opcode, layout, size):
    refused(tmp_path, b"\x80\x04" + opcode + struct.pack(layout, size) + b"abc.")


def test_every_truncation_is_refused(tmp_path):
    for data in (PYTHON_2, pickle.dumps([[1, 2], {"a": 1.5}, np.int64(3)], 2)):
        for length in range(len(data)):
            refused(tmp_path, data[:length])


def test_deeply_nested_keys_are_refused(tmp_path):
    """Hashing such a tuple would overflow the interpreter's stack."""
    message = refused(tmp_path, b"}" + b")" + 10**5 * b"\x85" + b"Ns.")
    assert "key" in message


def test_nested_lists_are_harmless(tmp_path):
    depth, value = 10**5, load_metadata(written(tmp_path, 10**5 * b"]" + (10**5 - 1) * b"a" + b"."))
    while value:
        (value,) = value
        depth -= 1
    assert depth == 1
