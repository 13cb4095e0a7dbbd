"""Lists of images with their captions: `.jsonl`, `.csv` and `.tsv`, a row an image or a caption.

Columns are known by their names, as programs and collections call them, or, where a table has no
names, by what is in them. What a list calls its images need not be exact: see `ImageIndex`.
"""

import ast
import contextlib
import csv
import dataclasses
import functools
import json
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from attngan_jax import plain_files
from attngan_jax.data.dataset_report import Notes
from attngan_jax.data.photographs import NO_CLASS, Entry
from attngan_jax.data.source_files import decode_text, existing, is_image_name, walk
from attngan_jax.errors import UserError

MAX_LIST_BYTES = 2**30
MAX_CELL = 10**5  # characters of a cell that may hold several captions
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
# What a column may be called, the likeliest first; numbered ones are several captions.
_FILE = "file file_name filename image image_name image_path image_file path img image_id name"
_CAPTION = "caption text description sentence comment prompt title"
_COLUMNS = {
    "class": "class class_name class_id label category".split(),
    "split": "split set subset partition".split(),
    "bbox": "bbox box bounding_box".split(),
}
_SPLITS = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation", "dev")}
SPLIT_OF = {word: split for split, words in _SPLITS.items() for word in words}

Rows = list[tuple[Entry, str]]  # images with their splits, "" where the source says none
Row = dict[str, Any]  # by the names of `_known_row`; {} of a line that is none


def composed(name: str) -> str:
    """A name for comparing: one of the several ways in which Unicode can write it."""
    return unicodedata.normalize("NFC", name)


class ImageIndex:
    """Finds listed images below a folder, whose names may differ a little from the list's.

    A backslash is a slash; accents may be composed or not; the folder or the suffix may be lacking
    or be another, such as one of another machine, if no other image has that name.
    """

    def __init__(self, source: Path):
        self._source = source
        self._by_path: dict[str, str] | None = None

    def _read(self) -> dict[str, str]:
        if self._by_path is None:
            self._by_path, self._by_name = {}, dict[str, list[str]]()
            for place, _, files in walk(self._source):
                for path in (place / name for name in files if is_image_name(name)):
                    self._by_path[composed(str(path))] = str(path)
                    for name in {composed(path.name), composed(path.stem)}:
                        self._by_name.setdefault(name, []).append(str(path))
        return self._by_path

    def find(self, name: str, base: PurePosixPath) -> str:
        """The image that a list in the folder `base` calls `name`; that itself if none is found."""
        for written in (name, name.replace("\\", "/")):
            path = PurePosixPath(posixpath.normpath(base / written))
            if path.is_relative_to(self._source):
                path = path.relative_to(self._source)
            if not _leads_out(path) and self._is_there(path):
                return str(path)
        by_path = self._read()
        found = by_path.get(composed(str(path))) or by_path.get(
            composed(str(PurePosixPath(written)))
        )
        named = self._by_name.get(composed(path.name), [])
        if not found and len(named) == 1:
            return named[0]
        return found or str(base / written)

    def _is_there(self, path: PurePosixPath) -> bool:
        try:
            return existing(self._source / path).exists()
        except (OSError, ValueError):  # no name that a file can have
            return False


def _leads_out(path: PurePosixPath) -> bool:
    return path.is_absolute() or path.parts[:1] == ("..",)


def read_lists(paths: Iterable[Path], notes: Notes, source: Path) -> Rows:
    """The images of lists below `source`, in their order; what a row lacks is its entry's reason.

    A list of a split's name, or in a folder of one, is of that split, where its rows say none.
    """
    parsed = [(path, *row) for path in paths for row in _parsed(path, notes)]
    named = [row["class"] for _, _, row in parsed if row.get("class") is not None]
    kinds = sorted(set(map(str, named)))
    if len(kinds) == 1 and len(named) == len(parsed):
        # Captions of one class are no negatives of each other: there would be none at all.
        notes.append(("one class for all images: counted as no classes", kinds[0]))
        kinds = []
    kinds.sort(key=lambda kind: int(kind) if kind.isdecimal() and len(kind) < 20 else -1)
    class_ids, index = {kind: i for i, kind in enumerate(kinds)}, ImageIndex(source)
    entries: dict[str, tuple[Entry, str]] = {}  # by image: a row may be one of its captions
    for path, place, row in parsed:
        base = PurePosixPath(path.parent.relative_to(source))
        find = functools.partial(index.find, base=base)
        entry, split = _read_row(row, place, class_ids, find)
        if known := entries.get(entry.name):
            captions = dict.fromkeys((*known[0].captions, *entry.captions))
            entry, split = dataclasses.replace(known[0], captions=tuple(captions)), known[1]
        by_name = SPLIT_OF.get(path.stem.lower()) or SPLIT_OF.get(base.name.lower(), "")
        entries[entry.name] = entry, split or by_name
    return list(entries.values())


def _read_row(
    row: Row, place: str, class_ids: Mapping[str, int], find: Callable[[str], str]
) -> tuple[Entry, str]:
    file, captions, split, bbox = map(row.get, ("file", "captions", "split", "bbox"))
    if not isinstance(file, str) or not file:
        name = place.rpartition(", ")[0]
        return Entry(place, "", (), left_out=f"line of {name} that names no file"), ""
    if not isinstance(captions, list):
        captions = [captions] if isinstance(captions, str) else []
    texts = tuple(text for text in captions if isinstance(text, str))
    known = SPLIT_OF.get(str(split).lower(), "") if split else ""
    if bbox is not None:
        try:
            bbox = tuple(map(float, bbox)) if isinstance(bbox, list) else ()
        except (TypeError, ValueError, OverflowError):
            bbox = ()  # counted as no box when the image is read
    class_id = NO_CLASS if row.get("class") is None else class_ids.get(str(row["class"]), NO_CLASS)
    found = find(file)
    listed = str(PurePosixPath(file))
    repaired = ("caption that is no text dropped",) * (len(texts) < len(captions))
    if composed(listed.replace("\\", "/")) not in (composed(found), composed(f"./{found}")):
        repaired += ("image found in another folder than listed",) * (not found.endswith(listed))
    left_out = "" if known or not split else "unknown split (train and test are known)"
    return Entry(found, found, texts, class_id, bbox, repaired, left_out), known


def columns_of(path: Path) -> tuple[str, ...]:
    """The names of a list's columns; () where it has none that can be read."""
    with contextlib.suppress(UserError, OSError):
        for _, row in _raw_rows(path, Notes(), first=True):
            return tuple(map(str, row))
    return ()


def is_list(path: Path) -> bool:
    """Whether a file's first row has an image and a caption."""
    with contextlib.suppress(UserError, OSError):
        for _, row in _raw_rows(path, Notes(), first=True):
            known = _known_row(row)
            return bool(known.get("file")) and bool(known.get("captions"))
    return False


def _parsed(path: Path, notes: Notes) -> Iterator[tuple[str, Row]]:
    """Each row's place, and what it says under the names that are known here."""
    for place, row in _raw_rows(path, notes):
        yield place, _known_row(row)


def _known_row(row: Row) -> Row:
    """`file`, `captions`, `class`, `split` and `bbox` of a row, whatever it calls them."""
    names = {re.sub(r"[\s-]+", "_", str(name).strip().lower()): name for name in row}
    known: Row = {
        key: row[names[n]] for key, of in _COLUMNS.items() for n in of[::-1] if n in names
    }
    file = next((row[names[name]] for name in _FILE.split() if name in names), None)
    known["file"] = re.sub(r"#\d+$", "", file) if isinstance(file, str) else file
    for kind in _CAPTION.split():
        found = [name for name in names if re.fullmatch(rf"{kind}s?(_?\d+)?", name)]
        if found:
            values = [row[names[name]] for name in found]
            known["captions"] = values[0] if len(values) == 1 else [v for v in values if v]
            break
    if isinstance(known.get("captions"), str):
        known["captions"] = _listed(known["captions"])
    for key in ("class", "split"):
        if known.get(key) == "":
            del known[key]
    if isinstance(known.get("bbox"), str):
        known["bbox"] = re.findall(r"-?[\d.]+", known["bbox"]) or None
    return known


def _listed(text: str) -> str | list:
    """The texts that a cell holds as a list of JSON or of Python; other cells as they are."""
    if text[:1] == "[" and text[-1:] == "]" and len(text) <= MAX_CELL:
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                return [value for value in read(text) if isinstance(value, str)] or text
    return text


def _raw_rows(path: Path, notes: Notes, first: bool = False) -> Iterator[tuple[str, Row]]:
    text, is_utf_8 = decode_text(plain_files.read_bytes(path, MAX_LIST_BYTES))
    if not is_utf_8:
        notes.append((f"{path.name} not in UTF-8", path.name))
    if path.suffix.lower() == ".json" and (rows := _rows_of_json(text)):
        yield from ((f"{path.name}, row {number}", row) for number, row in enumerate(rows, 1))
        return
    if path.suffix.lower() in (".jsonl", ".json"):
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                row = None
                with contextlib.suppress(ValueError, RecursionError):
                    row = json.loads(line)
                yield f"{path.name}, line {number}", row if isinstance(row, dict) else {}
        return
    lines = text.splitlines()
    try:
        yield from _table_rows(path.name, lines[:20] if first else lines)
    except csv.Error as error:
        raise UserError(f"{path} is no table of captions ({error}): repair that line") from error


def _rows_of_json(text: str) -> list[Row]:
    """The rows of one JSON value: a list of them, or captions by the names of their images."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text)
        if isinstance(value, dict) and all(map(is_image_name, value)):
            return [{"file": name, "captions": texts} for name, texts in value.items()]
        if isinstance(value, list):
            return [row if isinstance(row, dict) else {} for row in value]
    return []


def _table_rows(name: str, lines: Iterable[str]) -> Iterator[tuple[str, Row]]:
    head = next((line for line in lines if line.strip()), "")
    delimiter = max("\t,;|", key=head.count)
    table = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    columns: list[str] = []
    for cells in table:
        if not any(cells):
            continue
        if not columns:
            named = _known_row(dict.fromkeys(cells, "x"))
            if named.get("file") and named.get("captions"):
                columns = [cell.strip() for cell in cells]
                continue
            columns = _unnamed(cells)
        yield f"{name}, line {table.line_num}", dict(zip(columns, map(str.strip, cells)))


def _unnamed(cells: list[str]) -> list[str]:
    """Names for the columns of a table without, by its first row."""
    images = [i for i, cell in enumerate(cells) if is_image_name(re.sub(r"#\d+$", "", cell))]
    others = [i for i in range(len(cells)) if i not in images[:1]]
    if not images or not others:
        return cells  # which are no names that are known
    longest = max(others, key=lambda i: len(cells[i]))
    known = {images[0]: "file", longest: "caption"}
    return [known.get(i, f"column {i + 1}") for i in range(len(cells))]
