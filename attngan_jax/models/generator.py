"""The attentional generator: conditioning augmentation, m stages, word attention (Sec. 3.1)."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax.models.attention import word_attention
from attngan_jax.models.layers import BatchNorm, Dtype, ResidualBlock, UpBlock, conv, dense, glu


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
    """F^ca: a sample of N(mu(sentence), sigma(sentence)) as the condition (`CA_NET`)."""

    condition_dim: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, sentence: jax.Array, noise: jax.Array):
        """`sentence [B, D]`, `noise [B, condition_dim]` -> condition, mean, log_variance."""
        x = dense(4 * self.condition_dim, dtype=self.dtype, name="dense")(sentence)
        mean, log_variance = jnp.split(glu(x).astype(jnp.float32), 2, axis=-1)
        # Reparametrised, so that gradients reach mean and variance.
        return mean + noise * jnp.exp(0.5 * log_variance), mean, log_variance


class InitialStage(nn.Module):
    """F_0: condition and noise to the first hidden features (`INIT_STAGE_G`)."""

    gf_dim: int
    base_size: int
    bilinear_up_to: int = 0
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, condition: jax.Array, z: jax.Array, *, train: bool) -> jax.Array:
        """`[B, condition_dim]`, `[B, Z]` -> `[B, base_size, base_size, gf_dim]`."""
        num_ups = (self.base_size // 4).bit_length() - 1
        if self.base_size != 4 * 2**num_ups:
            raise ValueError(f"image sizes are powers of two from 8, not {self.base_size}")
        C = self.gf_dim * 2**num_ups
        x = jnp.concatenate([condition, z], axis=-1)
        x = dense(2 * C * 4 * 4, use_bias=False, dtype=self.dtype, name="dense")(x)
        x = glu(BatchNorm(self.axis_name, dtype=self.dtype, name="norm")(x, train=train))
        # The features are channel-major as in PyTorch, so that its weights fit.
        h = x.reshape(-1, C, 4, 4).transpose(0, 2, 3, 1)  # [B, 4, 4, C]
        for i in range(num_ups):
            C //= 2
            upsampling = upsampling_from(h.shape[1], self.bilinear_up_to)
            fields = dict(axis_name=self.axis_name, dtype=self.dtype)
            h = UpBlock(C, upsampling, **fields, name=f"up_{i}")(h, train=train)
        return h


class RefinementStage(nn.Module):
    """F_i, i > 0: hidden features and word context, residual blocks, upsampling (`NEXT_STAGE_G`).

    Without attention the condition takes the place of the words, the same for every pixel.
    """

    gf_dim: int
    num_residual_blocks: int
    attention: bool = True
    legacy_mask: bool = False
    bilinear_up_to: int = 0
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, hidden, condition, words, word_mask, *, train: bool):
        """`hidden [B, H, W, gf_dim]`, `words [B, T, D]` -> `[B, 2H, 2W, gf_dim]`, attention."""
        B, H, W, C = hidden.shape
        # e' = U e: the words in the space of the hidden features.
        project = dense(self.gf_dim, use_bias=False, dtype=self.dtype, name="project")
        if self.attention:
            context, attention = word_attention(
                hidden.reshape(B, H * W, C), project(words), word_mask, legacy_mask=self.legacy_mask
            )
            context, maps = context.reshape(hidden.shape), [attention.reshape(B, H, W, -1)]
        else:
            context = jnp.broadcast_to(project(condition)[:, None, None, :], hidden.shape)
            maps = []
        return self.refine(hidden, context.astype(hidden.dtype), train=train), maps

    def refine(self, hidden, context, *, train: bool):
        """`[B, H, W, gf_dim]` twice -> `[B, 2H, 2W, gf_dim]`."""
        fields = dict(axis_name=self.axis_name, dtype=self.dtype)
        upsampling = upsampling_from(hidden.shape[1], self.bilinear_up_to)
        h = jnp.concatenate([hidden, context], axis=-1)  # 2 gf_dim channels
        for i in range(self.num_residual_blocks):
            h = ResidualBlock(**fields, name=f"residual_{i}")(h, train=train)
        return UpBlock(self.gf_dim, upsampling, **fields, name="upsample")(h, train=train)


class ImageHead(nn.Module):
    """G_i: hidden features to an image in [-1, 1] (`GET_IMAGE_G`)."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """`[B, S, S, gf_dim] -> [B, S, S, 3]`, float32."""
        x = conv(3, (3, 3), dtype=self.dtype, name="conv")(hidden)
        return jnp.tanh(x.astype(jnp.float32))


class Generator(nn.Module):
    """m stages, each an image twice the size of the one before (Eq. 1; `G_NET`, `G_DCGAN`).

    Attributes:
      num_stages: m. base_size: side of the first stage's image, a power of two from 8.
      gf_dim: channels of the hidden features at every stage.
      condition_dim: of conditioning augmentation.
      attention: False for the condition in place of the words, in every stage.
      single_image: AttnDCGAN, which makes the last stage's image only.
      legacy_mask: see `word_attention`.
      bilinear_up_to: the side up to which features are upsampled bilinearly, and beyond it by
        nearest neighbour; 0 as in the released code. See `UpsampledConv`.
    """

    num_stages: int
    base_size: int
    gf_dim: int
    condition_dim: int
    num_residual_blocks: int
    attention: bool = True
    single_image: bool = False
    legacy_mask: bool = False
    bilinear_up_to: int = 0
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    refinement_stage, image_head = RefinementStage, ImageHead  # other layouts have their own

    @nn.compact
    def __call__(self, z, condition_noise, sentence, words, word_mask, *, train: bool):
        """Generates images.

        Args:
          z: `[B, Z]` normal noise. condition_noise: `[B, condition_dim]` normal noise.
          sentence: `[B, D]`. words: `[B, T, D]`. word_mask: bool `[B, T]`, True where a word is.
          train: batch statistics (and their update) or running ones.

        Returns:
          `GeneratorOutput`.
        """
        fields = dict(axis_name=self.axis_name, dtype=self.dtype)
        augmentation = ConditioningAugmentation(self.condition_dim, self.dtype, name="conditioning")
        condition, mean, log_variance = augmentation(sentence, condition_noise)
        fields["bilinear_up_to"] = self.bilinear_up_to
        initial = InitialStage(self.gf_dim, self.base_size, **fields, name="initial")
        h = initial(condition, z, train=train)  # h_0 = F_0(z, F^ca(sentence))
        images, attention = [], []
        for i in range(self.num_stages):
            if i > 0:
                refine = self.refinement_stage(
                    self.gf_dim,
                    self.num_residual_blocks,
                    self.attention,
                    self.legacy_mask,
                    **fields,
                    name=f"refine_{i}",
                )
                # h_i = F_i(h_{i-1}, F_i^attn(e, h_{i-1}))
                h, maps = refine(h, condition, words, word_mask, train=train)
                attention.extend(maps)
            if i == self.num_stages - 1 or not self.single_image:
                images.append(self.image_head(self.dtype, name=f"image_{i}")(h))  # x_i = G_i(h_i)
        return GeneratorOutput(tuple(images), tuple(attention), mean, log_variance)


def upsampling_from(side: int, bilinear_up_to: int) -> str:
    """How features of this side are doubled."""
    return "bilinear" if 2 * side <= bilinear_up_to else "nearest"


def stage_sizes(num_stages: int, base_size: int, single_image: bool = False) -> tuple[int, ...]:
    """Sides of the images that a generator makes, smallest first: (64, 128, 256)."""
    sizes = tuple(base_size * 2**i for i in range(num_stages))
    return sizes[-1:] if single_image else sizes
