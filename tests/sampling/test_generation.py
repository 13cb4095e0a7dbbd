"""Images by a trained model: of captions, however many at a time, and in rows between them."""

import dataclasses
import types

import jax
import numpy as np
import pytest

from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.sampling import interpolations, sample_captions
from attngan_jax.sampling.interpolations import STEPS
from attngan_jax.sampling.trained_model import TrainedModel, generate_images, generator_variables
from attngan_jax.training.attngan_task import AttnganTask
from tests.reference_vectors import FORWARD, assert_close, network, normal
from tests.tiny_configs import procedural_birds
from tests.training.one_device import encoders, first_state

VOCABULARY = Vocabulary("<end> a red bird with blue wings green wing".split())
TEXTS = ("a red bird", "a bird with blue wings", "a blue bird", "bird green wing")
NUMBERS = [VOCABULARY.encode(text.split()) for text in (*TEXTS, "a bird with green wing")]
CAPTIONS = np.array([numbers + [0] * (6 - len(numbers)) for numbers in NUMBERS], np.int32)


@pytest.fixture(scope="module")
def trained():
    """The tiny networks as they start, with a vocabulary of eight words."""
    config, dataset = procedural_birds.get_config(), types.SimpleNamespace(vocabulary=VOCABULARY)
    task = AttnganTask(config, len(VOCABULARY))
    variables = encoders(config, dataset) | {"generator": generator_variables(first_state(task))}
    return TrainedModel(config, VOCABULARY, task, variables, 0)


@pytest.mark.parametrize("legacy_mask", [False, True])
@pytest.mark.parametrize("at_once", [1, 3, 4, None])
def test_a_few_examples_at_a_time(at_once, legacy_mask):
    module, variables = network("generator", legacy_mask=legacy_mask)
    B, T, C = 6, 5, module.condition_dim
    Z = variables["params"]["initial"]["dense"]["kernel"].shape[0] - C
    D = variables["params"]["conditioning"]["dense"]["kernel"].shape[0]
    shapes = {"z": (B, Z), "e": (B, C), "s": (B, D), "w": (B, T, D)}
    mask = np.arange(T)[None] < np.array([5, 1, 2, 3, 4, 5])[:, None]
    inputs = (*(normal(name, shape) for name, shape in shapes.items()), mask)
    whole = jax.jit(lambda v: module.apply(v, *inputs, train=False))(variables)
    parts = jax.jit(lambda *x: generate_images(module, *x, at_once=at_once))(variables, *inputs)
    jax.tree.map(lambda one, other: assert_close(one, other, FORWARD), parts, whole)


def test_captions_in_batches(trained):
    captions, lengths, made = np.array([[1, 2, 3, 0], [1, 3, 0, 0]]), np.array([3, 2]), []
    options = dict(seed=3, with_attention=True)
    for batch_size in (2, 4, 100):  # three batches of two, two of four, one
        config = trained.config.copy_and_resolve_references()
        config.eval.batch_size = batch_size
        model = dataclasses.replace(trained, config=config)
        made.append(sample_captions.generate(model, captions, lengths, 3, **options))
    for other in made[1:]:
        assert_close(other.sentence, made[0].sentence, FORWARD)
        for size, images in made[0].images.items():
            np.testing.assert_allclose(images.astype(int), other.images[size], atol=1)
    images = made[0].images[16]
    assert images.shape == (6, 16, 16, 3) and images.dtype == np.uint8
    assert made[0].images.keys() == {8, 16} and made[0].attention[16].shape == (6, 8, 8, 4)
    assert (images[0] != images[1]).any() and (images[0] != images[3]).any()
    other_seed = sample_captions.generate(trained, captions, lengths, 3, seed=4)
    assert (other_seed.images[16] != images).any() and not other_seed.attention


def test_the_arc_keeps_the_length_and_divides_the_angle():
    first, last = np.array([3.0, 0, 0]), np.array([0, 3.0, 0])
    points = interpolations.arc(first, last, np.array([0, 1 / 3, 1]))
    expected = 3 * np.array([[1, 0, 0], [np.cos(np.pi / 6), np.sin(np.pi / 6), 0], [0, 1, 0]])
    np.testing.assert_allclose(points, expected, atol=1e-12)


def test_captions_are_paired_with_ones_of_as_many_words():
    rows = interpolations.caption_rows(CAPTIONS, VOCABULARY)
    titles = "a red bird → a blue bird", "a bird with blue wings → a bird with green wing"
    assert tuple(row.title for row in rows) == titles
    assert rows[0].labels[0] == "0%" and rows[0].labels[-1] == "100%"
    np.testing.assert_array_equal([rows[0].first, rows[0].last], CAPTIONS[[0, 2]])
    assert (STEPS[0], STEPS[-1]) == (0, 1)


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
