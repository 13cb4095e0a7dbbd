import pytest

from attngan_jax.data.vocabulary import END, Vocabulary, tokenise
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
