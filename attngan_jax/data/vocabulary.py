"""Captions to word numbers: the released code's tokeniser and its order of words."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from attngan_jax import plain_files, storage
from attngan_jax.errors import UserError

END = "<end>"  # word 0, which is also the padding

_WORD = re.compile(r"\w+")
_BROKEN_CHARACTER = "\ufffd\ufffd"  # what CUB's captions hold in place of some spaces


def tokenise(text: str) -> list[str]:
    """Splits `text` into words by the released code's rule (its `datasets.py`, `load_captions`).

    A pair of U+FFFD becomes a space. The rest is lower-cased and split at everything that is no
    letter, digit or underscore; then characters outside ASCII are dropped from each word.
    """
    words = _WORD.findall(text.replace(_BROKEN_CHARACTER, " ").lower())
    return [kept for word in words if (kept := word.encode("ascii", "ignore").decode("ascii"))]


class Vocabulary:
    """Words and their numbers. Number 0 is `<end>`, the others count in the order given."""

    def __init__(self, words: Sequence[str]):
        """`words` in order, with `<end>` first and none twice."""
        if not words or words[0] != END or len(set(words)) != len(words):
            raise ValueError(f"a vocabulary starts with {END!r} and holds no word twice")
        self.words = tuple(words)
        self._index = {word: i for i, word in enumerate(self.words)}
        del self._index[END]  # a caption that spells out "<end>" must not end there

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], min_count: int = 1) -> "Vocabulary":
        """The words that occur at least `min_count` times, in the order of `counts`."""
        return cls([END, *(word for word, count in counts.items() if count >= min_count)])

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def encode(self, words: Iterable[str]) -> list[int]:
        """The numbers of the known words; the others, which `unknown` lists, are dropped."""
        return [self._index[word] for word in words if word in self._index]

    def unknown(self, words: Iterable[str]) -> list[str]:
        """The words that `encode` drops, each once."""
        return list(dict.fromkeys(word for word in words if word not in self._index))

    def closest(self, word: str) -> str | None:
        """The known word that an unknown one is probably a misspelling of."""
        return next(iter(difflib.get_close_matches(word, self.words[1:], n=1, cutoff=0.75)), None)

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The words of a padded row of numbers, without the padding."""
        return [self.words[number] for number in numbers if number]

    def save(self, path: storage.PathLike) -> None:
        """Writes one word a line; the file appears whole or not at all."""
        storage.write_text(storage.path(path), "\n".join(self.words) + "\n")

    @classmethod
    def load(cls, path: storage.PathLike) -> "Vocabulary":
        """Reads what `save` wrote; `UserError` if it is missing or not a vocabulary."""
        where, repair = f"the vocabulary {path}", "build the dataset again or restore the file"
        try:
            words = plain_files.read_text(storage.path(path)).splitlines()
        except OSError as error:
            raise UserError(f"{where} cannot be read ({storage.strerror(error)})") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{where} is not UTF-8; {repair}") from error
        if not words or words[0] != END:
            raise UserError(f"{where} does not start with the line {END}; {repair}")
        for i, word in enumerate(words[1:], start=2):
            if word.split() != [word]:
                raise UserError(f"line {i} of {where} is not one word: {word!r}")
        if repeated := [word for word, count in Counter(words).items() if count > 1]:
            raise UserError(f"{where} holds the word {repeated[0]!r} twice")
        return cls(words)
