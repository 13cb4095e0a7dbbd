import pytest

from attngan_jax.data.vocabulary import END, Vocabulary, dropped_characters, tokenise
from attngan_jax.errors import UserError
from tests.made_up_sources import vocabulary_of


@pytest.mark.parametrize(
    "text, words",
    [
        ("This Bird, is RED.", ["this", "bird", "is", "red"]),
        ("a blue\ufffd\ufffdgray wing", ["a", "blue", "gray", "wing"]),
        ("a blue\ufffdgray wing", ["a", "blue", "gray", "wing"]),  # one alone is no letter either
        ("the bird's black-and-white tail", ["the", "bird", "s", "black", "and", "white", "tail"]),
        ("na\u00efve \u9ce5 caf\u00e9_2", ["nave", "caf_2"]),
        (" ... ", []),
    ],
)
def test_tokenise(text, words):
    assert tokenise(text) == words


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "L'\u00e9t\u00e9, na\u00efve caf\u00e9_2",
            ["l", "\u00e9t\u00e9", "na\u00efve", "caf\u00e9_2"],
        ),
        ("e\u0301te\u0301", ["\u00e9t\u00e9"]),  # composed
        (
            "\u8fd93\u53ea\u5c0f\u9e1f\uff0cT\u6064",
            ["\u8fd9", "3", "\u53ea", "\u5c0f", "\u9e1f", "t", "\u6064"],
        ),
        ("\uff34\u6064 \uff76", ["t", "\u6064", "\u30ab"]),  # wide and narrow forms
        (
            "\u0637\u0627\u0626\u0631 \u0623\u062d\u0645\u0631",
            ["\u0637\u0627\u0626\u0631", "\u0623\u062d\u0645\u0631"],
        ),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            ["\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"],
        ),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902",
            ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u092e\u0947\u0902"],
        ),
        ("\u0e2a\u0e35\u0e41\u0e14\u0e07", ["\u0e2a\u0e35", "\u0e41", "\u0e14", "\u0e07"]),
        ("\uc0c8\uac00 \ube68\uac04", ["\uc0c8\uac00", "\ube68\uac04"]),
        ("\u2764\ufe0f \U0001f426 bird \u0301", ["bird"]),
        ("a blue\ufffd\ufffdgray wing", ["a", "blue", "gray", "wing"]),
    ],
)
def test_words_of_any_language(text, words):
    assert tokenise(text, "unicode") == words
    assert tokenise(" ".join(words), "unicode") == words


def test_both_rules_treat_ascii_alike():
    text = "".join(map(chr, range(128))) + " The bird's black-and-white _tail_ 2.5"
    assert tokenise(text, "unicode") == tokenise(text) == tokenise(text, "ascii")


def test_characters_that_a_rule_drops():
    text = "a caf\u00e9, \u9ce5 \U0001f426 \u2014 blue\ufffd\ufffdgray"
    assert dropped_characters(text, "ascii") == ["\u00e9", "\u9ce5", "\U0001f426"]
    assert dropped_characters(text, "unicode") == ["\U0001f426"]
    assert dropped_characters("plain $5 + tax", "ascii") == []


def test_words_are_numbered_as_first_seen():
    vocabulary = vocabulary_of(["the red bird", "a red wing", "The bird has a wing"])
    assert vocabulary.words == (END, "the", "red", "bird", "a", "wing", "has")
    assert len(vocabulary) == 7
    assert vocabulary.encode(tokenise("A bird, a wing")) == [4, 3, 4, 5]


def test_unknown_words_are_dropped_and_named():
    vocabulary = Vocabulary([END, "a", "bird"])
    words = ["a", "purple", "bird", "purple", "sky", END]
    assert vocabulary.encode(words) == [1, 2]
    assert vocabulary.unknown(words) == ["purple", "sky", END]
    assert vocabulary.decode([1, 2, 0, 0]) == ["a", "bird"]


def test_save_and_load(tmp_path):
    vocabulary = Vocabulary([END, "bird", "a"])
    vocabulary.save(tmp_path / "vocabulary.txt")
    assert (tmp_path / "vocabulary.txt").read_bytes() == b"<end>\nbird\na\n"
    assert Vocabulary.load(tmp_path / "vocabulary.txt") == vocabulary
    assert [path.name for path in tmp_path.iterdir()] == ["vocabulary.txt"]


@pytest.mark.parametrize(
    "content, complaint",
    [
        (None, "vocabulary.txt cannot be read"),
        (b"", "does not start with"),
        (b"bird\na\n", "does not start with"),
        (b"<end>\nbird\n\nwing\n", "line 3"),
        (b"<end>\nbird\nred wing\n", "line 3"),
        (b"<end>\nbird\nwing\nbird\n", "'bird' twice"),
        (b"<end>\n\xff\xfe\n", "not UTF-8"),
    ],
)
def test_a_missing_or_broken_file_is_refused(tmp_path, content, complaint):
    if content is not None:
        (tmp_path / "vocabulary.txt").write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        Vocabulary.load(tmp_path / "vocabulary.txt")
