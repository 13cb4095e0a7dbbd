"""The released metadata: what it holds comes out, everything else is refused unexecuted."""

import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.interop import metadata
from attngan_jax.interop.metadata import load_metadata, read_caption_words, read_class_ids

PROTOCOLS = pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
# As Python 2 wrote class_info.pickle: two equal NumPy integers and one plain one.
PYTHON_2 = (
    b"(lp0\ncnumpy.core.multiarray\nscalar\np1\n(cnumpy\ndtype\np2\n(S'i8'\np3\nI0\nI1\ntp4\nRp5\n"
    b"(I3\nS'<'\np6\nNNNI-1\nI-1\nI0\ntp7\nb"
    b"S'\\xc8\\x00\\x00\\x00\\x00\\x00\\x00\\x00'\np8\ntp9\nRp10\nag10\naI7\na."
)


@pytest.fixture
def file(tmp_path):
    """Writes bytes, or a value's pickle, into a file."""

    def write(content, protocol=2):
        data = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
        (tmp_path / "file.pickle").write_bytes(data)
        return tmp_path / "file.pickle"

    return write


def refused(path):
    """The one line that refuses a file, which may cost neither much memory nor a deep stack."""
    tracemalloc.start()
    with pytest.raises(UserError, match=r"\A.*file\.pickle.*\Z") as raised:
        load_metadata(path)
    assert tracemalloc.get_traced_memory()[1] < 100 * path.stat().st_size + 10**6
    tracemalloc.stop()
    return str(raised.value)


@PROTOCOLS
def test_plain_values_of_every_protocol(file, protocol):
    value = [0, -1, 255, 65536, -(2**31), 2**40, -(10**30), True, False, None, 1.5, -0.25]
    value += ["", "é\n\\x'\"", "x" * 300, [[], [1, [2]]], {}, {"a": 1, 2: ["b"]}]
    value += [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    value.append(value[-1])  # shared
    value.append(value[0])
    assert load_metadata(file(value, protocol)) == value


@PROTOCOLS
@pytest.mark.parametrize(
    "scalar",
    [np.int64(-3), np.uint8(200), np.float32(0.1), np.bool_(True), np.array(258, ">i4")[()]],
)
def test_numpy_scalars_of_every_protocol(file, protocol, scalar):
    (read,) = load_metadata(file([scalar], protocol))
    assert read == scalar and read.dtype == scalar.dtype.newbyteorder("=")


def test_windows_line_ends_are_repaired(file):
    """CUB's released lists were written in text mode: every name would end in a return."""
    assert read_class_ids(file(PYTHON_2)) == [200, 200, 7]
    assert read_class_ids(file(PYTHON_2.replace(b"\n", b"\r\n"))) == [200, 200, 7]
    names = b"(lp0\r\nV002.Gull/a_1\r\np1\r\naS'b\\xe9'\r\np2\r\na."
    assert metadata.read_filenames(file(names)) == ["002.Gull/a_1", "bé"]


WORDS = {0: "<end>", 1: "red", 2: "bird"}


@pytest.mark.parametrize(
    "value",
    [
        *([], {}, [b"a"], int, np.dtype("i4")),
        [[[3]], [[1]], WORDS, {}],
        [[[-1]], [[1]], WORDS, {}],
        [[[0]], [[0]], {1: "red"}, {}],
        [[["red"]], [[0]], WORDS, {}],
        [[0], [0], WORDS, {}],
        [{}, [], WORDS, {}],
    ],
)
def test_files_that_hold_no_captions(file, value):
    assert read_caption_words(file([[[1, 2], [2]], [[1]], WORDS, {}])) == ["<end>", "red", "bird"]
    with pytest.raises(UserError, match="another file|plain data"):
        read_caption_words(file(value))


def test_other_files_are_named(file):
    with pytest.raises(UserError, match="file names"):
        metadata.read_filenames(file([1, 2]))
    with pytest.raises(UserError, match="class numbers"):
        read_class_ids(file(["a"]))
    with pytest.raises(UserError, match="No such file"):
        load_metadata("/nowhere/captions.pickle")


class Runs:
    """A pickle of it runs `function(*arguments)` when Python's own unpickler reads it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@PROTOCOLS
def test_code_is_not_run(file, tmp_path, protocol):
    trace = tmp_path / "trace"
    hostile = pickle.dumps([1, Runs(os.mkdir, str(trace))], protocol)
    assert "mkdir" in refused(file(hostile)) and not trace.exists()
    pickle.loads(hostile)
    assert trace.exists()  # so the file was hostile


@PROTOCOLS
@pytest.mark.parametrize(
    "value",
    [
        *(Runs(eval, "1"), Runs(getattr, "a", "upper"), Runs(np.zeros, 3), int, slice(1)),
        *(OrderedDict(a=1), {1, 2}, bytearray(b"a"), 1j, {(1, 2): 3}, {None: 3}),
        *(np.arange(3), np.array("text")[()], np.datetime64("2018-01-01")),
    ],
)
def test_everything_but_plain_data_is_refused(file, value, protocol):
    refused(file([value], protocol))


def counted(opcode, layout, size, rest=b"abc."):
    return b"\x80\x04" + opcode + struct.pack(layout, size) + rest


# Text of 1 MB, turned into bytes 2,000 times, which NumPy's numbers have no use for.
TEXT = b"c_codecs\nencode\nq\x00X" + struct.pack("<I", 10**6) + 10**6 * b"a" + b"q\x01"
MANY_BYTES = b"\x80\x02(" + TEXT + 2000 * b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R" + b"l."


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b".", b"(", b"garbage", b"\x80\x02"),
        # Opcodes that call, look up, or refer to something else.
        *(b"cos\nsystem\n.", b"(S'ls'\nios\nsystem\n.", b"(cos\nsystem\nS'ls'\no."),
        *(b"\x80\x02\x82\x01.", b"Pid\n.", b"I1\nQ.", b"]]R."),
        # States of what has none, functions among them; types that are no numbers.
        *(b"cnumpy\ndtype\n}b.", b"cnumpy\ndtype\nN}\x86b.", b"]N(S'x'\nI1\ndtb."),
        *(b"cnumpy\ndtype\n(S'i8'\ntRN(S'x'\nI1\ndtb.", b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR."),
        # The stack and the memo.
        *(b"0.", b"g9\n.", b"h\x05.", b"I1\n(I2\ns.", b"(I1\nd.", b"gx\n.", b"Np-1\n."),
        # Numbers and text.
        *(b"I1_\n.", b"I" + 5000 * b"1" + b"\n.", b"S'a\n.", b"F1e\n.", b"\x8c\x01\xff."),
        b"\x8a\x02\x01",
        # Nesting: hashing such a tuple would overflow the interpreter's stack.
        *(2000 * b"(" + 2000 * b"t" + b"I1\nd.", b"(" + 10**6 * b"\x85" + b"."),
        b"(" + b")" + 10**5 * b"\x85" + b"Nd.",
        b"})" + 10**5 * b"\x85" + b"q\x000h\x00Ns.",
        # Lengths, a frame's and a memo's among them, which cost nothing beyond the file's bytes.
        *(counted(opcode, "<I", n) for opcode in (b"X", b"B", b"T") for n in (2**31 - 1, 100)),
        *(
            counted(bytes([opcode]), "<Q", n)
            for opcode in b"\x8d\x8e\x96\x95"
            for n in (2**62, 100)
        ),
        counted(b"Nr", "<I", 2**32 - 1, b"."),
        *(b"Np4294967295\n.", MANY_BYTES),
    ],
)
def test_damaged_and_hostile_bytes(file, data):
    refused(file(data))


def test_every_truncation_is_refused(file):
    for data in (PYTHON_2, pickle.dumps([[1, 2], {"a": 1.5}, np.int64(3)], 2)):
        for length in range(len(data)):
            refused(file(data[:length]))


def test_nested_keys_are_refused_and_nested_lists_harmless(file):
    assert "key" in refused(file(b"}" + b")" + 10**5 * b"\x85" + b"Ns."))
    depth, value = 10**5, load_metadata(file(10**5 * b"]" + (10**5 - 1) * b"a" + b"."))
    while value:
        (value,) = value
        depth -= 1
    assert depth == 1


def test_a_list_named_many_times_costs_as_little_as_once(file):
    """10^10 words for whoever follows every name."""
    caption = [1] * 100_000
    path = file([[caption] * 100_000, [], WORDS, {}])
    tracemalloc.start()
    assert len(read_caption_words(path)) == 3
    assert tracemalloc.get_traced_memory()[1] < 20 * path.stat().st_size
    tracemalloc.stop()
