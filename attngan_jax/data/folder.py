"""One's own images: a folder of them with captions beside, or listed in `captions.jsonl`."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import tensorflow_datasets as tfds

from attngan_jax.data.image_checks import SUFFIXES, existing
from attngan_jax.data.photographs import NO_CLASS, Entry, Listing, PhotographBuilder

LIST_FILE = "captions.jsonl"
_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "val": "test",
    "valid": "test",
    "validation": "test",
    "dev": "test",
}


@dataclasses.dataclass(eq=False)
class FolderConfig(tfds.core.BuilderConfig):
    """Which images, and how they are split where they don't say it themselves.

    title: of the collection; the records' folder has its name from it and from the split.
    test_fraction: share of the images that are tested on.
    seed: of the choice, which depends on the images' names alone.
    """

    name: str = dataclasses.field(init=False, default="")
    title: str = "pictures"
    test_fraction: float = 0.1
    seed: int = 1

    def __post_init__(self):
        if not self.title.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"title must consist of letters, digits, - and _, not {self.title!r}")
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"test_fraction must lie between 0 and 1, not {self.test_fraction}")
        self.name = f"{self.title}_{self.test_fraction:g}test_seed{self.seed}"


class Folder(PhotographBuilder, skip_registration=True):
    """Images anywhere below a folder, with `name.txt` beside `name.jpg`, a caption a line.

    Or `captions.jsonl` at its top, an image a line: `{"file", "captions"}` and, where wanted,
    `"class"` (a name or number), `"split"` ("train" or "test") and `"bbox"` ([x, y, width, height]
    in pixels). Images that say no split are split at random.
    """

    def __init__(self, *, config: FolderConfig | None = None, **kwargs):
        super().__init__(config=config or FolderConfig(), **kwargs)

    @classmethod
    def how_to_get(cls) -> str:
        return (
            "It needs images with their captions beside them (name.jpg and name.txt, a "
            f"caption a line), or a {LIST_FILE} that lists them"
        )

    def _list_entries(self, source: Path, dl_manager) -> Listing:
        del dl_manager
        notes: dict[str, list[str]] = {}
        listed = existing(source / LIST_FILE)
        rows = read_list(listed, notes) if listed.exists() else find_pictures(source, notes)
        config = self.builder_config
        undecided = [entry.name for entry, split in rows if not split]
        chosen = choose_test(undecided, config.test_fraction, config.seed)
        splits: dict[str, list[Entry]] = {"train": [], "test": []}
        for entry, split in rows:
            splits[split or ("test" if entry.name in chosen else "train")].append(entry)
        return Listing(splits, dict.fromkeys(splits, source), source, notes=notes)


Row = tuple[Entry, str]  # with its split, "" where it says none


def find_pictures(source: Path, notes: dict[str, list[str]]) -> list[Row]:
    """Every image below `source` with the text beside it, in the order of their names."""
    rows, texts = [], {}

    def unreadable(error: OSError) -> None:
        notes.setdefault("folder that can't be read ignored", []).append(str(error.filename))

    for folder, folders, files in os.walk(source, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:  # they could lead anywhere, round in a circle too
            if os.path.islink(os.path.join(folder, name)):
                notes.setdefault("linked folder ignored", []).append(name)
        place = PurePosixPath(Path(folder).relative_to(source).as_posix())
        for file in map(PurePosixPath, sorted(files)):
            name = str(place / file.stem)
            if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
                rows.append((Entry(name, str(place / file), f"{name}.txt"), ""))
            elif file.suffix.lower() == ".txt":
                texts[name] = str(place / file)
    for name in sorted(texts.keys() - {entry.name for entry, _ in rows}):
        notes.setdefault("text without an image ignored", []).append(texts[name])
    return rows


def read_list(path: Path, notes: dict[str, list[str]]) -> list[Row]:
    """The images of a `captions.jsonl`, in its order; what a line lacks is its entry's reason."""
    data = path.read_bytes()
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        notes["captions.jsonl not in UTF-8"] = [path.name]
        lines = data.decode("cp1252", "replace").split("\n")
    parsed = [(number, _parse(line)) for number, line in enumerate(lines, 1) if line.strip()]
    kinds = sorted(
        {str(row["class"]) for _, row in parsed if row.get("class") is not None}, key=_natural
    )
    class_ids = {kind: i for i, kind in enumerate(kinds)}
    return [_row(row, f"{path.name}, line {number}", class_ids) for number, row in parsed]


def _parse(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _row(row: dict[str, Any], place: str, class_ids: dict[str, int]) -> Row:
    file, captions = row.get("file"), row.get("captions")
    if not isinstance(file, str) or not file:
        return Entry(place, "", (), left_out=f"line of {LIST_FILE} that names no file"), ""
    if isinstance(captions, str):
        captions = [captions]
    if not isinstance(captions, list):
        captions = []
    repaired = (
        ()
        if all(isinstance(text, str) for text in captions)
        else ("caption that is no text dropped",)
    )
    split = row.get("split")
    known = _SPLITS.get(str(split).lower(), "") if split else ""
    class_id = NO_CLASS if row.get("class") is None else class_ids[str(row["class"])]
    entry = Entry(
        str(PurePosixPath(file)),
        file,
        tuple(text for text in captions if isinstance(text, str)),
        class_id,
        bbox=_box(row.get("bbox")),
        repaired=repaired,
        left_out="" if known or not split else "unknown split (train and test are known)",
    )
    return entry, known


def _box(value: Any) -> Sequence[float] | None:
    if value is None:
        return None
    try:
        return tuple(float(number) for number in value) if isinstance(value, list) else ()
    except (TypeError, ValueError, OverflowError):
        return ()  # counted as no box when the image is read


def choose_test(names: Iterable[str], fraction: float, seed: int) -> set[str]:
    """A share of `names`, at least one of several, that depends on no order."""
    ordered = sorted(
        set(names),
        key=lambda name: hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest(),
    )
    count = min(max(1, round(len(ordered) * fraction)), len(ordered) - 1)
    return set(ordered[: max(0, count)])


def _natural(kind: str) -> tuple[int, str]:
    return (int(kind) if kind.isdecimal() and len(kind) < 20 else -1, kind)
