"""The judge of attributes: its percentages in closed form, and that it learns."""

import numpy as np
import pytest

from attngan_jax.evaluation import bird_classifiers


def test_accuracy_and_chance_by_hand():
    predicted = np.array([[0, 1], [0, 1], [1, 1], [1, 1], [2, 0]])
    stated = np.array([[0, -1], [1, -1], [1, 0], [1, -1], [-1, -1]])
    result = bird_classifiers.attribute_accuracy(predicted, stated, ("crown_color", "size"))
    # Crown: seen 0 0 1 1, said 0 1 1 1; dealt out at random 1/2 * 1/4 + 1/2 * 3/4 would fit.
    assert result["crown_color"] == {"accuracy": 75.0, "chance": 50.0, "count": 4}
    assert result["size"] == {"accuracy": 0.0, "chance": 0.0, "count": 1}


def test_attributes_that_no_sentence_states_are_left_out():
    result = bird_classifiers.attribute_accuracy(
        np.zeros((3, 2), int), np.array([[-1, 0]] * 3), ("beak_shape", "size")
    )
    assert list(result) == ["size"]


def test_chance_is_the_mean_over_shuffled_sentences():
    rng = np.random.default_rng(0)
    seen = rng.choice(4, size=2_000, p=[0.7, 0.1, 0.1, 0.1])
    said = rng.choice(4, size=2_000, p=[0.4, 0.4, 0.1, 0.1])
    chance = bird_classifiers.attribute_accuracy(seen[:, None], said[:, None], ("a",))["a"][
        "chance"
    ]
    shuffled = np.mean([(seen == rng.permutation(said)).mean() for _ in range(200)])
    assert abs(chance - 100 * shuffled) < 0.3


@pytest.fixture(scope="module")
def toy():
    """Images with a red or blue left half and a bright or dark right half."""
    rng = np.random.default_rng(0)
    attributes = rng.integers(0, 2, size=(120, 2))
    images = rng.integers(0, 60, size=(120, 16, 16, 3)).astype(np.uint8)
    for image, (colour, light) in zip(images, attributes):
        image[4:12, 4:12, 2 * colour] += 150
        image[:2] += 150 * light.astype(np.uint8)
    return images, attributes


def test_the_judge_learns_what_it_can_see(toy):
    images, attributes = toy
    before = images.copy()
    judge = bird_classifiers.train_judge(
        images[:80], attributes[:80], (2, 2), num_steps=40, batch_size=16, seed=0
    )
    predicted = judge.predict(images[80:], batch_size=16)  # the last batch is smaller
    assert predicted.shape == (40, 2)
    assert (predicted == attributes[80:]).mean() > 0.95
    np.testing.assert_array_equal(images, before)  # flips are made on copies
    blue = images[80:].copy()
    blue[..., [0, 2]] = blue[..., [2, 0]]  # red and blue change places
    assert (judge.predict(blue)[:, 0] == 1 - attributes[80:, 0]).mean() > 0.95
