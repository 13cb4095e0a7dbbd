"""Captions with one describing word exchanged."""

import numpy as np
import pytest

from attngan_jax.data import swapped_words
from attngan_jax.data.swapped_words import WordSwapper
from attngan_jax.data.vocabulary import Vocabulary

WORDS = "a bird with red crimson blue grey gray wings and long short beak pointed small large"
VOCABULARY = Vocabulary(["<end>", *WORDS.split()])


def row(text):
    numbers = VOCABULARY.encode(text.split())
    return np.array(numbers + [0] * (12 - len(numbers)), np.int32)


def swapped(text, count, seed=0, **options):
    swap = WordSwapper(VOCABULARY, **options)
    copies = swap(row(text), count, np.random.default_rng(seed))
    assert copies.dtype == np.int32 and copies.shape == (count, 12)
    return [" ".join(VOCABULARY.decode(copy)) for copy in copies]


def test_one_word_becomes_another_of_its_kind():
    caption = "a bird with red wings and long beak"
    reached = {copy for seed in range(50) for copy in swapped(caption, 2, seed)}
    assert reached == {
        "a bird with blue wings and long beak",
        "a bird with grey wings and long beak",
        "a bird with red wings and short beak",
    }


def test_synonyms_are_not_exchanged_for_each_other():
    reached = {copy for seed in range(50) for copy in swapped("a gray bird", 1, seed)}
    assert reached == {"a red bird", "a blue bird"}


def test_each_copy_exchanges_another_word_while_there_are_any():
    for seed in range(20):
        copies = swapped("red wings and long beak", 2, seed)
        assert {copy.split()[0] == "red" for copy in copies} == {True, False}


def test_few_colors_leaves_the_last_copy_for_them():
    caption, changed = "small red wings and long beak", []
    for seed in range(40):
        *first, last = swapped(caption, 3, seed, few_colors=True)
        assert sorted(first) == ["large red wings and long beak", "small red wings and short beak"]
        changed.append("red" not in last.split())
        alone = swapped(caption, 1, seed, few_colors=True)  # the first is the last
        assert alone == swapped(caption, 1, seed)
    assert 5 < sum(changed) < 35
    first = swapped("red wings and long beak", 3, few_colors=True)[:2]
    assert first == ["red wings and short beak"] * 2
    assert "red wings" not in swapped("red wings", 3, few_colors=True)


@pytest.mark.parametrize("caption", ["a bird with wings", "a pointed beak", ""])
def test_a_caption_without_an_exchangeable_word_stays(caption):
    assert swapped(caption, 3) == [caption] * 3  # no other shape than pointed is known here


def test_no_word_stands_in_two_places():
    words = [word for kind in swapped_words.KINDS for group in kind for word in group.split()]
    assert len(words) == len(set(words))
