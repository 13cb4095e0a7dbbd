"""The original's files of one trained model, read together and checked against a config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from attngan_jax.data.vocabulary import END, Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.interop.metadata import read_captions
from attngan_jax.interop.state_dict_files import read_state_dict, sha256
from attngan_jax.interop.state_dicts import dimensions_from_state_dict, variables_from_state_dict
from attngan_jax.training.networks import image_sizes

Variables = dict[str, dict[str, Any]]
FilePath = str | Path


class OriginalModel(NamedTuple):
    """A model of the original, float32, checked against the config.

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
    config: ConfigDict,
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
    vocabulary = _read_vocabulary(captions)
    wanted = _wanted(config, len(vocabulary))
    files = [generator, text_encoder, captions, *discriminators]
    kind = "generator_dcgan" if config.generator.single_image else "generator"
    by_size = {}
    for path in discriminators:
        variables, dimensions = _read_network("discriminator", path, wanted["discriminator"])
        by_size[_new_size(path, dimensions["image_size"], by_size, config)] = variables
    image = None
    if image_encoder:
        files.append(image_encoder)
        image, _ = _read_network("image_encoder", image_encoder, wanted["image_encoder"])
    return OriginalModel(
        vocabulary,
        generator=_read_network(kind, generator, wanted["generator"])[0],
        text_encoder=_read_network("text_encoder", text_encoder, wanted["text_encoder"])[0],
        image_encoder=image,
        discriminators=by_size,
        files={Path(path).name: sha256(path) for path in files},
    )


def _read_vocabulary(path: FilePath) -> Vocabulary:
    words = read_captions(path).words
    try:
        return Vocabulary([END, *words[1:]])
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def _wanted(config: ConfigDict, vocabulary_size: int) -> dict[str, dict[str, Any]]:
    """Network -> dimension -> the config key that sets it, and its value."""
    text, g = config.text_encoder, config.generator
    embedding = {"embedding_dim": ("text_encoder.embedding_dim", text.embedding_dim)}
    generator = ["num_stages", "base_size", "gf_dim", "z_dim", "condition_dim"]
    if g.num_stages > 1:
        generator += ["num_residual_blocks", "attention"]
    trunk = ["trunk", "cnn_dim"] if config.image_encoder.trunk == "cnn" else ["trunk"]
    return {
        "generator": embedding | {key: (f"generator.{key}", g[key]) for key in generator},
        "discriminator": embedding
        | {
            "df_dim": ("discriminator.df_dim", config.discriminator.df_dim),
            "unconditional": ("generator.single_image", not g.single_image),
        },
        "text_encoder": embedding
        | {
            "vocabulary_size": ("--captions", vocabulary_size),
            "word_dim": ("text_encoder.word_dim", text.word_dim),
            "rnn_type": ("text_encoder.rnn_type", text.rnn_type),
        },
        "image_encoder": embedding
        | {key: (f"image_encoder.{key}", config.image_encoder[key]) for key in trunk},
    }


def _read_network(kind: str, path: FilePath, wanted: Mapping) -> tuple[Variables, dict]:
    state_dict = read_state_dict(path)
    try:
        dimensions = dimensions_from_state_dict(kind, state_dict)
        variables = variables_from_state_dict(kind, state_dict)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    differing = [
        f"{name} is {dimensions[name]} there and {value} by {key}"
        for name, (key, value) in wanted.items()
        if dimensions[name] != value
    ]
    if differing:
        raise UserError(f"{path} does not fit the config: {'; '.join(differing)}")
    return jax.tree.map(_float32, variables), dimensions


def _new_size(path: FilePath, size: int, known: Mapping, config: ConfigDict) -> int:
    sizes = image_sizes(config)
    if size not in sizes or size in known:
        what = "a second one" if size in known else f"and the config has {list(sizes)}"
        raise UserError(
            f"{path} is the discriminator of {size} pixels, {what}: give one file per stage"
        )
    return size


def _float32(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind == "i" else array.astype(np.float32)
