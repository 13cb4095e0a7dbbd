"""Building, damage, and reading back: a small builder of plain images, and procedural birds."""

import errno
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import flags

from attngan_jax.data import datasets, pipeline, transforms
from attngan_jax.data.vocabulary import END, Vocabulary
from attngan_jax.errors import UserError
from tests import tiny_runs
from tests.made_up_sources import records, vocabulary_of
from tests.tiny_configs import procedural_birds

SIZES = {"train": 7, "test": 3}


class Colors(tfds.core.GeneratorBasedBuilder):
    """A dataset of plain images, one colour each. With an entry in BUILDERS it is complete."""

    VERSION = tfds.core.Version("1.0.0")
    CONFIG_CLASS = None
    num_classes = 7
    generated = 0  # examples, since the test began
    fails_at = None  # (example, error) that breaks the build

    def __init__(self, *, data_config=None, source="", **kwargs):
        super().__init__(**kwargs)

    def check_source(self):
        """Needs none."""

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "captions": tfds.features.Sequence(tfds.features.Text()),
            "class_id": np.int64,
            "bbox": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in SIZES}

    def _generate_examples(self, split):
        for i in range(SIZES[split]):
            Colors.generated += 1
            if Colors.fails_at and Colors.fails_at[0] == Colors.generated:
                raise Colors.fails_at[1]
            name = f"{split}{i}"
            yield (
                name,
                {
                    "image": np.full((12, 12, 3), 10 * i, np.uint8),
                    "captions": [f"{split} image {i}", f"caf\u00e9 {split}"],
                    "class_id": i,
                    "bbox": np.zeros(4, np.float32),
                    "name": name,
                },
            )


@pytest.fixture
def config(tmp_path, monkeypatch):
    if not flags.FLAGS.is_parsed():  # which grain's workers read
        flags.FLAGS.mark_as_parsed()
    monkeypatch.setitem(datasets.BUILDERS, "colors", f"{__name__}:Colors")
    monkeypatch.setattr(Colors, "generated", 0)
    monkeypatch.setattr(Colors, "fails_at", None)
    config = procedural_birds.get_config()
    config.data.dataset, config.data.data_dir = "colors", str(tmp_path / "data")
    config.data.resize_ratio = 1.0
    return config


def _folder(config) -> pathlib.Path:
    return pathlib.Path(config.data.data_dir) / "colors" / "1.0.0"


def _assert_whole(config):
    dataset = datasets.load(config)
    for split, size in SIZES.items():
        names = sorted(record["name"].decode() for record in getattr(dataset, split))
        assert names == [f"{split}{i}" for i in range(size)]
    assert {"caf", "image", "train", "test", "6"} < set(dataset.vocabulary.words)


def test_prepare_and_load(config):
    datasets.prepare(config)

    dataset = datasets.load(config)
    _assert_whole(config)
    assert dataset.name == "colors" and dataset.num_classes == 7
    assert dataset.folder == _folder(config) and dataset.report["splits"]["test"]["captions"] == 6
    record = dataset.train[0]
    image = np.asarray(transforms.decode_image(record["image"]))
    assert image.shape == (12, 12, 3) and (image == 10 * record["class_id"]).all()
    assert record["captions"][1].decode() == "caf\u00e9 train"
    # The vocabulary follows the records' order on disk, training first.
    captions = [text.decode() for record in records(dataset) for text in record["captions"]]
    assert dataset.vocabulary == vocabulary_of(captions)
    assert dataset.vocabulary.words[:3] == (END, "train", "image")
    assert (_folder(config) / "vocabulary.txt").exists()


def test_preparing_again_touches_nothing(config):
    assert datasets.prepare(config)
    before = {path: path.stat().st_mtime_ns for path in _folder(config).rglob("*")}

    assert not datasets.prepare(config)

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


@pytest.mark.parametrize("content", [None, b"", b"train\nimage\n"])
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


DAMAGE = {
    "removed": pathlib.Path.unlink,
    "cut short": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b""),
}
DAMAGED = [("*train.array_record*", how) for how in DAMAGE]
DAMAGED += [("*test.array_record*", how) for how in DAMAGE] + [("dataset_info.json", "removed")]


@pytest.mark.parametrize("files, how", DAMAGED)
def test_a_damaged_dataset_is_built_again(config, files, how):
    datasets.prepare(config)
    (path,) = _folder(config).glob(files)
    DAMAGE[how](path)

    with pytest.raises(UserError):
        datasets.load(config)
    datasets.prepare(config)

    _assert_whole(config)
    assert Colors.generated == 20


def test_a_garbled_description_is_named(config):
    datasets.prepare(config)
    (_folder(config) / "dataset_info.json").write_text('{"na')

    with pytest.raises(UserError, match="colors in .* is damaged.*delete"):
        datasets.prepare(config)


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
NO_SPACE_FOR_RECORDS = RuntimeError("write() failed: No space left on device; writing colors-train")


@pytest.mark.parametrize("error", [NO_SPACE, NO_SPACE_FOR_RECORDS])
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
        raise NO_SPACE

    with monkeypatch.context() as patch:
        patch.setattr(Vocabulary, "save", fail)
        with pytest.raises(UserError, match="disk is full"):
            datasets.prepare(config)
    with pytest.raises(UserError, match="not wholly"):
        datasets.load(config)

    datasets.prepare(config)
    _assert_whole(config)
    assert Colors.generated == 10


def test_a_data_dir_that_is_a_file(config):
    pathlib.Path(config.data.data_dir).write_text("")

    with pytest.raises(UserError, match="cannot be written.*data_dir"):
        datasets.prepare(config)


def test_records_reach_batches_through_spawned_workers(config):
    datasets.prepare(config)
    dataset = datasets.load(config)
    settings = {"batch_size": 4, "image_sizes": (12,), "max_words": 3, "seed": 1}
    batches = []
    for config.data.num_workers in (0, 2):
        iterator = pipeline.train_iterator(dataset, config, **settings)
        batches.append([next(iterator) for _ in range(5)])
        iterator.close()

    for alone, together in zip(*batches):
        np.testing.assert_equal(alone, together)
        assert (alone["image_12"][:, 0, 0, 0] == 10 * alone["class_id"]).all()


@pytest.fixture
def birds(tmp_path):
    """Three species, one of them to test on, of two images each; shown as they are stored."""
    config = procedural_birds.get_config()
    config.data.data_dir, config.data.resize_ratio = str(tmp_path), 1.0
    config.procedural_birds.image_size = 32
    config.procedural_birds.num_species, config.procedural_birds.test_species = 3, 1
    config.procedural_birds.images_per_species = 2
    return config


def _prepare(*arguments):
    command = [sys.executable, "-m", "attngan_jax.prepare", "--config", "configs/default.py"]
    return subprocess.run(
        [*command, *arguments], cwd=tiny_runs.ROOT, text=True, capture_output=True, check=False
    )


def test_the_command_builds_procedural_birds(birds, tmp_path):
    settings = birds.procedural_birds.items()
    overrides = [f"--config.procedural_birds.{key}={value}" for key, value in settings]
    run = _prepare("--data_dir", str(tmp_path), *overrides)

    assert run.returncode == 0, run.stderr
    dataset = datasets.load(birds)
    lines = run.stdout.splitlines()
    num_words = len(dataset.vocabulary)
    images = f"procedural_birds: 4 training and 2 test images, {num_words} words, in "
    assert lines[-1].startswith(images) and dataset.num_classes == 3
    assert dataset.report["splits"] == {
        "train": {"images": 4, "captions": 40, "classes": 2},
        "test": {"images": 2, "captions": 20, "classes": 1},
    }
    assert dataset.report["words"] == num_words and dataset.report["left_out"] == {}
    table = [line.split()[:3] for line in lines if line.startswith("t")]
    assert table == [["train", "4", "40"], ["test", "2", "20"]]
    (batch,) = pipeline.eval_batches(
        dataset.test, birds, vocabulary=dataset.vocabulary, batch_size=2, image_sizes=(32,)
    )
    for i in range(2):
        record = dataset.test[int(batch["index"][i])]
        caption = record["captions"][batch["caption_index"][i]].decode()
        words = dataset.vocabulary.tokenise(caption)
        assert dataset.vocabulary.decode(batch["caption"][i]) == words
        image = np.asarray(transforms.decode_image(record["image"]))
        np.testing.assert_array_equal(batch["image_32"][i], image)
        labels = np.asarray(transforms.decode_labels(record["part_labels"]))
        np.testing.assert_array_equal(batch["part_labels"][i], labels)
        assert len(np.unique(labels)) > 3


def test_the_command_names_the_datasets_in_one_line(tmp_path):
    run = _prepare("--data_dir", str(tmp_path), "--config.data.dataset=birds")

    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert "'birds'; there are coco, cub, folder, procedural_birds" in last
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
