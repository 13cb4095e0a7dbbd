"""The released code's files become a workdir, as one's own run leaves it."""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from attngan_jax import storage
from attngan_jax.configuration import Config, save_workdir_config
from attngan_jax.conversion.original_files import OriginalModel
from attngan_jax.errors import UserError
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.state import stage_key
from attngan_jax.workdir import Workdir


def write_workdir(
    config: Config, workdir: storage.PathLike, model: OriginalModel, step: int = 0
) -> None:
    """Writes config, vocabulary, the checkpoints of both stages, and `imported.json`, or nothing.

    DAMSM counts as trained, AttnGAN as trained for `step` updates. The released files hold no
    optimiser state, and the generator's file the averaged weights: both start afresh from these.
    Raises `UserError` if the workdir is there already.
    """
    workdir = storage.path(workdir)
    if workdir.exists() and any(workdir.iterdir()):
        raise UserError(f"{workdir} is not empty: choose another --workdir, or delete it")
    if storage.is_address(workdir):  # no renaming there; the config, which makes it one, is last
        _write(config, workdir, model, step)
        return
    workdir = workdir.absolute()
    unfinished = workdir.with_name(workdir.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        _write(config, unfinished, model, step)
        if workdir.exists():
            workdir.rmdir()
        os.rename(unfinished, workdir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(config: Config, workdir: storage.Path, model: OriginalModel, step: int) -> None:
    damsm = DamsmTask(config, len(model.vocabulary))
    encoders = {"text": model.text_encoder, "image": model.image_encoder}
    _save(workdir, damsm, config.damsm.num_train_steps, encoders)
    attngan = AttnganTask(config, len(model.vocabulary))
    sizes = [discriminator.image_size for discriminator in attngan.discriminators]
    discriminators = tuple(map(model.discriminators.get, sizes))
    gan = {"generator": model.generator, "discriminators": discriminators}
    _save(workdir, attngan, step, gan, ema_params=model.generator["params"])
    model.vocabulary.save(Workdir(workdir).vocabulary)
    record = {
        "files": model.files,
        "image_encoder": model.image_encoder is not None,
        "discriminators": sorted(model.discriminators),
    }
    storage.write_text(Workdir(workdir).imported, json.dumps(record, indent=2) + "\n")
    save_workdir_config(config, workdir)


def _save(
    workdir: storage.Path,
    task: DamsmTask | AttnganTask,
    step: int,
    given: Mapping[str, Any],
    **fields: Any,
) -> None:
    """Saves a stage with the `given` networks' variables; those that are None start afresh."""

    def others(key):  # what is given is not drawn: orthogonal kernels take long
        state = task.create_train_state(key)
        return _with_networks(state, given, empty=True, **dict.fromkeys(fields))

    state = jax.jit(others)(stage_key(task.config.seed, task.name, -1))
    state = _with_networks(state, given, step=jnp.int32(step), **fields)
    # The position in the endless training data, as Grain's ElasticIterator writes it.
    position = {"global_next_index": step * task.settings.batch_size}
    with Checkpoints(workdir, task.name) as checkpoints:
        checkpoints.save(step, state, {"iterator": position, "wall_seconds": 0.0})


def _with_networks(state: Any, given: Mapping[str, Any], empty: bool = False, **fields: Any) -> Any:
    """The state with the variables of the networks that are given, or with none for these."""

    def replace(network, variables):
        if isinstance(network, tuple):
            return tuple(map(replace, network, variables))
        if variables is None:
            return network
        new = {key: None if empty else variables[key] for key in ("params", "batch_stats")}
        return dataclasses.replace(network, **new)

    networks = {name: replace(getattr(state, name), given[name]) for name in given}
    return dataclasses.replace(state, **networks, **fields)
