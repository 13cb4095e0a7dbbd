"""One's own images: a folder of them with captions beside, in a parallel folder, or in a list."""

import dataclasses
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from attngan_jax.data import image_lists
from attngan_jax.data.dataset_report import Notes
from attngan_jax.data.image_lists import SPLIT_OF, Rows, composed
from attngan_jax.data.photographs import NO_CLASS, Entry, Listing, PhotographBuilder
from attngan_jax.data.source_files import existing, is_image_name, is_unread_image_name, walk

LIST_FILE = "captions.jsonl"
METADATA = ("metadata.jsonl", "metadata.csv")  # of a Hugging Face imagefolder, one in each split
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".parquet", ".arrow", ".xlsx", ".xls")
MAX_ALIKE = 1_000  # texts of one name in different folders
TEXT_SUFFIXES = (".txt", ".caption")
_CLASS_NAME = re.compile(r"class_?\d+|\d{3}\.[a-z]\S*", re.IGNORECASE)  # of a folder


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

    The texts may be in a folder tree of their own, joined by name. Or `captions.jsonl` at the top,
    an image a line: `{"file", "captions"}` and, where wanted, `"class"` (a name or number),
    `"split"` ("train" or "test") and `"bbox"` ([x, y, width, height] in pixels); or one of the
    other lists that `image_lists` reads. Images that say no split are in that of their folder,
    where there are folders of both, or split at random.
    """

    CONFIG_CLASS = FolderConfig
    HOW_TO_GET = (
        "It needs images with their captions beside them (name.jpg and name.txt, a caption a "
        f"line), or a {LIST_FILE} that lists them; docs/data.md shows every layout"
    )

    def list_entries(self, source: Path, dl_manager) -> Listing:
        notes = Notes()
        lists = find_lists(source)
        rows = [] if lists else find_images(source, notes)
        if not lists and not any((source / str(entry.captions)).exists() for entry, _ in rows):
            lists = [path for path in _tables(source) if image_lists.is_list(path)]
            if not lists and rows:
                raise self.source_error(_what_is_there(source, rows, notes))
            rows, notes = ([], Notes()) if lists else (rows, notes)
        rows += image_lists.read_lists(lists, notes, source)
        if not rows:
            raise self.source_error(f"{source} has no images: {_kinds_of_files(source)}")
        config = self.builder_config
        rows = split_by_folders(rows)
        undecided = [entry.name for entry, split in rows if not split]
        chosen = choose_test(undecided, config.test_fraction, config.seed)
        splits: dict[str, list[Entry]] = {"train": [], "test": []}
        for entry, split in rows:
            splits[split or ("test" if entry.name in chosen else "train")].append(entry)
        if rows and not all(splits.values()):
            (empty,) = (split for split in splits if not splits[split])
            raise self.source_error(
                f"{source} has no {empty} images among its {len(rows):,}, which the scores need: "
                'mark some with "split": "test", or none with a split, and '
                "config.folder.test_fraction of two or more images are chosen"
            )
        return Listing(splits, dict.fromkeys(splits, source), source, notes)


def split_by_folders(rows: Rows) -> Rows:
    """The rows, with the splits that their images' folders are called after, such as `train`.

    The outermost such folder counts. Nothing is changed where a row says its split itself, or the
    folders are of one split alone.
    """

    def is_split(name: str) -> bool:
        return name.lower() in SPLIT_OF

    named = [_name_of_folder(entry.image, is_split) for entry, _ in rows]
    found = [SPLIT_OF.get(name.lower(), "") for name in named]
    if any(split for _, split in rows) or not {*SPLIT_OF.values()} <= {*found}:
        return rows
    names = ", ".join(f"{name} ({count:,})" for name, count in Counter(named).items() if name)
    logging.info("the split is that of the folders: %s", names)
    return [(entry, split) for (entry, _), split in zip(rows, found)]


def class_ids(rows: Rows) -> Rows:
    """The rows, with the classes whose folders the texts or else the images are in, if several.

    They are known by their names, as in Oxford-102 and CUB: `class_00001`, `001.Laysan_Albatross`.
    """
    named = [
        _name_of_folder(str(entry.captions), _CLASS_NAME.fullmatch)
        or _name_of_folder(entry.image, _CLASS_NAME.fullmatch)
        for entry, _ in rows
    ]
    names = sorted({*named} - {""})
    numbers = {name: number for number, name in enumerate(names)} if len(names) > 1 else {}
    return [
        (dataclasses.replace(entry, class_id=numbers.get(name, NO_CLASS)), split)
        for (entry, split), name in zip(rows, named)
    ]


def _name_of_folder(file: str, is_one: Callable[[str], Any]) -> str:
    """The outermost of the folders above a file whose name is one; "" if there is none."""
    return next(filter(is_one, PurePosixPath(file).parts[:-1]), "")


def find_lists(source: Path) -> list[Path]:
    """`captions.jsonl`, or the metadata of an imagefolder: one at the top, or one in each split."""
    listed = existing(source / LIST_FILE)
    if listed.exists():
        return [listed]
    folders = [source, *(source / place for place, _, _ in walk(source) if len(place.parts) == 1)]
    found = [folder / name for folder in folders for name in METADATA if (folder / name).exists()]
    return [path for path in found if image_lists.is_list(path)]


def _tables(source: Path) -> list[Path]:
    """The files that may list images: at the top, texts among them, and one folder down."""
    suffixes = {0: (*image_lists.SUFFIXES, *TEXT_SUFFIXES), 1: image_lists.SUFFIXES}
    return [
        source / place / name
        for place, _, files in walk(source)
        for name in files
        if PurePosixPath(name).suffix.lower() in suffixes.get(len(place.parts), ())
    ]


def find_images(source: Path, notes: Notes) -> Rows:
    """Every image below `source` with its text, in the order of their names."""
    images: list[PurePosixPath] = []
    texts, unreadable = list[PurePosixPath](), list[OSError]()
    for place, folders, files in walk(source, unreadable.append):
        for name in folders:  # they could lead anywhere, round in a circle too
            if os.path.islink(source / place / name):
                notes.append(("linked folder ignored", name))
        for path in (place / file for file in files):
            if is_image_name(path.name):
                images.append(path)
            elif path.suffix.lower() in TEXT_SUFFIXES:
                texts.append(path)
            elif is_unread_image_name(path.name):
                notes.append(
                    (f"image of a kind that is not read ({path.suffix}) ignored", str(path))
                )
    notes += [("folder that can't be read ignored", str(error.filename)) for error in unreadable]
    joined = join_texts(images, texts)
    alone = sorted({*map(str, texts)} - {*joined.values()})
    notes += [("text without an image ignored", name) for name in alone]
    rows: Rows = []
    for path in images:
        name = str(path.parent / path.stem)
        rows.append((Entry(name, str(path), joined.get(str(path), f"{name}.txt")), ""))
    return class_ids(rows)


def join_texts(images: list[PurePosixPath], texts: list[PurePosixPath]) -> dict[str, str]:
    """The text of each image that has one.

    It is beside the image, as `name.txt` or `name.jpg.txt`, or anywhere else under the image's
    name; of several there, the one whose folders are most like the image's.
    """
    beside = {composed(str(text.parent / text.stem)): text for text in reversed(texts)}
    joined: dict[str, str] = {}
    for image in images:
        names = (str(image.parent / image.stem), str(image))
        text = next((beside[composed(n)] for n in names if composed(n) in beside), None)
        if text is not None:
            joined[str(image)] = str(text)
    elsewhere: dict[str, list[PurePosixPath]] = {}
    used = {*joined.values()}
    for text in texts:
        if str(text) not in used:
            elsewhere.setdefault(composed(text.stem), []).append(text)
    taken: dict[str, list[str]] = {}
    for image in images:
        if str(image) not in joined:
            found = elsewhere.get(composed(image.stem), [])
            if len(found) > MAX_ALIKE:  # it would take their square to compare them
                continue
            ordered = sorted(found, key=lambda text: _likeness(image, text), reverse=True)
            most = _likeness(image, ordered[0]) if ordered else None
            best = [text for text in ordered if _likeness(image, text) == most]
            if len(best) == 1:
                taken.setdefault(str(best[0]), []).append(str(image))
    # A text that several images could have is none's: it would be a guess.
    return joined | {owners[0]: text for text, owners in taken.items() if len(owners) == 1}


def _likeness(image: PurePosixPath, text: PurePosixPath) -> tuple[int, int]:
    """How many folders above the two have the same names; and from the innermost on."""
    one, two = ([composed(part) for part in path.parent.parts[::-1]] for path in (image, text))
    same = [a == b for a, b in zip(one, two)]
    return (Counter(one) & Counter(two)).total(), (same + [False]).index(False)


def _kinds_of_files(source: Path) -> str:
    """How many files of which endings a folder has, most of them first."""
    every = (name for _, _, files in walk(source) for name in files)
    names = (PurePosixPath(name) for name in every if not name.startswith("."))
    counts = Counter(name.suffix.lower() or name.name for name in names).most_common(5)
    found = ", ".join(f"{count:,} {ending}" for ending, count in counts)
    unpack = " (unpack archives first)" * any(ending in _PACKED for ending, _ in counts)
    return f"it holds {found}{unpack}" if found else "it is empty"


def _what_is_there(source: Path, rows: Rows, notes: Notes) -> str:
    """Of images without captions: what was found; and in the log the lines that would do."""
    images = [entry.image for entry, _ in rows]
    texts = [place for what, place in notes if what == "text without an image ignored"]
    found = f"{source} has {len(images):,} images, such as {images[0]}, and no text beside any"
    if texts:
        found += f"; it has {len(texts):,} texts of other names, such as {texts[0]}"
    for path in _tables(source)[:3]:
        if columns := image_lists.columns_of(path)[:8]:
            found += f"; {path.name} has the columns {', '.join(columns)}, not file and caption"
    closed = [name for name in sorted(os.listdir(source)) if name.lower().endswith(_PACKED)]
    if closed:
        found += f"; {', '.join(closed[:3])} must be unpacked, or saved as .csv, to be read"
    lines = [json.dumps({"file": name, "captions": ["..."]}) for name in images[:3]]
    logging.info("%s with such lines would do:\n%s", LIST_FILE, "\n".join(lines))
    return found


def choose_test(names: Iterable[str], fraction: float, seed: int) -> set[str]:
    """A share of `names`, at least one of several, that depends on no order."""
    salted = {name: f"{seed}:{name}".encode("utf-8", "surrogatepass") for name in names}
    ordered = sorted(salted, key=lambda name: hashlib.sha256(salted[name]).digest())
    count = min(max(1, round(len(ordered) * fraction)), len(ordered) - 1)
    return set(ordered[: max(0, count)])
