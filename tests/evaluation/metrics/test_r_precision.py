"""R-precision of embeddings whose answer is known."""

import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.evaluation.metrics import r_precision
from configs import default, procedural_birds

N, D = 300, 16
NO_CLASSES = np.full(N, -1)
IMAGES = np.arange(N)


def hits(codes, sentences, class_ids=NO_CLASSES, image_ids=IMAGES, num_candidates=100, seed=0):
    return r_precision.retrieval_hits(
        np.asarray(codes, np.float32),
        np.asarray(sentences, np.float32),
        class_ids,
        image_ids,
        num_candidates=num_candidates,
        seed=seed,
    )


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(N, D))


def test_images_that_equal_their_captions_are_all_found(vectors):
    # Length is no matter: the cosine decides.
    scale = np.linspace(0.01, 100, N)[:, None]
    assert hits(vectors, scale * vectors).all()


def test_images_that_oppose_their_captions_are_never_found(vectors):
    assert not hits(-vectors, vectors).any()


def test_unrelated_embeddings_are_found_by_chance():
    rng = np.random.default_rng(1)
    codes, sentences = rng.normal(size=(2, 4_000, D))
    found = hits(codes, sentences, np.full(4_000, -1), np.arange(4_000))
    assert abs(found.mean() - 0.01) < 4 * np.sqrt(0.01 * 0.99 / 4_000)


def test_a_tie_is_a_miss(vectors):
    one_point = np.repeat(vectors[:1], N, axis=0)
    assert not hits(vectors, one_point).any()
    assert not hits(one_point, one_point).any()


def test_known_answer_by_hand():
    codes = [[1, 0], [0, 1], [1, 1]]
    sentences = [[1, 0.1], [1, 0.9], [0, 1]]
    # Image 0 is nearest to caption 0; image 1 to caption 2; image 2 to caption 1.
    assert hits(codes, sentences, np.full(3, -1), np.arange(3), num_candidates=3).tolist() == [
        True,
        False,
        False,
    ]


def test_captions_of_the_same_class_do_not_compete(vectors):
    class_ids = IMAGES % 3
    sentences = vectors.copy()
    codes = vectors[(IMAGES + 3) % N]  # nearest to another caption of the same class (N % 3 == 0)
    competing = hits(codes, sentences, num_candidates=N)
    alone = hits(codes, sentences, class_ids, num_candidates=201)
    best_of_others = [
        max(cosine(codes[n], sentences[m]) for m in IMAGES if class_ids[m] != class_ids[n])
        for n in IMAGES
    ]
    assert not competing.any()
    assert alone.tolist() == [cosine(codes[n], sentences[n]) > best_of_others[n] for n in IMAGES]
    assert alone.any()


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_without_classes_captions_of_the_same_image_do_not_compete():
    rng = np.random.default_rng(0)
    image_ids = np.array([0, 0, 1, 2, 3])
    for n, forbidden in ((0, {0, 1}), (2, {2})):
        drawn = {
            int(place)
            for _ in range(50)
            for place in r_precision.draw_mismatching(np.full(5, -1), image_ids, n, 3, rng)
        }
        assert drawn == set(range(5)) - forbidden


def test_mismatching_captions_are_drawn_once_each_and_by_the_seed():
    draw = [
        r_precision.draw_mismatching(NO_CLASSES, IMAGES, 5, 99, np.random.default_rng(seed))
        for seed in (0, 0, 1)
    ]
    assert len(set(draw[0])) == 99
    np.testing.assert_array_equal(draw[0], draw[1])
    assert (draw[0] != draw[2]).any()


def test_too_few_mismatching_captions_are_an_error():
    with pytest.raises(UserError, match="wants 99 mismatching captions and there are only 10"):
        hits(np.ones((11, 2)), np.ones((11, 2)), np.full(11, -1), np.arange(11))


def test_folds_have_their_own_means():
    found = np.array([True] * 10 + [False] * 5 + [True] * 5 + [False] * 3)
    result = r_precision.summarise(found, num_candidates=100, fold_size=10)
    # Two whole folds, 100 % and 50 %; the last three images are in none.
    assert result == {
        "mean": 75.0,
        "std": 25.0,
        "candidates": 100,
        "num_images": 20,
        "fold_size": 10,
    }


def test_fewer_images_than_a_fold_are_one_fold():
    result = r_precision.summarise(
        np.array([True, False, False, False]), num_candidates=5, fold_size=10
    )
    assert result == {"mean": 25.0, "std": 0.0, "candidates": 5, "num_images": 4, "fold_size": 4}


def test_another_image_of_the_class_competes_where_the_rule_is_another_image():
    class_ids, image_ids = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 3])
    for mismatch, wanted in (("class", {3, 4}), ("image", {2, 3, 4})):
        drawn = {
            int(place)
            for seed in range(50)
            for place in r_precision.draw_mismatching(
                class_ids, image_ids, 0, 2, np.random.default_rng(seed), mismatch=mismatch
            )
        }
        assert drawn == wanted


def test_with_replacement_a_small_pool_is_enough():
    drawn = r_precision.draw_mismatching(
        np.full(3, -1), np.arange(3), 0, 99, np.random.default_rng(0), with_replacement=True
    )
    assert len(drawn) == 99 and set(drawn.tolist()) == {1, 2}
    with pytest.raises(UserError, match="there are only 2"):
        r_precision.draw_mismatching(np.full(3, -1), np.arange(3), 0, 99, np.random.default_rng(0))


@pytest.mark.parametrize("with_replacement", [False, True])
def test_chance_with_and_without_replacement(with_replacement):
    """One in ten without; with it the true one competes with fewer different captions."""
    codes, sentences = np.random.default_rng(1).normal(size=(2, 6_000, D))
    pool = 15  # captions to choose from, so that repetitions matter
    class_ids = np.arange(6_000)
    rates = []
    for first in range(0, 6_000, pool):
        part = slice(first, first + pool)
        rates.append(
            r_precision.retrieval_hits(
                codes[part],
                sentences[part],
                class_ids[part],
                class_ids[part],
                num_candidates=10,
                seed=first,
                with_replacement=with_replacement,
            ).mean()
        )
    if with_replacement:  # E[1 / (1 + number of different captions among 9 of 14)]
        draws = np.random.default_rng(0).integers(14, size=(20_000, 9))
        chance = np.mean([1 / (1 + len(set(row))) for row in draws.tolist()])
    else:
        chance = 1 / (1 + 9)
    assert abs(np.mean(rates) - chance) < 4 * np.sqrt(0.1 * 0.9 / 6_000)


def test_presets_and_the_configs_own_values():
    config = default.get_config()
    own = r_precision.Protocol.of_config(config.eval)
    assert own == r_precision.Protocol("own", 30_000, 100, 3_000, "class", False)
    config.eval.protocol = "paper"
    paper = r_precision.Protocol.of_config(config.eval)
    assert (paper.num_images, paper.num_candidates, paper.fold_size) == (30_000, 100, 100)
    assert (paper.mismatch, paper.with_replacement) == ("image", False)
    config.eval.protocol = "dm_gan"
    dm_gan = r_precision.Protocol.of_config(config.eval)
    assert (dm_gan.num_images, dm_gan.num_candidates, dm_gan.fold_size) == (30_000, 100, 3_000)
    assert (dm_gan.mismatch, dm_gan.with_replacement) == ("class", True)
    birds = r_precision.Protocol.of_config(procedural_birds.get_config().eval)
    assert (birds.num_images, birds.num_candidates, birds.fold_size) == (2_000, 100, 200)


def test_a_score_tells_its_protocol(vectors):
    protocol = r_precision.Protocol("own", N, 50, 100, "image", True)
    result = r_precision.score(vectors, vectors, NO_CLASSES, IMAGES, protocol, seed=0)
    assert result == {
        "mean": 100.0,
        "std": 0.0,
        "candidates": 50,
        "num_images": N,
        "fold_size": 100,
        "chance": 2.0,
        "mismatch": "image",
        "with_replacement": True,
        "protocol": "own",
    }


def test_a_score_says_how_the_captions_mismatched(vectors):
    protocol = r_precision.Protocol("own", N, 50, 100, "class", False)
    for class_ids, done in ((IMAGES % 4, "class"), (NO_CLASSES, "image")):
        result = r_precision.score(vectors, vectors, class_ids, IMAGES, protocol, seed=0)
        assert result["mismatch"] == done
