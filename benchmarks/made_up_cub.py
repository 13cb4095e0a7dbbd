"""A source in CUB's layout, of any size, with image files as large as CUB's."""

import pathlib
import pickle

import numpy as np
from PIL import Image, ImageFilter

_NUM_CLASSES, _NUM_TRAIN_CLASSES = 200, 150
_NUM_DISTINCT = 60  # images that are drawn; each is written many times
_WORDS = (
    "this bird has a small red blue white black wing beak crown belly with and long tail "
    "feathers short yellow brown grey spotted round head its over back orange"
).split()


def make_source(folder: pathlib.Path, num_images: int) -> int:
    """Writes the source and returns the images' bytes."""
    rng = np.random.default_rng(0)
    encoded = [_encode(rng, folder / "one.jpg") for _ in range(_NUM_DISTINCT)]
    birds, total = folder / "CUB_200_2011", 0
    names = [
        f"{k % _NUM_CLASSES + 1:03d}.Bird_{k % _NUM_CLASSES}/Bird_{k:05d}"
        for k in range(num_images)
    ]
    for number in range(min(_NUM_CLASSES, num_images)):
        for root in (birds / "images", folder / "text"):
            (root / names[number]).parent.mkdir(parents=True)
    for k, name in enumerate(names):
        (birds / "images" / f"{name}.jpg").write_bytes(encoded[k % _NUM_DISTINCT])
        total += len(encoded[k % _NUM_DISTINCT])
        captions = [" ".join(rng.choice(_WORDS, rng.integers(8, 22))) for _ in range(10)]
        (folder / "text" / f"{name}.txt").write_text("\n".join(captions))
    (birds / "images.txt").write_text(
        "".join(f"{k + 1} {name}.jpg\n" for k, name in enumerate(names))
    )
    (birds / "bounding_boxes.txt").write_text(
        "".join(f"{k + 1} 60.0 27.0 325.0 304.0\n" for k in range(num_images))
    )
    for split, is_train in (("train", True), ("test", False)):
        chosen = [name for name in names if (int(name[:3]) <= _NUM_TRAIN_CLASSES) == is_train]
        (folder / split).mkdir()
        (folder / split / "filenames.pickle").write_bytes(pickle.dumps(chosen, 2))
        (folder / split / "class_info.pickle").write_bytes(
            pickle.dumps([int(name[:3]) for name in chosen], 2)
        )
    return total


def _encode(rng: np.random.Generator, path: pathlib.Path) -> bytes:
    """An image file as large as a photograph's: about 100 kB, with details of every size."""
    width, height = rng.integers(440, 501), rng.integers(333, 401)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    fine = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).filter(
        ImageFilter.GaussianBlur(0.7)
    )
    Image.blend(coarse, fine, 0.4).save(path, quality=94)
    encoded = path.read_bytes()
    path.unlink()
    return encoded
