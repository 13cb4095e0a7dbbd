"""The shipped judges are as good as their record says, and are not taken in by noise."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax.data.birds.species import ATTRIBUTES
from attngan_jax.data.procedural_birds import ProceduralBirds
from attngan_jax.data.vocabulary import END, Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.evaluation.judges import files, scoring
from attngan_jax.evaluation.metric_blocks import judge_statistics
from attngan_jax.evaluation.metrics import fid_kid, r_precision
from tests.evaluation.judges import birds as drawn

NUM_BIRDS = 160


@pytest.fixture(scope="module")
def judges():
    return files.load()


@pytest.fixture(scope="module")
def birds():
    return drawn.draw(NUM_BIRDS, seed=5)


@pytest.fixture(scope="module")
def see(judges):
    """`scoring.see` of any images, as NumPy arrays."""
    function = jax.jit(scoring.see)
    return lambda images: jax.device_get(function(judges.variables, images))


@pytest.fixture(scope="module")
def seen(see, birds):
    return see(birds.images)


def batch_of(captions, vocabulary, width=20):
    """`caption` and `caption_length` as a run's batches have them."""
    numbers = [vocabulary.encode(words) for words in captions]
    caption = np.array([row + [0] * (width - len(row)) for row in numbers], np.int32)
    return {"caption": caption, "caption_length": np.array([len(row) for row in numbers])}


@pytest.fixture(scope="module")
def read(judges):
    """`scoring.read` of captions in the words of a vocabulary."""
    function = jax.jit(scoring.read)

    def call(captions, vocabulary):
        numbers = judges.word_numbers(vocabulary)
        return np.asarray(function(judges.variables, batch_of(captions, vocabulary), numbers))

    return call


def test_the_attributes_of_unseen_birds_are_recognised_as_often_as_recorded(judges, birds, seen):
    right = (seen["seen_attributes"] == birds.attributes).mean(0)
    recorded = judges.record["real_test_images"]["attributes"]
    for name, share in zip(ATTRIBUTES, right):
        expected = recorded[name] / 100
        deviation = np.sqrt(expected * (1 - expected) / NUM_BIRDS)
        assert abs(share - expected) < 0.02 + 3 * deviation, name
    assert recorded["beak_color"] > 95 and recorded["beak_length"] > 90
    assert recorded["crown_color"] > 98


def test_the_parts_of_unseen_birds_are_found_as_well_as_recorded(judges, birds, seen):
    compared = jax.device_get(scoring.compare_parts(seen["seen_parts"], birds.part_labels))
    recorded = judges.record["real_test_images"]
    assert abs(100 * compared["part_pixels"].mean() - recorded["part_pixels_right"]) < 1
    overlap = scoring.overlap(compared["part_shared"], compared["part_either"])
    assert abs(overlap - recorded["part_overlap"]) < 3


def test_parts_are_present_on_birds_and_neither_on_noise_nor_on_nothing(judges, see, seen):
    shares = scoring.part_presence(seen["seen_pixels"], judges.part_pixels)
    assert shares.keys() == {"head", "body", "wing", "tail", "beak", "eye", "legs"}
    assert min(shares.values()) > 93
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    blank = np.full((40, 64, 64, 3), 128, np.uint8)
    for images in (noise, blank):
        shares = scoring.part_presence(see(images)["seen_pixels"], judges.part_pixels)
        assert np.mean(list(shares.values())) < 20, shares


def test_noise_and_scrambled_birds_are_far_from_birds(birds, see, seen):
    real, others = np.split(seen["judge_features"], 2)
    compare = functools.partial(judge_statistics, keep=1_000)
    _, floor = fid_kid.distances(compare(others), compare(real))
    noise = np.random.default_rng(0).integers(0, 256, (80, 64, 64, 3), dtype=np.uint8)
    upside_down = birds.images[80:, ::-1]
    for images in (noise, upside_down):
        _, kid = fid_kid.distances(compare(see(images)["judge_features"]), compare(real))
        assert kid["low"] > 20 * abs(floor["value"])


def test_birds_find_their_own_captions(judges, birds, seen, read):
    sentences = read(birds.captions, judges.vocabulary)
    protocol = r_precision.Protocol("own", NUM_BIRDS, 100, NUM_BIRDS, "image", False)
    identity = np.arange(NUM_BIRDS)

    def score(images):
        pairs = r_precision.Pairs(images, sentences, identity, identity)
        return r_precision.score(pairs, protocol, 0)["mean"]

    recorded = judges.record["real_test_images"]["r_precision"]["mean"]
    assert abs(score(seen["matched_image"]) - recorded) < 8 and recorded > 88
    assert score(np.roll(seen["matched_image"], 1, axis=0)) < 10


def test_a_run_may_number_the_words_otherwise(judges, birds, read):
    own = judges.vocabulary.words
    other = Vocabulary((END, "zyzzyva", *reversed(own[1:])))
    numbers = judges.word_numbers(other)
    assert numbers[0] == numbers[1] == 0 and numbers[2] == len(own) - 1
    captions = birds.captions[:6]
    # A word that the matcher does not know is as if it were not there, wherever it stands.
    with_unknown = [[*words[:i], "zyzzyva", *words[i:]][:20] for i, words in enumerate(captions)]
    without = [[word for word in words if word != "zyzzyva"] for words in with_unknown]
    np.testing.assert_allclose(
        read(with_unknown, other), read(without, judges.vocabulary), atol=1e-5
    )
    difference = read(without, judges.vocabulary)[0] - read(without[1:], judges.vocabulary)[0]
    assert np.abs(difference).max() > 0.1


@pytest.mark.parametrize("size", [128, 32])
def test_images_of_another_size_are_judged_at_64_pixels(size, birds, see, seen):
    images = drawn.draw(NUM_BIRDS, seed=5, size=size).images
    agreed = see(images)["seen_attributes"] == seen["seen_attributes"]
    assert agreed[:, :5].mean() > (0.97 if size > 64 else 0.9)


def test_the_judges_are_of_the_version_of_the_dataset(judges, monkeypatch):
    version = str(ProceduralBirds.VERSION)
    assert files.load_for("procedural_birds", version).record == judges.record
    with pytest.raises(UserError, match="of procedural_birds 1.0.0, and this is version 9.9.9"):
        files.load_for("procedural_birds", "9.9.9")
    with pytest.raises(UserError, match="judges for procedural_birds alone, which cub is not"):
        files.load_for("cub", "1.0.0")


def test_files_that_are_damaged_or_of_others_are_refused(tmp_path, judges):
    files.save(tmp_path, judges)
    again = files.load(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, again.variables, dict(judges.variables))
    assert again.part_pixels == judges.part_pixels and again.vocabulary == judges.vocabulary
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size < 12e6
    (tmp_path / "parts.safetensors").write_bytes((tmp_path / "matching.safetensors").read_bytes())
    with pytest.raises(UserError, match="parts.safetensors is not the file that judges.json"):
        files.load(tmp_path)
    record = json.loads((tmp_path / "judges.json").read_text())
    del record["vocabulary"]
    (tmp_path / "judges.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="judges.json is missing or damaged"):
        files.load(tmp_path)


def test_accuracy_and_chance_by_hand():
    predicted = np.array([[0, 1], [0, 1], [1, 1], [1, 1], [2, 0]])
    stated = np.array([[0, -1], [1, -1], [1, 0], [1, -1], [-1, -1]])
    result = scoring.attribute_accuracy(predicted, stated, ("crown_color", "size"))
    # Crown: seen 0 0 1 1, said 0 1 1 1; dealt out at random 1/2 * 1/4 + 1/2 * 3/4 would fit.
    assert result["crown_color"] == {"accuracy": 75.0, "chance": 50.0, "count": 4}
    assert result["size"] == {"accuracy": 0.0, "chance": 0.0, "count": 1}
    stated = np.array([[-1, 0]] * 5)  # attributes that no caption states are left out
    assert list(scoring.attribute_accuracy(predicted, stated, ("a", "size"))) == ["size"]


def test_chance_is_the_mean_over_shuffled_captions():
    rng = np.random.default_rng(0)
    seen = rng.choice(4, size=2_000, p=[0.7, 0.1, 0.1, 0.1])
    said = rng.choice(4, size=2_000, p=[0.4, 0.4, 0.1, 0.1])
    result = scoring.attribute_accuracy(seen[:, None], said[:, None], ("a",))
    shuffled = np.mean([(seen == rng.permutation(said)).mean() for _ in range(200)])
    assert abs(result["a"]["chance"] - 100 * shuffled) < 0.3


def test_usual_pixels_and_presence_by_hand():
    counts = np.tile(np.arange(1, 101)[:, None], (1, len(scoring.PRESENT)))
    usual = scoring.usual_pixels(counts)
    assert set(usual.values()) == {(2, 99)}
    assert scoring.part_presence(counts, usual)["eye"] == 98.0
    assert set(scoring.usual_pixels(0 * counts).values()) == {(1, 0)}  # nothing can be present


@pytest.mark.parametrize("scale", [1, 2, 4])  # true label maps may be finer
def test_the_overlap_of_parts_gains_nothing_from_background(scale):
    truth = np.zeros((2, 4, 4), np.int32)
    truth[0, 0, :2], truth[1, 0, :2] = 1, 2
    larger = truth.copy()
    larger[0, 1, :2] = 1  # as many pixels too many: 2 of 4; the other part is whole

    def compare(found, truth):
        fine = truth.repeat(scale, axis=1).repeat(scale, axis=2)
        pixels, shared, either = scoring.compare_parts(jnp.array(found), fine).values()
        return pixels.mean(), scoring.overlap(shared, either)

    assert compare(truth, truth) == (1.0, 100.0)
    # Nothing found: seven eighths of the pixels are right, and none of the parts is.
    assert compare(0 * truth, truth) == (0.875, 0.0)
    assert compare(larger, truth) == (0.9375, 75.0) and compare(0 * truth, 0 * truth)[1] is None
