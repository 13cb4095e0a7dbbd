"""Datasets in a bucket: built here and uploaded, or downloaded once and kept.

ArrayRecord reads no addresses, and a training batch is a hundred random reads. So each machine
keeps a copy in `config.data.cache_dir`, and beside it a list of what was copied: each object's size
and hash. Where those in the bucket are others, the copy is made again. The vocabulary is written
last: without it nothing is finished.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from attngan_jax import plain_files, storage
from attngan_jax.bars import Bar
from attngan_jax.configuration import Config
from attngan_jax.errors import UserError
from attngan_jax.locks import locked

SPARE_BYTES = 2**26  # beside the copy, for what is written about it
GROUP = 16  # files that are copied before it is noted which are there
CHECKED = {"checksum": "crc32c"}
AT_ONCE: dict = {"worker_type": "thread", "max_workers": 8, "raise_exception": True}
Facts = dict[str, list]  # an object's name below the dataset's address -> [size, MD5]


def data_dir(config: Config) -> str:
    """The folder that TFDS works in: `config.data.data_dir` itself, or that of the copies."""
    if not storage.is_address(config.data.data_dir):
        return os.path.expanduser(config.data.data_dir)
    place = config.data.data_dir.removeprefix(storage.SCHEME).strip("/")
    return os.path.join(os.path.expanduser(config.data.cache_dir), place)


def address(config: Config, folder: Path) -> storage.Path:
    """The address of a dataset whose copy, if it needs one, is `folder`."""
    if not storage.is_address(config.data.data_dir):
        return folder
    return storage.path(config.data.data_dir) / folder.relative_to(data_dir(config)).as_posix()


def _download(source: storage.Path, folder: Path, sizes: dict[str, int]) -> None:
    """Copies files of these sizes side by side, each checked; one appears whole or not at all."""
    from google.cloud.storage import transfer_manager

    unfinished = {n: (folder / n).with_name(f".{(folder / n).name}.{os.getpid()}") for n in sizes}
    for path in unfinished.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        pairs = [(storage.blob(source / name), str(path)) for name, path in unfinished.items()]
        transfer_manager.download_many(pairs, download_kwargs=CHECKED, **AT_ONCE)
        for name, path in unfinished.items():
            if (arrived := path.stat().st_size) != sizes[name]:
                why = f"{arrived:,} of them arrived: run the same command again"
                raise UserError(f"{source / name} has {sizes[name]:,} bytes and {why}")
            os.replace(path, folder / name)
    finally:
        for path in unfinished.values():
            path.unlink(missing_ok=True)


def _groups(names: list[str], title: str) -> Iterator[list[str]]:
    """Names of one rank, some at a time, with a bar."""
    with Bar(desc=title, total=len(names), unit=" files", disable=not names) as bar:
        for rank in range(3):
            of_rank = [name for name in names if _rank(name) == rank]
            for start in range(0, len(of_rank), GROUP):
                group = of_rank[start : start + GROUP]
                yield group
                bar.update(len(group))


def fetch(source: storage.Path, folder: Path) -> None:
    """Makes `folder` a copy of the dataset at `source`, unless it is that or is not finished.

    Each file appears whole or not at all, checked by size and hash. Where several processes call
    this, one copies. `UserError` if the bucket is out of reach, or there is no room for the copy.
    """
    if source == folder:
        return
    with one_process(folder, "copy.lock"):
        there = facts(source)
        if not is_finished(there):
            return
        here = _copied(folder)
        if any(there.get(name) != fact for name, fact in here.items()):
            logging.warning("%s was made anew since it was copied: copying it again", source)
            shutil.rmtree(folder)
            here = {}
        missing = sorted(there.keys() - here.keys())
        size = sum(there[name][0] for name in missing)
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if missing and free < size + SPARE_BYTES:
            needed, room = f"{size / 2**30:.1f} GiB", f"{free / 2**30:.1f}"
            hint = f"{folder} has {room}: choose another config.data.cache_dir"
            raise UserError(f"the copy of the dataset needs {needed} and {hint}")
        for names in _groups(missing, f"Copying {source.parts[-2]} here"):
            _download(source, folder, {name: there[name][0] for name in names})
            here |= {name: there[name] for name in names}
            storage.write_text(list_file(folder), json.dumps(here) + "\n")


def publish(folder: Path, target: storage.Path) -> None:
    """Uploads what the address of a dataset lacks of those in `folder`, the vocabulary last.

    The vocabulary and report of other records are deleted first: they would seem finished.
    """
    if target == folder:
        return
    from google.cloud.storage import transfer_manager

    with one_process(folder, "copy.lock"):
        there, copied = facts(target), _copied(folder)
        files = [file for file in storage.walk(folder) if not file.name.startswith(".")]
        here = {file.relative_to(folder).as_posix(): [file.stat().st_size] for file in files}
        missing = {name for name in here if name not in there or there[name] != copied.get(name)}
        if any(_rank(name) == 0 for name in missing):
            for name in sorted(filter(_rank, there), key=_rank, reverse=True):
                storage.blob(target / name).delete()
                missing |= {name} & here.keys()
        for names in _groups(sorted(missing), f"Copying {target.parts[-2]} to its bucket"):
            pairs = [(str(folder / name), storage.blob(target / name)) for name in names]
            transfer_manager.upload_many(pairs, upload_kwargs=CHECKED, **AT_ONCE)
        if missing:
            there = facts(target)
            copied = {name: there[name] for name in here}
            storage.write_text(list_file(folder), json.dumps(copied) + "\n")


def facts(source: storage.Path) -> Facts:
    """Size and MD5 (base64; None for objects that were composed) of a dataset's objects."""
    storage.check_is_reachable("config.data.data_dir", source)
    prefix = os.fspath(source).removeprefix(storage.SCHEME).partition("/")[2].rstrip("/") + "/"
    found = {b.name.removeprefix(prefix): [b.size, b.md5_hash] for b in storage.blobs(source)}
    return {name: fact for name, fact in found.items() if not name.startswith("reference/")}


def is_finished(there: Facts) -> bool:
    """Whether a dataset of these files has all of them: the vocabulary is the last."""
    return any(_rank(name) == 2 for name in there)


def _rank(name: str) -> int:
    """The order of uploads: 0 for records, 1 for the report, 2 for the vocabulary."""
    is_vocabulary = name.startswith("vocabulary") and name.endswith(".txt")
    return 2 if is_vocabulary else int(name.startswith("report/"))


def list_file(folder: Path) -> Path:
    """Where it is noted what was copied; without it all is copied again."""
    return folder.parent / f".{folder.name}.copied.json"


def _copied(folder: Path) -> Facts:
    """What was copied and has its size still."""
    try:
        noted: Facts = json.loads(plain_files.read_text(list_file(folder)))
        there = (name for name in noted if (folder / name).exists())
        return {k: noted[k] for k in there if (folder / k).stat().st_size == noted[k][0]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}


@contextlib.contextmanager
def one_process(folder: Path, name: str) -> Iterator[None]:
    """Waits while another process has the lock `name` of a dataset's folder."""
    path = folder.parent / f".{folder.name}.{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
