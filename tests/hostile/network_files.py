"""Hostile weights, graphs and checkpoints of TensorFlow, and pickles; as `corpus.py` has them."""

import importlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from attngan_jax.interop import inception_weights
from attngan_jax.interop.state_dict_files import read_state_dict
from tests.hostile.making import READERS, Input, damaged, reading


def _npz(**headers: dict) -> bytes:
    """An archive of arrays that have 8 bytes each, whatever their headers declare."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, header in headers.items():
            member = io.BytesIO()
            declared = {"descr": "<f4", "fortran_order": False, "shape": (2,)} | header
            np.lib.format.write_array_header_1_0(member, declared)
            archive.writestr(f"{name}.npy", member.getvalue() + bytes(8))
    return content.getvalue()


def _safetensors(header: Any, size: int = 8, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(size)


def weights(folder: Path, rounds: int) -> Iterator[Input]:
    """Files of networks: whole ones with damage, and such that declare what they do not hold."""
    arrays = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones(5, np.float16)}
    npz = io.BytesIO()
    np.savez(npz, **arrays)
    whole = {"w.npz": npz.getvalue(), "w.safetensors": safetensors.numpy.save(arrays)}
    for ending in ("new", "old"):
        file = Path(__file__).parents[1] / "data" / "reference" / f"{ending}.pth"
        if file.exists():
            whole[f"{ending}.pth"] = file.read_bytes()
    for name, content in whole.items():
        for what, bad in damaged(content, rounds):
            yield f"{name} {what}", reading(folder / f"weights_{name}", bad, read_state_dict)
    crafted: dict[str, bytes] = {
        f"{what}.npz": _npz(a=header)
        for what, header in {
            "40 GB": {"shape": (10**10,)},
            "many axes": {"shape": (2**40, 2**40)},
            "negative": {"shape": (-1, -2)},
            "objects": {"descr": "|O"},
            "void": {"descr": "|V8"},
            "text": {"descr": "<U2000000000"},
            "record": {"descr": [("a", "<f4")]},
            "not a number": {"shape": (True,)},
        }.items()
    }
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    crafted |= {
        f"{what}.safetensors": _safetensors({"a": one | of})
        for what, of in {
            "unknown type": {"dtype": "F4"},
            "eight bits": {"dtype": "F8_E4M3"},
            "40 GB": {"shape": [10**10], "data_offsets": [0, 4 * 10**10]},
            "negative": {"shape": [-2]},
            "backwards": {"data_offsets": [8, 0]},
            "beyond": {"data_offsets": [0, 2**62]},
        }.items()
    }
    crafted["endless header.safetensors"] = _safetensors({}, length=2**60)
    crafted["list.safetensors"] = _safetensors([1, 2])
    crafted["torn.pth"] = pickle.dumps({"a": [1] * 100})
    crafted["zip.pth"] = npz.getvalue()
    for name, content in crafted.items():
        path = folder / "crafted" / name
        yield name, reading(path, content, read_state_dict)
        if name.endswith(".safetensors"):
            yield (
                f"{name} as a classifier",
                reading(path, content, inception_weights.read_classifier),
            )
            model = folder / "model" / name / "model.safetensors"
            yield f"{name} of a model", reading(model, content, READERS["model.safetensors"])


def tensorflow(folder: Path, rounds: int) -> Iterator[Input]:
    """Graphs and checkpoints that declare more than they hold; written field by field."""
    importlib.import_module("tensorflow")  # which takes seconds, and is not what is timed

    def field(number: int, kind: int, content: bytes) -> bytes:
        return _varint(number << 3 | kind) + content

    def message(number: int, content: bytes) -> bytes:
        return field(number, 2, _varint(len(content)) + content)

    def graph(dims: tuple[int, ...], numbers: bytes) -> bytes:
        shape = b"".join(message(2, field(1, 0, _varint(dim % 2**64))) for dim in dims)
        tensor = field(1, 0, b"\x01") + message(2, shape) + numbers
        value = message(1, b"value") + message(2, message(8, tensor))
        node = message(1, b"softmax/weights") + message(2, b"Const") + message(5, value)
        return message(1, node)

    def checkpoint(dims: tuple[int, ...], dtype: int = 1, size: int = 4, shard: int = 0) -> bytes:
        shape = b"".join(message(2, field(1, 0, _varint(dim % 2**64))) for dim in dims)
        entry = field(1, 0, _varint(dtype)) + message(2, shape)
        entry += field(3, 0, _varint(shard)) + field(4, 0, b"\0") + field(5, 0, _varint(size))
        header = field(1, 0, b"\x01") + message(3, field(1, 0, b"\x01"))
        return _table({b"": header, b"conv0/weights": entry})

    tables = {
        "whole": checkpoint((1,)),
        "40 GB": checkpoint((10**10,)),
        "40 GB with its size": checkpoint((10**10,), size=4 * 10**10),
        "negative": checkpoint((-1, 3)),
        "overflow": checkpoint((2**40, 2**40)),
        "unknown type": checkpoint((1,), dtype=99),
        "texts": checkpoint((10**9,), dtype=7),
        "another shard": checkpoint((1,), shard=9),
        "no entries": _table({}),
    }
    tables |= {f"index {what}": bad for what, bad in damaged(tables["whole"], rounds // 10)}
    # TensorFlow reads each of these in a process of its own, which takes seconds.
    for what, table in tables.items() if rounds > 2 else [("negative", tables["negative"])]:
        for data in (struct.pack("<f", 1.0), b"", None) if rounds > 2 else (b"",):
            place = folder / "checkpoints" / f"{what} {data is not None and len(data)}"

            def call(place: Path = place, table: bytes = table, data: bytes | None = data) -> None:
                place.mkdir(parents=True)
                (place / "model.index").write_bytes(table)
                if data is not None:
                    (place / "model.data-00000-of-00001").write_bytes(data)
                inception_weights.convert_classifier(place / "model", place / "out")

            yield f"checkpoint {what}, data {data!r}", call
    number = field(5, 5, struct.pack("<f", 1.0))
    shapes = {"40 GB": (10**10,), "negative": (-1, 3), "overflow": (2**40, 2**40), "none": ()}
    for what, dims in shapes.items():
        content = graph(dims, number)
        yield f"{what}.pb", reading(folder / f"tf_{what}.pb", content, READERS["graph.pb"])
    for what, bad in damaged(graph((1,), number), rounds):
        yield f"pb {what}", reading(folder / "tf_damaged.pb", bad, READERS["graph.pb"])


def _varint(number: int) -> bytes:
    text = b""
    while number > 127:
        text, number = text + bytes([number & 127 | 128]), number >> 7
    return text + bytes([number])


def _table(entries: dict[bytes, bytes]) -> bytes:
    """The `.index` of a checkpoint: a sorted table in blocks, each with its checksum."""
    content = b""

    def block(rows: dict[bytes, bytes]) -> bytes:
        """Appends a block, and returns where it is."""
        nonlocal content
        body = b""
        for key, value in rows.items():
            body += _varint(0) + _varint(len(key)) + _varint(len(value)) + key + value
        body += struct.pack("<II", 0, 1)  # one restart, at the beginning
        place = _varint(len(content)) + _varint(len(body))
        content += body + b"\0" + struct.pack("<I", _masked_crc32c(body + b"\0"))
        return place

    data = block(entries)
    meta, index = block({}), block({b"~": data})
    return content + (meta + index).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def _masked_crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


class Runs:
    """What a pickle could start."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def pickles(folder: Path, rounds: int) -> Iterator[Input]:
    """Pickles: code, things named a hundred thousand times, deep nests, damage."""
    long_list, long_text = [0] * 100_000, "x" * 1_000_000
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    nested = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    values = {
        "code": Runs(folder / "mark"),
        "one list 100,000 times": [[long_list] * 100_000, [], {0: "<end>"}, {}],
        "one text 100,000 times": [long_text] * 100_000,
        "words of a megabyte": [[], [], {0: "<end>", 1: long_text}, {}],
        "numbers of another kind": [True, 1.5, None],
        "a number of many digits": [10**4000],
        "keys that are tuples": {(1, (2, 3)): 4},
        "indices without end": [[[2**70]], [], {0: "<end>"}, {"<end>": 0}],
    }
    contents = {what: pickle.dumps(value, 2) for what, value in values.items()}
    contents["a deep nest"] = nested
    whole = [[[1, 2]], [[1]], {0: "<end>", 1: "a", 2: "b"}, {"<end>": 0, "a": 1, "b": 2}]
    contents |= dict(damaged(pickle.dumps(whole, 2), 3 * rounds))
    readers = ("captions.pickle", "filenames.pickle", "class_info.pickle", "w.pth")
    for what, content in contents.items():
        for name in readers if " at " not in what else readers[:1]:
            yield f"{what}, {name}", reading(folder / "pickles" / name, content, READERS[name])
