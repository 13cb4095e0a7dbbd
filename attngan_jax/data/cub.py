"""Caltech-UCSD Birds 200-2011 with the captions of Reed et al., in the released code's split.

150 species to train on and 50 others to test on, which is not CUB's own train_test_split.txt.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from attngan_jax import plain_files
from attngan_jax.data import archives
from attngan_jax.data.dataset_report import Notes
from attngan_jax.data.photographs import NO_CLASS, UNPACKED, Entry, Listing, PhotographBuilder
from attngan_jax.data.vocabulary import END, Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.interop.metadata import read_caption_words, read_class_ids, read_filenames
from attngan_jax.interop.state_dict_files import sha256

# What the folders that are searched for hold.
_BIRDS = ("images.txt", "bounding_boxes.txt", "images")
_PICKLES = ("train/filenames.pickle", "test/filenames.pickle")
# The lists of the training classes, without `.txt`; Reed et al. have them in two parts.
_CLASS_LISTS = "trainvalclasses train_classes trainclasses+valclasses trainclasses"
_DEPTH = 4  # folders below the source that are searched
_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)

Boxes = dict[str, tuple[float, ...] | None]  # of images by name without suffix; None: none listed


class Cub(PhotographBuilder):
    """CUB from the released code's layout, unpacked or packed; docs/data.md has it file by file.

    A class is its number less one. The words' numbers come from `captions.pickle`, if it is there.
    """

    MAX_CAPTIONS = 10
    NUM_CLASSES = 200
    IMAGES_URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1"
    IMAGES_SHA256 = "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081"
    HOW_TO_GET = (
        "It needs CUB_200_2011 (https://data.caltech.edu/records/65de6-vp158, CUB_200_2011.tgz, "
        f"SHA-256 {IMAGES_SHA256}) and the captions with the split (birds.zip, the preprocessed "
        "metadata linked from https://github.com/taoxugit/AttnGAN, or cvpr2016_cub.tar.gz linked "
        "from https://github.com/reedscot/cvpr2016): put both in one folder, packed or unpacked"
    )

    def list_entries(self, source: Path, dl_manager) -> Listing:
        folders = self._find_folders(source, dl_manager)
        birds, text = _find(folders, *_BIRDS), _find_text(folders)
        if birds is None or text is None:
            layout = "CUB_200_2011/ with images.txt, bounding_boxes.txt and images/"
            lacking = [layout] * (not birds) + ["text/<class>/<image>.txt"] * (not text)
            raise self.source_error(f"{source} lacks {' and '.join(lacking)}")
        boxes, notes = read_boxes(birds), Notes()
        numbers: dict[str, list[tuple[str, int | None]]] = {"train": [], "test": []}
        if pickles := _find(folders, *_PICKLES):
            numbers = {split: _read_pickles(pickles / split, notes) for split in numbers}
        elif (classes := _training_classes(folders)) is not None:
            for name in boxes:
                numbers["train" if class_of(name) in classes else "test"].append((name, None))
        else:
            raise self.source_error(
                f"{source} does not say which images to train on: it needs train/filenames.pickle "
                "and test/filenames.pickle, or the 150 training classes in trainvalclasses.txt"
            )
        splits = {split: [_entry(*row, boxes) for row in rows] for split, rows in numbers.items()}
        roots = dict.fromkeys(splits, (birds / "images").resolve())
        return Listing(splits, roots, text.resolve(), notes, _read_words(folders, notes))

    def _find_folders(self, source: Path, dl_manager) -> list[Path]:
        """The folders to search: those of `source`, and of its archives if it lacks something.

        Where only the images are lacking, they are downloaded.
        """
        folders = list(_folders(source))
        files = [path for path in sorted(source.iterdir()) if path.is_file()]
        packed = [p for p in files if p.name.lower().endswith(archives.ARCHIVE_SUFFIXES)]
        images = [path for path in packed if path.name.lower().startswith("cub_200_2011")]
        texts = [path for path in packed if path not in images]
        has_text, wanted = _find_text(folders) is not None, []
        if not _find(folders, *_BIRDS):
            download = not images and (texts or has_text)
            wanted = [self._download_images(dl_manager)] if download else images
        if not (has_text and (_find(folders, *_PICKLES) or _training_classes(folders) is not None)):
            wanted = wanted + texts
        if wanted:
            unpacked = Path(self.data_dir) / UNPACKED
            archives.unpack(wanted, unpacked, self.HOW_TO_GET)
            folders += _folders(unpacked)
        return folders

    def _download_images(self, dl_manager) -> Path:
        logging.info("downloading the images, 1.2 GB, from %s", self.IMAGES_URL)
        try:
            path = Path(dl_manager.download(self.IMAGES_URL))
        except Exception as error:  # TFDS raises what its parts raise
            problem = f"cannot be downloaded ({type(error).__name__}: {error})"
            raise self.source_error(f"{self.IMAGES_URL} {problem}") from error
        if sha256(path) != self.IMAGES_SHA256:
            published = f"that was published (SHA-256 {self.IMAGES_SHA256})"
            raise self.source_error(f"{path} is not the CUB_200_2011.tgz {published}: delete it")
        return path


def _entry(name: str, listed_number: int | None, boxes: Boxes) -> Entry:
    """The image `name`, as `class/image` without its suffix."""
    bbox, number = boxes.get(name), class_of(name)
    repaired = ["no box listed: whole image used"] * (bbox is None)
    # The folder has the class's number. A list of numbers could be shifted, the folder can't.
    if number is None:
        number = listed_number
    elif listed_number not in (None, number):
        repaired.append("class number differs from its folder's: folder's used")
    left_out, class_id = ("no class number", NO_CLASS) if number is None else ("", number - 1)
    return Entry(name, f"{name}.jpg", f"{name}.txt", class_id, bbox, tuple(repaired), left_out)


def _image_name(listed: str) -> str:
    """A listed image as `class/image` without its suffix, also where Windows wrote the list."""
    return _IMAGE_SUFFIX.sub("", listed.replace("\\", "/"))


def class_of(name: str) -> int | None:
    """The number at the start of a class's folder: 2 of `002.Laysan_Albatross/...`."""
    number = re.match(r"(\d+)\.", name)
    return int(number[1]) if number else None


def read_boxes(birds: Path) -> Boxes:
    """The boxes of all images, in the order of images.txt.

    The two lists are joined by the image's number, whatever their lengths.
    """
    boxes: dict[str, tuple[float, ...]] = {}
    for line in _lines(birds / "bounding_boxes.txt"):
        number, *values = line.split()
        with contextlib.suppress(ValueError):  # then the image counts as one without a box
            boxes[number] = tuple(map(float, values))
    names: Boxes = {}
    for line in _lines(birds / "images.txt"):
        number, _, name = line.strip().partition(" ")
        names.setdefault(_image_name(name.strip()), boxes.get(number))
    return names


def _read_pickles(folder: Path, notes: Notes) -> list[tuple[str, int | None]]:
    """The names of a split's images with their class numbers, None where they are not listed."""
    names = [_image_name(name) for name in read_filenames(folder / "filenames.pickle")]
    path, instead = folder / "class_info.pickle", "classes from folder names"
    try:
        numbers = read_class_ids(path)
        if len(numbers) == len(names):
            return list(zip(names, numbers))
        reason = f"class_info.pickle and filenames.pickle disagree in length: {instead}"
        notes.append((reason, f"{path}: {len(numbers)}, not {len(names)}"))
    except UserError as error:
        notes.append((f"class_info.pickle not used: {instead}", str(error)))
    return [(name, None) for name in names]


def _training_classes(folders: Sequence[Path]) -> set[int] | None:
    """Numbers of the classes in the first of `_CLASS_LISTS` that is there."""
    for names in _CLASS_LISTS.split():
        files = [f"{name}.txt" for name in names.split("+")]
        if folder := _find(folders, *files):
            lines = [line for file in files for line in _lines(folder / file)]
            numbers = [int(number) for line in lines for number in re.findall(r"\d+", line)[:1]]
            if len(numbers) < len(lines):
                problem = "has a line without a class's number"
                wanted = "each must be like 001.Black_footed_Albatross"
                raise UserError(f"{folder / files[0]} {problem}: {wanted}")
            return set(numbers)
    return None


def _read_words(folders: Sequence[Path], notes: Notes) -> Sequence[str] | None:
    if not (folder := _find(folders, "captions.pickle")):
        return None
    try:
        words = [END, *read_caption_words(folder / "captions.pickle")[1:]]
        if strange := [word for word in words if word.split() != [word]]:
            raise ValueError(f"{strange[0]!r} is not one word")
        return Vocabulary(words).words
    except (UserError, ValueError) as error:
        notes.append(("captions.pickle not used: words numbered anew", str(error)))
        return None


def _folders(root: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """`root` and the folders below it, but for those of one class, which hold files alone."""
    yield root
    if depth and root.is_dir() and os.access(root, os.R_OK | os.X_OK):
        for path in sorted(root.iterdir()):
            if class_of(path.name) is None and not path.name.startswith(".") and path.is_dir():
                yield from _folders(path, depth - 1)


def _find(folders: Sequence[Path], *parts: str) -> Path | None:
    """The first of `folders` that has all `parts`."""
    found = (folder for folder in folders if all((folder / part).exists() for part in parts))
    return next(found, None)


def _find_text(folders: Sequence[Path]) -> Path | None:
    """The first folder of captions, a folder a class in it."""
    texts = (folder for folder in folders if folder.name in ("text", "text_c10"))
    return next((t for t in texts if any(class_of(p.name) is not None for p in t.iterdir())), None)


def _lines(path: Path) -> Sequence[str]:
    text = plain_files.read_bytes(path).decode("utf-8-sig", "surrogateescape")
    return [line for line in text.splitlines() if line.strip()]
