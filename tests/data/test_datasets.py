import errno
import os
import pathlib
import subprocess
import sys

import ml_collections
import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import flags

from attngan_jax.data import datasets, decoding, pipeline
from attngan_jax.data.vocabulary import END, Vocabulary
from attngan_jax.errors import UserError

SIZES = {"train": 7, "test": 3}


class Colors(tfds.core.GeneratorBasedBuilder):
    """A dataset of plain images, one colour each."""

    VERSION = tfds.core.Version("1.0.0")
    generated = 0  # examples, since the test began
    fails_at = None  # (example, error) that breaks the build

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "class_id": np.int64,
                    "bbox": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    "name": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in SIZES}

    def _generate_examples(self, split):
        for i in range(SIZES[split]):
            Colors.generated += 1
            if Colors.fails_at and Colors.fails_at[0] == Colors.generated:
                raise Colors.fails_at[1]
            yield (
                f"{split}{i}",
                {
                    "image": np.full((12, 12, 3), 10 * i, np.uint8),
                    "captions": [f"{split} image {i}", f"caf\u00e9 {split}"],
                    "class_id": i,
                    "bbox": np.zeros(4, np.float32),
                    "name": f"{split}{i}",
                },
            )


@pytest.fixture
def config(tmp_path, monkeypatch):
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()

    def builder(config, source):
        del source
        return Colors(data_dir=config.data.data_dir, file_format="array_record")

    monkeypatch.setitem(datasets.SOURCES, "colors", datasets.Source(builder, lambda config: 7))
    monkeypatch.setattr(Colors, "generated", 0)
    monkeypatch.setattr(Colors, "fails_at", None)
    return ml_collections.ConfigDict(
        {
            "data": {
                "dataset": "colors",
                "data_dir": str(tmp_path / "data"),
                "captions_per_image": 2,
                "min_word_count": 1,
                "source": "",
                "eval_max_words": 3,
                "overflow_rule": "first",
                "crop_to_box": True,
                "resize_ratio": 1.0,
                "random_flip": False,
                "num_workers": 0,
                "read_threads": 1,
                "prefetch_batches": 2,
            }
        }
    )


def _folder(config) -> pathlib.Path:
    return pathlib.Path(config.data.data_dir) / "colors" / "1.0.0"


def _shard(config, split) -> pathlib.Path:
    (path,) = _folder(config).glob(f"*{split}.array_record*")
    return path


def _names(records):
    return sorted(records[i]["name"].decode() for i in range(len(records)))


def _assert_whole(config):
    dataset = datasets.load(config)
    assert _names(dataset.train) == [f"train{i}" for i in range(7)]
    assert _names(dataset.test) == [f"test{i}" for i in range(3)]
    assert {"caf", "picture", "train", "test", "6"} < set(dataset.vocabulary.words)


def test_prepare_and_load(config):
    datasets.prepare(config)

    dataset = datasets.load(config)
    _assert_whole(config)
    assert dataset.name == "colors" and dataset.num_classes == 7
    record = dataset.train[0]
    picture = np.asarray(decoding.decode_image(record["image"]))
    assert picture.shape == (12, 12, 3) and (picture == 10 * record["class_id"]).all()
    assert record["captions"][1].decode() == "caf\u00e9 train"
    # The vocabulary follows the records' order on disk, training first.
    captions = [
        caption.decode()
        for records in (dataset.train, dataset.test)
        for i in range(len(records))
        for caption in records[i]["captions"]
    ]
    assert dataset.vocabulary == Vocabulary.from_captions(captions)
    assert dataset.vocabulary.words[:3] == (END, "train", "picture")
    assert (_folder(config) / "vocabulary.txt").exists()


def test_preparing_again_touches_nothing(config):
    datasets.prepare(config)
    before = {path: path.stat().st_mtime_ns for path in _folder(config).rglob("*")}

    datasets.prepare(config)

    assert {path: path.stat().st_mtime_ns for path in _folder(config).rglob("*")} == before
    assert Colors.generated == 10


def test_what_a_killed_build_left_is_removed(config):
    leftover = _folder(config).parent / "incomplete.K1LL3D_1.0.0"
    leftover.mkdir(parents=True)
    (leftover / "colors-train.array_record-00000-of-00001").write_bytes(b"half a shard")

    with pytest.raises(UserError, match="attngan_jax.prepare"):
        datasets.load(config)
    datasets.prepare(config)

    assert not leftover.exists()
    _assert_whole(config)


@pytest.mark.parametrize("content", [None, b"", b"train\npicture\n"])
def test_a_missing_or_broken_vocabulary_is_made_again_from_the_records(config, content):
    datasets.prepare(config)
    path = _folder(config) / "vocabulary.txt"
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UserError, match="not wholly"):
        datasets.load(config)
    datasets.prepare(config)

    assert path.read_bytes() == whole
    assert Colors.generated == 10  # no image was made again


def _remove(path):
    path.unlink()


def _cut(path):
    os.truncate(path, path.stat().st_size // 2)


def _empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_remove, _cut, _empty])
@pytest.mark.parametrize("split", SIZES)
def test_a_damaged_data_set_is_built_again(config, split, damage):
    datasets.prepare(config)
    damage(_shard(config, split))

    with pytest.raises(UserError):
        datasets.load(config)
    datasets.prepare(config)

    _assert_whole(config)
    assert Colors.generated == 20


def test_records_without_their_description_are_built_again(config):
    datasets.prepare(config)
    (_folder(config) / "dataset_info.json").unlink()

    datasets.prepare(config)

    _assert_whole(config)
    assert Colors.generated == 20


def test_a_garbled_description_is_named(config):
    datasets.prepare(config)
    (_folder(config) / "dataset_info.json").write_text('{"na')

    with pytest.raises(UserError, match="colors in .* is damaged.*delete"):
        datasets.prepare(config)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("write() failed: No space left on device; writing colors-train"),
    ],
)
def test_a_full_disk_leaves_nothing_that_is_taken_for_whole(config, error):
    Colors.fails_at = (9, error)

    with pytest.raises(UserError, match="disk is full.*run the same command again"):
        datasets.prepare(config)

    assert not _folder(config).exists()
    Colors.fails_at = None
    datasets.prepare(config)
    _assert_whole(config)


def test_a_full_disk_while_the_vocabulary_is_written(config, monkeypatch):
    def fail(self, path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Vocabulary, "save", fail)
        with pytest.raises(UserError, match="disk is full"):
            datasets.prepare(config)
    with pytest.raises(UserError, match="not wholly"):
        datasets.load(config)

    datasets.prepare(config)
    _assert_whole(config)
    assert Colors.generated == 10


def test_an_unknown_data_set_is_named_with_the_known_ones(config):
    config.data.dataset = "colours"

    with pytest.raises(UserError, match="'colours'.*procedural_birds"):
        datasets.prepare(config)


def test_a_data_dir_that_is_a_file(config):
    pathlib.Path(config.data.data_dir).write_text("")

    with pytest.raises(UserError, match="cannot be written.*data_dir"):
        datasets.prepare(config)


def test_records_reach_batches_through_spawned_workers(config):
    datasets.prepare(config)
    dataset = datasets.load(config)
    batches = []
    for workers in (0, 2):
        config.data.num_workers = workers
        iterator = pipeline.train_iterator(
            dataset, config, batch_size=4, image_sizes=(12,), max_words=3, seed=1
        )
        batches.append([next(iterator) for _ in range(5)])
        iterator.close()

    for alone, together in zip(*batches):
        assert alone.keys() == together.keys()
        for key in alone:
            np.testing.assert_array_equal(alone[key], together[key])
        assert (alone["image_12"][:, 0, 0, 0] == 10 * alone["class_id"]).all()


@pytest.fixture
def birds(tmp_path):
    return ml_collections.ConfigDict(
        {
            "data": {
                "dataset": "procedural_birds",
                "data_dir": str(tmp_path),
                "captions_per_image": 10,
                "min_word_count": 1,
                "source": "",
                "eval_max_words": 20,
                "crop_to_box": False,
                "overflow_rule": "first",
                "resize_ratio": 1.0,
                "num_workers": 0,
                "read_threads": 1,
                "prefetch_batches": 2,
            },
            "procedural_birds": {
                "image_size": 32,
                "num_species": 3,
                "test_species": 1,
                "images_per_species": 2,
                "seed": 1,
            },
        }
    )


def _door(*arguments):
    root = pathlib.Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "attngan_jax.prepare", *arguments],
        cwd=root,
        text=True,
        capture_output=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=False,
    )


def test_the_door_builds_procedural_birds(birds, tmp_path):
    overrides = [
        f"--config.procedural_birds.{key}={value}" for key, value in birds.procedural_birds.items()
    ]
    run = _door("--config", "configs/default.py", "--data_dir", str(tmp_path), *overrides)

    dataset = datasets.load(birds)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].startswith(
        f"procedural_birds: 4 training and 2 test images, {len(dataset.vocabulary)} words, in "
    )
    assert dataset.num_classes == 3
    report = datasets.report(birds)
    assert report["splits"] == {
        "train": {"images": 4, "captions": 40, "classes": 2},
        "test": {"images": 2, "captions": 20, "classes": 1},
    }
    assert report["words"] == len(dataset.vocabulary) and report["left_out"] == {}
    assert [line.split()[:3] for line in run.stdout.splitlines() if line.startswith("t")] == [
        ["train", "4", "40"],
        ["test", "2", "20"],
    ]
    (batch,) = pipeline.eval_batches(
        dataset.test, birds, vocabulary=dataset.vocabulary, batch_size=2, image_sizes=(32,)
    )
    for i in range(2):
        record = dataset.test[int(batch["index"][i])]
        caption = record["captions"][batch["caption_index"][i]].decode()
        words = dataset.vocabulary.tokenise(caption)
        assert dataset.vocabulary.decode(batch["caption"][i]) == words
        picture = np.asarray(decoding.decode_image(record["image"]))
        np.testing.assert_array_equal(batch["image_32"][i], picture)
        labels = np.asarray(decoding.decode_labels(record["part_labels"]))
        np.testing.assert_array_equal(batch["part_labels"][i], labels)
        assert len(np.unique(labels)) > 3


def test_the_door_says_in_one_line_what_is_wrong(tmp_path):
    run = _door(
        "--config", "configs/default.py", "--data_dir", str(tmp_path), "--config.data.dataset=birds"
    )

    assert run.returncode == 1
    assert "there are coco, cub, folder, procedural_birds" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    "settings, source, complaint",
    [
        ({"test_species": 3}, "", "config.procedural_birds: .*test_species"),
        ({}, "birds.zip", "--source"),
    ],
)
def test_settings_that_make_no_birds(birds, settings, source, complaint):
    birds.procedural_birds.update(settings)

    with pytest.raises(UserError, match=complaint):
        datasets.prepare(birds, source)
