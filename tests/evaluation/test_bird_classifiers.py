"""The bird classifiers learn what they can see; their percentages in closed form."""

import jax
import numpy as np
import pytest

from attngan_jax.evaluation import bird_classifiers
from attngan_jax.evaluation.bird_classifiers import AttributeClassifier, PartSegmenter


def test_accuracy_and_chance_by_hand():
    predicted = np.array([[0, 1], [0, 1], [1, 1], [1, 1], [2, 0]])
    stated = np.array([[0, -1], [1, -1], [1, 0], [1, -1], [-1, -1]])
    result = bird_classifiers.attribute_accuracy(predicted, stated, ("crown_color", "size"))
    # Crown: seen 0 0 1 1, said 0 1 1 1; dealt out at random 1/2 * 1/4 + 1/2 * 3/4 would fit.
    assert result["crown_color"] == {"accuracy": 75.0, "chance": 50.0, "count": 4}
    assert result["size"] == {"accuracy": 0.0, "chance": 0.0, "count": 1}
    stated = np.array([[-1, 0]] * 5)  # attributes that no caption states are left out
    assert list(bird_classifiers.attribute_accuracy(predicted, stated, ("a", "size"))) == ["size"]


def test_chance_is_the_mean_over_shuffled_captions():
    rng = np.random.default_rng(0)
    seen = rng.choice(4, size=2_000, p=[0.7, 0.1, 0.1, 0.1])
    said = rng.choice(4, size=2_000, p=[0.4, 0.4, 0.1, 0.1])
    result = bird_classifiers.attribute_accuracy(seen[:, None], said[:, None], ("a",))
    shuffled = np.mean([(seen == rng.permutation(said)).mean() for _ in range(200)])
    assert abs(result["a"]["chance"] - 100 * shuffled) < 0.3


def test_the_attribute_classifier_learns_what_it_can_see():
    """Images with a red or blue square under a bright or dark edge."""
    rng = np.random.default_rng(0)
    attributes = rng.integers(0, 2, size=(120, 2))
    images = rng.integers(0, 60, size=(120, 16, 16, 3)).astype(np.uint8)
    for image, (colour, light) in zip(images, attributes):
        image[4:12, 4:12, 2 * colour] += 150
        image[:2] += 150 * light.astype(np.uint8)
    before, model = images.copy(), AttributeClassifier((2, 2))
    options = dict(batch_size=16, seed=0, flip=True)
    variables = bird_classifiers.train(model, images[:80], attributes[:80], 2e-3, 40, **options)
    np.testing.assert_array_equal(images, before)  # flips are made on copies
    predict = jax.jit(model.predict)
    predicted = predict(variables, images[80:])
    assert predicted.shape == (40, 2) and (predicted == attributes[80:]).mean() > 0.95
    blue = images[80:].copy()
    blue[..., [0, 2]] = blue[..., [2, 0]]  # red and blue change places
    assert (predict(variables, blue)[:, 0] == 1 - attributes[80:, 0]).mean() > 0.95


def test_the_part_segmenter_learns_where_things_are():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, size=(60, 16, 16, 3)).astype(np.uint8)
    part_labels = np.zeros((60, 16, 16), np.uint8)
    for image, labels in zip(images, part_labels):
        y, x = rng.integers(0, 10, size=2)
        image[y : y + 6, x : x + 6, 0] += 150
        labels[y : y + 6, x : x + 6] = 1
    model, options = PartSegmenter(3), dict(batch_size=16, seed=0)
    variables = bird_classifiers.train(model, images[:40], part_labels[:40], 4e-3, 60, **options)
    found = np.asarray(jax.jit(model.predict)(variables, images[40:]))
    assert found.shape == (20, 8, 8)
    right = bird_classifiers.compare_parts(found, part_labels[40:])["part_pixels"].mean()
    assert right > 0.93 > (part_labels[40:, ::2, ::2] == 0).mean()


@pytest.mark.parametrize("scale", [1, 2, 4])  # true label maps may be finer
def test_the_overlap_of_parts_gains_nothing_from_background(scale):
    truth = np.zeros((2, 4, 4), np.int32)
    truth[0, 0, :2], truth[1, 0, :2] = 1, 2
    larger = truth.copy()
    larger[0, 1, :2] = 1  # as many pixels too many: 2 of 4; the other part is whole

    def compare(found, truth):
        fine = truth.repeat(scale, axis=1).repeat(scale, axis=2)
        pixels, shared, either = bird_classifiers.compare_parts(found, fine).values()
        return pixels.mean(), bird_classifiers.overlap(shared, either)

    assert compare(truth, truth) == (1.0, 100.0)
    # Nothing found: seven eighths of the pixels are right, and none of the parts is.
    assert compare(0 * truth, truth) == (0.875, 0.0)
    assert compare(larger, truth) == (0.9375, 75.0) and compare(0 * truth, 0 * truth)[1] is None
