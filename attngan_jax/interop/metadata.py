"""The released code's metadata: `captions.pickle`, `filenames.pickle`, `class_info.pickle`."""

import re
from typing import Any, NamedTuple

import numpy as np

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.interop.safe_pickle import Name, PickleReader, Refused, Unfinished

MAX_OPERATIONS = 100_000_000  # COCO's captions take about a tenth


class Captions(NamedTuple):
    """What `captions.pickle` holds.

    Attributes:
      train, test: one list of word indices per caption, ten (COCO: five) captions per image.
      words: the vocabulary by index; index 0 is `<end>`.
    """

    train: list[list[int]]
    test: list[list[int]]
    words: list[str]


def load_metadata(path: storage.PathLike) -> Any:
    """The lists, dicts, strings and numbers of a pickle, of Python 2 or 3; nothing is run.

    Raises:
      UserError: the file can't be read, is damaged, or holds anything else.
    """
    try:
        data = storage.path(path).read_bytes()
        reader = PickleReader(
            _without_carriage_returns(data), names=_NUMPY_NAMES, max_operations=MAX_OPERATIONS
        )
        return reader.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {storage.strerror(error)}") from error
    except Refused as error:
        raise UserError(
            f"{path} is not read: {error}. Take the file that the released code's "
            "metadata archive holds, or that its data loader wrote"
        ) from error


def read_captions(path: storage.PathLike) -> Captions:
    """Reads `captions.pickle`: `[train, test, index -> word, word -> index]`.

    Raises:
      UserError: the file can't be read or holds something else.
    """
    value = load_metadata(path)
    if not (isinstance(value, list) and len(value) == 4 and isinstance(value[2], dict)):
        raise _unexpected(path, "[train captions, test captions, index to word, word to index]")
    words = [value[2].get(i) for i in range(len(value[2]))]
    if not words or not all(isinstance(word, str) for word in words):
        raise _unexpected(path, "words with the indices 0, 1, 2 and so on")
    train, test = (_index_lists(path, captions, len(words)) for captions in value[:2])
    return Captions(train, test, words)


def read_filenames(path: storage.PathLike) -> list[str]:
    """Reads `filenames.pickle`: image names without their ending, as `class/image`."""
    names = load_metadata(path)
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise _unexpected(path, "a list of file names")
    return names


def read_class_ids(path: storage.PathLike) -> list[int]:
    """Reads `class_info.pickle`: one class number per image, in the order of the file names."""
    ids = load_metadata(path)
    if not (isinstance(ids, list) and ids and all(map(_is_integer, ids))):
        raise _unexpected(path, "a list of class numbers")
    return [int(i) for i in ids]


def _index_lists(path, captions, vocabulary_size: int) -> list[list[int]]:
    if not isinstance(captions, list):
        raise _unexpected(path, "lists of captions")
    for caption in captions:
        if not (
            isinstance(caption, list)
            and all(map(_is_integer, caption))
            and all(0 <= i < vocabulary_size for i in caption)
        ):
            raise _unexpected(path, f"captions as lists of word indices below {vocabulary_size}")
    return captions


def _is_integer(value) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _unexpected(path, wanted: str) -> UserError:
    return UserError(f"{path} does not hold {wanted}: it is another file than its name says")


def _without_carriage_returns(data: bytes) -> bytes:
    """Mends a text pickle that was written in Windows' text mode, as the released CUB lists were.

    Only protocol 0 has no header and ends every line alike.
    """
    lines = data.count(b"\n")
    if data[:1] != b"\x80" and lines and data.count(b"\r\n") == lines:
        return data.replace(b"\r\n", b"\n")
    return data


class _Dtype(Unfinished):
    """`numpy.dtype` of numbers; its byte order comes afterwards, as a state."""

    def __init__(self, code: str, *_):
        if not re.fullmatch("[biuf][1248]", code):
            raise Refused(f"it holds NumPy values of the type {code!r}, not numbers")
        self.dtype = np.dtype(code)

    def complete(self, state) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


def _scalar(kind: _Dtype, value: str | bytes) -> np.number:
    if not isinstance(kind, _Dtype) or len(value) != kind.dtype.itemsize:
        raise Refused("it holds a NumPy scalar of another size than its type's")
    value = value.encode("latin-1") if isinstance(value, str) else value
    return np.frombuffer(value, kind.dtype).astype(kind.dtype.newbyteorder("="))[0]


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"it holds text in the encoding {encoding!r}")
    return text.encode("latin-1")


_NUMPY_NAMES = {
    Name("numpy", "dtype"): _Dtype,
    Name("numpy.core.multiarray", "scalar"): _scalar,
    Name("numpy._core.multiarray", "scalar"): _scalar,
    Name("_codecs", "encode"): _encode,
}
