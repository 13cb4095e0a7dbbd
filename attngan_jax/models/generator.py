"""The attentional generator: conditioning augmentation, m stages, word attention (Sec. 3.1)."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax.models.attention import word_attention
from attngan_jax.models.batch_norm import BatchNorm, Dtype, glu
from attngan_jax.models.layers import Conv, ResidualBlock, UpBlock, kernel_init, made_by
from attngan_jax.models.packing import LANES, PAIRS, UNPACKED, Packing, unpack, unpack_into


class GeneratorOutput(NamedTuple):
    """What one forward pass of the generator gives.

    Attributes:
      images: one `[B, S, S, 3]` in [-1, 1] per stage, smallest first (one only if single_image).
      attention: one `[B, H, W, T]` per refinement stage, at the resolution of the stage's input.
      mean, log_variance: `[B, condition_dim]` of conditioning augmentation.
    """

    images: tuple[jax.Array, ...]
    attention: tuple[jax.Array, ...]
    mean: jax.Array
    log_variance: jax.Array


class ConditioningAugmentation(nn.Module):
    """A sample of N(mu(sentence), sigma(sentence)) as the condition (F^ca; `CA_NET`)."""

    condition_dim: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, sentence: jax.Array, noise: jax.Array):
        """`sentence [B, D]`, `noise [B, condition_dim]` -> condition, mean, log_variance."""
        x = nn.Dense(
            4 * self.condition_dim, dtype=self.dtype, kernel_init=kernel_init, name="dense"
        )(sentence)
        mean, log_variance = jnp.split(glu(x).astype(jnp.float32), 2, axis=-1)
        return mean + noise * jnp.exp(0.5 * log_variance), mean, log_variance


class InitialStage(nn.Module):
    """F_0: condition and noise to the first hidden features (`INIT_STAGE_G`)."""

    gf_dim: int
    base_size: int
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    packed: bool = False

    @nn.compact
    def __call__(self, condition: jax.Array, z: jax.Array, *, train: bool) -> jax.Array:
        """`[B, condition_dim]`, `[B, Z]` -> `[B, base_size, base_size, gf_dim]`.

        The last of them is left packed by two rows and two columns, with `packed`.
        """
        num_ups = _log2(self.base_size // 4)
        C = self.gf_dim * 2**num_ups
        x = jnp.concatenate([condition, z], axis=-1)
        x = nn.Dense(
            C * 4 * 4 * 2, use_bias=False, dtype=self.dtype, kernel_init=kernel_init, name="dense"
        )(x)
        x = BatchNorm(self.axis_name, dtype=self.dtype, activation=glu, name="norm")(x, train=train)
        h = x.reshape(-1, C, 4, 4).transpose(0, 2, 3, 1)  # features are channel-major, as upstream
        packing = UNPACKED if self.packed else None
        for i in range(num_ups):
            C //= 2
            h = UpBlock(C, self.axis_name, self.dtype, packing, name=f"up_{i}")(h, train=train)
            if self.packed and i < num_ups - 1:
                h = unpack(h, made_by(packing))
        return h


class RefinementStage(nn.Module):
    """F_i, i > 0: word context beside the hidden features, residual blocks, twice the size.

    Without attention the condition takes the words' place, the same for every pixel.

    Attributes:
      packing: of what comes, pixels side by side in a row; None where nothing is packed.
    """

    gf_dim: int
    num_residual_blocks: int
    attention: bool = True
    legacy_mask: bool = False
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    packing: Packing | None = None

    @nn.compact
    def __call__(self, hidden, condition, words, word_mask, *, train: bool):
        """`hidden [B, H, W, gf_dim]`, `words [B, T, D]` -> `[B, 2H, 2W, gf_dim]`, attention.

        `hidden` is packed by `packing`, and the result as `UpBlock` packs it.
        """
        packing, C = self.packing or UNPACKED, self.gf_dim
        B, H, W = len(hidden), hidden.shape[1], hidden.shape[2] * packing.columns
        project = nn.Dense(
            C, use_bias=False, dtype=self.dtype, kernel_init=kernel_init, name="project"
        )
        if self.attention:
            context, attention = word_attention(
                hidden.reshape(B, -1, hidden.shape[-1]),
                project(words),
                word_mask,
                legacy_mask=self.legacy_mask,
                packed=packing.columns,
            )
            context = context.reshape(hidden.shape)
            attention = (attention.reshape(B, H, W, -1),)
        else:
            context = jnp.tile(project(condition), packing.columns)[:, None, None, :]
            context = jnp.broadcast_to(context, hidden.shape)
            attention = ()
        h = jnp.concatenate([hidden, context.astype(hidden.dtype)], axis=-1)
        for i in range(self.num_residual_blocks):
            h = ResidualBlock(self.axis_name, self.dtype, packing, name=f"residual_{i}")(
                h, train=train
            )
        h = UpBlock(C, self.axis_name, self.dtype, self.packing, groups=2, name="upsample")(
            h, train=train
        )
        return h, attention


class ImageHead(nn.Module):
    """G_i: hidden features to an image in [-1, 1] (`GET_IMAGE_G`)."""

    dtype: Dtype = jnp.float32
    packing: Packing = UNPACKED

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """`[B, S, S, gf_dim]`, packed, to `[B, S, S, 3]` float32."""
        x = Conv(3, of=self.packing, to=self.packing, dtype=self.dtype, name="conv")(hidden)
        return unpack(jnp.tanh(x.astype(jnp.float32)), self.packing)


class Generator(nn.Module):
    """m stages, each an image twice the size of the one before (Eq. 1; `G_NET`, `G_DCGAN`).

    Attributes:
      num_stages: m. base_size: side of the first stage's image, a power of two from 8.
      gf_dim: channels of the hidden features at every stage.
      condition_dim: of conditioning augmentation.
      single_image: AttnDCGAN, which makes the last stage's image only.
      packed: whether pixels lie side by side in the channels, as is best on TPUs (see
        `models/packing.py`); the same numbers.
      See `word_attention` for legacy_mask, `RefinementStage` for attention.
    """

    num_stages: int
    base_size: int
    gf_dim: int
    condition_dim: int
    num_residual_blocks: int
    attention: bool = True
    single_image: bool = False
    legacy_mask: bool = False
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    packed: bool = False

    @nn.compact
    def __call__(self, z, condition_noise, sentence, words, word_mask, *, train: bool):
        """Draws images.

        Args:
          z: `[B, Z]` normal noise. condition_noise: `[B, condition_dim]` normal noise.
          sentence: `[B, D]`. words: `[B, T, D]`. word_mask: bool `[B, T]`, True where a word is.
          train: batch statistics (and their update) or running ones.

        Returns:
          `GeneratorOutput`.
        """
        condition, mean, log_variance = ConditioningAugmentation(
            self.condition_dim, self.dtype, name="conditioning"
        )(sentence, condition_noise)
        h = InitialStage(
            self.gf_dim, self.base_size, self.axis_name, self.dtype, self.packed, name="initial"
        )(condition, z, train=train)
        # Hidden features and word context, 2 gf_dim channels, are packed as far as they have room.
        between = PAIRS if 2 * 2 * self.gf_dim <= LANES else UNPACKED
        made = made_by(UNPACKED) if self.packed else UNPACKED
        images, attention = [], []
        for i in range(self.num_stages):
            if i > 0:
                packing = None
                if self.packed:
                    packing, h = between, unpack_into(h, made, between)
                    made = made_by(between)
                h, maps = RefinementStage(
                    self.gf_dim,
                    self.num_residual_blocks,
                    self.attention,
                    self.legacy_mask,
                    self.axis_name,
                    self.dtype,
                    packing,
                    name=f"refine_{i}",
                )(h, condition, words, word_mask, train=train)
                attention.extend(maps)
            if i == self.num_stages - 1 or not self.single_image:
                images.append(ImageHead(self.dtype, made, name=f"image_{i}")(h))
        return GeneratorOutput(tuple(images), tuple(attention), mean, log_variance)


def stage_sizes(num_stages: int, base_size: int, single_image: bool = False) -> tuple[int, ...]:
    """Sides of the images that a generator makes, smallest first: (64, 128, 256)."""
    sizes = tuple(base_size * 2**i for i in range(num_stages))
    return sizes[-1:] if single_image else sizes


def _log2(n: int) -> int:
    power = n.bit_length() - 1
    if n < 1 or 2**power != n:
        raise ValueError(f"image sizes are powers of two from 8, not 4 * {n}")
    return power
