"""From a config to its networks: the only place where model fields meet config keys."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax import storage
from attngan_jax.configuration import Config
from attngan_jax.errors import UserError
from attngan_jax.interop.state_dicts import (
    StateDict,
    Variables,
    dimensions_from_state_dict,
    variables_from_state_dict,
)
from attngan_jax.models.discriminator import Discriminator
from attngan_jax.models.generator import Generator, stage_sizes
from attngan_jax.models.image_encoder import ImageEncoder
from attngan_jax.models.inception import resize
from attngan_jax.models.text_encoder import TEXT_ENCODERS
from attngan_jax.tpu_layout import PackedGenerator
from attngan_jax.training.parallel import AXIS


def _common(config: Config) -> dict:
    """Fields that all convolutional networks share."""
    axis_name = None if config.per_device_batch_norm else AXIS  # of BatchNorm's statistics
    return dict(axis_name=axis_name, dtype=jnp.dtype(config.compute_dtype))


def image_sizes(config: Config) -> tuple[int, ...]:
    """Sides of the images of every stage, smallest first."""
    g = config.generator
    return stage_sizes(g.num_stages, g.base_size, g.single_image)


def build_text_encoder(config: Config, vocabulary_size: int) -> nn.Module:
    """The text encoder of `config.text_encoder`."""
    text = config.text_encoder
    return TEXT_ENCODERS[text.rnn_type](
        vocabulary_size=vocabulary_size,
        word_dim=text.word_dim,
        embedding_dim=text.embedding_dim,
        forget_bias=text.forget_bias,
        embedding_limit=text.embedding_limit,
        sentence_pooling=text.sentence_pooling,
        dropout_rate=text.dropout_rate,
        dtype=jnp.dtype(config.compute_dtype),
    )


def build_image_encoder(config: Config) -> ImageEncoder:
    """The image encoder of `config.image_encoder`, in the text encoder's joint space."""
    image, embedding_dim = config.image_encoder, config.text_encoder.embedding_dim
    # The cnn trunk resizes to the size that it is pretrained at, as Inception-v3 does to 299.
    fields = dict(cnn_dim=image.cnn_dim, cnn_image_size=image.image_size, **_common(config))
    fields |= dict(cnn_depth=image.cnn_depth, antialias=image.antialias)
    return ImageEncoder(trunk=image.trunk, embedding_dim=embedding_dim, **fields)


def build_generator(config: Config) -> Generator:
    """The generator of `config.generator`, in the layout of `config.platform`."""
    g = config.generator
    on_tpu = (config.platform or jax.default_backend()) == "tpu"
    names = "num_stages base_size gf_dim condition_dim num_residual_blocks attention"
    fields = {name: g[name] for name in f"{names} single_image legacy_mask bilinear_up_to".split()}
    return (PackedGenerator if on_tpu else Generator)(**fields, **_common(config))


def build_discriminators(config: Config) -> tuple[Discriminator, ...]:
    """One discriminator per stage; AttnDCGAN's have no unconditional head.

    With `discriminator.regions` a last one, for region features as `region_map` arranges them.
    """
    fields = dict(df_dim=config.discriminator.df_dim, **_common(config))
    fields["norm"] = config.discriminator.norm
    fields["max_width"] = config.discriminator.max_width or None
    fields["unconditional"] = not config.generator.single_image
    sizes = image_sizes(config)
    if config.discriminator.regions:
        side = build_image_encoder(config).region_side
        sizes += (max(8, 1 << side.bit_length() - 1),)  # a discriminator's is a power of two
    return tuple(Discriminator(image_size=size, **fields) for size in sizes)


def region_map(region_features: jax.Array, side: int) -> jax.Array:
    """Region features `[B, R, D]` of a square of regions as `[B, side, side, D]`, resized."""
    B, R, D = region_features.shape
    return resize(region_features.reshape(B, math.isqrt(R), math.isqrt(R), D), side)


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
        "discriminator": "df_dim norm",
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


def normalise(images: jax.Array) -> jax.Array:
    """uint8 to float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def word_mask(batch: dict[str, jax.Array]) -> jax.Array:
    """bool `[B, T]`, True where a caption has a word."""
    return jnp.arange(batch["caption"].shape[1])[None] < batch["caption_length"][:, None]
