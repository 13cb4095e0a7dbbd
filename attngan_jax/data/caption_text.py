"""Captions as they lie on disk: any encoding, empty lines, lines without a word."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from attngan_jax.data.image_checks import LeftOut
from attngan_jax.data.vocabulary import tokenise

_MAX_BYTES = 1_000_000  # of one caption file


def read_caption_file(path: Path, repaired: Callable[[str], None]) -> list[str]:
    """The lines of `path`.

    Args:
      repaired: told what had to be mended.
    Raises:
      LeftOut: it can't be read, or is far too large for captions.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise LeftOut("caption file of over a megabyte")
        text = decode_text(path.read_bytes(), repaired)
    except OSError as error:
        raise LeftOut("unreadable caption file") from error
    return re.split(r"\r\n|\n|\r", text.rstrip("\r\n"))


def decode_text(data: bytes, repaired: Callable[[str], None]) -> str:
    """UTF-8, or UTF-16 with its mark; other bytes are taken for Windows' Western European."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        repaired("captions not in UTF-8")
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        repaired("captions not in UTF-8")
        return data.decode("cp1252", "replace")


def usable_captions(
    captions: Iterable[str], limit: int | None, wanted: int, repaired: Callable[[str], None]
) -> list[str]:
    """Those captions that hold a word, the first `limit` of them.

    Args:
      limit: None keeps all.
      wanted: with fewer the image counts as repaired: it shows them more often.
    Raises:
      LeftOut: there is none.
    """
    kept, empty, wordless = [], False, False
    for caption in captions:
        text = " ".join(caption.split())
        if not text:
            empty = True
        elif not tokenise(text):
            wordless = True
        else:
            kept.append(text.encode("utf-8", "replace").decode("utf-8"))  # lone surrogates
    if empty:
        repaired("empty caption dropped")
    if wordless:
        repaired("caption without a word dropped")
    if not kept:
        raise LeftOut("no caption with a word")
    if len(kept) < wanted:
        repaired("fewer captions than wanted")
    return kept[:limit]
