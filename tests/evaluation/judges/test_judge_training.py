"""Augmentation keeps images and label maps together; the judges learn; the command's record."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.evaluation.judges import files, networks, training


def blocks(rng, count=24, size=16):
    """Images with a bright red square somewhere, the label maps of it, and whether it is high."""
    images = rng.integers(0, 60, size=(count, size, size, 3)).astype(np.uint8)
    labels = np.zeros((count, size, size), np.uint8)
    for image, own in zip(images, labels):
        y, x = rng.integers(2, size - 8, size=2)
        image[y : y + 6, x : x + 6, 0] = 250
        own[y : y + 6, x : x + 6] = 1
    return images, labels


def test_crops_and_flips_move_labels_as_they_move_pixels():
    images, labels = blocks(np.random.default_rng(0))
    augment = jax.jit(training.augment)
    changed, moved = augment(images, labels, jax.random.key(0))
    again, _ = augment(images, labels, jax.random.key(1))
    assert changed.shape == images.shape and moved.shape == labels.shape
    assert np.abs(changed - again).max() > 0.5
    red = np.asarray(changed[..., 0]) > 0.2
    assert (red == (moved == 1)).mean() > 0.97 and (moved == 1).sum() > 24 * 25
    assert (np.asarray(moved) != labels).any((1, 2)).mean() > 0.4


def test_space_to_depth_loses_nothing():
    x = jnp.arange(2 * 8 * 4 * 3.0).reshape(2, 8, 4, 3)
    folded = networks.space_to_depth(x)
    assert folded.shape == (2, 4, 2, 12)
    np.testing.assert_array_equal(folded[1, 2, 1, :3], x[1, 4, 2])
    np.testing.assert_array_equal(networks.depth_to_space(folded), x)


def test_a_segmenter_learns_where_things_are():
    rng = np.random.default_rng(0)
    images, labels = blocks(rng, 80)
    data = {"images": images[:60], "part_labels": labels[:60]}
    model = networks.PartSegmenter(2, (8, 8, 8))
    options = dict(learning_rate=1e-2, num_steps=40, batch_size=16, seed=0)
    variables = training.train(model, data, **options)
    x = jnp.float32(images[60:]) / 127.5 - 1
    found = np.asarray(model.apply(variables, x, train=False)).argmax(-1)
    assert found.shape == (20, 16, 16)
    assert (found == labels[60:]).mean() > 0.96 > (labels[60:] == 0).mean()


@pytest.mark.slow
def test_all_three_are_trained_saved_and_described(tiny_config, tiny_dataset, tmp_path):
    """A few steps on the tiny dataset: what comes out is whole, though no judge of anything."""
    tiny_config.eval.update(judge_steps=2, part_judge_steps=3, judge_batch_size=8)
    judges = training.train_judges(tiny_dataset, tiny_config, "the command")
    files.save(tmp_path, judges)
    again = files.load(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, again.variables, dict(judges.variables))
    record = again.record
    assert record["command"] == "the command" and record["seed"] == tiny_config.seed
    assert record["steps"] == {"attributes": 2, "parts": 3, "matching": 3}
    assert record["batch_size"] == {"attributes": 8, "parts": 4, "matching": 8}
    assert record["dataset"]["version"] == "1.0.0"
    assert record["dataset"]["config"] == tiny_dataset.folder.parts[-2]
    assert record["real_test_images"]["images"] == len(tiny_dataset.test)
    assert again.vocabulary == tiny_dataset.vocabulary
