"""The datasets by name: building them on disk and reading them back.

A dataset lies in `data_dir/<builder>/<config>/<version>/`, as TFDS lays it out, in ArrayRecord
files, with `report/prepare.json` and `vocabulary.txt` beside them. TFDS builds into a folder
called `incomplete.*` and renames it at the end; the vocabulary is written last. Where `data_dir` is
in a bucket, all of this happens in a copy on this machine (`bucket_cache.py`).
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging
from array_record.python import array_record_module
from google.protobuf import json_format

from attngan_jax import storage
from attngan_jax.data import bucket_cache, dataset_report
from attngan_jax.data.photographs import PhotographBuilder
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError

SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset on disk, open for reading.

    train, test: records by index. A record holds `image` (encoded bytes), `captions` (UTF-8
      bytes), `class_id` (-1: none), `bbox` (x, y, width, height in pixels; all 0: none), `name`,
      and for procedural_birds also `attributes`, `caption_attributes`, `part_labels`.
    num_classes: of train and test together; 0 without classes.
    """

    name: str
    train: Sequence[Mapping[str, Any]]
    test: Sequence[Mapping[str, Any]]
    vocabulary: Vocabulary
    num_classes: int


@dataclasses.dataclass(frozen=True)
class Source:
    """How a dataset is built: its TFDS builder from (config, source folder or ""), and
    its number of classes from the config (None: the build has found them)."""

    builder: Callable[[Any, str], tfds.core.DatasetBuilder]
    num_classes: Callable[[Any], int] | None


def _procedural_birds(config, source: str) -> tfds.core.DatasetBuilder:
    from attngan_jax.data.procedural_birds import ProceduralBirds, ProceduralBirdsConfig

    if source:
        raise UserError("procedural_birds is drawn by the program: leave --source away")
    try:
        settings = ProceduralBirdsConfig(**config.procedural_birds)
    except ValueError as error:
        raise UserError(f"config.procedural_birds: {error}") from error
    return ProceduralBirds(config=settings, data_dir=bucket_cache.data_dir(config))


def _cub(config, source: str) -> tfds.core.DatasetBuilder:
    from attngan_jax.data.cub import Cub

    return Cub(**_photograph_settings(config, source))


def _coco(config, source: str) -> tfds.core.DatasetBuilder:
    from attngan_jax.data.coco import Coco

    return Coco(**_photograph_settings(config, source))


def _folder(config, source: str) -> tfds.core.DatasetBuilder:
    from attngan_jax.data.folder import Folder, FolderConfig

    try:
        settings = FolderConfig(**config.folder)
    except ValueError as error:
        raise UserError(f"config.folder: {error}") from error
    return Folder(config=settings, **_photograph_settings(config, source))


def _photograph_settings(config, source: str) -> dict[str, Any]:
    return {
        "source": source or config.data.source,
        "max_left_out": config.data.max_left_out,
        "num_captions": config.data.captions_per_image,
        "place": config.data.data_dir,
        "data_dir": bucket_cache.data_dir(config),
    }


SOURCES = {
    "procedural_birds": Source(
        _procedural_birds, lambda config: config.procedural_birds.num_species
    ),
    "cub": Source(_cub, lambda config: 200),
    "coco": Source(_coco, lambda config: 0),
    "folder": Source(_folder, None),
}


def get_builder(config, source: str = "") -> tfds.core.DatasetBuilder:
    """The TFDS builder of `config.data.dataset`; builds nothing yet.

    Raises:
      UserError: there is no such dataset, or what is on disk can't be read.
    """
    name = config.data.dataset
    if name not in SOURCES:
        raise UserError(f"config.data.dataset is {name!r}; there are {', '.join(sorted(SOURCES))}")
    try:
        return SOURCES[name].builder(config, source)
    except (json_format.ParseError, json.JSONDecodeError) as error:
        raise UserError(
            f"the dataset {name} in {config.data.data_dir} is damaged ({error}): "
            "delete its folder there and build it again"
        ) from error


def check(config) -> None:
    """`UserError` if the dataset is neither built nor can be: its name or its source is wrong."""
    builder = get_builder(config)
    if not (
        bucket_cache.is_needed(config)
        and bucket_cache.is_finished(bucket_cache.facts(folder(config)))
    ):
        _check_source(builder)


def folder(config) -> storage.Path:
    """Where the dataset lies, or will lie: a folder, or an address where `data_dir` is one."""
    return bucket_cache.address(config, Path(get_builder(config).data_path))


def prepare(config, source: str = "") -> bool:
    """Builds the dataset if it is missing or half built; whether there was anything to do.

    A kill at any moment leaves nothing that is taken for whole; the next call finishes.

    Args:
      source: the folder to build from, where the dataset needs one; "": config.data.source.
    Raises:
      UserError: the disk is full or read-only, or the source can't be used.
    """
    if not bucket_cache.is_needed(config):
        return _prepare(config, source)
    place, copy = folder(config), Path(get_builder(config).data_path)
    with _explained(copy):
        bucket_cache.fetch(place, copy)
        was_made = _prepare(config, source)
        bucket_cache.publish(copy, place)
    return was_made


def _prepare(config, source: str) -> bool:
    start = time.monotonic()
    builder = get_builder(config, source)
    if _is_whole(builder, config):
        _warn_of_another_source(builder, source or config.data.source)
        return False
    _check_source(builder)
    target = Path(builder.data_path)
    with _explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one_process(target):
            builder = get_builder(config, source)  # another process may have built it meanwhile
            if not _has_records(builder):
                _remove_leftovers(target)
                bucket_cache.forget(target)
                builder = get_builder(config, source)  # forgets what it read from there
                builder.download_and_prepare()
            if not _has_vocabulary(builder, config):
                _summarise(builder, config, time.monotonic() - start)
    return True


def report(config) -> dict[str, Any] | None:
    """What `report/prepare.json` of the dataset says; None if there is none."""
    return dataset_report.read_report(
        Path(get_builder(config).data_path), config.data.min_word_count
    )


def _warn_of_another_source(builder, source: str) -> None:
    built_from = dataset_report.build_facts(Path(builder.data_path)).get("source")
    if source and built_from and Path(source).resolve() != Path(built_from):
        logging.warning(
            "%s was built from %s and is used as it is; delete it to build it from %s",
            builder.data_path,
            built_from,
            source,
        )


def load(config) -> Dataset:
    """Opens the dataset that `prepare` built.

    Raises:
      UserError: it isn't there, or isn't whole.
    """
    builder = get_builder(config)
    if bucket_cache.is_needed(config):
        bucket_cache.fetch(folder(config), Path(builder.data_path))
        builder = get_builder(config)  # which reads what is there now
    if not _is_whole(builder, config):
        raise UserError(
            f"the dataset {config.data.dataset} is not (or not wholly) built in "
            f"{folder(config)}: run python -m attngan_jax.prepare with this config"
        )
    train, test = (_open_split(builder, split) for split in SPLITS)
    num_classes = SOURCES[config.data.dataset].num_classes or (
        lambda _: dataset_report.build_facts(Path(builder.data_path))["num_classes"]
    )
    return Dataset(
        config.data.dataset,
        train,
        test,
        Vocabulary.load(_vocabulary_path(builder, config)),
        num_classes(config),
    )


def _check_source(builder) -> None:
    if isinstance(builder, PhotographBuilder) and not _has_records(builder):
        builder.check_source()


def _remove_leftovers(target: Path) -> None:
    leftovers = list(target.parent.glob(f"{tfds.core.constants.INCOMPLETE_PREFIX}*_{target.name}"))
    for leftover in leftovers + [target] * target.exists():
        logging.warning("%s is half built: removing it and building again", leftover)
        shutil.rmtree(leftover)


def _summarise(builder, config, seconds: float) -> None:
    dataset_report.summarise(
        config.data.dataset,
        Path(builder.data_path),
        {split: _open_split(builder, split) for split in SPLITS},
        config.data.min_word_count,
        seconds,
    )


def _open_split(builder, split: str) -> Sequence[Mapping[str, Any]]:
    """Records by index, images still encoded."""
    encoded = {
        name: tfds.decode.SkipDecoding()
        for name, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    }
    return builder.as_data_source(split, decoders=encoded)


def _has_records(builder) -> bool:
    splits = builder.info.splits
    return all(split in splits for split in SPLITS) and all(
        _num_records(path) == length
        for split in splits.values()
        for path, length in zip(split.filepaths, split.shard_lengths)
    )


def _num_records(path) -> int:
    """How many records a file holds; -1 when it is missing or cut short."""
    if not Path(path).exists():
        return -1
    try:
        reader = array_record_module.ArrayRecordReader(str(path))
        return reader.num_records()
    except (RuntimeError, ValueError):
        return -1


def _vocabulary_path(builder, config) -> Path:
    return dataset_report.vocabulary_file(Path(builder.data_path), config.data.min_word_count)


def _is_whole(builder, config) -> bool:
    return _has_records(builder) and _has_vocabulary(builder, config)


def _has_vocabulary(builder, config) -> bool:
    try:
        return bool(Vocabulary.load(_vocabulary_path(builder, config)))
    except UserError:
        return False


@contextlib.contextmanager
def _only_one_process(target: Path) -> Iterator[None]:
    """Waits while another process builds the same dataset."""
    with open(target.parent / f".{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Turns what the file system refuses into a `UserError`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        code = getattr(error, "errno", None)
        # ArrayRecord's writer has no error number to give, only the words.
        if code in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error):
            raise UserError(
                f"the disk is full while building {target}: free some space and run "
                "the same command again; nothing half-written is kept"
            ) from error
        if code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise UserError(
                f"{error.filename or target} cannot be written ({error.strerror}): "
                "choose another config.data.data_dir"
            ) from error
        raise
