"""R-precision of embeddings whose answer is known."""

import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.evaluation import r_precision

N, D = 300, 16
NO_CLASSES = np.full(N, -1)
IMAGES = np.arange(N)


def hits(codes, sentences, class_ids=NO_CLASSES, image_ids=IMAGES, num_candidates=100, seed=0):
    return r_precision.retrieval_hits(
        np.asarray(codes, np.float32), np.asarray(sentences, np.float32), class_ids, image_ids,
        num_candidates=num_candidates, seed=seed)


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
        True, False, False]


def test_captions_of_the_same_class_do_not_compete(vectors):
    class_ids = IMAGES % 3
    sentences = vectors.copy()
    codes = vectors[(IMAGES + 3) % N]  # nearest to another caption of the same class (N % 3 == 0)
    competing = hits(codes, sentences, num_candidates=N)
    alone = hits(codes, sentences, class_ids, num_candidates=201)
    best_of_others = [
        max(cosine(codes[n], sentences[m]) for m in IMAGES if class_ids[m] != class_ids[n])
        for n in IMAGES]
    assert not competing.any()
    assert alone.tolist() == [cosine(codes[n], sentences[n]) > best_of_others[n] for n in IMAGES]
    assert alone.any()


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_without_classes_captions_of_the_same_image_do_not_compete():
    rng = np.random.default_rng(0)
    image_ids = np.array([0, 0, 1, 2, 3])
    for n, forbidden in ((0, {0, 1}), (2, {2})):
        drawn = {int(place) for _ in range(50) for place in
                 r_precision.draw_mismatching(np.full(5, -1), image_ids, n, 3, rng)}
        assert drawn == set(range(5)) - forbidden


def test_mismatching_captions_are_drawn_once_each_and_by_the_seed():
    draw = [r_precision.draw_mismatching(NO_CLASSES, IMAGES, 5, 99, np.random.default_rng(seed))
            for seed in (0, 0, 1)]
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
    assert result == {"mean": 75.0, "std": 25.0, "candidates": 100, "num_images": 20,
                      "fold_size": 10}


def test_fewer_images_than_a_fold_are_one_fold():
    result = r_precision.summarise(np.array([True, False, False, False]), num_candidates=5,
                                   fold_size=10)
    assert result == {"mean": 25.0, "std": 0.0, "candidates": 5, "num_images": 4, "fold_size": 4}
