"""A run's config: checked against its schema, written into the workdir, compared ever after.

`configs/default.py` declares the schema; nothing here knows a key by name.
"""

import functools
import json
import reprlib
from collections.abc import Collection
from typing import Any, TypeAlias

import ml_collections
from absl import logging

from attngan_jax import plain_files, storage
from attngan_jax.configs.default import SCHEMA, SIDE, get_config
from attngan_jax.errors import UserError
from attngan_jax.workdir import Workdir

Config: TypeAlias = ml_collections.ConfigDict


def check(config: Config, where: str = "config.") -> None:
    """Raises `UserError` naming a value that no run can work with, and `where` it is."""
    _check_values(flatten(config.to_dict()), where)
    if config.text_encoder.embedding_dim % 2:
        raise UserError(
            f"{where}text_encoder.embedding_dim is {config.text_encoder.embedding_dim}: it must be "
            "even, for each direction of the text encoder gives half of it"
        )
    generator = config.generator
    if (side := generator.base_size << generator.num_stages - 1) > SIDE:
        raise UserError(
            f"{where}generator.num_stages is {generator.num_stages}: images would have {side:,} "
            f"pixels on a side, where {SIDE:,} are the most"
        )


def _check_values(values: dict[str, Any], prefix: str) -> None:
    for name, key in SCHEMA.items():
        if name not in values:
            raise UserError(f"{prefix}{name} is missing: start from configs/default.py")
        if problem := key.problem(values[name]):
            raise UserError(f"{prefix}{name} is {reprlib.repr(values[name])}: {problem}")


def check_paths(values: dict[str, Any], prefix: str = "") -> None:
    """Raises `UserError` for keys that hold an address which is of no use or can't be reached.

    `values` are the keys below `prefix`, such as "eval."; flags are named with it.
    """
    flag = prefix or "config."
    for name, value in values.items():
        key = SCHEMA.get(prefix + name)
        if key and key.path == "any":
            storage.check_is_reachable(flag + name, value)
        elif key and key.path == "local":
            storage.check_is_local(flag + name, value)


def check_same_run(config: Config, workdir: storage.PathLike) -> None:
    """Checks that the run in the workdir, if there is one, may go on with `config`.

    Raises:
      UserError: naming the first keys whose values the run's results follow from and that differ.
        A key that may grow, such as a number of training steps, may have become larger.
    """
    if Workdir(workdir).config.exists():
        differing = differences(load_workdir_config(workdir), config, may_grow=True)
        if differing:
            raise UserError(
                f"{workdir} holds a run of another config ({'; '.join(differing[:3])}"
                f"{'; ...' if len(differing) > 3 else ''}): choose another --workdir, or start "
                "with the run's own values"
            )


def save_workdir_config(config: Config, workdir: storage.PathLike) -> None:
    """Writes `config` to the workdir, if `check_same_run` allows it."""
    check_same_run(config, workdir)
    storage.write_text(Workdir(workdir).config, json.dumps(config.to_dict(), indent=2) + "\n")


def load_workdir_config(workdir: storage.PathLike) -> Config:
    """The locked config of a workdir, with every key of the schema, each checked.

    A key that is younger than the run has what the run did before there was one. A key that the
    schema does not know is kept, for a config file may have its own; both are named in the log.

    Raises:
      UserError: there is no config, or none that is whole and of values that a run can have.
    """
    path = Workdir(workdir).config
    try:
        values = json.loads(plain_files.read_text(path, plain_files.MAX_JSON_BYTES))
    except FileNotFoundError as error:
        raise UserError(
            f"{workdir} is no workdir of a run: it has no config.json; give the --workdir that "
            "attngan_jax.main wrote"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not valid JSON ({error}): restore it, or start in another --workdir"
        ) from error
    filled = _filled(values, get_config().to_dict(), path)
    added = flatten(filled).keys() - flatten(values).keys()
    for name in added & SCHEMA.keys():
        before = SCHEMA[name].before
        if before is not None:
            section, _, last = name.rpartition(".")
            filled[section][last] = before(filled) if callable(before) else before
    flat = flatten(filled)
    _check_values(flat, f"{path}: ")
    if added:
        _log_once(
            f"{path} is older than these keys: "
            + ", ".join(f"{name} counts as {flat[name]!r}" for name in flat if name in added)
        )
    if unknown := sorted(flat.keys() - SCHEMA.keys()):
        _log_once(
            f"{path} has keys that configs/default.py does not: {', '.join(unknown)}; the program "
            "reads none of them"
        )
    try:
        config = ml_collections.ConfigDict(filled).lock()
    except (ValueError, TypeError) as error:  # of keys that have dots, or are not names
        raise UserError(f"{path} has keys that no config has ({error}): restore it") from error
    check(config, f"{path}: ")
    return config


def _filled(values: Any, known: dict, path: storage.Path, name: str = "") -> dict:
    """`values` and, for keys that it lacks, those of `known`, whose sections it must have."""
    wrong = [
        f"{name and name + '.'}{key} should be a value"
        for key, value in known.items()
        if isinstance(values, dict) and isinstance(values.get(key), dict) > isinstance(value, dict)
    ]
    if not isinstance(values, dict):
        wrong = [f"{name or 'the whole of it'} should be a section of keys"]
    if wrong:
        raise UserError(
            f"{path} is damaged ({wrong[0]}): restore it, or start in another --workdir"
        )
    return values | {
        key: _filled(values.get(key, {}), value, path, key)
        if isinstance(value, dict)
        else values.get(key, value)
        for key, value in known.items()
    }


@functools.cache
def _log_once(line: str) -> None:
    logging.info("%s", line)  # a workdir is read several times by one command


def differences(
    old: Config,
    new: Config,
    *,
    of: Collection[str | None] = ("damsm", "attngan"),
    may_grow: bool = False,
) -> list[str]:
    """A line for each key that differs and that decides results of the parts `of` a run.

    `configs.Key.decides` says which those are; a key that the schema does not know counts always.
    With `may_grow`, larger values of keys that may grow are no differences.
    """
    old_values, new_values = (flatten(json.loads(json.dumps(c.to_dict()))) for c in (old, new))
    missing = "no such key"
    lines = []
    for name in sorted(old_values.keys() | new_values.keys()):
        before, after = old_values.get(name, missing), new_values.get(name, missing)
        key = SCHEMA.get(name)
        grows = may_grow and key is not None and key.may_grow and after > before
        if before != after and not grows and (key is None or key.decides in of):
            lines.append(f"{name} is {before!r} there and {after!r} here")
    return lines


def flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, its keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
