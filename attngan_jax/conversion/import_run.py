"""The original's files become a workdir, as one's own run leaves it."""

import json
import os
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from attngan_jax import storage
from attngan_jax.configuration import save_workdir_config
from attngan_jax.conversion.original_files import OriginalModel, Variables
from attngan_jax.errors import UserError
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.state import AttnganState, DamsmState, Network, stage_key
from attngan_jax.workdir import Workdir


def write_workdir(
    config: ConfigDict, workdir: storage.PathLike, model: OriginalModel, step: int = 0
) -> None:
    """Writes config, vocabulary, the checkpoints of both stages, and `imported.json`, or nothing.

    DAMSM counts as trained, AttnGAN as trained for `step` updates. The original's files hold no
    optimiser state, and its generator file the averaged weights: both start afresh from these.

    Raises:
      UserError: the workdir is there already.
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


def _write(config: ConfigDict, workdir: storage.Path, model: OriginalModel, step: int) -> None:
    damsm = DamsmTask(config, len(model.vocabulary))
    attngan = AttnganTask(config, len(model.vocabulary))
    stages = [
        (damsm, damsm_state(damsm, model), config.damsm.num_train_steps),
        (attngan, attngan_state(attngan, model, step), step),
    ]
    for task, state, steps in stages:
        with Checkpoints(workdir, task.name) as checkpoints:
            # The position in the endless training data, as Grain's ElasticIterator writes it.
            position = {"global_next_index": steps * task.settings.batch_size}
            checkpoints.save(steps, state, {"iterator": position, "wall_seconds": 0.0})
    model.vocabulary.save(workdir / "vocabulary.txt")
    record = {
        "files": model.files,
        "image_encoder": model.image_encoder is not None,
        "discriminators": sorted(model.discriminators),
    }
    storage.write_text(Workdir(workdir).imported, json.dumps(record, indent=2) + "\n")
    save_workdir_config(config, workdir)


def damsm_state(task: DamsmTask, model: OriginalModel) -> DamsmState:
    """The encoders; an image encoder that was not given is drawn at random."""
    has_image = model.image_encoder is not None
    state = _new(
        task,
        lambda s: s.replace(
            text=_optimizer_only(s.text), image=_optimizer_only(s.image) if has_image else s.image
        ),
    )
    image = _filled(state.image, model.image_encoder) if has_image else state.image
    return state.replace(
        step=jnp.int32(task.settings.num_train_steps),
        text=_filled(state.text, model.text_encoder),
        image=image,
    )


def attngan_state(task: AttnganTask, model: OriginalModel, step: int) -> AttnganState:
    """Generator and discriminators; those that were not given are drawn at random."""
    given = [model.discriminators.get(d.image_size) for d in task.discriminators]
    state = _new(
        task,
        lambda s: s.replace(
            generator=_optimizer_only(s.generator),
            ema_params=None,
            discriminators=tuple(
                _optimizer_only(network) if variables else network
                for network, variables in zip(s.discriminators, given)
            ),
        ),
    )
    generator = _filled(state.generator, model.generator)
    return state.replace(
        step=jnp.int32(step),
        generator=generator,
        ema_params=generator.params,
        discriminators=tuple(
            _filled(network, variables) if variables else network
            for network, variables in zip(state.discriminators, given)
        ),
    )


def _new(task: DamsmTask | AttnganTask, part: Callable[[Any], Any]) -> Any:
    """`part` of a fresh state. What it leaves out is not drawn: orthogonal kernels take long."""
    key = stage_key(task.config.seed, task.name, -1)
    return jax.jit(lambda key: part(task.create_train_state(key)))(key)


def _optimizer_only(network: Network) -> Network:
    return network.replace(params=None, batch_stats=None)


def _filled(network: Network, variables: Variables) -> Network:
    return network.replace(params=variables["params"], batch_stats=variables["batch_stats"])
