"""CUB: every form of source gives the same records, and damage never shifts a caption."""

import pickle

import numpy as np
import pytest

from attngan_jax.data import datasets
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from tests import made_up_sources
from tests.tiny_configs import cub


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    made_up_sources.make_cub(folder)
    return folder


@pytest.fixture
def config(tmp_path):
    config = cub.get_config()
    config.data.data_dir = str(tmp_path / "data")
    config.data.max_left_out = 0.2
    return config


def build(config, source):
    datasets.prepare(config, str(source))
    return datasets.load(config)


def names(records):
    return [record["name"].decode() for record in records]


def assert_every_caption_is_its_pictures(dataset):
    for record in (*dataset.train, *dataset.test):
        assert made_up_sources.is_picture(record, made_up_sources.shown(record)), record["name"]


def test_the_released_layout(config, source):
    dataset = build(config, source)

    assert len(dataset.train) == 15 and len(dataset.test) == 9 and dataset.num_classes == 200
    assert {int(record["class_id"]) for record in dataset.train} == {0, 1, 3, 4, 5}
    assert {int(record["class_id"]) for record in dataset.test} == {2, 6, 7}
    # The released lists' order, which here is the reverse of the source's.
    listed = pickle.loads((source / "train" / "filenames.pickle").read_bytes())
    assert names(dataset.train) == listed
    assert_every_caption_is_its_pictures(dataset)
    for record in dataset.train:
        k = made_up_sources.shown(record)
        file = source / "CUB_200_2011" / "images" / f"{record['name'].decode()}.jpg"
        assert record["image"] == file.read_bytes()
        assert [text.decode() for text in record["captions"]] == made_up_sources.captions(k)
        np.testing.assert_array_equal(record["bbox"], [10 + k % 5, 5, 30, 20 + k % 7])


def test_words_are_numbered_as_the_released_lists_meet_them(config, source):
    dataset = build(config, source)

    captions = [caption.decode() for record in (*dataset.train, *dataset.test)
                for caption in record["captions"]]
    assert dataset.vocabulary == Vocabulary.from_captions(captions)


def test_words_come_from_captions_pickle_where_it_is(config, source):
    words = ["<end>", "feathers", "bird", "this", "unheard"]
    by_index = dict(enumerate(words))
    made_up_sources.write(source / "captions.pickle", pickle.dumps(
        [[[1, 2]], [[3]], by_index, {word: i for i, word in by_index.items()}], 2))

    dataset = build(config, source)

    assert list(dataset.vocabulary.words) == words
    report = datasets.report(config)
    assert (report["words"], report["words_from"]) == (5, "captions.pickle")
    assert report["words_without_number"] == 13
