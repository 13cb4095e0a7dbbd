"""A run's config on disk: written once into its workdir, checked against it ever after."""

import functools
import json
from typing import TypeAlias

import ml_collections
from absl import logging

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.storage import write_text
from configs import default

Config: TypeAlias = ml_collections.ConfigDict

# Keys that may differ between two starts of one run: they change no result.
FREE_KEYS = (
    "platform",
    "compilation_cache_dir",
    "log_every_steps",
    "data.data_dir",
    "data.cache_dir",
    "data.source",
    "data.max_left_out",
    "data.num_workers",
    "data.read_threads",
    "data.prefetch_batches",
    "damsm.checkpoint_every_steps",
    "attngan.checkpoint_every_steps",
    "remat",
)
FREE_SECTIONS = ("eval.",)  # these change scores, not what is trained: it is scored again
# Values that are counts of something, by the last part of their keys.
COUNTS = (
    "batch_size",
    "num_train_steps",
    "every_steps",
    "accumulation_steps",
    "decay_steps",
    "judge_steps",
    "num_images",
    "num_candidates",
    "fold_size",
    "words",
    "read_threads",
    "prefetch_batches",
    "captions_per_image",
    "image_size",
    "base_size",
    "num_stages",
    "dim",
    "pairs",
    "splits",
    "kid_images",
    "scored_images",
)
# What a run did before a key existed, where that is not the key's value in configs/default.py: a
# function of the run's own config.
BEFORE_THE_KEY = {
    "data.damsm_max_words": lambda run: run["data"]["max_words"],
    "damsm.best_checkpoint": lambda run: "",
}
CHOICES = {
    "platform": ("", "cpu", "gpu", "tpu"),
    "data.overflow_rule": ("random_subset", "first"),
    "remat": ("none", "layers", "networks"),
    "compute_dtype": ("float32", "bfloat16", "float16"),
    "image_encoder.trunk": ("inception_v3", "cnn"),
    "text_encoder.rnn_type": ("lstm", "gru"),
    "text_encoder.sentence_pooling": ("last", "mean", "max"),
    "damsm.best_checkpoint": (
        "",
        "eval/retrieval_r1",
        *(
            f"eval/{direction}_r{k}"
            for direction in ("image_to_text", "text_to_image")
            for k in (1, 5, 10)
        ),
    ),
    "attngan.best_checkpoint": ("", "eval/r_precision"),
    "eval.mismatch": ("class", "image"),
    "eval.protocol": ("own", "paper", "dm_gan"),
    "eval.reference_split": ("train", "test"),
    "generator.base_size": tuple(2**power for power in range(3, 12)),
}


def check(config: Config) -> None:
    """Raises `UserError` naming a value that no run can work with."""
    for key, value in flatten(config.to_dict()).items():
        if key.endswith(COUNTS) and value < 1:
            raise UserError(f"config.{key} is {value}: it must be at least 1")
        if key in CHOICES and value not in CHOICES[key]:
            raise UserError(
                f"config.{key} is {value!r}: choose one of {', '.join(map(str, CHOICES[key]))}"
            )
    for key, reason in (
        ("attngan.batch_size", "mismatched pairs need a second example"),
        ("eval.num_candidates", "a true caption needs a mismatching one"),
    ):
        if flatten(config.to_dict())[key] < 2:
            raise UserError(f"config.{key} must be at least 2: {reason}")
    if config.text_encoder.embedding_dim % 2:
        raise UserError(
            "config.text_encoder.embedding_dim must be even: each direction of the "
            "text encoder gives half of it"
        )
    if config.seed < 0:
        raise UserError(f"config.seed is {config.seed}: it must not be negative")


def config_path(workdir: storage.PathLike) -> storage.Path:
    """Where a workdir keeps its config."""
    return storage.path(workdir) / "config.json"


def save_workdir_config(config: Config, workdir: storage.PathLike) -> None:
    """Writes `config` to the workdir, or checks that the workdir is of the same config.

    Raises `UserError` naming the first keys that differ, `FREE_KEYS` and `FREE_SECTIONS` aside.
    """
    path = config_path(workdir)
    if path.exists():
        differing = differences(load_workdir_config(workdir), config)
        if differing:
            raise UserError(
                f"{workdir} holds a run of another config ({'; '.join(differing[:3])}"
                f"{'; ...' if len(differing) > 3 else ''}): choose another --workdir, "
                "or start with the run's own values"
            )
    write_text(path, json.dumps(config.to_dict(), indent=2) + "\n")


def load_workdir_config(workdir: storage.PathLike) -> Config:
    """The locked config of a workdir, with every key of configs/default.py.

    A key that is younger than the run has what the run did before there was one: its value in
    configs/default.py, or that of `BEFORE_THE_KEY`. A key that configs/default.py does not know is
    kept, for a config file may have its own; both are named in the log.

    Raises `UserError` if there is no config, or none that is whole.
    """
    path = config_path(workdir)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{workdir} is no workdir of a run: it has no config.json; give the "
            "--workdir that attngan_jax.main wrote"
        ) from error
    except ValueError as error:
        raise UserError(
            f"{path} is not valid JSON ({error}): restore it, or start in another --workdir"
        ) from error
    known = default.get_config().to_dict()
    _check_sections(known, values, path)
    filled = _with_defaults(values, known)
    added = {key: value for key, value in flatten(filled).items() if key not in flatten(values)}
    for key in added.keys() & BEFORE_THE_KEY.keys():
        section, _, last = key.rpartition(".")
        added[key] = filled[section][last] = BEFORE_THE_KEY[key](filled)
    if added:
        _log_once(
            f"{path} is older than these keys: "
            + ", ".join(f"{key} counts as {value!r}" for key, value in added.items())
        )
    unknown = sorted(flatten(values).keys() - flatten(known).keys())
    if unknown:
        _log_once(
            f"{path} has keys that configs/default.py does not: {', '.join(unknown)}; the "
            "program reads none of them"
        )
    return ml_collections.ConfigDict(filled).lock()


def _check_sections(known: dict, values: dict, path: storage.Path, name: str = "") -> None:
    if not isinstance(values, dict):
        raise UserError(
            f"{path} is damaged ({name or 'the whole of it'} should be a section of "
            "keys): restore it, or start in another --workdir"
        )
    for key, value in known.items():
        if isinstance(value, dict) and key in values:
            _check_sections(value, values[key], path, f"{name}{key}")
        elif isinstance(values.get(key), dict):
            raise UserError(
                f"{path} is damaged ({name and name + '.'}{key} should be a value): "
                "restore it, or start in another --workdir"
            )


def _with_defaults(values: dict, known: dict) -> dict:
    return {
        key: _with_defaults(values.get(key, {}), value)
        if isinstance(value, dict)
        else values.get(key, value)
        for key, value in known.items()
    } | {key: value for key, value in values.items() if key not in known}


@functools.cache
def _log_once(line: str) -> None:
    logging.info("%s", line)  # a workdir is read several times by one command


def differences(old: Config, new: Config) -> list[str]:
    """A line for each key whose value is another, by name, but for what is free to differ."""
    old, new = flatten(old.to_dict()), flatten(json.loads(json.dumps(new.to_dict())))
    missing = "no such key"
    return [
        f"{key} is {old.get(key, missing)!r} there and {new.get(key, missing)!r} here"
        for key in sorted(old.keys() | new.keys())
        if key not in FREE_KEYS
        and not key.startswith(FREE_SECTIONS)
        and old.get(key, missing) != new.get(key, missing)
    ]


def flatten(tree: dict, prefix: str = "") -> dict:
    """Nested dicts as one, its keys joined by dots."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
