"""The pointing game on maps and masks whose answer is known."""

import jax
import numpy as np
import pytest

from attngan_jax.data.birds.captions import PART_WORDS
from attngan_jax.data.birds.species import PARTS
from attngan_jax.evaluation.metrics import pointing_game

CROWN, WING, BELLY = (PARTS.index(part) + 1 for part in ("crown", "wing", "belly"))


def test_words_of_the_captions_name_their_parts():
    spoken = {word for nouns in PART_WORDS.values() for noun in nouns for word in noun.split()}
    for part, words in pointing_game.WORDS.items():
        assert part in PARTS and set(words) <= spoken, part
    labels = pointing_game.labels_of_words(["<end>", "red", "wings", "head", "belly"])
    assert labels.tolist() == [0, 0, WING, CROWN, BELLY]


def play():
    """One caption "red crown wings belly" on a 4 x 4 image, with maps of 2 x 2 cells."""
    part_labels = np.zeros((1, 4, 4), np.int32)
    part_labels[0, 0, :2] = CROWN  # in the upper left cell
    part_labels[0, 2:, 1:3] = WING  # in both lower cells
    part_labels[0, 0, 3] = BELLY  # in the upper right cell
    word_labels = np.array([[0, CROWN, WING, BELLY]])
    maps = np.zeros((1, 4, 2, 2), np.float32)
    maps[0, 1, 0, 0] = 1  # crown: hits
    maps[0, 2, 1, 1] = 1  # wing: hits
    maps[0, 3, 1, 0] = 1  # belly: peaks on the wing
    return word_labels, jax.device_get(pointing_game.pointing_game(maps, word_labels, part_labels))


def test_hits_chance_and_other_words_by_hand():
    _, game = play()
    assert game["hit"][0, 1:].tolist() == [True, True, False]
    np.testing.assert_allclose(game["chance"][0, 1:], [0.25, 0.5, 0.25])
    # In the crown peaks neither wing nor belly; in the wing peaks the belly; in the belly none.
    np.testing.assert_allclose(game["other_words"][0, 1:], [0.0, 0.5, 0.0])


def test_the_result_is_a_mean_over_words():
    word_labels, game = play()
    twice = jax.tree.map(lambda x: np.concatenate([x, x]), (word_labels, game))
    result = pointing_game.summarise(*twice)
    assert result["count"] == 6 and result["mean"] == pytest.approx(200 / 3)
    assert result["chance"] == pytest.approx(100 / 3)
    assert result["other_words"] == pytest.approx(50 / 3)
    assert result["wing"] == {"accuracy": 100.0, "chance": 50.0, "other_words": 50.0, "count": 2}
    assert result["belly"]["accuracy"] == 0.0 and "beak" not in result


def test_cells_that_do_not_divide_the_image():
    part_labels = np.zeros((1, 5, 5), np.int32)
    part_labels[0, 4, 4] = WING
    maps = np.zeros((1, 1, 2, 2), np.float32)
    maps[0, 0, 1, 1] = 1
    game = pointing_game.pointing_game(maps, np.array([[WING]]), part_labels)
    assert bool(game["hit"][0, 0]) and float(game["chance"][0, 0]) == 0.25
    assert np.isnan(game["other_words"][0, 0])
