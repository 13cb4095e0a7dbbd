"""What can be measured with the test captions that there are, before any image is made."""

import types

import ml_collections
import numpy as np
import pytest

from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.evaluation.metrics.r_precision import Pairs, Protocol, draw_mismatching
from attngan_jax.evaluation.shown_pairs import ONE_CLASS, TestRecords, plan

VOCABULARY = Vocabulary("<end> a red green bird".split())
SETTINGS = {"reference_split": "test", "kid_images": 100, "inception_splits": 2}


def planned(captions, class_ids, *, num_images, candidates=3, train=50, **settings):
    """The plan for records with these captions and classes."""
    names = [str(n) for n in range(len(captions))]
    records = TestRecords(names, captions, np.array(class_ids))
    splits = {"train": range(train), "test": range(len(captions))}
    dataset = types.SimpleNamespace(vocabulary=VOCABULARY, **splits)
    data = {"captions_per_image": 10}
    config = ml_collections.ConfigDict({"eval": SETTINGS | settings, "data": data})
    replace = settings.get("with_replacement", False)
    protocol = Protocol("own", num_images, candidates, 100, "class", replace)
    return plan(records, dataset, config, protocol)


BIRDS = [["a red bird", "a bird"], ["a green bird", "red"], ["green", "red green"], ["bird", "a"]]


def test_with_enough_of_everything_nothing_is_left_out():
    found = planned(BIRDS, [0, 0, 1, 1], num_images=8)
    assert found.unavailable == {} and found.duplicate_captions == 0
    assert (found.protocol.mismatch, found.mismatch_reason) == ("class", "")


def test_one_class_takes_captions_of_other_images():
    found = planned(BIRDS, [7, 7, 7, 7], num_images=8)
    assert found.unavailable == {}
    assert (found.protocol.mismatch, found.mismatch_reason) == ("image", ONE_CLASS)
    without = planned(BIRDS, [-1] * 4, num_images=8)  # no classes: the data's own rule
    assert (without.protocol.mismatch, without.mismatch_reason) == ("class", "")


@pytest.mark.parametrize("candidates, enough", [(5, True), (6, False)])
@pytest.mark.parametrize("class_ids", [[0, 0, 1, 1], [0, 1, 2, 2]])
def test_candidates_are_counted_for_the_largest_class(candidates, enough, class_ids):
    """As `draw_mismatching` would find out image by image."""
    found = planned(BIRDS, class_ids, num_images=8, candidates=candidates)
    assert ("r_precision" in found.unavailable) != enough
    assert found.unavailable.keys() <= {
        "r_precision",
        "r_precision_real_images",
        "r_precision_independent",
    }
    ids = np.array(class_ids * 2)
    pairs = Pairs(np.ones((8, 2)), np.ones((8, 2)), ids, np.arange(8) % 4)
    if enough:
        for n in range(8):
            assert len(draw_mismatching(pairs, n, found.protocol, 0)) == candidates - 1
    else:
        reason = found.unavailable["r_precision"]
        assert "wants 5 mismatching captions and there are only 4: lower config.eval" in reason


def test_few_images_leave_out_what_needs_more():
    two = planned(BIRDS[:2], [0, 1], num_images=4, candidates=2)
    assert two.unavailable.keys() == {"kid", "kid_damsm", "kid_judge"}
    assert (
        "it needs 3 images of either kind, and there are 4 generated and 2"
        in (two.unavailable["kid"])
    )
    one = planned(BIRDS[:1], [0], num_images=1, candidates=2)
    distances = {f"{name}{of}" for name in ("fid", "kid") for of in ("", "_damsm", "_judge")}
    scores = {"inception_score", "inception_score_calibrated"}
    precisions = {"r_precision", "r_precision_real_images", "r_precision_independent"}
    assert one.unavailable.keys() == distances | scores | precisions
    assert (
        "1 images do not fill config.eval.inception_splits=2"
        in (one.unavailable["inception_score"])
    )
    few = planned(BIRDS, [0, 0, 1, 1], num_images=8, kid_images=2)
    assert "config.eval.kid_images is 2" in few.unavailable["kid"]
    assert planned(BIRDS, [0, 0, 1, 1], num_images=8, train=2).unavailable.keys() == {"kid_judge"}


def test_duplicates_are_counted_by_the_words_that_the_model_knows():
    """Of the class's own captions none mismatches; "a zebra bird" is "a bird" to this model."""
    captions = [["a bird", "red"], ["A  bird!", "a"], ["a zebra bird", "green"], ["bird", "a red"]]
    assert planned(captions, [0, 0, 1, 1], num_images=4).duplicate_captions == 2
    shown = planned(captions, [0, 1, 2, 3], num_images=8)  # record 0 shows "a bird", then "red"
    counted = {}
    for n in range(8):
        text = captions[n % 4][(n % 4 + n // 4) % 2]
        numbers = tuple(VOCABULARY.encode(text.lower().replace("!", "").split()))
        counted.setdefault(numbers, set()).add(n % 4)
    expected = sum(len(ids) for ids in counted.values() if len(ids) > 1)
    assert shown.duplicate_captions == expected > 0
    same = planned([["a bird"]] * 4, [-1] * 4, num_images=8)
    assert same.duplicate_captions == 8
