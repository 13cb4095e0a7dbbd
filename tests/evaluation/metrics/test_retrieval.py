"""R-precision and retrieval of embeddings whose answer is known."""

import dataclasses

import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.evaluation.metric_blocks import r_precision_protocol
from attngan_jax.evaluation.metrics import r_precision, retrieval
from attngan_jax.evaluation.metrics.r_precision import Pairs, Protocol
from configs import default, procedural_birds

N, D = 300, 16
NO_CLASSES = np.full(N, -1)
IMAGES = np.arange(N)
RULES = ("image", 0, "image"), ("class", 4, "class"), ("class", 0, "image")  # asked, applied
OWN = Protocol("own", N, 100, 10, "class", False)


def hits(images, sentences, class_ids=None, *, seed=0, **changes):
    """By default without classes, each caption of another image."""
    numbers = np.arange(len(images))
    class_ids = np.full(len(images), -1) if class_ids is None else class_ids
    pairs = Pairs(*(np.asarray(x, np.float32) for x in (images, sentences)), class_ids, numbers)
    return r_precision.retrieval_hits(pairs, dataclasses.replace(OWN, **changes), seed)


def mismatching(class_ids, image_ids, n, count, seed=0, **changes):
    """Positions of `count` captions that compete with the n-th one."""
    pairs = Pairs(None, None, np.asarray(class_ids), np.asarray(image_ids))
    protocol = dataclasses.replace(OWN, num_candidates=count + 1, **changes)
    return r_precision.draw_mismatching(pairs, n, protocol, seed)


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(N, D))


def test_images_that_equal_their_captions_are_all_found_and_opposite_ones_never(vectors):
    scale = np.linspace(0.01, 100, N)[:, None]  # length does not matter: the cosine decides
    assert hits(vectors, scale * vectors).all()
    assert not hits(-vectors, vectors).any()
    one_point = np.repeat(vectors[:1], N, axis=0)  # ties count as errors
    assert not hits(vectors, one_point).any() and not hits(one_point, one_point).any()


def test_unrelated_embeddings_are_found_by_chance():
    found = hits(*np.random.default_rng(1).normal(size=(2, 4_000, D)))
    assert abs(found.mean() - 0.01) < 4 * np.sqrt(0.01 * 0.99 / 4_000)


def test_known_answer_by_hand():
    # Image 0 is nearest to caption 0; image 1 to caption 2; image 2 to caption 1.
    found = hits([[1, 0], [0, 1], [1, 1]], [[1, 0.1], [1, 0.9], [0, 1]], num_candidates=3)
    assert found.tolist() == [True, False, False]


def test_captions_of_the_same_class_do_not_compete(vectors):
    class_ids = IMAGES % 3
    images = vectors[(IMAGES + 3) % N]  # nearest to another caption of the same class (N % 3 == 0)
    alone = hits(images, vectors, class_ids, num_candidates=201)
    norms = np.linalg.norm(vectors, axis=1)
    cosines = images @ vectors.T / norms[(IMAGES + 3) % N, None] / norms
    of_others = np.where(class_ids[:, None] != class_ids, cosines, -1).max(1)
    assert alone.tolist() == (cosines.diagonal() > of_others).tolist() and alone.any()
    assert not hits(images, vectors, num_candidates=N).any()


@pytest.mark.parametrize(
    "class_ids, image_ids, n, mismatch, count, pool",
    [
        ([-1] * 5, [0, 0, 1, 2, 3], 0, "class", 3, {2, 3, 4}),  # without classes: other images
        ([-1] * 5, [0, 0, 1, 2, 3], 2, "class", 3, {0, 1, 3, 4}),
        ([0, 0, 0, 1, 1], [0, 0, 1, 2, 3], 0, "class", 2, {3, 4}),
        ([0, 0, 0, 1, 1], [0, 0, 1, 2, 3], 0, "image", 2, {2, 3, 4}),
    ],
)
def test_where_mismatching_captions_come_from(class_ids, image_ids, n, mismatch, count, pool):
    rule = {"mismatch": mismatch}
    drawn = [mismatching(class_ids, image_ids, n, count, seed, **rule) for seed in range(50)]
    assert set(np.ravel(drawn).tolist()) == pool


def test_mismatching_captions_are_drawn_once_each_and_by_the_seed():
    draws = [mismatching(NO_CLASSES, IMAGES, 5, 99, seed) for seed in (0, 0, 1)]
    assert len(set(draws[0])) == 99
    assert (draws[0] == draws[1]).all() and (draws[0] != draws[2]).any()


def test_too_few_mismatching_captions_are_an_error_without_replacement():
    with pytest.raises(UserError, match="wants 99 mismatching captions and there are only 10"):
        hits(np.ones((11, 2)), np.ones((11, 2)))
    drawn = mismatching([-1] * 3, range(3), 0, 99, with_replacement=True)
    assert len(drawn) == 99 and set(drawn.tolist()) == {1, 2}


@pytest.mark.parametrize(
    "found, expected",
    [  # two whole folds, 100 % and 50 %, the last three images in none; fewer than one fold
        ([True] * 10 + [False] * 5 + [True] * 5 + [False] * 3, (75.0, 25.0, 20, 10)),
        ([True, False, False, False], (25.0, 0.0, 4, 4)),
    ],
)
def test_folds_have_their_own_means(found, expected):
    result = r_precision.summarise(np.array(found), OWN)
    assert result.pop("candidates") == 100
    assert result == dict(zip(("mean", "std", "num_images", "fold_size"), expected))


@pytest.mark.parametrize("with_replacement", [False, True])
def test_chance_with_and_without_replacement(with_replacement):
    """One in ten without; with it the true one competes with fewer different captions."""
    images, sentences = np.random.default_rng(1).normal(size=(2, 6_000, D))
    pool = 15  # captions to choose from, so that repetitions matter
    options = dict(num_candidates=10, with_replacement=with_replacement)
    parts = [slice(i, i + pool) for i in range(0, 6_000, pool)]
    rates = [hits(images[p], sentences[p], seed=p.start, **options).mean() for p in parts]
    chance = 1 / (1 + 9)
    if with_replacement:  # E[1 / (1 + number of different captions among 9 of 14)]
        draws = np.random.default_rng(0).integers(14, size=(20_000, 9))
        chance = np.mean([1 / (1 + len(set(row))) for row in draws.tolist()])
    assert abs(np.mean(rates) - chance) < 4 * np.sqrt(0.1 * 0.9 / 6_000)


def test_presets_and_the_configs_own_values():
    config = default.get_config()
    presets = {
        "own": Protocol("own", 30_000, 100, 3_000, "class", False),
        "paper": Protocol("paper", 30_000, 100, 100, "image", False),
        "dm_gan": Protocol("dm_gan", 30_000, 100, 3_000, "class", True),
    }
    for config.eval.protocol, protocol in presets.items():
        assert r_precision_protocol(config.eval) == protocol
    birds = r_precision_protocol(procedural_birds.get_config().eval)
    assert (birds.num_images, birds.num_candidates, birds.fold_size) == (2_000, 100, 200)


@pytest.mark.parametrize("rule, num_classes, done", RULES)
def test_a_score_states_its_protocol_and_the_applied_rule(rule, num_classes, done, vectors):
    class_ids = IMAGES % num_classes if num_classes else NO_CLASSES
    protocol = Protocol("own", N, 50, 100, rule, True)
    result = r_precision.score(Pairs(vectors, vectors, class_ids, IMAGES), protocol, seed=0)
    folds = {"mean": 100.0, "std": 0.0, "candidates": 50, "num_images": N, "fold_size": 100}
    rules = {"mismatch": done, "with_replacement": True, "protocol": "own"}
    assert result == folds | rules | {"chance": 2.0}


def test_ranks_of_a_perfect_match_and_its_opposite(vectors):
    found = retrieval.retrieval(vectors, 3 * vectors, NO_CLASSES)
    assert found["num_pairs"] == N and found["chance_r1"] == pytest.approx(1 / 3)
    chance = retrieval.retrieval(vectors, vectors, IMAGES % 4)["chance_r1"]
    np.testing.assert_allclose(chance, 100 / 226)  # 225 of other classes compete
    for direction in ("image_to_text", "text_to_image"):
        assert found[direction] == {"r1": 100.0, "r5": 100.0, "r10": 100.0, "median_rank": 1.0}
    worst = retrieval.retrieval(vectors, -vectors, NO_CLASSES)["image_to_text"]
    assert worst == {"r1": 0.0, "r5": 0.0, "r10": 0.0, "median_rank": 300.0}


def test_ranks_by_hand_in_both_directions():
    images = np.array([[1, 0], [0, 1], [1, 1]])
    sentences = np.array([[1, 0.1], [1, 0.9], [0, 1]])
    # Image 0: captions 0, 1, 2. Image 1: 2, 1, 0. Image 2: 1, then 0 before 2 (.77 and .71).
    classes = np.full(3, -1)
    assert retrieval.true_ranks(images, sentences, classes).tolist() == [1, 2, 3]
    # Caption 0: images 0, 2, 1. Caption 1: 2, 0, 1. Caption 2: 1, 2, 0.
    assert retrieval.true_ranks(sentences, images, classes).tolist() == [1, 3, 2]
    # Images 1 and 2 of one class: caption 1 no longer competes for image 2.
    assert retrieval.true_ranks(images, sentences, np.array([0, 1, 1])).tolist() == [1, 1, 2]


def test_ranks_do_not_depend_on_the_block(vectors, monkeypatch):
    noisy = vectors + np.random.default_rng(1).normal(size=vectors.shape)
    whole = retrieval.true_ranks(vectors, noisy, NO_CLASSES)
    monkeypatch.setattr(retrieval, "BLOCK", 7)
    np.testing.assert_array_equal(whole, retrieval.true_ranks(vectors, noisy, NO_CLASSES))
    assert len(set(whole)) > 10


def test_ties_rank_last(vectors):
    ranks = retrieval.true_ranks(np.ones_like(vectors), vectors[:1] + 0 * vectors, NO_CLASSES)
    assert (ranks == N).all()


def test_unrelated_vectors_rank_by_chance():
    vectors = np.random.default_rng(3).normal(size=(2, 2_000, 8))
    found = retrieval.retrieval(*vectors, np.full(2_000, -1))["text_to_image"]
    assert abs(found["median_rank"] - 1_000) < 60 and found["r10"] < 1.5
