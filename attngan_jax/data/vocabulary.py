"""Captions to word numbers: two tokenisers, and the released code's order of words."""

import difflib
import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from attngan_jax import plain_files, storage
from attngan_jax.errors import UserError

MAX_CHARACTERS = 10_000  # of a caption
END = "<end>"  # word 0, which is also the padding

_WORD = re.compile(r"\w+")
_BROKEN_CHARACTER = "\ufffd\ufffd"  # what CUB's captions hold in place of some spaces
_UNSPACED = (  # scripts without spaces between words: first and last code
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # Chinese and Japanese: the signs for repetition and zero,
    (0x3021, 0x30FF),  # kana,
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # and ideographs
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)
_MAX_CORRECTED = 40  # letters of a word that a known one is suggested for


def tokenise(text: str, tokenizer: str = "ascii") -> list[str]:
    """Splits `text` into words by `config.data.tokenizer`, which treat ASCII text alike.

    "ascii" is the released code's rule (its `datasets.py`, `load_captions`). A pair of U+FFFD
    becomes a space. The rest is lower-cased and split at everything that is no letter, digit or
    underscore; then characters outside ASCII are dropped from each word.

    "unicode" keeps letters and digits of all scripts with their marks, in Unicode's form NFC. Of
    scripts that are written without spaces each character is a word, with its marks.
    """
    text = text.replace(_BROKEN_CHARACTER, " ")
    if text.isascii() or tokenizer == "ascii":
        words = _WORD.findall(text.lower())
        return [kept for word in words if (kept := word.encode("ascii", "ignore").decode("ascii"))]
    return _unicode_words(text)


def _unicode_words(text: str) -> list[str]:
    words: list[str] = []
    before = ""  # the kind of the character before, of those that are not passed over
    # NFKC makes one letter of a wide "A" and "A".
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    for character in text:
        kind = _kind(character)
        if kind == _INVISIBLE:
            continue
        if kind == _MARK:
            if before:
                words[-1] += character
            continue  # still the same word
        if kind == before == _LETTER:
            words[-1] += character
        elif kind:
            words.append(character)
        before = kind
    return words


_LETTER, _ALONE, _MARK, _INVISIBLE = "letter", "alone", "mark", "invisible"


@functools.lru_cache(maxsize=2**16)
def _kind(character: str) -> str:
    """What a character is to a word; "" for what divides words."""
    category = unicodedata.category(character)
    if category[0] in "LN" or character == "_":
        code = ord(character)
        return _ALONE if any(first <= code <= last for first, last in _UNSPACED) else _LETTER
    return {"M": _MARK}.get(category[0], _INVISIBLE if category == "Cf" else "")


def dropped_characters(text: str, tokenizer: str) -> list[str]:
    """The characters of `text` that mean something and are in none of its words, as they come.

    By "ascii" these are letters, digits and symbols outside ASCII; by "unicode" symbols, such as
    emoji.
    """
    if text.isascii():
        return []
    text = unicodedata.normalize("NFC", text.replace(_BROKEN_CHARACTER, " "))
    meant = "LNMS" if tokenizer == "ascii" else "S"
    return [
        character
        for character in text
        if not character.isascii()
        and character != _BROKEN_CHARACTER[0]
        and unicodedata.category(character)[0] in meant
    ]


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
        if len(word) > _MAX_CORRECTED:  # the search takes the square of it
            return None
        return next(iter(difflib.get_close_matches(word, self.words[1:], n=1, cutoff=0.75)), None)

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The words of a padded row of numbers, without the padding."""
        return [self.words[number] for number in numbers if number]

    @property
    def content(self) -> bytes:
        """What `save` writes."""
        return ("\n".join(self.words) + "\n").encode("utf-8")

    def save(self, path: storage.PathLike) -> None:
        """Writes one word a line; the file appears whole or not at all."""
        storage.write_bytes(storage.path(path), self.content)

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
