"""Files and values that nobody sends in good faith, made by code, each with what reads it.

Each function of `KINDS` yields them: a name, and a function without arguments that makes the input
and has the project read it. Each has to end soon, in little memory, with a result or one line.
"""

import io
import json
import os
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attngan_jax import configuration
from attngan_jax.configs.default import SCHEMA, get_config
from attngan_jax.data import archives, source_files
from attngan_jax.data.vocabulary import MAX_CHARACTERS, Vocabulary
from attngan_jax.reporting import page, run_files
from attngan_jax.sampling import sample_captions
from attngan_jax.workdir import Workdir, find_model, has_image_encoder
from tests.hostile.making import READERS, Input, damaged, reading
from tests.hostile.network_files import pickles, tensorflow, weights

VALUES = (0, -1, "x", "", None, 1.5, True, [], {}, 2**31, 2**70, 1e300, float("nan"), "a\0b", "~")
WORDS = Vocabulary(["<end>", "a", "red", "bird"])


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
            yield f"{name} = {value!r:.20}", reading(path, json.dumps(changed).encode(), read)
    for text in ("[]", "3", "null", '{"generator": 3}', "{" * 100_000, "[" * 100_000, "1" * 10**6):
        yield f"{text:.20}", reading(path, text.encode(), read)


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

            yield f"{name} {text:.20}", reading(run / name, text.encode(), read)


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
            yield f"{file}: {key} = {value}", reading(run / file, content, read)


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
            yield f"{what}, {name}", reading(folder / "texts" / name, content, READERS[name])
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
            yield f"{kind} {what}", reading(folder / "x.jpg", bad, source_files.read_image)
    wmf = b"\xd7\xcd\xc6\x9a\0\0" + bytes(100)
    for what, content in {"EPS": POSTSCRIPT, "PDF": b"%PDF-1.4\n", "WMF": wmf}.items():
        yield what, reading(folder / "x.jpg", content, source_files.read_image)


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
        yield what, reading(folder / "packed" / "birds.zip", bad, unpack)
    for name in ("no such model", "\0", "x" * 5000, "http://x", "~nobody/x"):
        yield f"model {name:.20}", lambda name=name: find_model(name)
        yield f"workdir {name:.20}", lambda name=name: Workdir(name).config.exists()


KINDS = (not_plain, weights, tensorflow, pickles, configs, workdirs, reports, texts, images, packed)
