"""Caltech-UCSD Birds 200-2011 with the captions of Reed et al., in the released code's split.

150 species to train on and 50 others to test on, which is not CUB's own train_test_split.txt.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from attngan_jax.data import archives
from attngan_jax.data.photographs import Entry, Listing, PhotographBuilder
from attngan_jax.data.vocabulary import END, Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.interop.metadata import read_caption_words, read_class_ids, read_filenames
from attngan_jax.interop.state_dict_files import sha256

_TEXT_FOLDERS = ("text", "text_c10")
_DEPTH = 4  # folders below the source that are searched for the parts


class Cub(PhotographBuilder, skip_registration=True):
    """CUB from the released code's layout.

    `CUB_200_2011/` with `images/`, `images.txt` and `bounding_boxes.txt`;
    `text/<class>/<image>.txt`, a caption a line; the split from `train/` and `test/` with
    `filenames.pickle` and `class_info.pickle`, or from a list of the training classes; the words'
    numbers from `captions.pickle`, if it is there. What is still packed, as `CUB_200_2011.tgz` and
    an archive of the captions, is unpacked while the build lasts. A class is its number less one.
    """

    NUM_CAPTIONS = 10
    IMAGES_URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1"
    IMAGES_SHA256 = "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081"

    @classmethod
    def how_to_get(cls) -> str:
        return (
            "It needs CUB_200_2011 (https://data.caltech.edu/records/65de6-vp158, "
            f"CUB_200_2011.tgz, SHA-256 {cls.IMAGES_SHA256}) and the captions with the split "
            "(birds.zip, the preprocessed metadata linked from "
            "https://github.com/taoxugit/AttnGAN, or cvpr2016_cub.tar.gz linked from "
            "https://github.com/reedscot/cvpr2016): put both in one folder, packed or unpacked"
        )

    def _list_entries(self, source: Path, dl_manager) -> Listing:
        roots = self._unpack_missing(source, dl_manager)
        birds, text = _find_birds(roots), _find_text(roots)
        if birds is None or text is None:
            missing = [
                what
                for what, found in (
                    ("CUB_200_2011/ with images.txt, bounding_boxes.txt and images/", birds),
                    ("text/<class>/<image>.txt", text),
                )
                if found is None
            ]
            raise UserError(f"{source} lacks {' and '.join(missing)}. {self.how_to_get()}")
        boxes = read_boxes(birds)
        notes: dict[str, list[str]] = {}
        splits = {
            split: [_entry(name, class_number, boxes) for name, class_number in pictures]
            for split, pictures in _read_split(roots, boxes, notes).items()
        }
        images = (birds / "images").resolve()
        return Listing(
            splits, dict.fromkeys(splits, images), text.resolve(), _read_words(roots, notes), notes
        )

    def _unpack_missing(self, source: Path, dl_manager) -> list[Path]:
        """The folders to search: `source`, and its archives unpacked if it lacks something.

        Where only the images are lacking, they are downloaded.
        """
        packed = archives.find_archives(source)
        pictures = [path for path in packed if path.name.lower().startswith("cub_200_2011")]
        texts = [path for path in packed if path not in pictures]
        wanted = []
        if _find_birds([source]) is None:
            wanted = list(pictures)
            if not pictures and (texts or _find_text([source])):
                wanted = [self._download_images(dl_manager)]
        if not (_find_text([source]) and _has_split([source])):
            wanted += texts
        if not wanted:
            return [source]
        archives.unpack(wanted, self.unpacked_dir, self.how_to_get())
        return [source, self.unpacked_dir]

    def _download_images(self, dl_manager) -> Path:
        logging.info("downloading the images, 1.2 GB, from %s", self.IMAGES_URL)
        try:
            path = Path(dl_manager.download(self.IMAGES_URL))
        except Exception as error:  # TFDS raises what its parts raise
            raise UserError(
                f"{self.IMAGES_URL} cannot be downloaded ({type(error).__name__}: "
                f"{error}). {self.how_to_get()}"
            ) from error
        if sha256(path) != self.IMAGES_SHA256:
            raise UserError(
                f"{path} is not the CUB_200_2011.tgz that was published (SHA-256 "
                f"{self.IMAGES_SHA256}): delete it. {self.how_to_get()}"
            )
        return path


def _entry(name: str, class_number: int | None, boxes: dict) -> Entry:
    """The image `name`, as `class/image` without its ending."""
    bbox = boxes.get(name)
    repaired = () if bbox is not None else ("no box listed: whole image used",)
    # The folder has the class's number. A list of numbers could be shifted, the folder can't.
    number = class_of(name)
    if class_number is not None and number is not None and number != class_number:
        repaired += ("class number differs from its folder's: folder's used",)
    number = class_number if number is None else number
    return Entry(
        name,
        f"{name}.jpg",
        f"{name}.txt",
        bbox=bbox,
        repaired=repaired,
        class_id=-1 if number is None else number - 1,
        left_out="no class number" if number is None else "",
    )


def class_of(name: str) -> int | None:
    """The number at the start of a class's folder: 2 of `002.Laysan_Albatross/...`."""
    number = re.match(r"(\d+)\.", name)
    return int(number[1]) if number else None


def read_boxes(birds: Path) -> dict[str, tuple[float, ...] | None]:
    """Image name without its ending -> its box (None: none listed), in the order of images.txt.

    The two lists are joined by the image's number, whatever their lengths.
    """
    boxes = {}
    for line in _lines(birds / "bounding_boxes.txt"):
        number, *values = line.split()
        try:
            boxes[number] = tuple(map(float, values))
        except ValueError:
            continue  # the image counts as one without a box
    names = {}
    for line in _lines(birds / "images.txt"):
        number, _, name = line.strip().partition(" ")
        names.setdefault(_without_ending(name.strip()), boxes.get(number))
    return names


def _has_split(roots: Sequence[Path]) -> bool:
    return (
        _find(roots, "train/filenames.pickle") is not None or _training_classes(roots) is not None
    )


def _read_split(roots: Sequence[Path], names: dict, notes: dict) -> dict[str, list[tuple]]:
    """Split -> (image name, class number or None) of its images."""
    train = _find(roots, "train/filenames.pickle", "test/filenames.pickle")
    if train is not None:
        return {split: _read_pickles(train / split, notes) for split in ("train", "test")}
    classes = _training_classes(roots)
    if classes is None:
        raise UserError(
            f"{roots[0]} does not say which images to train on: it needs "
            "train/filenames.pickle and test/filenames.pickle, or a list of the 150 "
            f"training classes in trainvalclasses.txt. {Cub.how_to_get()}"
        )
    splits = {"train": [], "test": []}
    for name in names:
        splits["train" if class_of(name) in classes else "test"].append((name, None))
    return splits


def _read_pickles(folder: Path, notes: dict) -> list[tuple[str, int | None]]:
    names = [_without_ending(name) for name in read_filenames(folder / "filenames.pickle")]
    path = folder / "class_info.pickle"
    try:
        ids = read_class_ids(path)
    except UserError as error:
        notes.setdefault("class_info.pickle not used: classes from folder names", []).append(
            str(error)
        )
        ids = []
    if ids and len(ids) != len(names):
        notes.setdefault(
            "class_info.pickle and filenames.pickle disagree in length: classes from folder names",
            [],
        ).append(f"{path}: {len(ids)}, not {len(names)}")
        ids = []
    return list(zip(names, ids or [None] * len(names)))


def _training_classes(roots: Sequence[Path]) -> set[int] | None:
    """Numbers of the classes in `trainvalclasses.txt`, or in Reed et al.'s two parts of it."""
    for files in (
        ("trainvalclasses.txt",),
        ("train_classes.txt",),
        ("trainclasses.txt", "valclasses.txt"),
        ("trainclasses.txt",),
    ):
        folder = _find(roots, *files)
        if folder is not None:
            lines = [line for file in files for line in _lines(folder / file)]
            numbers = [re.search(r"\d+", line) for line in lines]
            if not all(numbers):
                raise UserError(
                    f"{folder / files[0]} has a line without a class's number: each "
                    "must be like 001.Black_footed_Albatross"
                )
            return {int(number[0]) for number in numbers}
    return None


def _read_words(roots: Sequence[Path], notes: dict) -> Sequence[str] | None:
    folder = _find(roots, "captions.pickle")
    if folder is None:
        return None
    try:
        words = read_caption_words(folder / "captions.pickle")[1:]
        if strange := [word for word in words if word.split() != [word]]:
            raise ValueError(f"{strange[0]!r} is not one word")
        return Vocabulary([END, *words]).words
    except (UserError, ValueError) as error:
        notes["captions.pickle not used: words numbered anew"] = [str(error)]
        return None


def _find(roots: Sequence[Path], *parts: str) -> Path | None:
    """The first folder at or below one of `roots` that has all `parts`."""
    return next(
        (folder for folder in _folders(roots) if all((folder / part).exists() for part in parts)),
        None,
    )


def _find_birds(roots: Sequence[Path]) -> Path | None:
    return _find(roots, "images.txt", "bounding_boxes.txt", "images")


def _find_text(roots: Sequence[Path]) -> Path | None:
    return next(
        (
            folder
            for folder in _folders(roots)
            if folder.name in _TEXT_FOLDERS
            and any(class_of(path.name) is not None for path in folder.iterdir())
        ),
        None,
    )


def _folders(roots: Sequence[Path], depth: int = _DEPTH) -> Iterator[Path]:
    for root in roots:
        yield root
        if depth and root.is_dir():
            yield from _folders(
                sorted(
                    path
                    for path in root.iterdir()  # folders of one class hold files alone
                    if class_of(path.name) is None
                    and not path.name.startswith(".")
                    and path.is_dir()
                ),
                depth - 1,
            )


def _lines(path: Path) -> Sequence[str]:
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    return [line for line in text.splitlines() if line.strip()]


def _without_ending(name: str) -> str:
    return re.sub(r"\.(jpe?g|png)$", "", name, flags=re.IGNORECASE)
