"""Datasets in a bucket: built here and brought there, or brought here once and kept.

ArrayRecord reads no addresses, and a training batch is a hundred random reads. So each machine
keeps a copy of a dataset whose `data_dir` is one, in `config.data.cache_dir`. Beside the copy a
list says what was copied: each object's size and hash, as the bucket has them. A copy in which any
of them is another is made again.

In a bucket as in a folder the vocabulary is what is written last: a dataset without it is not
finished.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from absl import logging
from tqdm import tqdm

from attngan_jax import storage
from attngan_jax.errors import UserError

SPARE_BYTES = 2**26  # beside the copy, for what is written about it
Facts = dict[str, list]  # an object's name below the dataset's address -> [size, MD5]


def is_needed(config) -> bool:
    """Whether the dataset is in a bucket, and so has a copy here."""
    return storage.is_address(config.data.data_dir)


def data_dir(config) -> str:
    """The folder that TFDS works in: `config.data.data_dir` itself, or that of the copies."""
    if not is_needed(config):
        return config.data.data_dir
    place = config.data.data_dir.removeprefix(storage.SCHEME).strip("/")
    return os.path.join(os.path.expanduser(config.data.cache_dir), place)


def address(config, folder: Path) -> storage.Path:
    """Where a dataset lies whose copy, if it needs one, is `folder`."""
    if not is_needed(config):
        return folder
    return storage.path(config.data.data_dir) / folder.relative_to(data_dir(config)).as_posix()


def fetch(source: storage.Path, folder: Path) -> None:
    """Makes `folder` a copy of the dataset at `source`; nothing where that is not finished.

    Each file appears whole or not at all, checked by size and hash; what is there already is kept.
    Several processes may call this together: one copies, the others wait.

    Raises:
      UserError: the bucket is out of reach, or this machine has no room for the copy.
    """
    with _one_at_a_time(folder):
        there = facts(source)
        if not is_finished(there):
            return
        here = _copied(folder)
        if any(there.get(name) != fact for name, fact in here.items()):
            logging.warning("%s was made anew since it was copied: copying it again", source)
            shutil.rmtree(folder)
            here = {}
        missing = [name for name in _in_order(there) if name not in here]
        _check_room(folder, sum(there[name][0] for name in missing))
        with _progress(missing, there, f"Copying {source.parts[-2]} here") as bar:
            for name in missing:
                _download(source / name, folder / name, there[name])
                here[name] = there[name]
                _note(folder, here)
                bar.update(there[name][0])


def publish(folder: Path, target: storage.Path) -> None:
    """Brings the dataset in `folder` to its address, as far as it is not there.

    The vocabulary goes last, so that one that ends early is not taken for finished. For the same
    reason that of other records goes first, with its report.
    """
    with _one_at_a_time(folder):
        there = facts(target)
        here = {
            file.relative_to(folder).as_posix(): [file.stat().st_size]
            for file in storage.walk(folder)
            if not file.name.startswith(".")
        }
        copied = _copied(folder)
        missing = [
            name for name in _in_order(here) if name not in there or there[name] != copied.get(name)
        ]
        if not all(map(_is_about_the_records, missing)):
            for name in filter(_is_about_the_records, reversed(_in_order(there))):
                storage.blob(target / name).delete()
                del there[name]
            missing = [name for name in _in_order(here) if name in missing or name not in there]
        with _progress(missing, here, f"Copying {target.parts[-2]} to its bucket") as bar:
            for name in missing:
                storage.blob(target / name).upload_from_filename(str(folder / name))
                bar.update(here[name][0])
        if missing:
            there = facts(target)
            _note(folder, {name: there[name] for name in here})


def facts(source: storage.Path) -> Facts:
    """Size and MD5 (base64; None for objects that were composed) of a dataset's objects."""
    storage.check_is_reachable("config.data.data_dir", source)
    prefix = os.fspath(source).removeprefix(storage.SCHEME).partition("/")[2].rstrip("/") + "/"
    names = {
        blob.name.removeprefix(prefix): [blob.size, blob.md5_hash] for blob in storage.blobs(source)
    }
    return {
        name: fact
        for name, fact in names.items()
        if not name.startswith("reference/") and not name.endswith("/")
    }


def forget(folder: Path) -> None:
    """What `folder` holds is made anew, so that no list of copies is true of it."""
    _list_file(folder).unlink(missing_ok=True)


def is_finished(there: Facts) -> bool:
    """Whether a dataset of these files has all of them: the vocabulary is the last."""
    return any(_is_vocabulary(name) for name in there)


def _is_vocabulary(name: str) -> bool:
    return name.startswith("vocabulary") and name.endswith(".txt")


def _is_about_the_records(name: str) -> bool:
    return _is_vocabulary(name) or name.startswith("report/")


def _in_order(names) -> list[str]:
    return sorted(names, key=lambda name: (_is_vocabulary(name), name.startswith("report/"), name))


def _download(source: storage.Path, target: Path, fact: list) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        storage.blob(source).download_to_filename(str(unfinished))  # checks the hash
        if unfinished.stat().st_size != fact[0]:
            raise UserError(
                f"{source} has {fact[0]:,} bytes and {unfinished.stat().st_size:,} of "
                "them arrived: run the same command again"
            )
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def _check_room(folder: Path, size: int) -> None:
    if not size:
        return
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise UserError(
            f"the copy of the dataset needs {size / 2**30:.1f} GiB and {folder} has "
            f"{free / 2**30:.1f}: choose another config.data.cache_dir"
        )


def _progress(names, sizes: Facts, what: str) -> tqdm:
    return tqdm(
        total=sum(sizes[name][0] for name in names),
        desc=what,
        unit="B",
        unit_scale=True,
        disable=not names,
    )


def _list_file(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.copied.json"


def _copied(folder: Path) -> Facts:
    """What was copied and has its size still."""
    try:
        noted = json.loads(_list_file(folder).read_text(encoding="utf-8"))
        return {
            name: fact
            for name, fact in noted.items()
            if (folder / name).exists() and (folder / name).stat().st_size == fact[0]
        }
    except (FileNotFoundError, ValueError):
        return {}


def _note(folder: Path, copied: Facts) -> None:
    storage.write_text(_list_file(folder), json.dumps(copied) + "\n")


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.copy.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
