"""What the builders of CUB, COCO and a folder have in common: from lists of images to records.

A subclass says which images there are (`_list_entries`). Each is checked and written here, shard
by shard in the order of the lists, so that no more than one shard is ever in memory. An image
and its captions are looked up by one name or number, never by their positions in two lists.
"""

import abc
import dataclasses
import functools
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from attngan_jax.data import image_checks
from attngan_jax.data.caption_text import read_caption_file, usable_captions
from attngan_jax.data.image_checks import LeftOut
from attngan_jax.errors import UserError

BUILD_FILE = "build.json"  # in the dataset's folder: what `preparation.py` reports of the build
_PICTURES_PER_SHARD = 1_000
_BYTES_PER_SHARD = 200_000_000
NO_CLASS = -1
_NOT_LISTED = "image that is not listed ignored"


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image that a source lists.

    name: what it is called there, and in its record.
    image: its file, relative to the folder of the images.
    captions: their file, relative to the folder of the texts; or the captions.
    bbox: x, y, width, height in pixels, as listed.
    repaired: what the lists needed for it.
    left_out: why it can't be used, if the lists say so already.
    """

    name: str
    image: str
    captions: str | Sequence[str]
    class_id: int = NO_CLASS
    bbox: Sequence[float] | None = None
    repaired: tuple[str, ...] = ()
    left_out: str = ""


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a source holds.

    splits: the images of each split, in order.
    image_roots: split -> the folder of the images, resolved.
    text_root: folder of the caption files, resolved.
    words: numbered words that the source brings along, `<end>` first; None: those of its captions.
    notes: reason -> names, for what was found and ignored, or mended for the whole source.
    """

    splits: Mapping[str, Sequence[Entry]]
    image_roots: Mapping[str, Path]
    text_root: Path
    words: Sequence[str] | None = None
    notes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


class PhotographBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Images with captions from files; records as `datasets.Dataset` describes them."""

    VERSION = tfds.core.Version("1.0.0")
    NUM_CAPTIONS: int | None = None  # of a record at most; None: all

    def __init__(
        self,
        *,
        source: str = "",
        max_left_out: float = 0.01,
        num_captions: int = 1,
        place: str = "",
        file_format: str = "array_record",
        **kwargs,
    ):
        """
        Args:
          source: folder to build from; not needed to read what is built.
          max_left_out: share of the images that may be left out.
          num_captions: wanted of each image; having fewer is counted.
          place: what messages say instead of `data_dir`, where that is the copy of an address.
        """
        self._source = Path(source) if source else None
        self._max_left_out = max_left_out
        self._num_captions = num_captions
        self._place = place
        super().__init__(file_format=file_format, **kwargs)

    @abc.abstractmethod
    def _list_entries(self, source: Path, dl_manager) -> Listing:
        """What `source` holds. Raises `UserError` if its layout isn't the one expected."""

    @classmethod
    @abc.abstractmethod
    def how_to_get(cls) -> str:
        """One sentence: which files are needed and where they are published."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            disable_shuffling=True,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "class_id": np.int64,
                    "bbox": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    "name": tfds.features.Text(),
                }
            ),
        )

    def _log_download_bytes(self) -> None:
        """TFDS would speak of a download of unknown size."""

    _log_download_done = _log_download_bytes

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        start = time.monotonic()
        source = self.check_source()
        try:
            listing = self._list_entries(source, dl_manager)
        except PermissionError as error:
            raise UserError(
                f"{error.filename} cannot be read ({error.strerror}): mend its permissions"
            ) from error
        except IsADirectoryError as error:
            raise UserError(
                f"{error.filename} is a folder, where a file of that name is needed. "
                f"{self.how_to_get()}"
            ) from error
        self._check_splits(listing)
        self._listing, self._tally, self._seen = listing, Tally(self._max_left_out), set()
        for reason, names in (*listing.notes.items(), (_NOT_LISTED, _not_listed(listing))):
            for name in names:
                self._tally.repaired.add(reason, _printable(name))
        with tqdm(
            total=self._num_listed, desc=f"Preparing {self.name}", unit=" images", mininterval=1.0
        ) as self._progress:
            super()._download_and_prepare(dl_manager, download_config)
        self._tally.check(self._num_listed, finished=True)
        for split, info in self.info.splits.items():
            if not info.num_examples:
                raise UserError(
                    f"none of the {split} images in {source} can be used: "
                    f"{self._tally.left_out.counts}"
                )
        self._write_build_file(source, time.monotonic() - start)
        shutil.rmtree(self.unpacked_dir, ignore_errors=True)

    @property
    def unpacked_dir(self) -> Path:
        """For a source's archives while the build lasts; goes with a build that fails."""
        return Path(self.data_dir) / "unpacked"

    def check_source(self) -> Path:
        """The folder to build from; `UserError` says what is needed if there is none."""
        if self._source is None:
            raise UserError(
                f"the dataset {self.name} is not in "
                f"{self._place or self.data_dir_root} yet: build it with --source "
                "FOLDER (in main: --config.data.source=FOLDER). "
                f"{self.how_to_get()}"
            )
        if not self._source.is_dir():
            raise UserError(
                f"the source {self._source} is no folder: give the folder that holds "
                f"the files of {self.name}. {self.how_to_get()}"
            )
        return self._source.resolve()

    def _check_splits(self, listing: Listing) -> None:
        self._num_listed = sum(map(len, listing.splits.values()))
        for split, entries in listing.splits.items():
            if not entries:
                raise UserError(f"{self._source} has no {split} images. {self.how_to_get()}")

    def _shard_iterators_per_split(self, dl_manager):
        del dl_manager
        roots = self._listing.image_roots
        return {
            split: [
                functools.partial(self._records, shard, roots[split])
                for shard in _shards(entries, roots[split])
            ]
            for split, entries in self._listing.splits.items()
        }

    def _records(
        self, entries: Sequence[Entry], root: Path
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for entry in entries:
            name = _printable(entry.name)
            repaired = list(entry.repaired)
            try:
                if entry.name in self._seen:
                    raise LeftOut("listed twice")
                self._seen.add(entry.name)
                record = self._make_record(entry, root, repaired) | {"name": name}
            except LeftOut as reason:
                self._tally.leave_out(str(reason), name)
                self._tally.check(self._num_listed, finished=False)
            else:
                for what in dict.fromkeys(repaired):
                    self._tally.repaired.add(what, name)
                yield name, record
            self._progress.update()

    def _make_record(self, entry: Entry, root: Path, repaired: list[str]) -> dict[str, Any]:
        if entry.left_out:
            raise LeftOut(entry.left_out)
        path = image_checks.inside(root, entry.image)
        captions = entry.captions
        if isinstance(captions, str):
            file = image_checks.inside(self._listing.text_root, captions, "caption file missing")
            captions = read_caption_file(file, repaired.append)
        captions = usable_captions(captions, self.NUM_CAPTIONS, self._num_captions, repaired.append)
        picture = image_checks.read_picture(path)
        return {
            "image": picture.encoded,
            "captions": captions,
            "class_id": entry.class_id,
            "bbox": usable_box(entry.bbox, picture.width, picture.height, repaired),
        }

    def _write_build_file(self, source: Path, seconds: float) -> None:
        build = {
            "source": str(source),
            "seconds": round(seconds, 1),
            "listed": self._num_listed,
            "num_classes": 1
            + max(entry.class_id for entries in self._listing.splits.values() for entry in entries),
            "left_out": self._tally.left_out.to_json(),
            "repaired": self._tally.repaired.to_json(),
        }
        if self._listing.words is not None:
            build["words"] = list(self._listing.words)
        (Path(self.data_dir) / BUILD_FILE).write_text(json.dumps(build), encoding="utf-8")


def _not_listed(listing: Listing) -> list[str]:
    """The images in the folders of `listing` that none of its entries names."""
    by_root: dict[Path, list[str]] = {}
    for split, root in listing.image_roots.items():  # the splits may share one
        by_root.setdefault(root, []).extend(entry.image for entry in listing.splits[split])
    return [
        name for root, names in by_root.items() for name in image_checks.not_listed(root, names)
    ]


def _printable(name: str) -> str:
    """A file's name that need not be UTF-8, as text that can be."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _shards(entries: Sequence[Entry], root: Path) -> list[list[Entry]]:
    """TFDS holds a whole shard in memory, so that one has a limit in bytes, too."""
    shards, size = [[]], 0
    for entry in entries:
        size += _file_size(root, entry.image)
        if shards[-1] and (len(shards[-1]) == _PICTURES_PER_SHARD or size > _BYTES_PER_SHARD):
            shards.append([])
            size = _file_size(root, entry.image)
        shards[-1].append(entry)
    return shards


def _file_size(root: Path, name: str) -> int:
    try:
        return min(image_checks.existing(root / name).stat().st_size, image_checks.MAX_BYTES)
    except (OSError, ValueError):  # missing, or no name that a file can have
        return 0


def usable_box(
    bbox: Sequence[float] | None, width: int, height: int, repaired: list[str]
) -> np.ndarray:
    """The part of a box that lies in an image of `width` x `height`.

    Args:
      bbox: x, y, width, height in pixels, or None.
      repaired: what had to be mended is added here.
    Returns:
      float32 [4]; all 0: no box, the whole image is used.
    """
    if bbox is None:
        return np.zeros(4, np.float32)
    box = np.asarray(bbox, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        repaired.append("box that is not four numbers: whole image used")
        return np.zeros(4, np.float32)
    start = np.maximum(box[:2], 0)
    end = np.minimum(box[:2] + box[2:], (width, height))
    if (end - start < 1).any() or (box[2:] < 1).any():
        repaired.append("box empty or outside the image: whole image used")
        return np.zeros(4, np.float32)
    clipped = np.concatenate([start, end - start])
    if np.abs(clipped - box).max() <= 1:  # rounded over the edge: the released code's crop is kept
        return box.astype(np.float32)
    repaired.append("box cut to the image")
    return clipped.astype(np.float32)


NUM_NAMED = 10


@dataclasses.dataclass
class Reasons:
    """How often each reason occurred, and where first."""

    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    first: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """Counts `reason`, which occurred at `name`."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        names = self.first.setdefault(reason, [])
        if len(names) < NUM_NAMED:
            names.append(name)

    @property
    def total(self) -> int:
        """Over all reasons."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """`{reason: {"count", "first"}}`, the most frequent first."""
        return {
            reason: {"count": count, "first": self.first[reason]}
            for reason, count in sorted(self.counts.items(), key=lambda item: -item[1])
        }


class Tally:
    """Counts the images of a build, and ends it when too many are left out.

    Attributes:
      left_out: images that the records don't hold.
      repaired: what was mended, or missing and not needed, in images that they do.
    """

    def __init__(self, max_left_out: float):
        """`max_left_out`: the largest share of the images that may be left out."""
        self.left_out, self.repaired = Reasons(), Reasons()
        self._max_left_out = max_left_out
        self._first: list[str] = []

    def leave_out(self, reason: str, name: str) -> None:
        """Counts an image that is left out."""
        self.left_out.add(reason, name)
        if len(self._first) < NUM_NAMED:
            self._first.append(f"{name} ({reason})")

    def check(self, num_pictures: int, *, finished: bool) -> None:
        """Raises `UserError` with the first ten when too many of `num_pictures` are left out.

        Before the end (`finished`), only once there are ten to name.
        """
        total = self.left_out.total
        if total > self._max_left_out * num_pictures and (finished or total >= NUM_NAMED):
            so_far = "" if finished else " so far"
            raise UserError(
                f"{total} of {num_pictures} images cannot be used{so_far}, more than "
                f"config.data.max_left_out = {self._max_left_out:g} of them: "
                f"{'; '.join(self._first)}. Mend the source, or raise that value"
            )
