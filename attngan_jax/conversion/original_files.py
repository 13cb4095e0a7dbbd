"""The released code's files of one trained model, read together and checked against a config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from attngan_jax.configuration import Config
from attngan_jax.data.vocabulary import END, Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.interop import (
    dimensions_from_state_dict,
    read_state_dict,
    variables_from_state_dict,
)
from attngan_jax.interop.metadata import read_caption_words
from attngan_jax.interop.state_dict_files import sha256
from attngan_jax.interop.state_dicts import Variables
from attngan_jax.training.networks import image_sizes

FilePath = str | Path


class OriginalModel(NamedTuple):
    """A model of the released code, float32, checked against the config.

    Attributes:
      vocabulary: of the captions that it was trained with.
      generator, text_encoder, image_encoder: variables; the image encoder may be missing (None).
      discriminators: image size -> variables, for those that were given.
      files: what each was read from, with its SHA-256.
    """

    vocabulary: Vocabulary
    generator: Variables
    text_encoder: Variables
    image_encoder: Variables | None
    discriminators: dict[int, Variables]
    files: dict[str, str]


def read_original(
    config: Config,
    *,
    generator: FilePath,
    text_encoder: FilePath,
    captions: FilePath,
    image_encoder: FilePath | None = None,
    discriminators: Sequence[FilePath] = (),
) -> OriginalModel:
    """Reads the files; the discriminators may come in any order.

    Raises:
      UserError: a file can't be read, is of another network, or does not fit the config.
    """
    try:
        vocabulary = Vocabulary([END, *read_caption_words(captions)[1:]])
    except ValueError as error:
        raise UserError(f"{captions}: {error}") from error

    def read(kind: str, path: FilePath) -> tuple[Variables, Mapping[str, Any]]:
        return _read_network(config, kind, path, len(vocabulary))

    files = [generator, text_encoder, captions, *discriminators]
    files += [image_encoder] if image_encoder else []
    sizes = image_sizes(config)
    by_size: dict[int, Variables] = {}
    for path in discriminators:
        variables, dimensions = read("discriminator", path)
        size = dimensions["image_size"]
        if size not in sizes or size in by_size:
            what = "a second one" if size in by_size else f"and the config has {list(sizes)}"
            raise UserError(
                f"{path} is the discriminator of {size} pixels, {what}: give one file per stage"
            )
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


def _read_network(
    config: Config, kind: str, path: FilePath, num_words: int
) -> tuple[Variables, Mapping[str, Any]]:
    """A network's variables and dimensions."""
    state_dict = read_state_dict(path)
    try:
        dimensions = dimensions_from_state_dict(kind, state_dict)
        variables = variables_from_state_dict(kind, state_dict)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    differing = [
        f"{name} is {dimensions[name]} there and {value} by {key}"
        for name, (key, value) in _wanted(config, kind, num_words).items()
        if dimensions[name] != value
    ]
    if differing:
        raise UserError(f"{path} does not fit the config: {'; '.join(differing)}")
    return jax.tree.map(_float32, variables), dimensions


def _wanted(config: Config, kind: str, num_words: int) -> dict[str, tuple[str, Any]]:
    """Dimension -> the config key that sets it, and its value."""
    wanted = {"embedding_dim": ("text_encoder.embedding_dim", config.text_encoder.embedding_dim)}
    section = kind.removesuffix("_dcgan")
    names = {
        "generator": "num_stages base_size gf_dim z_dim condition_dim",
        "discriminator": "df_dim",
        "text_encoder": "word_dim rnn_type",
        "image_encoder": "trunk",
    }[section].split()
    if section == "generator" and config.generator.num_stages > 1:
        names += ["num_residual_blocks", "attention"]
    if section == "image_encoder" and config.image_encoder.trunk == "cnn":
        names += ["cnn_dim"]
    if section == "text_encoder":
        wanted["vocabulary_size"] = ("--captions", num_words)
    if section == "discriminator":
        wanted["unconditional"] = ("generator.single_image", not config.generator.single_image)
    return wanted | {name: (f"{section}.{name}", config[section][name]) for name in names}


def _float32(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind == "i" else array.astype(np.float32)
