"""The vocabulary that a workdir keeps: its networks know these words, in this order."""

import json

from absl import logging

from attngan_jax import plain_files, storage
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.workdir import Workdir


def keep(files: Workdir, vocabulary: Vocabulary) -> Vocabulary:
    """The workdir's vocabulary; a workdir that has none gets this one, of its dataset.

    One that was damaged since is set aside and replaced by the dataset's. `UserError` where that is
    another by now.
    """
    path, noted = files.vocabulary, _noted(files)
    if not _is_damaged(files, noted):
        if path.exists():
            return Vocabulary.load(path)
        content = json.dumps({path.name: storage.digest([vocabulary.content])})
        storage.write_text(files.digests, content + "\n")
    elif storage.digest([vocabulary.content]) != noted:
        hint = "restore the file, or start in another --workdir"
        raise UserError(f"{path} is damaged, and the dataset has other words by now: {hint}")
    else:
        aside = path.with_name(f"{path.name}.damaged")
        if path.exists():
            storage.write_bytes(aside, plain_files.read_bytes(path))
        logging.warning("%s was damaged: it is the dataset's again; see %s", path, aside)
    vocabulary.save(path)
    return vocabulary


def load(files: Workdir) -> Vocabulary:
    """The vocabulary of a workdir or model folder; `UserError` if it was damaged since."""
    if _is_damaged(files, _noted(files)):
        hint = "run attngan_jax.main again, which takes it from the dataset, or restore the file"
        raise UserError(f"the vocabulary {files.vocabulary} is damaged: {hint}")
    return Vocabulary.load(files.vocabulary)


def _noted(files: Workdir) -> list | None:
    """Size and digest of what was written; None for older runs and imported ones."""
    try:
        return json.loads(plain_files.read_text(files.digests))[files.vocabulary.name]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_damaged(files: Workdir, noted: list | None) -> bool:
    return noted is not None and not storage.is_unchanged(files.vocabulary, noted)
