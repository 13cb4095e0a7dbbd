"""Rows between captions and noises: their ends are the captions', and one thing moves in each."""

import numpy as np

from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.sampling import interpolations
from attngan_jax.sampling.interpolations import STEPS
from tests.sampling.conftest import VOCABULARY

CAPTIONS = np.array(
    [
        [1, 2, 3, 0, 0, 0],
        [1, 3, 4, 5, 6, 0],
        [1, 5, 3, 0, 0, 0],
        [3, 7, 8, 0, 0, 0],
        [1, 3, 4, 7, 8, 0],
    ],
    np.int32,
)


def test_the_arc_keeps_the_length_and_divides_the_angle():
    first, last = np.array([3.0, 0, 0]), np.array([0, 3.0, 0])
    points = interpolations.arc(first, last, np.array([0, 1 / 3, 1]))
    expected = 3 * np.array([[1, 0, 0], [np.cos(np.pi / 6), np.sin(np.pi / 6), 0], [0, 1, 0]])
    np.testing.assert_allclose(points, expected, atol=1e-12)


def test_captions_are_paired_with_ones_of_as_many_words():
    rows = interpolations.caption_rows(CAPTIONS, VOCABULARY)
    assert [row.title for row in rows] == [
        "a red bird → a blue bird",
        "a bird with blue wings → a bird with green wing",
    ]
    assert rows[0].labels[0] == "0%" and rows[0].labels[-1] == "100%"
    np.testing.assert_array_equal([rows[0].first, rows[0].last], CAPTIONS[[0, 2]])


def test_a_swap_changes_one_word_for_other_colours():
    first, second = interpolations.swap_rows(CAPTIONS, VOCABULARY)
    assert first.title == "a […] bird" and first.labels[:4] == ("red", "green", "blue", "red")
    captions = first.first
    assert VOCABULARY.decode(captions[1]) == ["a", "green", "bird"]
    assert (captions[:, [0, 2, 3, 4, 5]] == CAPTIONS[0, [0, 2, 3, 4, 5]]).all()
    assert second.title == "a bird with […] wings"  # not the bird's colour again
    colourless = Vocabulary(["<end>", "a", "b", "c", "d", "e", "f", "g", "h"])
    assert interpolations.swap_rows(CAPTIONS, colourless) == []


def test_the_ends_of_a_row_are_images_of_its_captions(trained):
    (row,) = interpolations.caption_rows(CAPTIONS[[0, 2]], VOCABULARY)
    ends = [row._replace(kind="swap", last=end, first=end) for end in (row.first, row.last)]
    between, first, second = (interpolations.generate(trained, [one])[0] for one in (row, *ends))
    assert between.shape == (len(STEPS), 16, 16, 3) and between.dtype == np.uint8
    assert (first == first[0]).all()  # nothing moves
    np.testing.assert_allclose(between[0].astype(int), first[0], atol=1)
    np.testing.assert_allclose(between[-1].astype(int), second[0], atol=1)
    assert (first[0] != second[0]).any()


def test_rows_have_noises_of_their_own_by_the_seed(trained):
    rows = interpolations.noise_rows(CAPTIONS[[0, 0]], VOCABULARY)
    images = interpolations.generate(trained, rows)
    assert images.shape[:2] == (2, len(STEPS))
    assert (images[0, 0] != images[0, -1]).any() and (images[0] != images[1]).any()
    np.testing.assert_array_equal(images, interpolations.generate(trained, rows))
