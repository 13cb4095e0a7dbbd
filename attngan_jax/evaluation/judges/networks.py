"""The three judges of procedural birds: attributes, parts, and which caption an image belongs to.

They look at 64 x 64 pixels, whatever the size of the images. None of their layers is a generator's,
a discriminator's or DAMSM's.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from attngan_jax.data.birds.species import ATTRIBUTES, PARTS
from attngan_jax.losses.damsm import matching_loss, sentence_scores, word_scores
from attngan_jax.models.layers import BatchNorm
from attngan_jax.models.text_encoder import TextEncoder
from attngan_jax.training.networks import normalise

SIZE = 64  # side of the images that the judges look at
WEIGHTS = {"beak": 2.0, "eye": 4.0, "legs": 2.0}  # in the segmenter's loss: they have few pixels
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def prepare(images: jax.Array) -> jax.Array:
    """Uint8 `[B, S, S, 3]` to float32 `[B, 64, 64, 3]` in [-1, 1].

    Larger images are resized with antialiasing, smaller ones bilinearly.
    """
    B, S = images.shape[:2]
    images = normalise(images)
    return images if S == SIZE else jax.image.resize(images, (B, SIZE, SIZE, 3), "bilinear")


def space_to_depth(x: jax.Array) -> jax.Array:
    """`[B, 2H, 2W, C] -> [B, H, W, 4C]`: a quarter of the pixels, with nothing lost."""
    B, H, W, C = x.shape
    x = x.reshape(B, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, H // 2, W // 2, 4 * C)


def depth_to_space(x: jax.Array) -> jax.Array:
    """The inverse of `space_to_depth`."""
    B, H, W, C = x.shape
    x = x.reshape(B, H, W, 2, 2, C // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, 2 * H, 2 * W, C // 4)


class ConvBlock(nn.Module):
    """3x3 convolution, BatchNorm, ReLU; with `residual` their input is added."""

    features: int
    stride: int = 1
    residual: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """`[B, H, W, C] -> [B, H / stride, W / stride, features]`."""
        y = nn.Conv(self.features, (3, 3), self.stride, use_bias=False, name="conv")(x)
        y = nn.relu(BatchNorm(None, name="norm")(y, train=train))
        return x + y if self.residual else y


class AttributeClassifier(nn.Module):
    """Which value does each attribute of the bird have? `num_values` counts them.

    Its features, for FID and KID, are the means over the image of its last maps at 16 x 16 and at
    8 x 8: what the image is made of. Those before the logits tell palettes apart, so that two sets
    of other species are far from each other in them, and grain or blur moves them little.
    """

    num_values: tuple[int, ...] = tuple(map(len, ATTRIBUTES.values()))
    widths: tuple[int, int, int] = (32, 64, 96)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, list[jax.Array]]:
        """`prepare`d images -> features `[B, 160]`, logits `[B, values]` of each attribute."""
        x, features = space_to_depth(images), []
        for i, width in enumerate(self.widths):
            x = ConvBlock(width, 2 if i else 1, name=f"down_{i}")(x, train=train)
            for k in range(2 if i else 1):
                x = ConvBlock(width, residual=True, name=f"block_{i}_{k}")(x, train=train)
            features.append(x.mean((1, 2)))
        # Not averaged over the pixels: where a colour is decides which part has it.
        x = nn.relu(nn.Conv(32, (1, 1), name="reduce")(x)).reshape(len(x), -1)
        x = nn.Dense(192, use_bias=False, name="features")(x)
        x = nn.relu(BatchNorm(None, name="features_norm")(x, train=train))
        logits = [nn.Dense(n, name=f"attribute_{i}")(x) for i, n in enumerate(self.num_values)]
        return jnp.concatenate(features[1:], axis=-1), logits

    def loss(self, batch: dict, key: jax.Array) -> jax.Array:
        """Cross-entropy, summed over `attributes` int `[B, A]`."""
        _, logits = self(batch["images"], train=True)
        targets = batch["attributes"]
        return sum(cross_entropy(x, targets[:, i]).mean() for i, x in enumerate(logits))


class PartSegmenter(nn.Module):
    """Which part of the bird, or background, does each pixel show? A U-Net."""

    num_labels: int = len(PARTS) + 1
    widths: tuple[int, int, int] = (32, 48, 64)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """`prepare`d images -> logits `[B, 64, 64, num_labels]`."""
        x, skipped = space_to_depth(images), []
        for i, width in enumerate(self.widths):
            x = ConvBlock(width, 2 if i else 1, name=f"down_{i}")(x, train=train)
            x = ConvBlock(width, residual=True, name=f"block_{i}")(x, train=train)
            skipped.append(x)
        for i, width in reversed(list(enumerate(self.widths[:-1]))):
            fine = skipped[i]
            x = jax.image.resize(x, (*fine.shape[:3], x.shape[3]), "nearest")
            x = ConvBlock(width, name=f"up_{i}")(jnp.concatenate([fine, x], -1), train=train)
        return depth_to_space(nn.Conv(4 * self.num_labels, (3, 3), name="labels")(x))

    def loss(self, batch: dict, key: jax.Array) -> jax.Array:
        """Mean cross-entropy over the pixels of `part_labels` int `[B, 64, 64]`, of which those of
        the small parts count `WEIGHTS` times."""
        labels = batch["part_labels"]
        weights = jnp.ones(self.num_labels)
        for part, weight in WEIGHTS.items():
            weights = weights.at[PARTS.index(part) + 1].set(weight)
        weights = weights[labels]
        losses = cross_entropy(self(batch["images"], train=True), labels)
        return (weights * losses).sum() / weights.sum()


class CaptionMatcher(nn.Module):
    """A DAMSM that trains no generator: its trunk is residual and pools by averages.

    Attributes:
      vocabulary_size: of its own vocabulary. embedding_dim: D.

    Differs from DAMSM: the regions are 4 x 4, and gamma3 is twice as large for whole sentences,
    whose cosines have to tell four right colours from five.
    """

    vocabulary_size: int
    embedding_dim: int = 256
    widths: tuple[int, int, int] = (24, 64, 96)

    def setup(self):
        D = self.embedding_dim
        fields = dict(sentence_pooling="max", forget_bias=1.0, dropout_rate=0.1)
        self.text = TextEncoder(self.vocabulary_size, 128, D, **fields)
        self.trunk = _PooledTrunk(self.widths)
        self.regions, self.code = nn.Dense(D, use_bias=False), nn.Dense(D)

    def __call__(self, batch: dict, *, train: bool = False, key: jax.Array | None = None):
        """Of `images`, `caption` and `caption_length`: region features `[B, 16, D]`, image
        embedding `[B, D]`, word features `[B, T, D]` and sentence embedding `[B, D]`."""
        return *self.embed_images(batch["images"], train=train), *self.embed_captions(batch, key)

    def embed_images(self, images: jax.Array, *, train: bool = False):
        """`prepare`d images -> region features `[B, 16, D]`, image embedding `[B, D]`."""
        local, pooled = self.trunk(images, train=train)
        local = nn.avg_pool(local, (2, 2), (2, 2))
        regions = self.regions(local).reshape(len(images), -1, self.embedding_dim)
        return regions, self.code(pooled)

    def embed_captions(self, batch: dict, key: jax.Array | None = None):
        """Word features `[B, T, D]` and sentence embeddings `[B, D]`, with dropout by `key`."""
        caption = batch["caption"]
        keys = None if key is None else jax.random.split(key, len(caption))
        return self.text(caption, _mask(batch), dropout_keys=keys)

    def loss(self, batch: dict, key: jax.Array) -> jax.Array:
        """L_DAMSM (Eq. 13)."""
        regions, embedding, words, sentence = self(batch, train=True, key=key)
        classes, mask = (batch["class_id"],) * 2, _mask(batch)
        by_words = word_scores(regions, words, mask, gamma1=4.0, gamma2=5.0)
        by_sentence = sentence_scores(embedding, sentence)
        of_words = matching_loss(10.0 * by_words, *classes)
        return jnp.stack([*of_words, *matching_loss(20.0 * by_sentence, *classes)]).sum()


class _PooledTrunk(nn.Module):
    widths: Sequence[int]

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        x = space_to_depth(images)
        for i, width in enumerate(self.widths):
            x = nn.avg_pool(x, (2, 2), (2, 2)) if i else x
            x = ConvBlock(width, name=f"widen_{i}")(x, train=train)
            if i:
                x = ConvBlock(width, residual=True, name=f"block_{i}")(x, train=train)
        summary = ConvBlock(self.widths[-1], name="summary")(x, train=train)
        summary = nn.avg_pool(summary, (2, 2), (2, 2))
        return x, summary.reshape(len(summary), -1)


def _mask(batch: dict) -> jax.Array:
    return jnp.arange(batch["caption"].shape[1])[None] < batch["caption_length"][:, None]
