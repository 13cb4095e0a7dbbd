"""Small sources in the layouts of CUB, COCO and a folder, with images that can be told apart.

Image number k of a source is of one colour all over (`color(k)`), and each of its captions
names k in words: a test that reads both sees when an image has another's captions.
"""

import collections
import hashlib
import io
import json
import pathlib
import pickle
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from PIL import Image

from attngan_jax.data import datasets
from attngan_jax.data.vocabulary import Vocabulary, tokenise
from attngan_jax.errors import UserError
from tests.tiny_configs import coco, cub

_NUMBERS = "zero one two three four five six seven eight nine".split()
_CLASSES = (
    "Black_footed_Albatross Laysan_Albatross Sooty_Albatross Groove_billed_Ani "
    "Crested_Auklet Least_Auklet Parakeet_Auklet Rhinoceros_Auklet"
).split()


def config_for(name: str, folder: pathlib.Path):
    """The tiny config of the dataset cub, coco or folder, which it keeps in `folder`."""
    config = (coco if name == "coco" else cub).get_config()
    config.data.dataset = name
    config.data.data_dir = str(folder / "data")
    config.data.max_left_out = 0.2
    return config


def build(config, source: pathlib.Path) -> datasets.Dataset:
    """The dataset that `source` becomes."""
    datasets.prepare(config, str(source))
    return datasets.load(config)


def assert_refused(config, source: pathlib.Path | str, complaint: str) -> None:
    """What `source` is cannot become a dataset, and an error says why."""
    with pytest.raises(UserError, match=complaint):
        datasets.prepare(config, str(source))


def records(dataset: datasets.Dataset) -> list[Mapping]:
    """All records, training first."""
    return [*dataset.train, *dataset.test]


def counts(dataset: datasets.Dataset, key: str) -> dict[str, int]:
    """How often the report gives each reason under `key`."""
    return {reason: row["count"] for reason, row in dataset.report[key].items()}


def vocabulary_of(captions: Iterable[str]) -> Vocabulary:
    """Every word of the captions, in the order in which they first occur."""
    words = (word for caption in captions for word in tokenise(caption))
    return Vocabulary.from_counts(collections.Counter(words))


def digest(examples: Iterable[Mapping]) -> str:
    """A hash of names, types, shapes and values of dicts of arrays, numbers and texts."""
    sha = hashlib.sha256()
    for example in examples:
        for key, value in sorted(example.items()):
            array = np.asarray(value)
            sha.update(f"{key} {array.dtype} {array.shape}".encode() + array.tobytes())
    return sha.hexdigest()[:16]


def color(k: int) -> tuple[int, int, int]:
    """The colour of image k; neighbours are far apart."""
    return 37 * k % 256, 101 * k % 256, 211 * k % 256


def as_file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    """The image in a file format; the others with a quality keep close to its pixels."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **{"quality": 95} | options)
    return buffer.getvalue()


def encoded(k: int, kind: str = "JPEG") -> bytes:
    """Image k as a file."""
    return as_file(Image.new("RGB", (60, 45), color(k)), kind)


def captions(k: int, count: int = 10) -> list[str]:
    """Sentences about image k, all different: 17 is "one seven"."""
    number = " ".join(_NUMBERS[int(digit)] for digit in str(k))
    return [f"this small bird number {number} has {_NUMBERS[i]} feathers." for i in range(count)]


def shown(record) -> int:
    """The number of the image that a record's captions speak of; they must all agree."""
    (words,) = {text.decode().split(" has ")[0].split("number ")[1] for text in record["captions"]}
    return int("".join(str(_NUMBERS.index(word)) for word in words.split()))


def is_whole(record) -> bool:
    """Whether the record's image has the colour of the image that its captions speak of."""
    middle = np.asarray(Image.open(io.BytesIO(record["image"])).convert("RGB"))[20, 20]
    return bool(np.abs(middle.astype(int) - color(shown(record))).max() <= 4)


def write(path: pathlib.Path, content: str | bytes) -> pathlib.Path:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_list(folder: pathlib.Path, rows: Iterable[Mapping | str]) -> pathlib.Path:
    """Writes `captions.jsonl`; texts are written as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return write(folder / "captions.jsonl", "\n".join(lines) + "\n")


def captions_pickle(words: Iterable[str], train=(), test=()) -> bytes:
    """The content of the released `captions.pickle`: the captions' numbers, and the words."""
    by_index = dict(enumerate(words))
    by_word = {word: i for i, word in by_index.items()}
    return pickle.dumps([list(train), list(test), by_index, by_word], 2)


def make_cub(folder: pathlib.Path, images_per_class: int = 3) -> None:
    """The released code's layout with eight classes: 1, 2, 4, 5 and 6 are trained on."""
    names = [
        f"{number:03d}.{bird}/{bird}_{i:04d}_{100 * number + i}"
        for number, bird in enumerate(_CLASSES, 1)
        for i in range(images_per_class)
    ]
    birds = folder / "CUB_200_2011"
    for k, name in enumerate(names):
        write(birds / "images" / f"{name}.jpg", encoded(k))
        write(folder / "text" / f"{name}.txt", "\n".join(captions(k)) + "\n")
    lines = [f"{k + 1} {name}.jpg" for k, name in enumerate(names)]
    write(birds / "images.txt", "\n".join(lines) + "\n")
    boxes = [f"{k + 1} {10.0 + k % 5} 5.0 30.0 {20.0 + k % 7}" for k in range(len(names))]
    write(birds / "bounding_boxes.txt", "\n".join(boxes) + "\n")
    for split, is_train in (("train", True), ("test", False)):
        chosen = [name for name in names if (int(name[:3]) in (1, 2, 4, 5, 6)) == is_train][::-1]
        class_ids = [np.int64(name[:3]) for name in chosen]
        write(folder / split / "filenames.pickle", pickle.dumps(chosen, 0))
        write(folder / split / "class_info.pickle", pickle.dumps(class_ids, 2))


def make_coco(folder: pathlib.Path) -> None:
    """`captions_{train,val}2014.json` and two folders; ids and order are not the images'.

    12 images to train on and 6 to test on, of six captions each.
    """
    for split, numbers in (("train", range(12)), ("val", range(12, 18))):
        images, said = [], []
        for k in numbers:
            image_id, file = 1000 - 7 * k, f"COCO_{split}2014_{1000 - 7 * k:012d}.jpg"
            write(folder / f"{split}2014" / file, encoded(k))
            images.append({"id": image_id, "file_name": file, "width": 60, "height": 45})
            said += [(i, image_id, text) for i, text in enumerate(captions(k, 6))]
        annotations = [  # those of one image are not adjacent
            {"id": 5 * n, "image_id": image_id, "caption": text}
            for n, (_, image_id, text) in enumerate(sorted(said))
        ]
        content = json.dumps({"images": images, "annotations": annotations})
        write(folder / "annotations" / f"captions_{split}2014.json", content)


def make_folder(folder: pathlib.Path, count: int = 20) -> None:
    """Images with `name.txt` beside them, some in a folder below."""
    for k in range(count):
        place = folder / ("some birds" if k % 3 else "")
        write(place / f"bird {k}.png", encoded(k, kind="PNG"))
        write(place / f"bird {k}.txt", "\n".join(captions(k, 1 + k % 4)) + "\n")


def make_jsonl(folder: pathlib.Path) -> None:
    """Twenty images with a `captions.jsonl` that has every field; classes are words."""
    rows = []
    for k in range(20):
        file = write(folder / "pictures" / f"{k}.jpg", encoded(k)).relative_to(folder).as_posix()
        split = "test" if k >= 15 else "train"
        row = {"file": file, "captions": captions(k, 3), "class": f"kind {k % 4}", "split": split}
        rows.append(row | {"bbox": [5, 5, 40, 30]})
    write_list(folder, rows)
