import io
import json
import types

import ml_collections
import numpy as np
import pytest
from absl import flags
from PIL import Image

from attngan_jax.data import decoding, pipeline, transforms
from attngan_jax.data.vocabulary import Vocabulary

NUM_RECORDS, NUM_CAPTIONS, NUM_ATTRIBUTES = 23, 3, 4


@pytest.fixture(autouse=True, scope="module")
def _parsed_flags():
    """Grain's workers read absl flags."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def _record(i):
    rng = np.random.default_rng(i)
    labels = np.zeros((20, 24), np.uint8)
    labels[3:9, 4 + i % 8 : 12 + i % 8] = 1 + i % 5
    picture = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)
    picture[labels > 0] = 0
    captions = [f"image{i} caption{j} one two three four five" for j in range(NUM_CAPTIONS)]
    return {
        "image": _png(picture),
        "part_labels": _png(labels),
        "captions": [caption.encode() for caption in captions],
        "class_id": i // 4,
        "bbox": np.float32([4, 3, 8, 6]),
        "name": f"bird{i}".encode(),
        "attributes": np.arange(NUM_ATTRIBUTES) + i,
        "caption_attributes": np.arange(NUM_CAPTIONS * NUM_ATTRIBUTES).reshape(
            NUM_CAPTIONS, NUM_ATTRIBUTES
        )
        - 1,
    }


RECORDS = [_record(i) for i in range(NUM_RECORDS)]
VOCABULARY = Vocabulary.from_captions(
    caption.decode() for record in RECORDS for caption in record["captions"]
)
DATASET = types.SimpleNamespace(train=RECORDS, test=RECORDS, vocabulary=VOCABULARY)


def _config(**data):
    return ml_collections.ConfigDict(
        {
            "data": {
                "captions_per_image": NUM_CAPTIONS,
                "eval_max_words": 6,
                "overflow_rule": "random_subset",
                "crop_to_box": False,
                "resize_ratio": 76 / 64,
                "random_flip": True,
                "num_workers": 0,
                "read_threads": 1,
                "prefetch_batches": 4,
            }
            | data
        }
    )


def _train(
    num_batches,
    *,
    state=None,
    seed=0,
    batch_size=6,
    process=(0, 1),
    dataset=DATASET,
    max_words=5,
    **data,
):
    iterator = pipeline.train_iterator(
        dataset,
        _config(**data),
        batch_size=batch_size,
        image_sizes=(8, 16),
        max_words=max_words,
        seed=seed,
        process_index=process[0],
        process_count=process[1],
    )
    if state is not None:
        iterator.set_state(json.loads(json.dumps(state)))
    batches = [next(iterator) for _ in range(num_batches)]
    state = iterator.get_state()
    iterator.close()
    return batches, state


def _evaluate(*, num_examples=None, batch_size=6, **kwargs):
    data = kwargs.pop("data", {})
    return list(
        pipeline.eval_batches(
            RECORDS,
            _config(**data),
            vocabulary=VOCABULARY,
            batch_size=batch_size,
            image_sizes=(8, 16),
            num_examples=num_examples,
            **kwargs,
        )
    )


def _assert_equal(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key], err_msg=key)


def test_training_batches_hold_what_is_promised():
    (batch,), _ = _train(1)

    assert {key: (value.shape, value.dtype) for key, value in batch.items()} == {
        "image_8": ((6, 8, 8, 3), np.uint8),
        "image_16": ((6, 16, 16, 3), np.uint8),
        "caption": ((6, 5), np.int32),
        "caption_length": ((6,), np.int32),
        "class_id": ((6,), np.int32),
        "index": ((6,), np.int32),
    }
    for i in range(6):
        words = VOCABULARY.decode(batch["caption"][i])
        record = RECORDS[batch["index"][i]]
        # The first two words name the image and the caption; either may have been dropped.
        sources = [VOCABULARY.tokenise(caption.decode()) for caption in record["captions"]]
        assert any(words == [word for word in source if word in words] for source in sources)
        assert batch["caption_length"][i] == len(words) == 5
        assert batch["class_id"][i] == record["class_id"]


def test_small_images_come_from_the_same_crop():
    (batch,), _ = _train(1)

    for large, small in zip(batch["image_16"], batch["image_8"]):
        expected = Image.fromarray(large).resize((8, 8), Image.BILINEAR)
        np.testing.assert_array_equal(small, np.asarray(expected))


def test_every_epoch_shows_each_record_once_and_otherwise_than_before():
    batches, _ = _train(2 * NUM_RECORDS, batch_size=1)
    order = [int(batch["index"][0]) for batch in batches]
    first, second = order[:NUM_RECORDS], order[NUM_RECORDS:]

    assert sorted(first) == sorted(second) == list(range(NUM_RECORDS))
    assert first != second and first != sorted(first)
    crops = [
        {order[i]: batches[i]["image_16"] for i in part}
        for part in (range(NUM_RECORDS), range(NUM_RECORDS, 2 * NUM_RECORDS))
    ]
    assert sum((crops[0][i] != crops[1][i]).any() for i in range(NUM_RECORDS)) > NUM_RECORDS / 2


def test_all_captions_of_an_image_are_chosen_alike():
    batches, _ = _train(100, batch_size=12, max_words=10)
    words = [word for batch in batches for row in batch["caption"] for word in row]
    counts = [words.count(VOCABULARY.encode([f"caption{j}"])[0]) for j in range(NUM_CAPTIONS)]

    assert sum(counts) == 1_200
    assert all(abs(count - 400) < 4 * np.sqrt(1_200 * 2 / 9) for count in counts)


def test_captions_per_image_limits_the_choice():
    batches, _ = _train(20, max_words=10, captions_per_image=2)
    words = {word for batch in batches for row in batch["caption"] for word in row}

    assert VOCABULARY.encode(["caption1"])[0] in words
    assert VOCABULARY.encode(["caption2"])[0] not in words


def test_the_seed_decides_everything():
    first, _ = _train(3, seed=4)
    again, _ = _train(3, seed=4)
    other, _ = _train(3, seed=5)

    _assert_equal(first, again)
    assert (first[0]["index"] != other[0]["index"]).any()
    # With one record the order is no matter: what is left are crops, flips and captions.
    one_record = types.SimpleNamespace(train=RECORDS[:1], vocabulary=VOCABULARY)
    views = [_train(1, seed=seed, dataset=one_record)[0][0] for seed in (4, 5)]
    assert (views[0]["image_16"] != views[1]["image_16"]).any()


def test_workers_change_nothing_and_resume_is_exact_in_mid_epoch():
    straight, _ = _train(9)
    before, state = _train(4)
    with_workers, _ = _train(5, state=state, num_workers=2)

    assert state == {"global_next_index": 24}  # one past the first epoch of 23 records
    _assert_equal(straight, before + with_workers)


def test_hosts_share_out_the_global_batch():
    whole, state = _train(6)
    shares = [_train(6, process=(host, 3)) for host in range(3)]

    assert all(share_state == state for _, share_state in shares)
    assert all(len(share[0]["index"]) == 2 for share, _ in shares)
    joined = [
        {key: np.concatenate([share[i][key] for share, _ in shares]) for key in whole[0]}
        for i in range(6)
    ]
    _assert_equal(whole, joined)


def _train_on_hosts(num_batches, num_hosts, **kwargs):
    """The global batches, of the hosts' shares laid end to end, and the state of them all."""
    shares = [
        _train(num_batches, batch_size=8, process=(host, num_hosts), **kwargs)
        for host in range(num_hosts)
    ]
    assert all(state == shares[0][1] for _, state in shares)
    return [
        {key: np.concatenate([batches[i][key] for batches, _ in shares]) for key in shares[0][0][0]}
        for i in range(num_batches)
    ], shares[0][1]


@pytest.mark.parametrize(
    "hosts_before, hosts_after, workers, threads",
    [(1, 4, 0, 1), (4, 2, 0, 3), (2, 1, 2, 1), (4, 1, 2, 2)],
)
def test_resume_on_other_hosts_workers_and_threads(hosts_before, hosts_after, workers, threads):
    straight, _ = _train_on_hosts(6, 1)
    before, state = _train_on_hosts(2, hosts_before)
    after, end = _train_on_hosts(
        4,
        hosts_after,
        state=state,
        num_workers=workers,
        read_threads=threads,
        prefetch_batches=threads,
    )

    assert end == {"global_next_index": 48}
    _assert_equal(straight, before + after)


@pytest.mark.parametrize("num_hosts", [2, 4])
def test_hosts_read_different_records(num_hosts):
    """Over two epochs of 24 records each is read twice, whoever reads it."""
    records = [*RECORDS, _record(NUM_RECORDS)]
    dataset = types.SimpleNamespace(train=records, vocabulary=VOCABULARY)
    shares = [
        _train(6, batch_size=8, process=(host, num_hosts), dataset=dataset)[0]
        for host in range(num_hosts)
    ]
    epochs = [
        [index for share in shares for batch in share[part] for index in batch["index"]]
        for part in (slice(0, 3), slice(3, 6))
    ]

    assert all(sorted(epoch) == list(range(24)) for epoch in epochs)


def test_by_the_other_rule_captions_keep_their_first_words():
    (batch,), _ = _train(1, max_words=3, overflow_rule="first")

    for i in range(6):
        words = VOCABULARY.decode(batch["caption"][i])
        assert words[0] == f"image{batch['index'][i]}" and words[1].startswith("caption")
        assert words[2] == "one"


def test_a_caption_without_a_known_word_is_the_word_end():
    """So it can be with a vocabulary from elsewhere; a caption of no word has no features."""
    dataset = types.SimpleNamespace(train=RECORDS, vocabulary=Vocabulary(["<end>", "caption0"]))
    batches, _ = _train(4, dataset=dataset)
    captions, lengths = (
        np.concatenate([batch[key] for batch in batches]) for key in ("caption", "caption_length")
    )

    assert (lengths == 1).all()
    assert set(captions[:, 0]) == {0, 1} and (captions[:, 1:] == 0).all()


def test_a_turned_picture_is_cropped_to_its_box_as_stored():
    """Stored on its side, with a red square where the box is: the crop shows red alone."""
    pixels = np.zeros((24, 20, 3), np.uint8)
    pixels[2:10, 12:20] = 255, 0, 0
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    record = RECORDS[0] | {"image": stream.getvalue(), "bbox": np.float32([14, 4, 4, 4])}
    (batch,) = pipeline.eval_batches(
        [record],
        _config(crop_to_box=True, resize_ratio=1.0),
        vocabulary=VOCABULARY,
        batch_size=1,
        image_sizes=(8,),
    )

    assert (batch["image_8"] == [255, 0, 0]).all()


def test_a_batch_that_hosts_cannot_share_is_refused():
    with pytest.raises(ValueError, match="6 .* 4"):
        _train(1, process=(0, 4))


def test_evaluation_is_complete_in_order_and_padded():
    batches = _evaluate()

    assert [len(batch["valid"]) for batch in batches] == [6, 6, 6, 6]
    valid = np.concatenate([batch["valid"] for batch in batches])
    index = np.concatenate([batch["index"] for batch in batches])
    assert valid.tolist() == [True] * NUM_RECORDS + [False]
    assert index[valid].tolist() == list(range(NUM_RECORDS))
    _assert_equal(batches, _evaluate())


def test_further_passes_show_other_captions():
    batches = _evaluate(num_examples=2 * NUM_RECORDS + 5, batch_size=17)
    joined = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    pairs = [
        (int(i), int(j))
        for i, j, valid in zip(joined["index"], joined["caption_index"], joined["valid"])
        if valid
    ]

    assert pairs == [
        (n % NUM_RECORDS, (n % NUM_RECORDS + n // NUM_RECORDS) % NUM_CAPTIONS)
        for n in range(2 * NUM_RECORDS + 5)
    ]
    assert len(set(pairs)) == len(pairs)


def test_evaluation_shows_the_caption_that_it_names():
    batch = _evaluate(num_examples=4, data={"eval_max_words": 10})[0]

    for i in range(4):
        assert VOCABULARY.decode(batch["caption"][i])[:2] == [f"image{i}", f"caption{i % 3}"]
        np.testing.assert_array_equal(
            batch["caption_attributes"][i], RECORDS[i]["caption_attributes"][i % 3]
        )
        np.testing.assert_array_equal(batch["attributes"][i], RECORDS[i]["attributes"])


def test_evaluation_images_and_labels_are_the_central_crop():
    batch = _evaluate(data={"crop_to_box": True})[0]

    for i in range(6):
        image = decoding.decode_image(RECORDS[i]["image"])
        view = transforms.choose_view(24, 20, size=16, resize_ratio=76 / 64, bbox=[4, 3, 8, 6])
        expected = np.asarray(transforms.render(image, view, 16))
        np.testing.assert_array_equal(batch["image_16"][i], expected)
        dark = batch["image_16"][i].max(-1) < 30  # the labelled part is painted black
        labels = batch["part_labels"][i]
        assert batch["part_labels"].dtype == np.uint8
        assert set(np.unique(labels)) == {0, 1 + i % 5}
        assert ((labels > 0) == dark).mean() > 0.9


def test_all_captions_at_once():
    batch = _evaluate(captions="all", data={"eval_max_words": 10, "captions_per_image": 4})[0]

    assert batch["all_captions"].shape == (6, 4, 10)
    assert (batch["all_caption_lengths"] == 7).all()
    for i in range(6):
        # A record of three captions is asked for four: it starts over.
        shown = [VOCABULARY.decode(row)[1] for row in batch["all_captions"][i]]
        assert shown == ["caption0", "caption1", "caption2", "caption0"]


def test_evaluation_does_not_depend_on_workers_or_hosts():
    whole = _evaluate(num_examples=40)
    workers = _evaluate(num_examples=40, data={"num_workers": 2})
    shares = [_evaluate(num_examples=40, process_index=host, process_count=2) for host in range(2)]

    _assert_equal(whole, workers)
    _assert_equal(
        whole,
        [
            {key: np.concatenate([share[i][key] for share in shares]) for key in whole[0]}
            for i in range(len(whole))
        ],
    )


def test_eval_batches_can_be_gone_through_again():
    batches = pipeline.eval_batches(
        RECORDS, _config(), vocabulary=VOCABULARY, batch_size=6, image_sizes=(8,), num_examples=13
    )

    assert len(batches) == 3
    next(iter(batches))  # left off after one
    _assert_equal(list(batches), list(batches))
