"""What the builders of CUB, COCO and a folder have in common: from lists of images to records.

A subclass says which images there are (`list_entries`). Each is checked and written here, shard by
shard in the order of the lists, so that no more than one shard is ever in memory. An image and its
captions are joined by one name or number, never by their positions in two lists.
"""

import abc
import dataclasses
import functools
import json
import posixpath
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from attngan_jax.bars import Bar
from attngan_jax.configuration import Config
from attngan_jax.data import dataset_report, source_files
from attngan_jax.data.dataset_report import NUM_NAMED, Notes, count_by_reason, printable
from attngan_jax.data.source_files import LeftOut
from attngan_jax.errors import UserError

NO_CLASS = -1
UNPACKED = "unpacked"  # holds a source's archives, in the folder of the unfinished dataset
_IMAGES_PER_SHARD = 1_000
_BYTES_PER_SHARD = 200_000_000


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image that a source lists."""

    name: str  # what it is called there, and in its record
    image: str  # its file, relative to the folder of the images
    captions: str | Sequence[str]  # their file, relative to the folder of the texts; or themselves
    class_id: int = NO_CLASS
    bbox: Sequence[float] | None = None  # x, y, width, height in pixels, as listed
    repaired: tuple[str, ...] = ()  # what the lists needed for it
    left_out: str = ""  # why it can't be used, if the lists say so already


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a source holds."""

    splits: Mapping[str, Sequence[Entry]]  # the images of each, in order
    image_roots: Mapping[str, Path]  # of each split: the folder of the images, resolved
    text_root: Path  # folder of the caption files, resolved
    notes: Sequence[tuple[str, str]] = ()  # what was found and ignored, or repaired for all of it
    words: Sequence[str] | None = None  # numbered ones, `<end>` first; None: those of the captions

    def unlisted_images(self) -> list[str]:
        """The images in `image_roots` that no entry names, whatever the case of their suffixes."""

        def comparable(name: str) -> str:
            stem, suffix = posixpath.splitext(posixpath.normpath(name.replace("\\", "/")))
            return stem + suffix.lower()

        roots, unlisted = self.image_roots, []
        listed = {(roots[s], comparable(e.image)) for s in roots for e in self.splits[s]}
        for root in dict.fromkeys(roots.values()):  # the splits may share one
            for place, _, files in source_files.walk(root):
                images = (str(place / name) for name in files if source_files.is_image_name(name))
                unlisted += [name for name in images if (root, comparable(name)) not in listed]
        return unlisted


class PhotographBuilder(tfds.core.ShardBasedBuilder):
    """Images with captions from files; records as `datasets.Dataset` describes them."""

    VERSION = tfds.core.Version("1.0.0")
    CONFIG_CLASS: ClassVar[type | None] = None
    HOW_TO_GET: ClassVar[str]  # a sentence: which files are needed and where they are published
    MAX_CAPTIONS: int | None = None  # of a record; None: all
    NUM_CLASSES: int | None = None  # of train and test together; None: as many as the build found

    def __init__(self, *, data_config: Config | None = None, source: str = "", **kwargs):
        """`data_config` is a run's `config.data`; reading needs none. `source` is its if empty."""
        self._config = data_config or Config()
        self._source = source or self._config.get("source", "")
        super().__init__(**kwargs)

    def __init_subclass__(cls, **kwargs) -> None:
        """Keeps subclasses out of TFDS's registry, which has a "coco" of its own."""
        super().__init_subclass__(skip_registration=True, **kwargs)

    @abc.abstractmethod
    def list_entries(self, source: Path, dl_manager) -> Listing:
        """What `source` holds. Raises `UserError` if its layout isn't the one expected."""

    @property
    def num_classes(self) -> int:
        """Of train and test together; 0 without classes."""
        folder = Path(self.data_path)
        return self.NUM_CLASSES or dataset_report.build_facts(folder)["num_classes"]

    def check_source(self) -> Path:
        """The folder to build from; `UserError` says what is needed if there is none."""
        source, name = self._source, self.name
        if not source:
            hint = "build it with --source FOLDER (in main: --config.data.source=FOLDER)"
            missing = f"the dataset {name} is not in {self._config.data_dir} yet"
            raise self.source_error(f"{missing}: {hint}")
        folder = Path(source).expanduser()
        if not folder.is_dir():
            needed = f"give the folder that holds the files of {name}"
            raise self.source_error(f"the source {source} is no folder: {needed}")
        return folder.resolve()

    def source_error(self, problem: str) -> UserError:
        """An error with a source, which says what is needed."""
        return UserError(f"{problem}. {self.HOW_TO_GET}")

    def _info(self) -> tfds.core.DatasetInfo:
        kinds = tfds.features
        features = {
            "image": kinds.Image(shape=(None, None, 3)),
            "captions": kinds.Sequence(kinds.Text()),
            "class_id": np.int64,
            "bbox": kinds.Tensor(shape=(4,), dtype=np.float32),
            "name": kinds.Text(),
        }
        features = kinds.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, disable_shuffling=True, features=features)

    # TFDS would log a download of unknown size.
    _log_download_bytes = _log_download_done = staticmethod(lambda: None)

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        start = time.monotonic()
        source = self.check_source()
        self._listing = self._checked_listing(source, dl_manager)
        self._num_listed = sum(map(len, self._listing.splits.values()))
        self._seen: set[str] = set()
        self._left_out: Notes = []
        ignored = [("image that is not listed ignored", n) for n in self._listing.unlisted_images()]
        self._repaired = [*self._listing.notes, *ignored]
        progress = {"total": self._num_listed, "unit": " images", "mininterval": 1.0}
        with Bar(desc=f"Preparing {self.name}", **progress) as self._progress:
            super()._download_and_prepare(dl_manager, download_config)
        self._check_left_out(finished=True)
        left_out, repaired = count_by_reason(self._left_out), count_by_reason(self._repaired)
        counts = {reason: row["count"] for reason, row in left_out.items()}
        for split, info in self.info.splits.items():
            if not info.num_examples:
                raise UserError(f"none of the {split} images in {source} can be used: {counts}")
        class_ids = {entry.class_id for split in self._listing.splits.values() for entry in split}
        seconds, num_classes = round(time.monotonic() - start, 1), 1 + max(class_ids)
        facts: dict[str, Any] = dict(source=str(source), seconds=seconds, num_classes=num_classes)
        facts |= dict(listed=self._num_listed, words=self._listing.words)
        facts |= dict(tokenizer=self._config.tokenizer)
        facts |= dict(left_out=left_out, repaired=repaired)
        path = Path(self.data_dir) / dataset_report.BUILD_FILE
        path.write_text(json.dumps(facts), encoding="utf-8")
        shutil.rmtree(Path(self.data_dir) / UNPACKED, ignore_errors=True)

    def _checked_listing(self, source: Path, dl_manager) -> Listing:
        try:
            listing = self.list_entries(source, dl_manager)
        except PermissionError as error:
            problem = f"{error.filename} cannot be read ({error.strerror})"
            raise UserError(f"{problem}: change its permissions") from error
        except IsADirectoryError as error:
            problem = "is a folder, where a file of that name is needed"
            raise self.source_error(f"{error.filename} {problem}") from error
        for split, entries in listing.splits.items():
            if not entries:
                raise self.source_error(f"{self._source} has no {split} images")
        return listing

    def _shard_iterators_per_split(self, dl_manager) -> dict[str, list]:
        """Shards by number and by bytes, for TFDS holds a whole shard in memory."""
        iterators = {}
        for split, entries in self._listing.splits.items():
            root, size, shards = self._listing.image_roots[split], 0, list[list[Entry]]()
            for entry in entries:
                try:
                    file_size = source_files.existing(root / entry.image).stat().st_size
                except (OSError, ValueError):  # missing, or no name that a file can have
                    file_size = 0
                file_size = min(file_size, source_files.MAX_IMAGE_BYTES)
                size += file_size
                if not shards or len(shards[-1]) == _IMAGES_PER_SHARD or size > _BYTES_PER_SHARD:
                    shards.append([])
                    size = file_size
                shards[-1].append(entry)
            iterators[split] = [functools.partial(self._records, shard, root) for shard in shards]
        return iterators

    def _records(self, entries: Iterable[Entry], root: Path) -> Iterator[tuple[str, dict]]:
        for entry in entries:
            name, repaired = printable(entry.name), list(entry.repaired)
            try:
                record = self._make_record(entry, root, repaired) | {"name": name}
            except LeftOut as reason:
                self._left_out.append((str(reason), name))
                self._check_left_out(finished=False)
            else:
                self._repaired += [(reason, name) for reason in dict.fromkeys(repaired)]
                yield name, record
            self._progress.update()

    def _make_record(self, entry: Entry, root: Path, repaired: list[str]) -> dict[str, Any]:
        if entry.name in self._seen:
            raise LeftOut("listed twice")
        self._seen.add(entry.name)
        if entry.left_out:
            raise LeftOut(entry.left_out)
        path, captions = source_files.find_file(root, entry.image), entry.captions
        if isinstance(captions, str):
            file = source_files.find_file(self._listing.text_root, captions, "caption file missing")
            captions = source_files.read_captions(file, repaired)
        wanted = self._config.captions_per_image
        captions = source_files.usable_captions(
            captions, self.MAX_CAPTIONS, wanted, repaired, self._config.tokenizer
        )
        encoded, width, height = source_files.read_image(path)
        bbox = source_files.usable_box(entry.bbox, width, height, repaired)
        return {"image": encoded, "captions": captions, "class_id": entry.class_id, "bbox": bbox}

    def _check_left_out(self, *, finished: bool) -> None:
        """Stops with the first ten when too many are left out; before the end, if there are ten."""
        count, total, limit = len(self._left_out), self._num_listed, self._config.max_left_out
        if count > limit * total and (finished or count >= NUM_NAMED):
            named = "; ".join(f"{name} ({reason})" for reason, name in self._left_out[:NUM_NAMED])
            found = f"{count} of {total} images cannot be used{' so far' * (not finished)}"
            allowed = f"config.data.max_left_out = {limit:g} of them"
            hint = "Repair the source, or raise that value"
            raise UserError(f"{found}, more than {allowed}: {named}. {hint}")
