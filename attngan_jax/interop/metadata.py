"""The released code's metadata: `captions.pickle`, `filenames.pickle`, `class_info.pickle`."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.interop.safe_pickle import Refused, read_pickle

MAX_OPERATIONS = 100_000_000  # COCO's captions take about a tenth


def load_metadata(path: storage.PathLike) -> Any:
    """The lists, dicts, strings and numbers of a pickle, of Python 2 or 3; nothing is run.

    Raises `UserError` for a file that can't be read, is damaged, or holds anything else.
    """
    try:
        data = _without_carriage_returns(storage.path(path).read_bytes())
        return read_pickle(data, functions=_NUMPY, max_operations=MAX_OPERATIONS)[0]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {storage.reason(error)}") from error
    except Refused as error:
        raise UserError(
            f"{path} is not read: {error}. Take the file that the released code's "
            "metadata archive holds, or that its data loader wrote"
        ) from error


def read_caption_words(path: storage.PathLike) -> list[str]:
    """The vocabulary of `captions.pickle`, by index; the word with index 0 is `<end>`.

    The file holds `[train, test, index -> word, word -> index]`; `train` and `test` are lists of
    captions, ten an image (COCO: five), which are lists of word indices. Raises `UserError` for a
    file that can't be read or holds something else.
    """
    value = load_metadata(path)
    if not (isinstance(value, list) and len(value) == 4 and isinstance(value[2], dict)):
        raise _unexpected(path, "[train captions, test captions, index to word, word to index]")
    train, test, words = value[:3]
    size = len(words)
    vocabulary = [words.get(i) for i in range(size)]
    if not words or not all(isinstance(word, str) for word in vocabulary):
        raise _unexpected(path, "words with the indices 0, 1, 2 and so on")
    if not (isinstance(train, list) and isinstance(test, list)):
        raise _unexpected(path, "lists of captions")
    for caption in {id(caption): caption for caption in train + test}.values():  # each list once
        if not isinstance(caption, list) or not all(
            _is_integer(i) and 0 <= i < size for i in caption
        ):
            raise _unexpected(path, f"captions as lists of word indices below {size}")
    return vocabulary


def read_filenames(path: storage.PathLike) -> list[str]:
    """`filenames.pickle`: image names without their ending, as `class/image`; or a `UserError`."""
    return _read_list(path, "a list of file names", lambda value: isinstance(value, str))


def read_class_ids(path: storage.PathLike) -> list[int]:
    """`class_info.pickle`: a class number per image, in the file names' order; or a `UserError`."""
    return [int(i) for i in _read_list(path, "a list of class numbers", _is_integer)]


def _read_list(path: storage.PathLike, wanted: str, is_one: Callable[[Any], bool]) -> list:
    values = load_metadata(path)
    if not (isinstance(values, list) and values and all(map(is_one, values))):
        raise _unexpected(path, wanted)
    return values


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _unexpected(path: storage.PathLike, wanted: str) -> UserError:
    return UserError(f"{path} does not hold {wanted}: it is another file than its name says")


def _without_carriage_returns(data: bytes) -> bytes:
    """Repairs a text pickle that was written in Windows' text mode, as the released CUB lists were.

    Only protocol 0 has no header and ends every line alike.
    """
    lines = data.count(b"\n")
    is_windows = data[:1] != b"\x80" and data.count(b"\r\n") == lines
    return data.replace(b"\r\n", b"\n") if is_windows else data


class _Dtype:
    """`numpy.dtype` of numbers; its byte order comes afterwards, as a state."""

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if not re.fullmatch("[biuf][1248]", code):
            raise Refused(f"it holds NumPy values of the type {code[:20]!r}, not numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise Refused("it holds NumPy values of an unknown byte order")
        self.dtype = self.dtype.newbyteorder(state[1])


def _scalar(kind: _Dtype, value: str | bytes) -> np.number:
    if not isinstance(kind, _Dtype) or len(value) != kind.dtype.itemsize:
        raise Refused("it holds a NumPy scalar of another size than its type's")
    value = value.encode("latin-1") if isinstance(value, str) else value
    return np.frombuffer(value, kind.dtype).astype(kind.dtype.newbyteorder("="))[0]


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes a scalar's bytes for Python 2."""
    if encoding not in ("latin1", "latin-1") or len(text) > 8:
        raise Refused("it holds bytes that are no NumPy number")
    return text.encode("latin-1")


_NUMPY = {
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "_codecs.encode": _encode,
}
