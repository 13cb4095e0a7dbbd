"""Files and values that nobody sends in good faith, made by code, each with what reads it.

Each function of `KINDS` yields them: a name, and a function without arguments that makes the input
and has the project read it. Each has to end soon, in little memory, with a result or one line.
"""

import importlib
import io
import json
import os
import pickle
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from PIL import Image

from attngan_jax import configuration
from attngan_jax.configs.default import SCHEMA, get_config
from attngan_jax.data import archives, coco, dataset_report, image_lists, source_files
from attngan_jax.data.vocabulary import MAX_CHARACTERS, Vocabulary
from attngan_jax.interop import inception_weights, metadata
from attngan_jax.interop.state_dict_files import read_state_dict
from attngan_jax.reporting import page, run_files
from attngan_jax.sampling import model_folder, sample_captions
from attngan_jax.workdir import Workdir, find_model, has_image_encoder

Input = tuple[str, Callable[[], Any]]
VALUES = (0, -1, "x", "", None, 1.5, True, [], {}, 2**31, 2**70, 1e300, float("nan"), "a\0b", "~")
WORDS = Vocabulary(["<end>", "a", "red", "bird"])


def _reading(path: Path, content: bytes, read: Callable) -> Callable[[], Any]:
    def call():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return read(path)

    return call


def damaged(content: bytes, rounds: int) -> Iterator[tuple[str, bytes]]:
    """The content cut, with bits flipped, with numbers made huge, and with zeros in it."""
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        place, bit = int(rng.integers(len(content))), int(rng.integers(8))
        yield f"cut at {place}", content[:place]
        flipped = bytes([content[place] ^ 1 << bit])
        yield f"bit {bit} of byte {place}", content[:place] + flipped + content[place + 1 :]
        early = place % min(len(content), 120)  # where headers are
        yield f"huge at {early}", content[:early] + b"\xff" * 8 + content[early + 8 :]
        yield f"zeros at {place}", content[:place] + bytes(64) + content[place + 64 :]
    yield "nothing", b""
    yield "zeros", bytes(len(content))


READERS: dict[str, Callable[[Path], Any]] = {
    "w.pth": read_state_dict,
    "w.npz": read_state_dict,
    "w.safetensors": read_state_dict,
    "classifier.safetensors": inception_weights.read_classifier,
    "graph.pb": lambda path: inception_weights.convert_classifier(path, path.with_name("out")),
    "checkpoint": lambda path: inception_weights.convert_classifier(path, path.with_name("out")),
    "captions.pickle": metadata.read_caption_words,
    "filenames.pickle": metadata.read_filenames,
    "class_info.pickle": metadata.read_class_ids,
    "vocabulary.txt": Vocabulary.load,
    "captions.txt": lambda path: list(sample_captions.read_captions(path)),
    "captions.jsonl": lambda path: image_lists.read_lists([path], [], path.parent),
    "list.csv": lambda path: image_lists.read_lists([path], [], path.parent),
    "captions_train2014.json": lambda path: coco.read_entries(path, []),
    "x.jpg": source_files.read_image,
    "x.txt": lambda path: source_files.read_captions(path, []),
    "build.json": lambda path: dataset_report.build_facts(path.parent),
    "config.json": lambda path: configuration.load_workdir_config(path.parent),
    "imported.json": lambda path: has_image_encoder(path.parent),
    "metrics.jsonl": run_files.read_scalars,
    "model.safetensors": lambda path: _read_model(path),
}


def _read_model(path: Path) -> list:
    model_folder.networks_in(path.parent)
    with model_folder._open(path) as file:
        return [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118


def not_plain(folder: Path, rounds: int) -> Iterator[Input]:
    """Pipes, devices, sockets, circles of links, folders and 40 GB of nothing for a file."""
    kinds = {
        "pipe": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "link to itself": lambda path: path.symlink_to(path),
        "folder": lambda path: path.mkdir(),
        "nothing": lambda path: None,
        "socket": lambda path: _make_socket(path),
        "40 GB": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 40 << 30),
    }
    for kind, make in kinds.items():
        for name, read in READERS.items():
            yield f"{kind} {name}", _at(folder / kind.replace(" ", "_") / name, make, read)


def _at(path: Path, make: Callable, read: Callable) -> Callable[[], Any]:
    def call():
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
        return read(path)

    return call


def _make_socket(path: Path) -> None:
    where = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(where)


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
            yield f"{name} {what}", _reading(folder / f"weights_{name}", bad, read_state_dict)
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
        yield name, _reading(path, content, read_state_dict)
        if name.endswith(".safetensors"):
            yield (
                f"{name} as a classifier",
                _reading(path, content, inception_weights.read_classifier),
            )
            model = folder / "model" / name / "model.safetensors"
            yield f"{name} of a model", _reading(model, content, READERS["model.safetensors"])


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
        yield f"{what}.pb", _reading(folder / f"tf_{what}.pb", content, READERS["graph.pb"])
    for what, bad in damaged(graph((1,), number), rounds):
        yield f"pb {what}", _reading(folder / "tf_damaged.pb", bad, READERS["graph.pb"])


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
            yield f"{what}, {name}", _reading(folder / "pickles" / name, content, READERS[name])


def configs(folder: Path, rounds: int) -> Iterator[Input]:
    """A workdir's config.json with wrong values for every key, and with no sense at all."""
    good = get_config().to_dict()

    def read(path: Path) -> None:
        configuration.check(configuration.load_workdir_config(path.parent))

    path = folder / "configs" / "config.json"
    for number, name in enumerate(SCHEMA):
        chosen = VALUES[number % 3 :: 3] if rounds < 10 else VALUES
        for value in chosen:
            changed = json.loads(json.dumps(good))
            *sections, last = name.split(".")
            place = changed
            for section in sections:
                place = place[section]
            place[last] = value
            yield f"{name} = {value!r:.20}", _reading(path, json.dumps(changed).encode(), read)
    for text in ("[]", "3", "null", '{"generator": 3}', "{" * 100_000, "[" * 100_000, "1" * 10**6):
        yield f"{text:.20}", _reading(path, text.encode(), read)


def workdirs(folder: Path, rounds: int) -> Iterator[Input]:
    """A run's other files with wrong content, read as the report reads them."""
    contents = (
        "",
        "[]",
        "3",
        "null",
        "{",
        '{"a": NaN}',
        "[" * 100_000,
        '{"scalars": 3}',
        "\0" * 99,
    )
    names = ("metrics.jsonl", "wall_seconds.json", "imported.json", "report/metrics.json")
    names += ("vocabulary.txt", "samples/fixed.npz", "report/attention.npz")
    for name in names:
        for number, text in enumerate(contents):
            run = folder / "runs" / f"{name.replace('/', '_')}_{number}"
            config = json.dumps(get_config().to_dict()).encode()

            def read(path: Path, run: Path = run, config: bytes = config) -> None:
                (run / "config.json").write_bytes(config)
                run_files.read_run(run)
                has_image_encoder(run)

            yield f"{name} {text:.20}", _reading(run / name, text.encode(), read)


METRICS = """step newest_step dataset split r_precision r_precision_real_images damsm_retrieval
    attribute_accuracy grounding kid_judge spectrum part_presence fid kid_damsm inception_score
    reasons settings wall_seconds""".split()


def reports(folder: Path, rounds: int) -> Iterator[Input]:
    """Scores and notes of other kinds than a run writes, in its report."""
    values = (3, "x", [], {"mean": "x"}, {"value": []}, {"a": {"b": 1}})
    changes = [("report/metrics.json", key) for key in METRICS]
    changes += [("wall_seconds.json", "damsm"), ("report/prepare.json", "splits")]
    for number, (file, key) in enumerate(changes):
        for value in values[number % 3 :: 3] if rounds < 10 else values:
            run = folder / "reports" / f"{key}_{values.index(value)}"

            def read(path: Path, run: Path = run) -> None:
                (run / "config.json").write_text(json.dumps(get_config().to_dict()))
                page.write_report(run)

            content = json.dumps({"step": 1} | {key: value}).encode()
            yield f"{file}: {key} = {value}", _reading(run / file, content, read)


def texts(folder: Path, rounds: int) -> Iterator[Input]:
    """Captions and lists of them: without end, of other encodings, that name what isn't there."""
    rows = [
        {"file": "../../etc/passwd", "captions": ["x"]},
        {"file": "/dev/zero", "captions": "x"},
        {"file": "a\0b", "captions": ["x"]},
        {"file": "x" * 100_000, "captions": ["x" * 100_000]},
        {"file": "a.jpg", "captions": [["x"]], "bbox": [1e400] * 4, "class": [1], "split": {}},
    ]
    contents = {
        "rows": "\n".join(map(json.dumps, rows)).encode(),
        "a line without end": b"x" * 20_000_000,
        "quotes without end": b'file,caption\n"' + b"x" * 1_000_000,
        "zeros": bytes(100_000),
        "half UTF-16": b"\xff\xfea\0b",
        "surrogates": b"\xed\xa0\x80,\xed\xa0\x80\n",
        "deep": b"[" * 100_000,
        "many columns": b"file,caption" + b"," * 100_000 + b"\n",
    }
    names = ("captions.jsonl", "list.csv", "captions.txt", "x.txt", "vocabulary.txt")
    names += ("captions_train2014.json",)
    for what, content in contents.items():
        for name in names:
            yield f"{what}, {name}", _reading(folder / "texts" / name, content, READERS[name])
    data = get_config().data
    captions = {
        "60 MB": "bird " * 12_000_000,
        "a word of 1 MB": "b" * 1_000_000,
        "marks alone": "\u0301" * MAX_CHARACTERS,
        "unknown words": " ".join(f"w{k}" for k in range(2_000)),
        "a word of ten thousand letters": "b" * MAX_CHARACTERS,
        "a surrogate": "a bird \ud800",
        "zeros": "\0" * 100,
    }
    for what, caption in captions.items():
        for rule in ("ascii", "unicode"):
            given = data.copy_and_resolve_references()
            given.tokenizer = rule

            def call(caption: str = caption, given=given) -> None:
                sample_captions.encode([caption], WORDS, given, 0)

            yield f"caption: {what}, {rule}", call


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


def images(folder: Path, rounds: int) -> Iterator[Input]:
    """Files called .jpg: damaged images of every kind, and what is no image."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM", "PCX", "TGA", "SGI"):
        content = io.BytesIO()
        rgb.save(content, kind)
        for what, bad in damaged(content.getvalue(), rounds):
            yield f"{kind} {what}", _reading(folder / "x.jpg", bad, source_files.read_image)
    wmf = b"\xd7\xcd\xc6\x9a\0\0" + bytes(100)
    for what, content in {"EPS": POSTSCRIPT, "PDF": b"%PDF-1.4\n", "WMF": wmf}.items():
        yield what, _reading(folder / "x.jpg", content, source_files.read_image)


def packed(folder: Path, rounds: int) -> Iterator[Input]:
    """Archives: damaged, with names that lead out, and links."""

    def unpack(path: Path) -> None:
        archives.unpack([path], path.parent / "out", "Get it again")

    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text/a.txt", "a bird\n" * 100)
        archive.writestr("../../outside.txt", "x")
        archive.writestr("/etc/outside.txt", "x")
        archive.writestr("b/" * 500 + "a.txt", "x")
    for what, bad in damaged(whole.getvalue(), 2 * rounds):
        yield what, _reading(folder / "packed" / "birds.zip", bad, unpack)
    for name in ("no such model", "\0", "x" * 5000, "http://x", "~nobody/x"):
        yield f"model {name:.20}", lambda name=name: find_model(name)
        yield f"workdir {name:.20}", lambda name=name: Workdir(name).config.exists()


KINDS = (not_plain, weights, tensorflow, pickles, configs, workdirs, reports, texts, images, packed)
