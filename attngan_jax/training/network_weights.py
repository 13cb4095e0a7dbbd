"""Weights under the released code's names, checked against the config whose network they fill."""

from collections.abc import Mapping
from typing import Any

import jax

from attngan_jax import storage
from attngan_jax.configuration import Config
from attngan_jax.errors import UserError
from attngan_jax.interop.state_dicts import (
    StateDict,
    Variables,
    dimensions_from_state_dict,
    variables_from_state_dict,
)


def variables_for(
    config: Config, num_words: int, kind: str, state_dict: StateDict, path: storage.PathLike
) -> tuple[Variables, Mapping[str, Any]]:
    """A network's float32 variables, and its dimensions, from a state_dict that `path` held.

    Raises `UserError`, naming the path, for another network than the config's.
    """
    try:
        dimensions = dimensions_from_state_dict(kind, state_dict)
        variables = variables_from_state_dict(kind, state_dict)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    wanted = _wanted(config, kind, num_words)
    if kind == "discriminator":  # how wide it would be depends on its size
        full = config.discriminator.df_dim << max(3, dimensions["image_size"].bit_length() - 4)
        widest = min(full, config.discriminator.max_width or full)
        wanted["max_width"] = ("discriminator.max_width", widest)
    differing = [
        f"{name} is {dimensions[name]} there and {value} by {key}"
        for name, (key, value) in wanted.items()
        if dimensions[name] != value
    ]
    if differing:
        raise UserError(f"{path} does not fit the config: {'; '.join(differing)}")
    variables = jax.tree.map(
        lambda a: a if a.dtype.kind == "i" else a.astype("f4", copy=False), variables
    )
    return variables, dimensions


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
        wanted["vocabulary_size"] = ("--captions or vocabulary.txt", num_words)
    if section == "discriminator":
        wanted["unconditional"] = ("generator.single_image", not config.generator.single_image)
    return wanted | {name: (f"{section}.{name}", config[section][name]) for name in names}
