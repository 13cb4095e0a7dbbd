"""Captions as people type them: what is refused, what is warned of, what is kept."""

import logging
import tracemalloc

import ml_collections
import numpy as np
import pytest

from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.sampling import sample_captions

VOCABULARY = Vocabulary(["<end>", "a", "red", "bird", "wing"])


def encode(*captions, max_words=5, seed=0, rule="random_subset", tokenizer="ascii"):
    keys = {"eval_max_words": max_words, "overflow_rule": rule, "tokenizer": tokenizer}
    data = ml_collections.ConfigDict(keys)
    return sample_captions.encode(list(captions), VOCABULARY, data, seed)


def test_known_words_are_numbered_and_padded_unknown_ones_named_and_left_out(caplog):
    rows, lengths = encode("A red, BIRD!", "wing")
    np.testing.assert_array_equal(rows, [[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]])
    assert lengths.tolist() == [3, 1] and lengths.dtype == np.int32
    with caplog.at_level(logging.WARNING):
        rows, lengths = encode("a zebra and a red zebra")
    assert "left out: zebra, and" in caplog.text
    assert rows[0, : lengths[0]].tolist() == [1, 1, 2]


def test_a_typo_gets_a_suggestion(caplog):
    with caplog.at_level(logging.WARNING):
        encode("a red brid and a zebra")
    assert "left out: brid (did you mean bird?), and, zebra (of" in caplog.text
    with pytest.raises(UserError, match=r"this run knows: wngi \(did you mean wing\?\)"):
        encode("wngi")


def test_a_long_caption_keeps_its_order_and_the_seed_chooses(caplog):
    words = "a red bird wing a red bird wing"
    with caplog.at_level(logging.WARNING):
        rows = {tuple(encode(words, max_words=3, seed=seed)[0][0]) for seed in range(20)}
        first, _ = encode(words, max_words=3, rule="first")
    assert "has 8 words; a random 3" in caplog.text and "the first 3 of them" in caplog.text
    assert len(rows) > 1 and all(len(row) == 3 and 0 not in row for row in rows)
    assert first.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    "caption, message",
    [
        ("", "a caption is empty"),
        ("  \t ", "a caption is empty"),
        ("zebra crossing", "has no word that this run knows: it knows 4 words, such as a, red"),
        ("!!!", "has no word that this run knows"),
        ("a red \udcff bird", "is not UTF-8"),
    ],
)
def test_captions_that_cannot_be_encoded(caption, message):
    with pytest.raises(UserError, match=message) as error:
        encode("a bird", caption)
    assert "\n" not in str(error.value)
    str(error.value).encode("utf-8")  # a terminal can print it


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "holds no caption"),
        (b"\n  \n", "holds no caption"),
        (b"a bird\nred \xff\n", "is not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_captions_file_is_its_lines(content, message, tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes("\ufeffa red bird\r\n\r\n  a w\u00efng \r\n".encode())
    assert list(sample_captions.read_captions(path)) == ["a red bird", "a w\u00efng"]
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(sample_captions.read_captions(path))


def test_captions_and_lines_without_an_end_are_refused_at_once(tmp_path):
    for words in ("bird " * 3_000, "b" * 1_000_000):
        with pytest.raises(UserError, match="characters .*at most"):
            encode(words)
    path = tmp_path / "captions.txt"
    path.write_bytes(b"a bird\n" + b"a" * 60_000_000)
    with pytest.raises(UserError, match="line 2 has more than 10,000 characters"):
        list(sample_captions.read_captions(path))


def test_many_captions_are_read_one_by_one_and_not_all_are_warned_of(tmp_path, caplog):
    path = tmp_path / "captions.txt"
    path.write_text("a red zebra\n" * 5_000)
    captions = iter(sample_captions.read_captions(path))
    tracemalloc.start()
    data = ml_collections.ConfigDict(
        {"eval_max_words": 5, "overflow_rule": "first", "tokenizer": "ascii"}
    )
    encoder = sample_captions.CaptionEncoder(VOCABULARY, data, 0)
    with caplog.at_level(logging.WARNING):
        assert sum(1 for _ in map(encoder.encode, captions)) == 5_000
        encoder.say_rest()
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert caplog.text.count("zebra") == 2 * 20 and "of 4980 more captions" in caplog.text


def test_characters_that_are_no_words_are_named(caplog):
    with caplog.at_level(logging.WARNING):
        encode("a red caf\u00e9 \u9ce5 bird")
        encode("a red bird \U0001f426", tokenizer="unicode")
    assert (
        "the characters \u00e9 \u9ce5 mean nothing to this run (its words are ASCII)" in caplog.text
    )
    assert "the characters \U0001f426 mean nothing to this run (symbols" in caplog.text
    with pytest.raises(UserError, match="no word that this run knows: the characters \u9ce5 mean"):
        encode("\u9ce5")
