"""Is a file an image that training can use? Its bytes are kept as they came.

The whole file is decoded once, at an eighth of its size where the format can, so that an image
that is cut short is found while the dataset is built and not in the middle of a training run.
"""

import io
import itertools
import os
import posixpath
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from attngan_jax.data.decoding import decode_image, stored_size

MAX_PIXELS = 100_000_000
MAX_BYTES = 4 * MAX_PIXELS  # no image of so many pixels needs more; other files may
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class LeftOut(Exception):
    """An image can't be part of the dataset; the message is the reason, the same for all of
    its kind."""


class Picture(NamedTuple):
    """The file's bytes, and its size in pixels as stored: before any turn that EXIF asks for."""

    encoded: bytes
    width: int
    height: int


def existing(path: Path) -> Path:
    """`path`; where nothing is there, the same name with its ending in other capitals, if that is.

    `x.jpg` finds `x.JPG`, and `x.txt` `x.TXT`: lists and cameras do not always agree.
    """
    ending = path.suffix[1:]
    if f".{ending.lower()}" in (*SUFFIXES, ".txt", ".jsonl") and not os.path.lexists(path):
        for letters in itertools.product(*zip(ending.lower(), ending.upper())):
            other = path.with_suffix("." + "".join(letters))
            if os.path.lexists(other):
                return other
    return path


def not_listed(root: Path, listed: Iterable[str]) -> list[str]:
    """The images under `root` that are none of `listed`, whatever the capitals of their endings.

    Those that are hidden, or in hidden or linked folders, don't count.
    """
    names = {_comparable(name) for name in listed}
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        place = Path(folder).relative_to(root).as_posix()
        found += [
            name
            for name in (
                posixpath.join(place, file) for file in sorted(files) if not file.startswith(".")
            )
            if name.lower().endswith(SUFFIXES) and _comparable(name) not in names
        ]
    return [posixpath.normpath(name) for name in found]


def _comparable(name: str) -> str:
    stem, ending = posixpath.splitext(posixpath.normpath(name.replace("\\", "/")))
    return stem + ending.lower()


def inside(root: Path, name: str, missing: str = "image missing") -> Path:
    """The file called `name` under `root`, which must be `root.resolve()`; see `existing`, too.

    Raises:
      LeftOut: the name or a link leads out of `root`, or no ordinary file is there; `missing` is
        the reason if nothing is.
    """
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in name:
        raise LeftOut("name that leads out of the source")
    path = existing(root.joinpath(*pure.parts))
    try:
        resolved = path.resolve(strict=True)
        mode = resolved.stat().st_mode
    # RuntimeError: links that go round in a circle; ValueError: no name that a file can have.
    except (OSError, RuntimeError, ValueError) as error:
        raise LeftOut(missing) from error
    if not resolved.is_relative_to(root):
        raise LeftOut("link that leads out of the source")
    if not stat.S_ISREG(mode):  # reading a pipe would wait for ever
        raise LeftOut("not an ordinary file")
    return resolved


def read_picture(path: Path) -> Picture:
    """Reads and checks the image at `path`.

    Raises:
      LeftOut: it is empty, no image, cut short, or of more than `MAX_PIXELS`.
    """
    try:
        size = path.stat().st_size
        if not size:
            raise LeftOut("empty file")
        if size > MAX_BYTES:
            raise LeftOut("enormous image (over 100 megapixels)")
        encoded = path.read_bytes()
    except OSError as error:
        raise LeftOut("unreadable file") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about size: the limit here is our own
        return Picture(encoded, *_checked_size(encoded))


def _checked_size(encoded: bytes) -> tuple[int, int]:
    try:
        image = Image.open(io.BytesIO(encoded))
    except Image.DecompressionBombError as error:
        raise LeftOut("enormous image (over 100 megapixels)") from error
    except Exception as error:  # Pillow's readers raise many kinds over a header that is none
        raise LeftOut("not an image") from error
    with image:
        width, height = stored_size(image)
        if not width or not height:
            raise LeftOut("image of no pixels")
        if width * height > MAX_PIXELS:
            raise LeftOut("enormous image (over 100 megapixels)")
        try:
            if image.format == "JPEG":
                image.draft("RGB", (1, 1))
                image.load()
            else:  # as training will, with whatever kind of pixels it holds
                decode_image(encoded)
        except Exception as error:
            raise LeftOut("damaged or cut short image") from error
    return width, height
