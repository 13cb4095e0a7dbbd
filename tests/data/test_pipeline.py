"""Batches: what they hold; what seeds, workers, hosts and a restart decide or leave as it is."""

import json
import types

import numpy as np
import pytest
from PIL import Image

from attngan_jax.data import pipeline, transforms
from attngan_jax.data.vocabulary import Vocabulary, tokenise
from tests.made_up_sources import as_file, digest, vocabulary_of
from tests.tiny_configs import procedural_birds

NUM_RECORDS, NUM_CAPTIONS, NUM_ATTRIBUTES = 23, 3, 4


def _record(i):
    rng = np.random.default_rng(i)
    labels = np.zeros((20, 24), np.uint8)
    labels[3:9, 4 + i % 8 : 12 + i % 8] = 1 + i % 5
    image = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)
    image[labels > 0] = 0
    captions = [f"image{i} caption{j} one two three four five" for j in range(NUM_CAPTIONS)]
    stated = np.arange(NUM_CAPTIONS * NUM_ATTRIBUTES).reshape(NUM_CAPTIONS, NUM_ATTRIBUTES) - 1
    return {
        "image": as_file(Image.fromarray(image)),
        "part_labels": as_file(Image.fromarray(labels)),
        "captions": [caption.encode() for caption in captions],
        "class_id": i // 4,
        "bbox": np.float32([4, 3, 8, 6]),
        "name": f"bird{i}".encode(),
        "attributes": np.arange(NUM_ATTRIBUTES) + i,
        "caption_attributes": stated,
    }


RECORDS = [_record(i) for i in range(NUM_RECORDS)]
VOCABULARY = vocabulary_of(text.decode() for record in RECORDS for text in record["captions"])
DATASET = types.SimpleNamespace(train=RECORDS, test=RECORDS, vocabulary=VOCABULARY)


def _config(**data):
    config = procedural_birds.get_config()
    config.damsm.swapped_captions = data.pop("swapped_captions", 0)
    config.data.update({"captions_per_image": NUM_CAPTIONS, "eval_max_words": 6})
    config.data.update({"crop_to_box": False, "resize_ratio": 76 / 64, "random_flip": True} | data)
    config.data.overflow_rule = data.get("overflow_rule", "random_subset")
    return config


def _train(num_batches, *, state=None, process=(0, 1), dataset=DATASET, **settings):
    """Training batches and the state after them; other settings are those of `config.data`."""
    known = {"batch_size": 6, "seed": 0, "max_words": 5, "image_sizes": (8, 16)}
    known = {key: settings.pop(key, value) for key, value in known.items()}
    iterator = pipeline.train_iterator(dataset, _config(**settings), **known, share=process)
    if state is not None:
        iterator.set_state(json.loads(json.dumps(state)))
    batches = [next(iterator) for _ in range(num_batches)]
    state = iterator.get_state()
    iterator.close()
    return batches, state


def _evaluate(*, records=RECORDS, data=(), **settings):
    settings = {"vocabulary": VOCABULARY, "batch_size": 6, "image_sizes": (8, 16)} | settings
    return pipeline.eval_batches(records, _config(**dict(data)), **settings)


def _concatenated(shares):
    return [
        {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
        for batches in zip(*shares, strict=True)
    ]


def test_batches_are_those_of_every_version_of_this_program():
    """Order, crops, flips, caption choice and cut captions: runs resume on another version."""
    cropped, _ = _train(6, seed=3, crop_to_box=True)
    whole, _ = _train(6, seed=3)
    plain, _ = _train(6, seed=3, crop_to_box=True, overflow_rule="first", random_flip=False)
    shown = _evaluate(num_examples=31, data={"crop_to_box": True, "eval_max_words": 5})
    assert digest(cropped) == "3eba87592c9fcb4f"
    assert digest(whole) == "8bc0f46388106d24"
    assert digest(plain) == "a2a7d4dd283d6c55"
    assert digest(shown) == "1c412252d08d0ef7"


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
        sources = [tokenise(caption.decode()) for caption in record["captions"]]
        assert any(words == [word for word in source if word in words] for source in sources)
        assert batch["caption_length"][i] == len(words) == 5
        assert batch["class_id"][i] == record["class_id"]
        # The small image comes from the same crop.
        small = Image.fromarray(batch["image_16"][i]).resize((8, 8), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(batch["image_8"][i], np.asarray(small))


def test_swapped_captions_come_with_their_image_and_change_nothing_else():
    records = [record | {"captions": [b"one red bird with black wings"]} for record in RECORDS]
    vocabulary = Vocabulary(["<end>", *"one red bird with black white wings".split()])
    dataset = types.SimpleNamespace(train=records, vocabulary=vocabulary)
    (plain,), _ = _train(1, dataset=dataset, max_words=6, captions_per_image=1)
    known = dict(dataset=dataset, max_words=6, captions_per_image=1, swapped_captions=3)
    (batch,), _ = _train(1, **known)
    swapped = batch.pop("swapped_caption")
    assert swapped.shape == (6, 3, 6) and swapped.dtype == np.int32
    assert digest([batch]) == digest([plain])
    changed = swapped != batch["caption"][:, None]
    np.testing.assert_array_equal(changed.sum(-1), 1)
    assert set(np.unique(swapped[changed])) <= {2, 5, 6}  # red, black, white


def test_every_epoch_shows_each_record_once_and_otherwise_than_before():
    batches, _ = _train(2 * NUM_RECORDS, batch_size=1)
    epochs = batches[:NUM_RECORDS], batches[NUM_RECORDS:]
    first, second = ({int(b["index"][0]): b["image_16"] for b in epoch} for epoch in epochs)
    everything = list(range(NUM_RECORDS))
    assert sorted(first) == sorted(second) == everything
    assert list(first) != list(second) and list(first) != everything
    assert sum((first[i] != second[i]).any() for i in everything) > NUM_RECORDS / 2


@pytest.mark.parametrize("allowed", [2, 3])
def test_the_first_captions_of_an_image_are_chosen_alike(allowed):
    batches, _ = _train(100, batch_size=12, max_words=10, captions_per_image=allowed)
    words = np.concatenate([batch["caption"] for batch in batches])
    numbers = VOCABULARY.encode([f"caption{j}" for j in range(NUM_CAPTIONS)])
    counts = [int((words == number).sum()) for number in numbers]
    assert sum(counts) == 1_200 and not any(counts[allowed:])
    deviation = np.sqrt(1_200 * (allowed - 1)) / allowed
    assert all(abs(count - 1_200 / allowed) < 4 * deviation for count in counts[:allowed])


def test_the_seed_decides_everything():
    first, again, other = (_train(3, seed=seed)[0] for seed in (4, 4, 5))
    np.testing.assert_equal(first, again)
    assert (first[0]["index"] != other[0]["index"]).any()
    # With one record the order is no matter: what is left are crops, flips and captions.
    one_record = types.SimpleNamespace(train=RECORDS[:1], vocabulary=VOCABULARY)
    views = [_train(1, seed=seed, dataset=one_record)[0][0] for seed in (4, 5)]
    assert (views[0]["image_16"] != views[1]["image_16"]).any()


def _train_on_hosts(num_batches, num_hosts, **settings):
    """The global batches, of the hosts' concatenated shares, and the state of them all."""
    shares = [
        _train(num_batches, process=(host, num_hosts), **({"batch_size": 12} | settings))
        for host in range(num_hosts)
    ]
    assert all(state == shares[0][1] for _, state in shares)
    return _concatenated([batches for batches, _ in shares]), shares[0][1]


@pytest.mark.parametrize(
    "hosts_before, hosts_after, workers, threads",
    [(1, 4, 0, 1), (4, 2, 0, 3), (2, 1, 2, 1), (4, 1, 2, 2), (3, 1, 2, 1)],
)
def test_resume_on_other_hosts_workers_and_threads(hosts_before, hosts_after, workers, threads):
    straight, _ = _train_on_hosts(6, 1)
    before, state = _train_on_hosts(2, hosts_before)
    speed = {"num_workers": workers, "read_threads": threads, "prefetch_batches": threads}
    after, end = _train_on_hosts(4, hosts_after, state=state, **speed)
    assert state == {"global_next_index": 24}  # one past the first epoch of 23 records
    assert end == {"global_next_index": 72}
    np.testing.assert_equal(straight, before + after)
    order = np.concatenate([batch["index"] for batch in before + after])
    for epoch in range(3):  # each shows every record once, whichever host reads it
        assert sorted(order[epoch * NUM_RECORDS :][:NUM_RECORDS]) == list(range(NUM_RECORDS))


def test_a_batch_that_hosts_cannot_share_is_refused():
    with pytest.raises(ValueError, match="6 .* 4"):
        _train(1, process=(0, 4))


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
    assert all((batch["caption_length"] == 1).all() for batch in batches)
    captions = np.concatenate([batch["caption"] for batch in batches])
    assert set(captions[:, 0]) == {0, 1} and (captions[:, 1:] == 0).all()


def test_a_turned_image_is_cropped_to_its_box_as_stored():
    """Stored on its side, with a red square where the box is: the crop shows red alone."""
    pixels = np.zeros((24, 20, 3), np.uint8)
    pixels[2:10, 12:20] = 255, 0, 0
    exif = Image.Exif()
    exif[0x0112] = 6
    bbox = np.float32([14, 4, 4, 4])
    stored = as_file(Image.fromarray(pixels), exif=exif)
    records = [RECORDS[0] | {"image": stored, "bbox": bbox}]
    data = {"crop_to_box": True, "resize_ratio": 1.0}
    (batch,) = _evaluate(records=records, data=data, batch_size=1, image_sizes=(8,))
    assert (batch["image_8"] == [255, 0, 0]).all()


def test_evaluation_is_complete_in_order_and_padded():
    batches = _evaluate()
    assert len(batches) == 4 and [len(batch["valid"]) for batch in batches] == [6, 6, 6, 6]
    valid = np.concatenate([batch["valid"] for batch in batches])
    index = np.concatenate([batch["index"] for batch in batches])
    assert valid.tolist() == [True] * NUM_RECORDS + [False]
    assert index[valid].tolist() == list(range(NUM_RECORDS))
    next(iter(batches))  # left off after one
    np.testing.assert_equal(list(batches), list(batches))


def test_further_passes_show_other_captions():
    count = 2 * NUM_RECORDS + 5
    (batch,) = _concatenated([[b] for b in _evaluate(num_examples=count, batch_size=17)])
    pairs = list(zip(batch["index"][batch["valid"]], batch["caption_index"][batch["valid"]]))
    places = (divmod(n, NUM_RECORDS) for n in range(count))
    assert pairs == [(i, (i + epoch) % NUM_CAPTIONS) for epoch, i in places]
    assert len(set(pairs)) == len(pairs)


def test_evaluation_shows_the_caption_that_it_names():
    batch = next(iter(_evaluate(num_examples=4, data={"eval_max_words": 10})))
    for i in range(4):
        assert VOCABULARY.decode(batch["caption"][i])[:2] == [f"image{i}", f"caption{i % 3}"]
        stated = RECORDS[i]["caption_attributes"][i % 3]
        np.testing.assert_array_equal(batch["caption_attributes"][i], stated)
        np.testing.assert_array_equal(batch["attributes"][i], RECORDS[i]["attributes"])


def test_evaluation_images_and_labels_are_the_central_crop():
    batch = next(iter(_evaluate(data={"crop_to_box": True})))
    for i in range(6):
        image = transforms.decode_image(RECORDS[i]["image"])
        view = transforms.choose_view(24, 20, size=16, resize_ratio=76 / 64, bbox=[4, 3, 8, 6])
        expected = np.asarray(transforms.render(image, view, 16))
        np.testing.assert_array_equal(batch["image_16"][i], expected)
        dark = batch["image_16"][i].max(-1) < 30  # the labelled part is painted black
        labels = batch["part_labels"][i]
        assert labels.dtype == np.uint8 and set(np.unique(labels)) == {0, 1 + i % 5}
        assert ((labels > 0) == dark).mean() > 0.9


def test_evaluation_does_not_depend_on_workers_or_hosts():
    whole = list(_evaluate(num_examples=40))
    workers = list(_evaluate(num_examples=40, data={"num_workers": 2}))
    shares = [_evaluate(num_examples=40, share=(host, 2)) for host in range(2)]
    np.testing.assert_equal(whole, workers)
    np.testing.assert_equal(whole, _concatenated(shares))


def test_an_even_subset_is_evenly_spaced():
    subset = pipeline.EvenSubset(list(range(10)), 4)
    assert len(subset) == 4 and [subset[i] for i in range(4)] == [0, 2, 5, 7]
