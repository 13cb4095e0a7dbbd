"""Datasets in a bucket: built here and brought there, copied whole, checked, made anew."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from attngan_jax import storage
from attngan_jax.data import bucket_cache, datasets
from attngan_jax.errors import UserError
from tests import made_up_sources
from tests.tiny_configs import cub


@pytest.fixture
def config(tiny_config, tmp_path, gcs):
    """The tiny dataset's config, with its records in an empty bucket."""
    tiny_config.data.data_dir = "gs://birds/data"
    tiny_config.data.cache_dir = str(tmp_path / "cache")
    return tiny_config


@pytest.fixture
def published(config, tiny_data_dir, gcs):
    """The same config, with the dataset in the bucket and no copy of it here."""
    root = pathlib.Path(tiny_data_dir)
    for file in storage.walk(root):
        if not file.name.startswith("."):
            gcs.put(f"birds/data/{file.relative_to(root).as_posix()}", file.read_bytes())
    return config


def copy_of(config):
    return pathlib.Path(datasets.get_builder(config).data_path)


def downloads(gcs):
    return [path for method, path in gcs.requests if "alt=media" in path]


def same_records(one, other):
    assert len(one.train) == len(other.train) and one.vocabulary.words == other.vocabulary.words
    assert all(one.train[i]["image"] == other.train[i]["image"] for i in range(len(one.train)))


def test_what_is_built_is_in_the_bucket_with_its_vocabulary_last(config, gcs, tiny_dataset):
    assert datasets.prepare(config)
    uploads = [key for key, _ in sorted(gcs.generations.items(), key=lambda item: item[1])]
    folder = str(datasets.folder(config))
    assert folder.startswith("gs://birds/data/procedural_birds/")
    assert [name.rpartition("/")[2] for name in uploads[-2:]] == ["prepare.json", "vocabulary.txt"]
    assert all(f"gs://{name}".startswith(folder + "/") for name in uploads)
    same_records(datasets.load(config), tiny_dataset)
    gcs.requests.clear()
    assert not datasets.prepare(config)  # it is there, in both places
    assert all(method == "GET" for method, _ in gcs.requests) and not downloads(gcs)


def test_another_machine_copies_it_once(published, gcs, tiny_dataset):
    datasets.check(published)
    assert not datasets.prepare(published)
    same_records(datasets.load(published), tiny_dataset)
    assert len(downloads(gcs)) == len(gcs.objects)
    assert datasets.report(published)["splits"]["train"]["images"] == len(tiny_dataset.train)
    np.testing.assert_equal(sorted(file.name for file in copy_of(published).glob(".*")), [])


def test_a_truncated_copy_is_made_again(published, gcs, tiny_dataset):
    datasets.load(published)
    records = next(copy_of(published).glob("*train.array_record*"))
    records.write_bytes(records.read_bytes()[:1000])
    gcs.requests.clear()
    same_records(datasets.load(published), tiny_dataset)
    assert len(downloads(gcs)) == 1


def test_an_object_that_comes_damaged_is_not_kept(published, gcs, monkeypatch):
    name = next(key for key in gcs.objects if "train.array_record" in key)
    resource = gcs.resource
    monkeypatch.setattr(
        gcs,
        "resource",
        lambda key: (
            resource(key)
            | ({"md5Hash": "AAAAAAAAAAAAAAAAAAAAAA==", "crc32c": "AAAAAA=="} if key == name else {})
        ),
    )
    with pytest.raises(Exception, match="(?i)checksum"):
        datasets.load(published)
    assert not list(copy_of(published).glob("*train.array_record*"))
    assert not list(copy_of(published).glob("vocabulary*"))


def test_a_data_set_without_its_vocabulary_is_not_finished(published, gcs, tiny_dataset):
    """As an upload leaves it that ended early: a run elsewhere builds it and completes it."""
    (vocabulary,) = [key for key in gcs.objects if key.endswith("vocabulary.txt")]
    gcs.delete(vocabulary)
    with pytest.raises(UserError, match="is not .* built in gs://birds/data/procedural_birds/"):
        datasets.load(published)
    assert not downloads(gcs)
    assert datasets.prepare(published)
    assert vocabulary in gcs.objects
    same_records(datasets.load(published), tiny_dataset)


def test_a_copy_follows_when_the_bucket_has_another(published, gcs, tiny_dataset):
    datasets.load(published)
    old = datasets.folder(published).as_posix().removeprefix("gs://")
    facts = json.loads(gcs.objects[f"{old}/report/prepare.json"])
    gcs.put(f"{old}/report/prepare.json", json.dumps(facts | {"seconds": 77.0}).encode())
    same_records(datasets.load(published), tiny_dataset)
    assert datasets.report(published)["seconds"] == 77.0


def test_what_is_missing_in_the_bucket_comes_from_the_copy(published, gcs):
    datasets.load(published)
    before = dict(gcs.objects)
    for name in list(gcs.objects):
        gcs.delete(name)
    assert not datasets.prepare(published)
    assert gcs.objects == before


def test_a_set_built_anew_is_not_finished_until_its_vocabulary_is_there(published, gcs):
    """Nobody copies new records with the vocabulary of the old ones."""
    datasets.load(published)
    copy, place = copy_of(published), datasets.folder(published)
    bucket_cache.forget(copy)  # as building does: all is uploaded again
    gcs.put(f"{str(place).removeprefix('gs://')}/vocabulary_min5.txt", b"of the old records")
    gcs.refuse = lambda method, key: 403 if method == "POST" and "test.array" in key else None
    with pytest.raises(Exception, match="does not have access"):
        bucket_cache.publish(copy, place)
    assert not [name for name in gcs.objects if "vocabulary" in name or "/report/" in name]
    gcs.refuse = lambda method, key: None
    bucket_cache.publish(copy, place)
    there = [name.rpartition("/")[2] for name in gcs.objects]
    assert "vocabulary.txt" in there and "vocabulary_min5.txt" not in there
    assert "prepare.json" in there and bucket_cache.is_finished(bucket_cache.facts(place))


def test_another_vocabulary_is_added_beside_the_first(published, gcs):
    datasets.load(published)
    before = dict(gcs.objects)
    published.data.min_word_count = 5
    assert datasets.prepare(published)
    assert sorted(name.rpartition("/")[2] for name in gcs.objects.keys() - before.keys()) == [
        "prepare_min5.json",
        "vocabulary_min5.txt",
    ]
    assert before.items() <= gcs.objects.items()


def test_no_room_for_a_copy_is_said_before_it_begins(published, gcs, monkeypatch):
    monkeypatch.setattr(
        bucket_cache.shutil,
        "disk_usage",
        lambda folder: shutil._ntuple_diskusage(10**6, 10**6, 1000),
    )
    with pytest.raises(UserError, match="needs .* GiB .* choose another config.data.cache_dir"):
        datasets.load(published)
    assert not downloads(gcs)


def test_photographs_that_are_not_there_are_asked_for_by_their_address(tmp_path, gcs):
    config = cub.get_config()
    config.data.data_dir, config.data.cache_dir = "gs://birds/data", str(tmp_path / "cache")
    with pytest.raises(UserError, match="cub is not in gs://birds/data yet: build it with"):
        datasets.check(config)
    source = tmp_path / "source"
    made_up_sources.make_cub(source)
    assert datasets.prepare(config, str(source))
    elsewhere = config.copy_and_resolve_references()
    elsewhere.data.cache_dir = str(tmp_path / "other")
    datasets.check(elsewhere)
    same_records(datasets.load(elsewhere), datasets.load(config))
