"""Rows between captions and noises: their ends are the captions', and one thing moves in each."""

import jax
import numpy as np
import pytest

from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.sampling import interpolations
from attngan_jax.sampling.interpolations import NUM_STEPS
from attngan_jax.sampling.trained_model import TrainedModel, generator_variables
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask

VOCABULARY = Vocabulary(["<end>", "a", "red", "bird", "with", "blue", "wings", "green", "wing"])
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
    first, second = np.array([[3.0, 0, 0]] * 3), np.array([[0, 3.0, 0]] * 3)
    points = interpolations.arc(first, second, np.array([0, 1 / 3, 1]))
    expected = 3 * np.array([[1, 0, 0], [np.cos(np.pi / 6), np.sin(np.pi / 6), 0], [0, 1, 0]])
    np.testing.assert_allclose(points, expected, atol=1e-12)


def test_captions_are_paired_with_ones_of_as_many_words():
    rows = interpolations.caption_rows(CAPTIONS, VOCABULARY)
    assert [row.title for row in rows] == [
        "a red bird → a blue bird",
        "a bird with blue wings → a bird with green wing",
    ]
    assert rows[0].labels[0] == "0%" and rows[0].labels[-1] == "100%"
    assert (rows[0].shares[0], rows[0].shares[-1]) == (0, 1) and not rows[0].angles.any()


def test_a_swap_changes_one_word_for_other_colours():
    first, second = interpolations.swap_rows(CAPTIONS, VOCABULARY)
    assert first.title == "a […] bird" and first.labels[:4] == ("red", "green", "blue", "red")
    captions = first.captions[0]
    assert VOCABULARY.decode(captions[1]) == ["a", "green", "bird"]
    assert (captions[:, [0, 2, 3, 4, 5]] == CAPTIONS[0, [0, 2, 3, 4, 5]]).all()
    assert second.title == "a bird with […] wings"  # not the bird's colour again
    colourless = Vocabulary(["<end>", "a", "b", "c", "d", "e", "f", "g", "h"])
    assert interpolations.swap_rows(CAPTIONS, colourless) == []


@pytest.fixture(scope="module")
def trained():
    """The tiny networks as they start, with a vocabulary of eight words."""
    from tests.tiny_configs import procedural_birds

    config = procedural_birds.get_config()
    task = AttnganTask(config, len(VOCABULARY))
    damsm = jax.jit(DamsmTask(config, len(VOCABULARY)).create_train_state)(jax.random.key(0))
    state = jax.jit(task.create_train_state)(jax.random.key(1))
    variables = {
        "text": {"params": damsm.text.params},
        "image": damsm.image.variables,
        "generator": generator_variables(state),
    }
    return TrainedModel(config, VOCABULARY, task, variables, 0)


def test_the_ends_of_a_row_are_pictures_of_its_captions(trained):
    (row,) = interpolations.caption_rows(CAPTIONS[[0, 2]], VOCABULARY)
    still = {"shares": np.zeros(NUM_STEPS), "angles": np.zeros(NUM_STEPS)}
    ends = [
        interpolations.Row("captions", "", row.labels, (end, end), **still) for end in row.captions
    ]
    between, first, second = (interpolations.draw(trained, [one])[0] for one in (row, *ends))
    assert between.shape == (NUM_STEPS, 16, 16, 3) and between.dtype == np.uint8
    assert (first == first[0]).all()  # nothing moves
    np.testing.assert_allclose(between[0].astype(int), first[0], atol=1)
    np.testing.assert_allclose(between[-1].astype(int), second[0], atol=1)
    assert (first[0] != second[0]).any()


def test_rows_have_noises_of_their_own_and_the_seed_decides_them(trained):
    rows = interpolations.noise_rows(CAPTIONS[[0, 0]], VOCABULARY)
    images = interpolations.draw(trained, rows)
    assert images.shape[:2] == (2, NUM_STEPS)
    assert (images[0, 0] != images[0, -1]).any() and (images[0] != images[1]).any()
    np.testing.assert_array_equal(images, interpolations.draw(trained, rows))
