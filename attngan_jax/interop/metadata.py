"""The released code's metadata: `captions.pickle`, `filenames.pickle`, `class_info.pickle`."""

import re
from typing import Any

import numpy as np

from attngan_jax import plain_files, storage
from attngan_jax.errors import UserError
from attngan_jax.interop.safe_pickle import Refused, read_pickle, require

MAX_BYTES = 2**29  # of a pickle
MAX_CHARACTERS = 2**26  # of all file names; CUB's are 0.6 million
MAX_OPERATIONS = 100_000_000  # COCO's captions take about a tenth


def load_metadata(path: storage.PathLike) -> Any:
    """The lists, dicts, strings and numbers of a pickle, of Python 2 or 3; nothing is run.

    Raises `UserError` for a file that can't be read, is damaged, or holds anything else.
    """
    try:
        data = plain_files.read_bytes(storage.path(path), MAX_BYTES)
        # The released CUB lists were written in Windows' text mode. Text pickles, of protocol 0,
        # have no header, and end every line alike.
        if data[:1] != b"\x80" and data.count(b"\r\n") == data.count(b"\n"):
            data = data.replace(b"\r\n", b"\n")
        return read_pickle(data, functions=_NUMPY, max_operations=MAX_OPERATIONS)[0]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {storage.strerror(error)}") from error
    except Refused as error:
        source = "that the released code's metadata archive holds, or that its data loader wrote"
        raise UserError(f"{path} is not read: {error}. Take the file {source}") from error


def read_caption_words(path: storage.PathLike) -> list[str]:
    """The vocabulary of `captions.pickle`, by index; the word with index 0 is `<end>`.

    The file holds `[train, test, index -> word, word -> index]`; `train` and `test` are lists of
    captions, ten an image (COCO: five), which are lists of word indices. Raises `UserError`.
    """
    value = load_metadata(path)
    is_four = isinstance(value, list) and len(value) == 4 and isinstance(value[2], dict)
    _check(path, is_four, "[train captions, test captions, index to word, word to index]")
    train, test, words = value[:3]
    vocabulary = [words.get(i) for i in range(len(words))]
    are_words = words and all(isinstance(word, str) for word in vocabulary)
    _check(path, are_words, "words with the indices 0, 1, 2 and so on")
    _check(path, isinstance(train, list) and isinstance(test, list), "lists of captions")
    indices = f"captions as lists of word indices below {len(words)}"
    for caption in {id(caption): caption for caption in train + test}.values():  # each list once
        are_integers = isinstance(caption, list) and all(map(_is_integer, caption))
        _check(path, are_integers and all(0 <= i < len(words) for i in caption), indices)
    return vocabulary


def read_filenames(path: storage.PathLike) -> list[str]:
    """`filenames.pickle`: image names without their ending, as `class/image`; or a `UserError`."""
    names = load_metadata(path)
    are_names = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    # A pickle can name one long text many times; each name is copied later.
    are_names = are_names and sum(map(len, names)) <= MAX_CHARACTERS
    _check(path, are_names, "a list of file names")
    return names


def read_class_ids(path: storage.PathLike) -> list[int]:
    """`class_info.pickle`: a class number per image, in the file names' order; or a `UserError`."""
    ids = load_metadata(path)
    are_ids = isinstance(ids, list) and ids and all(map(_is_integer, ids))
    _check(path, are_ids, "a list of class numbers")
    return [int(i) for i in ids]


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check(path: storage.PathLike, condition: Any, wanted: str) -> None:
    if not condition:
        raise UserError(f"{path} does not hold {wanted}: it is another file than its name says")


class _Dtype:
    """`numpy.dtype` of numbers; its byte order comes afterwards, as a state."""

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        is_number = re.fullmatch("[biuf][1248]", code)
        require(is_number, f"it holds NumPy values of the type {code[:20]!r}, not numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        require(state[1] in ("<", ">", "|", "="), "it holds NumPy values of another byte order")
        self.dtype = self.dtype.newbyteorder(state[1])


def _scalar(kind: _Dtype, value: str | bytes) -> np.number:
    is_sized = isinstance(kind, _Dtype) and len(value) == kind.dtype.itemsize
    require(is_sized, "it holds a NumPy scalar of another size than its type's")
    value = value.encode("latin-1") if isinstance(value, str) else value
    return np.frombuffer(value, kind.dtype).astype(kind.dtype.newbyteorder("="))[0]


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes a scalar's bytes for Python 2."""
    is_scalar = encoding in ("latin1", "latin-1") and len(text) <= 8
    require(is_scalar, "it holds bytes that are no NumPy number")
    return text.encode("latin-1")


_NUMPY = {
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "_codecs.encode": _encode,
}
