"""The judges' files: weights in safetensors, and `judges.json`, which says where they come from."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from attngan_jax import storage
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.interop import state_dict_files

DATASET = "procedural_birds"
SHIPPED = Path(__file__).parent / "weights"
NAMES = ("attributes", "parts", "matching")  # of the networks, and so of their files
RECORD = "judges.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Judges:
    """The three networks' variables by name, and what is known of them."""

    variables: Mapping[str, dict]
    vocabulary: Vocabulary  # of the caption matcher
    part_pixels: Mapping[str, tuple[int, int]]  # least and most of each part on real images
    record: Mapping[str, Any]  # provenance and scores, JSON values

    def word_numbers(self, vocabulary: Vocabulary) -> np.ndarray:
        """For each word of a run's vocabulary its number here, 0 where it is unknown; `[V]`."""
        own = {word: i for i, word in enumerate(self.vocabulary.words)}
        return np.array([own.get(word, 0) for word in vocabulary.words], np.int32)


def save(folder: storage.PathLike, judges: Judges) -> None:
    """Writes float16 weights and the record, with the vocabulary and each file's SHA-256."""
    folder, digests = storage.path(folder), {}
    for name in NAMES:
        flat = flax.traverse_util.flatten_dict(judges.variables[name], sep="/")
        path = folder / f"{name}.safetensors"
        half = {key: np.asarray(value, np.float16) for key, value in flat.items()}
        state_dict_files.write_safetensors(path, half)
        digests[name] = state_dict_files.sha256(path)
    record = dict(judges.record) | {"part_pixels": judges.part_pixels, "weights_sha256": digests}
    record["vocabulary"] = judges.vocabulary.words
    storage.write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")


def load(folder: storage.PathLike = SHIPPED) -> Judges:
    """Reads what `save` wrote; `UserError` where a file is missing, damaged or another's."""
    folder, variables = storage.path(folder), {}
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        vocabulary, part_pixels = Vocabulary(record["vocabulary"]), record["part_pixels"]
        digests = [record["weights_sha256"][name] for name in NAMES]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{folder / RECORD} is missing or damaged ({' '.join(str(error).split())})"
        raise UserError(f"{problem}: install the package again, or train the judges") from error
    for name, digest in zip(NAMES, digests):
        path = folder / f"{name}.safetensors"
        flat = state_dict_files.read_state_dict(path)
        if state_dict_files.sha256(path) != digest:
            raise UserError(f"{path} is not the file that {RECORD} beside it describes")
        flat = {key: value.astype(np.float32) for key, value in flat.items()}
        variables[name] = flax.traverse_util.unflatten_dict(flat, sep="/")
    return Judges(variables, vocabulary, part_pixels, record)


def load_for(dataset: str, version: str) -> Judges:
    """The shipped judges; `UserError` for a dataset, or a version of it, that they do not know."""
    if dataset != DATASET:
        raise UserError(f"there are judges for {DATASET} alone, which {dataset} is not")
    judges = load()
    if version != (known := judges.record["dataset"]["version"]):
        problem = f"the judges are of {DATASET} {known}, and this is version {version}"
        raise UserError(f"{problem}: train them again, python -m attngan_jax.train_judges")
    return judges
