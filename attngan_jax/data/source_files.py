"""Reads the images, captions and boxes of a source, and says what is wrong with them.

An image's bytes are kept as they are. The whole image is decoded once, JPEGs at an eighth of their
size, so that one that is cut short is found while the dataset is built and not during training.

Functions that take `repaired` add to it what they had to repair.
"""

import codecs
import itertools
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from attngan_jax import plain_files
from attngan_jax.data.transforms import FORMATS, decode_image, open_image, stored_size
from attngan_jax.data.vocabulary import MAX_CHARACTERS, tokenise

MAX_PIXELS = 100_000_000
MAX_IMAGE_BYTES = 4 * MAX_PIXELS  # no image of so many pixels needs more; other files may
_ENORMOUS = "enormous image (over 100 megapixels)"
_MAX_CAPTION_BYTES = 1_000_000  # of one file
IMAGE_SUFFIXES = tuple(
    ".jpg .jpeg .jpe .jfif .pjpeg .pjp .png .apng .webp .bmp .dib .gif .tif .tiff".split()
)
IMAGE_SUFFIXES += (".avif",) * ("AVIF" in FORMATS)
_UNREAD_SUFFIXES = tuple(
    ".heic .heif .avif .jp2 .jxl .svg .psd .eps .pdf .ico .tga .cr2 .nef .dng".split()
)


class LeftOut(Exception):
    """An image can't be part of the dataset. The message is the reason, and names no file."""


def is_image_name(name: str) -> bool:
    """Whether a file's name is that of an image; hidden files are none."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def is_unread_image_name(name: str) -> bool:
    """Whether a file's name is that of an image of a kind that nothing here reads."""
    is_one = name.lower().endswith(_UNREAD_SUFFIXES) and not name.startswith(".")
    return is_one and not is_image_name(name)


def existing(path: Path) -> Path:
    """`path`, or the file that differs in the case of its suffix alone: `x.jpg` finds `x.JPG`."""
    suffix = path.suffix.lower()
    if suffix not in (*IMAGE_SUFFIXES, ".txt", ".jsonl", ".csv", ".tsv") or os.path.lexists(path):
        return path
    spellings = itertools.product(".", *zip(suffix[1:], suffix[1:].upper()))
    others = (path.with_suffix("".join(letters)) for letters in spellings)
    return next((other for other in others if os.path.lexists(other)), path)


def walk(root: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[tuple]:
    """`os.walk` in order, with relative `PurePosixPath`s; enters no hidden folders and no links."""
    for folder, folders, files in os.walk(root, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield PurePosixPath(Path(folder).relative_to(root).as_posix()), folders, sorted(files)


def find_file(root: Path, name: str, missing: str = "image missing") -> Path:
    """The file `name` under the resolved folder `root`; see also `existing`.

    `LeftOut` if it leads out of `root`, is no ordinary file, or is `missing`.
    """
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in name:
        raise LeftOut("name that leads out of the source")
    try:
        resolved = existing(root / pure).resolve(strict=True)
        mode = resolved.stat().st_mode
    # RuntimeError: links that go round in a circle; ValueError: no name that a file can have.
    except (OSError, RuntimeError, ValueError) as error:
        raise LeftOut(missing) from error
    if not resolved.is_relative_to(root):
        raise LeftOut("link that leads out of the source")
    if not stat.S_ISREG(mode):  # reading a pipe would wait for ever
        raise LeftOut("not an ordinary file")
    return resolved


def read_image(path: Path) -> tuple[bytes, int, int]:
    """An image's bytes; its width and height in pixels as stored. `LeftOut` if it can't be used."""
    try:
        size = path.stat().st_size
        encoded = plain_files.read_bytes(path, size) if size <= MAX_IMAGE_BYTES else b""
    except OSError as error:
        raise LeftOut("unreadable file") from error
    if not encoded:
        raise LeftOut(_ENORMOUS if size else "empty file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about size: the limit here is our own
        try:
            image = open_image(encoded)
        except Image.DecompressionBombError as error:
            raise LeftOut(_ENORMOUS) from error
        except Exception as error:  # Pillow's readers raise many kinds over a header that is none
            raise LeftOut("not an image") from error
        with image:
            width, height = stored_size(image)
            if not width or not height:
                raise LeftOut("image of no pixels")
            if width * height > MAX_PIXELS:
                raise LeftOut(_ENORMOUS)
            try:
                if image.format == "JPEG":
                    image.draft("RGB", (1, 1))
                    image.load()
                else:  # as training will, with whatever kind of pixels it holds
                    decode_image(encoded)
            except Exception as error:
                raise LeftOut("damaged or cut short image") from error
    return encoded, width, height


def usable_box(
    bbox: Sequence[float] | None, width: int, height: int, repaired: list[str]
) -> np.ndarray:
    """The part of a box (x, y, width, height in pixels) in the image, float32 [4]; all 0: none."""
    whole_image = np.zeros(4, np.float32)
    if bbox is None:
        return whole_image
    box = np.asarray(bbox, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        repaired.append("box that is not four numbers: whole image used")
        return whole_image
    start = np.maximum(box[:2], 0)
    size = np.minimum(box[:2] + box[2:], (width, height)) - start
    if (size < 1).any() or (box[2:] < 1).any():
        repaired.append("box empty or outside the image: whole image used")
        return whole_image
    clipped = np.concatenate([start, size])
    if np.abs(clipped - box).max() > 1:  # up to 1 it was rounded: the released code's crop
        repaired.append("box cut to the image")
        box = clipped
    return box.astype(np.float32)


def decode_text(content: bytes) -> tuple[str, bool]:
    """Text in UTF-8, UTF-16 with its mark, or else Windows-1252; and whether it was UTF-8."""
    try:
        return content.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if is_utf_16 else "cp1252", "replace"), False


def read_captions(path: Path, repaired: list[str]) -> list[str]:
    """The lines of a caption file; `LeftOut` if it can't be read, or is far too large for them."""
    try:
        if path.stat().st_size > _MAX_CAPTION_BYTES:
            raise LeftOut("caption file of over a megabyte")
        text, is_utf_8 = decode_text(plain_files.read_bytes(path))
    except OSError as error:
        raise LeftOut("unreadable caption file") from error
    if not is_utf_8:
        repaired.append("captions not in UTF-8")
    return re.split(r"\r\n|\n|\r", text.rstrip("\r\n"))


def usable_captions(
    captions: Sequence[str],
    limit: int | None,
    wanted: int,
    repaired: list[str],
    tokenizer: str = "ascii",
) -> list[str]:
    """The captions that hold a word, the first `limit` of them; `LeftOut` if there is none.

    Fewer than `wanted` count as repaired, for training shows them more often.
    """
    texts = [" ".join(caption.split()) for caption in captions if len(caption) <= MAX_CHARACTERS]
    if len(texts) < len(captions):
        repaired.append(f"caption of over {MAX_CHARACTERS:,} characters dropped")
    # Lone surrogates become question marks.
    words = (text.encode("utf-8", "replace").decode("utf-8") for text in texts)
    kept = [text for text in words if tokenise(text, tokenizer)]
    if not kept:
        raise LeftOut("no caption with a word")
    repaired += ["empty caption dropped"] * (not all(texts))
    repaired += ["caption without a word dropped"] * (len(kept) < sum(map(bool, texts)))
    repaired += ["fewer captions than wanted"] * (len(kept) < wanted)
    return kept[:limit]
