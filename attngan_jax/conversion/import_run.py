"""The released code's files of one trained model become a workdir, as one's own run leaves it."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from attngan_jax import storage
from attngan_jax.configuration import Config, check, load_workdir_config, save_workdir_config
from attngan_jax.data.vocabulary import END, Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.interop.metadata import read_caption_words
from attngan_jax.interop.state_dict_files import read_state_dict, sha256
from attngan_jax.interop.state_dicts import Variables
from attngan_jax.reporting.model_card import hand_on_card
from attngan_jax.sampling import model_folder
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.networks import image_sizes, variables_for
from attngan_jax.workdir import Workdir, find_model

FilePath = str | Path


class OriginalModel(NamedTuple):
    """A model of the released code, float32, checked against the config."""

    vocabulary: Vocabulary  # of the captions that it was trained with
    generator: Variables
    text_encoder: Variables
    image_encoder: Variables | None
    discriminators: dict[int, Variables]  # by image size, those that were given
    files: dict[str, str]  # the names of all files that were read -> SHA-256


def read_original(
    config: Config,
    *,
    generator: FilePath,
    text_encoder: FilePath,
    captions: FilePath,
    image_encoder: FilePath | None = None,
    discriminators: Sequence[FilePath] = (),
) -> OriginalModel:
    """Reads the files, discriminators in any order; `UserError` for one that does not fit."""
    check(config)
    try:
        vocabulary = Vocabulary([END, *read_caption_words(captions)[1:]])
    except ValueError as error:
        raise UserError(f"{captions}: {error}") from error

    def read(kind: str, path: FilePath) -> tuple[Variables, Mapping[str, Any]]:
        return variables_for(config, len(vocabulary), kind, read_state_dict(path), path)

    files = [generator, text_encoder, captions, *discriminators]
    files += [image_encoder] if image_encoder else []
    sizes, by_size = image_sizes(config), {}
    for path in discriminators:
        variables, dimensions = read("discriminator", path)
        size = dimensions["image_size"]
        if size not in sizes or size in by_size:
            what = f"{path} is the discriminator of {size} pixels"
            why = "a second one" if size in by_size else f"and the config has {list(sizes)}"
            raise UserError(f"{what}, {why}: give one file per stage")
        by_size[size] = variables
    kind = "generator_dcgan" if config.generator.single_image else "generator"
    return OriginalModel(
        vocabulary,
        generator=read(kind, generator)[0],
        text_encoder=read("text_encoder", text_encoder)[0],
        image_encoder=read("image_encoder", image_encoder)[0] if image_encoder else None,
        discriminators=by_size,
        files={Path(path).name: sha256(path) for path in files},
    )


def read_model(folder: storage.PathLike) -> tuple[Config, OriginalModel, int]:
    """A model folder's config, networks and step; `UserError` for one that is not whole."""
    folder = find_model(folder)
    if not model_folder.is_one(folder):
        raise UserError(f"{folder} is no model folder: it has no {Workdir(folder).weights.name}")
    config, files = load_workdir_config(folder), Workdir(folder)
    vocabulary = Vocabulary.load(files.vocabulary)
    names = model_folder.networks_in(folder)
    read, step = model_folder.read(folder, config, len(vocabulary), names)
    model = OriginalModel(
        vocabulary,
        generator=read["generator"],
        text_encoder=read["text"],
        image_encoder=read.get("image"),
        discriminators={},
        files={files.weights.name: sha256(files.weights)},
    )
    return config, model, step


def write_workdir(
    config: Config,
    workdir: storage.PathLike,
    model: OriginalModel,
    step: int = 0,
    card_of: storage.PathLike | None = None,
) -> None:
    """Writes config, vocabulary, the checkpoints of both stages, and `imported.json`, or nothing.

    DAMSM counts as trained, AttnGAN as trained for `step` updates. The released files hold no
    optimiser state, and of the generator the averaged weights alone: what is lacking starts afresh
    in training. The card of a model folder, `card_of`, is kept. Raises `UserError` if the workdir
    is there already.
    """
    workdir = storage.path(workdir)
    if workdir.exists() and any(workdir.iterdir()):
        raise UserError(f"{workdir} is not empty: choose another --workdir, or delete it")
    if storage.is_address(workdir):  # no renaming there; the config, which makes it one, is last
        _write(config, workdir, model, step, card_of)
        return
    workdir = workdir.absolute()
    unfinished = workdir.with_name(workdir.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        _write(config, unfinished, model, step, card_of)
        os.rename(unfinished, workdir)  # replaces an empty folder
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(
    config: Config,
    workdir: storage.Path,
    model: OriginalModel,
    step: int,
    card_of: storage.PathLike | None,
) -> None:
    encoders = {"text": model.text_encoder, "image": model.image_encoder}
    _save(workdir, DamsmTask.name, config.damsm, config.damsm.num_train_steps, encoders)
    networks: dict[str, Any] = {"generator": model.generator}
    discriminators = [model.discriminators.get(size) for size in image_sizes(config)]
    networks["discriminators"] = discriminators + [None] * config.discriminator.regions
    ema_params = model.generator["params"]
    _save(workdir, AttnganTask.name, config.attngan, step, networks, ema_params=ema_params)
    model.vocabulary.save(Workdir(workdir).vocabulary)
    record: dict[str, Any] = {"files": model.files, "discriminators": sorted(model.discriminators)}
    record["image_encoder"] = model.image_encoder is not None
    storage.write_text(Workdir(workdir).imported, json.dumps(record, indent=2) + "\n")
    if card_of is not None:
        hand_on_card(Workdir(find_model(card_of)), Workdir(workdir))
    save_workdir_config(config, workdir)


def _save(
    workdir: storage.Path, stage: str, settings: Config, step: int, networks: dict, **fields: Any
) -> None:
    """Saves a stage with these networks' variables; the rest starts afresh when it is trained."""
    state = {name: _variables(network) for name, network in networks.items() if network}
    # The position in the endless training data, as Grain's ElasticIterator writes it.
    progress = {"iterator": {"global_next_index": step * settings.batch_size}, "wall_seconds": 0.0}
    with Checkpoints(workdir, stage) as checkpoints:
        checkpoints.save_part(
            step, jax.device_put(state | fields | {"step": np.int32(step)}), progress
        )


def _variables(network: Any) -> Any:
    """The collections that a state holds; {} of a network that was not given."""
    if isinstance(network, list):
        return [_variables(one) for one in network]
    return {name: network[name] for name in ("params", "batch_stats") if network and network[name]}
