"""One's own images: a folder of them with captions beside, or listed in `captions.jsonl`."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import tensorflow_datasets as tfds

from attngan_jax import plain_files
from attngan_jax.data.dataset_report import Notes
from attngan_jax.data.photographs import NO_CLASS, Entry, Listing, PhotographBuilder
from attngan_jax.data.source_files import decode_text, existing, is_image_name, walk

LIST_FILE = "captions.jsonl"
_SPLITS = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation", "dev")}
_SPLIT_OF = {word: split for split, words in _SPLITS.items() for word in words}

Rows = list[tuple[Entry, str]]  # images with their splits, "" where the source says none


@dataclasses.dataclass(eq=False)
class FolderConfig(tfds.core.BuilderConfig):
    """Which images, and how they are split where they don't say it themselves."""

    name: str = dataclasses.field(init=False, default="")
    title: str = "pictures"  # of the collection; part of the name of its records' folder
    test_fraction: float = 0.1  # share of the images that are tested on
    seed: int = 1  # of the choice, which depends on the images' names alone

    def __post_init__(self):
        if not self.title.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"title must consist of letters, digits, - and _, not {self.title!r}")
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"test_fraction must lie between 0 and 1, not {self.test_fraction}")
        self.name = f"{self.title}_{self.test_fraction:g}test_seed{self.seed}"


class Folder(PhotographBuilder):
    """Images anywhere below a folder, with `name.txt` beside `name.jpg`, a caption a line.

    Or `captions.jsonl` at its top, an image a line: `{"file", "captions"}` and, where wanted,
    `"class"` (a name or number), `"split"` ("train" or "test") and `"bbox"` ([x, y, width, height]
    in pixels). Images that say no split are split at random.
    """

    CONFIG_CLASS = FolderConfig
    HOW_TO_GET = (
        "It needs images with their captions beside them (name.jpg and name.txt, a caption a "
        f"line), or a {LIST_FILE} that lists them"
    )

    def list_entries(self, source: Path, dl_manager) -> Listing:
        notes = Notes()
        listed = existing(source / LIST_FILE)
        rows = read_list(listed, notes) if listed.exists() else find_images(source, notes)
        config = self.builder_config
        undecided = [entry.name for entry, split in rows if not split]
        chosen = choose_test(undecided, config.test_fraction, config.seed)
        splits: dict[str, list[Entry]] = {"train": [], "test": []}
        for entry, split in rows:
            splits[split or ("test" if entry.name in chosen else "train")].append(entry)
        return Listing(splits, dict.fromkeys(splits, source), source, notes)


def find_images(source: Path, notes: Notes) -> Rows:
    """Every image below `source` with the text beside it, in the order of their names."""
    rows: Rows = []
    texts, unreadable = {}, list[OSError]()
    for place, folders, files in walk(source, unreadable.append):
        for name in folders:  # they could lead anywhere, round in a circle too
            if os.path.islink(source / place / name):
                notes.append(("linked folder ignored", name))
        for path in (place / file for file in files):
            name = str(path.parent / path.stem)
            if is_image_name(path.name):
                rows.append((Entry(name, str(path), f"{name}.txt"), ""))
            elif path.suffix.lower() == ".txt":
                texts[name] = str(path)
    alone = sorted(texts.keys() - {entry.name for entry, _ in rows})
    notes += [("folder that can't be read ignored", str(error.filename)) for error in unreadable]
    notes += [("text without an image ignored", texts[name]) for name in alone]
    return rows


def read_list(path: Path, notes: Notes) -> Rows:
    """The images of a `captions.jsonl`, in its order; what a line lacks is its entry's reason."""
    text, is_utf_8 = decode_text(plain_files.read_bytes(path))
    if not is_utf_8:
        notes.append(("captions.jsonl not in UTF-8", path.name))
    parsed: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row = None
            with contextlib.suppress(ValueError, RecursionError):
                row = json.loads(line)
            parsed.append((f"{path.name}, line {number}", row if isinstance(row, dict) else {}))
    kinds = sorted({str(row["class"]) for _, row in parsed if row.get("class") is not None})
    kinds.sort(key=lambda kind: int(kind) if kind.isdecimal() and len(kind) < 20 else -1)
    class_ids = {kind: i for i, kind in enumerate(kinds)}
    return [_read_row(row, place, class_ids) for place, row in parsed]


def _read_row(row: dict[str, Any], place: str, class_ids: dict[str, int]) -> tuple[Entry, str]:
    file, captions, split, bbox = map(row.get, ("file", "captions", "split", "bbox"))
    if not isinstance(file, str) or not file:
        return Entry(place, "", (), left_out=f"line of {LIST_FILE} that names no file"), ""
    if not isinstance(captions, list):
        captions = [captions] if isinstance(captions, str) else []
    texts = tuple(text for text in captions if isinstance(text, str))
    known = _SPLIT_OF.get(str(split).lower(), "") if split else ""
    if bbox is not None:
        try:
            bbox = tuple(map(float, bbox)) if isinstance(bbox, list) else ()
        except (TypeError, ValueError, OverflowError):
            bbox = ()  # counted as no box when the image is read
    class_id = NO_CLASS if row.get("class") is None else class_ids[str(row["class"])]
    repaired = ("caption that is no text dropped",) * (len(texts) < len(captions))
    left_out = "" if known or not split else "unknown split (train and test are known)"
    name = str(PurePosixPath(file))
    return Entry(name, file, texts, class_id, bbox, repaired, left_out), known


def choose_test(names: Iterable[str], fraction: float, seed: int) -> set[str]:
    """A share of `names`, at least one of several, that depends on no order."""
    salted = {name: f"{seed}:{name}".encode("utf-8", "surrogatepass") for name in names}
    ordered = sorted(salted, key=lambda name: hashlib.sha256(salted[name]).digest())
    count = min(max(1, round(len(ordered) * fraction)), len(ordered) - 1)
    return set(ordered[: max(0, count)])
