"""The datasets by name: building them on disk and reading them back.

A dataset is in `data_dir/<builder>/<config>/<version>/`: ArrayRecord files, `report/prepare.json`
and `vocabulary.txt`. TFDS builds into a folder called `incomplete.*` and renames it at the end; the
vocabulary is written last. If `data_dir` is in a bucket, this happens in a copy (`bucket_cache`).
"""

import contextlib
import dataclasses
import errno
import io
import json
import os
import pkgutil
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging
from array_record.python import array_record_module
from google.protobuf import json_format

from attngan_jax import plain_files, storage
from attngan_jax.configuration import Config
from attngan_jax.data import bucket_cache, dataset_report
from attngan_jax.data.dataset_report import Records
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError

SPLITS = ("train", "test")
_UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT}

# `config.data.dataset` -> its TFDS builder, which takes `data_config` (the run's `config.data`) and
# `source` beside TFDS's own arguments, and has
#   CONFIG_CLASS: TFDS's builder config, made from the section of the dataset's name, or None.
#   check_source(): raises `UserError` where the dataset can't be built, and says what is needed.
#   num_classes: of train and test together; 0 without classes.
# `PhotographBuilder` has all of these: a subclass says which images a source holds.
BUILDERS = {
    "procedural_birds": "attngan_jax.data.procedural_birds:ProceduralBirds",
    "cub": "attngan_jax.data.cub:Cub",
    "coco": "attngan_jax.data.coco:Coco",
    "folder": "attngan_jax.data.folder:Folder",
}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset on disk, open for reading.

    A record holds `image` (encoded bytes), `captions` (UTF-8 bytes), `class_id` (-1: none), `bbox`
    (x, y, width, height in pixels; all 0: none), `name`, and for procedural_birds also
    `attributes`, `caption_attributes`, `part_labels`.
    """

    name: str  # config.data.dataset
    train: Records  # by index
    test: Records
    vocabulary: Vocabulary
    num_classes: int  # of train and test together; 0 without classes
    folder: storage.Path  # where it lies; an address where `data_dir` is one
    report: Mapping[str, Any] | None  # its `report/prepare.json`, if there is one


def get_builder(config: Config, source: str = "") -> Any:
    """The TFDS builder of `config.data.dataset`, which reads what is on disk; builds nothing yet.

    `UserError` if there is no such dataset, or if what is on disk can't be read.
    """
    name = config.data.dataset
    if name not in BUILDERS:
        raise UserError(f"config.data.dataset is {name!r}; there are {', '.join(sorted(BUILDERS))}")
    builder_class = pkgutil.resolve_name(BUILDERS[name])
    try:
        settings = builder_class.CONFIG_CLASS and builder_class.CONFIG_CLASS(**config[name])
    except ValueError as error:
        raise UserError(f"config.{name}: {error}") from error
    where = {"data_dir": bucket_cache.data_dir(config), "file_format": "array_record"}
    plain_files.check_plain_tree(Path(where["data_dir"]) / name)
    try:
        return builder_class(config=settings, data_config=config.data, source=source, **where)
    except (json_format.ParseError, json.JSONDecodeError) as error:
        problem = f"is damaged ({error}): delete its folder there and build it again"
        raise UserError(f"the dataset {name} in {config.data.data_dir} {problem}") from error


def check(config: Config) -> None:
    """`UserError` if the dataset is neither built nor can be: its name or its source is wrong."""
    builder = get_builder(config)
    folder = Path(builder.data_path)
    place = bucket_cache.address(config, folder)
    is_published = place != folder and bucket_cache.is_finished(bucket_cache.facts(place))
    if not is_published and not _has_records(builder):
        builder.check_source()
    _check_built_from(config.data.source, folder)


def prepare(config: Config, source: str = "") -> bool:
    """Builds the dataset if it is missing or half built; whether there was anything to do.

    A kill at any moment leaves nothing that is taken for whole. `source` is the folder to build
    from; "": config.data.source. `UserError` if the disk is full or the source can't be used.
    """
    folder = Path(get_builder(config, source).data_path)
    place = bucket_cache.address(config, folder)
    with _explained(folder):
        bucket_cache.fetch(place, folder)
        _remove_damaged(folder, config)
        bucket_cache.fetch(place, folder)
        was_built = _build(folder, config, source)
        bucket_cache.publish(folder, place)
    return was_built


def _remove_damaged(folder: Path, config: Config) -> None:
    """Sets aside what has changed since it was built: it is copied or built again."""
    for name in dataset_report.find_damage(folder, config.data):
        if (path := folder / name).exists():
            aside = folder.parent / f"{name}.damaged"
            logging.warning("%s is damaged: it is set aside as %s and made again", path, aside)
            os.replace(path, aside)


def _build(folder: Path, config: Config, source: str) -> bool:
    start, data, builder = time.monotonic(), config.data, get_builder(config, source)
    if not _has_records(builder):
        builder.check_source()
    elif _vocabulary(builder, config):
        _check_built_from(source or data.source, folder)
        return False
    with bucket_cache.one_process(folder, "lock"):
        builder = get_builder(config, source)  # another process may have built it meanwhile
        if not _has_records(builder):
            prefix = tfds.core.constants.INCOMPLETE_PREFIX
            leftovers = list(folder.parent.glob(f"{prefix}*_{folder.name}"))
            for leftover in leftovers + [folder] * folder.exists():
                logging.warning("%s is half built: removing it and building again", leftover)
                shutil.rmtree(leftover)
            bucket_cache.list_file(folder).unlink(missing_ok=True)  # what is built is copied anew
            builder = get_builder(config, source)  # forgets what it read from there
            tfds.display_progress_bar(sys.stderr.isatty())
            logging.info("building %s in %s", data.dataset, folder)
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS's words, of downloads and sizes
                builder.download_and_prepare()
        if not _vocabulary(builder, config):
            splits = {split: _open_split(builder, split) for split in SPLITS}
            seconds = time.monotonic() - start
            dataset_report.summarise(folder, splits, data, seconds)
    return True


def _check_built_from(source: str, folder: Path) -> None:
    """Raises `UserError` if what is in `folder` was built from another source than `source`."""
    built_from = dataset_report.build_facts(folder).get("source")
    if source and built_from and Path(source).expanduser().resolve() != Path(built_from):
        ways = (
            "give these images a --config.folder.title (or --data_dir) of their own, delete that "
            "folder to build it anew, or name no source to use it as it is"
        )
        raise UserError(f"{folder} was built from {built_from}, not from {source}: {ways}")


def load(config: Config) -> Dataset:
    """Opens the dataset that `prepare` built; `UserError` if it isn't there, or isn't whole."""
    data, folder = config.data, Path(get_builder(config).data_path)
    place = bucket_cache.address(config, folder)
    bucket_cache.fetch(place, folder)
    builder = get_builder(config)  # which reads what is there now
    vocabulary = _vocabulary(builder, config)
    if vocabulary is None or not _has_records(builder):
        missing = f"the dataset {data.dataset} is not (or not wholly) built in {place}"
        build = "run python -m attngan_jax.prepare with this config"
        raise UserError(f"{missing}: {build}, or say with --data_dir where it is")
    train, test = (_open_split(builder, split) for split in SPLITS)
    report = dataset_report.read_report(folder, data)
    return Dataset(data.dataset, train, test, vocabulary, builder.num_classes, place, report)


def _open_split(builder: Any, split: str) -> Records:
    """Records by index, images still encoded."""
    images = {k for k, v in builder.info.features.items() if isinstance(v, tfds.features.Image)}
    decoders = dict.fromkeys(images, tfds.decode.SkipDecoding())
    return builder.as_data_source(split, decoders=decoders)


def _has_records(builder: Any) -> bool:
    """Whether all files of both splits are there, none of them cut short, and no split is empty."""
    splits = builder.info.splits
    files = [pair for s in splits.values() for pair in zip(s.filepaths, s.shard_lengths)]
    filled = {name for name, split in splits.items() if split.num_examples}
    if not (set(SPLITS) <= filled and all(Path(path).exists() for path, _ in files)):
        return False
    open_file = array_record_module.ArrayRecordReader
    try:
        return all(open_file(str(path)).num_records() == length for path, length in files)
    except (RuntimeError, ValueError):  # a file that is cut short
        return False


def _vocabulary(builder: Any, config: Config) -> Vocabulary | None:
    """The dataset's words; None where they are missing or damaged."""
    with contextlib.suppress(UserError):
        return Vocabulary.load(dataset_report.files(Path(builder.data_path), config.data)[0])
    return None


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turns what the file system refuses into a `UserError`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        code = getattr(error, "errno", None)
        # ArrayRecord's writer has no error number to give, only the words.
        if code in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error):
            hint = "free some space and run the same command again; nothing half-written is kept"
            raise UserError(f"the disk is full while building {folder}: {hint}") from error
        if code in _UNUSABLE:
            place, reason = getattr(error, "filename", None) or folder, os.strerror(code)
            hint = "choose another config.data.data_dir"
            raise UserError(f"{place} cannot be written ({reason}): {hint}") from error
        raise
