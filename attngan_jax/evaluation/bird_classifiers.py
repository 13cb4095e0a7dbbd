"""A judge that never saw the generator: which colours does an image show?

A small classifier of the attributes of procedural birds, trained on real training images
alone. Asked about generated images, it tells whether what the sentence says came out.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from attngan_jax.models.image_encoder import SmallTrunk
from attngan_jax.models.layers import BatchNorm
from attngan_jax.training.networks import normalise


class AttributeClassifier(nn.Module):
    """Logits of every attribute's values from an image.

    Attributes:
      num_values: how many values each attribute has. width: of the trunk's first layer.
    """

    num_values: tuple[int, ...]
    width: int = 16

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> list[jax.Array]:
        """`[B, S, S, 3]` in [-1, 1] -> one `[B, values]` for each attribute."""
        local, pooled = SmallTrunk(self.width, name="cnn")(images, train=train)
        # Where a colour stands says whose colour it is, so the map itself, not only its mean.
        local = nn.Conv(2 * self.width, (1, 1), name="reduce")(local)
        features = jnp.concatenate([local.reshape(len(images), -1), pooled], axis=-1)
        return [nn.Dense(n, name=f"attribute_{i}")(features) for i, n in enumerate(self.num_values)]


@dataclasses.dataclass(frozen=True)
class Judge:
    """A trained `AttributeClassifier`."""

    model: AttributeClassifier
    variables: Any

    def predict(self, images: np.ndarray, batch_size: int = 250) -> np.ndarray:
        """Value indices int `[N, A]` of uint8 images `[N, S, S, 3]`."""
        predict = jax.jit(self.values)
        return np.concatenate(
            [
                np.asarray(predict(self.variables, images[i : i + batch_size]))
                for i in range(0, len(images), batch_size)
            ]
        )

    def values(self, variables: Any, images: jax.Array) -> jax.Array:
        """As `predict`, for one batch; to be jitted."""
        logits = self.model.apply(variables, normalise(images), train=False)
        return jnp.stack([x.argmax(-1) for x in logits], axis=1)


def train_judge(
    images: np.ndarray,
    attributes: np.ndarray,
    num_values: tuple[int, ...],
    *,
    num_steps: int,
    batch_size: int,
    seed: int,
) -> Judge:
    """Trains on real images, uint8 `[N, S, S, 3]`, with their attributes, int `[N, A]`."""
    model = AttributeClassifier(num_values)
    variables = model.init(jax.random.key(seed), normalise(images[:1]), train=False)
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, num_steps))

    @jax.jit
    def step(params, batch_stats, opt_state, images, attributes):
        def loss_fn(params):
            logits, updated = model.apply(
                {"params": params, "batch_stats": batch_stats},
                normalise(images),
                train=True,
                mutable=["batch_stats"],
            )
            losses = [
                optax.softmax_cross_entropy_with_integer_labels(x, attributes[:, i]).mean()
                for i, x in enumerate(logits)
            ]
            return sum(losses), updated["batch_stats"]

        grads, batch_stats = jax.grad(loss_fn, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), batch_stats, opt_state

    params, batch_stats = variables["params"], variables["batch_stats"]
    opt_state = optimizer.init(params)
    rng = np.random.default_rng(seed)
    for _ in tqdm(range(num_steps), desc="Attribute judge", unit=" steps"):
        chosen = rng.integers(len(images), size=batch_size)
        batch = images[chosen]
        flipped = rng.random(batch_size) < 0.5
        batch[flipped] = batch[flipped, :, ::-1]
        params, batch_stats, opt_state = step(
            params, batch_stats, opt_state, batch, attributes[chosen]
        )
    return Judge(model, {"params": params, "batch_stats": batch_stats})


def attribute_accuracy(
    predicted: np.ndarray, stated: np.ndarray, names: tuple[str, ...]
) -> dict[str, dict]:
    """How often the judge sees what the sentence says, in percent, per attribute.

    Args:
      predicted: int `[N, A]`, values that the judge sees.
      stated: int `[N, A]`, values that the sentence states, -1 where it is silent.
      names: of the A attributes.

    Returns:
      `{name: {"accuracy", "chance", "count"}}` for attributes stated at all. Chance is the
      accuracy of these predictions against sentences dealt out at random: a generator that
      paints every head brown has the share of brown heads.
    """
    result = {}
    for i, name in enumerate(names):
        told = stated[:, i] >= 0
        if not told.any():
            continue
        seen, said = predicted[told, i], stated[told, i]
        size = max(seen.max(), said.max()) + 1
        chance = (
            np.bincount(seen, minlength=size)
            / len(seen)
            @ (np.bincount(said, minlength=size) / len(said))
        )
        result[name] = {
            "accuracy": float(100 * (seen == said).mean()),
            "chance": float(100 * chance),
            "count": int(told.sum()),
        }
    return result


class PartSegmenter(nn.Module):
    """Logits of the parts at half the image's side.

    Attributes:
      num_labels: parts and background. width: of the first layer.
    """

    num_labels: int
    width: int = 16

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """`[B, S, S, 3]` in [-1, 1] -> `[B, S/2, S/2, num_labels]`."""

        def block(x, width, stride, dilation, name):
            x = nn.Conv(width, (3, 3), stride, kernel_dilation=dilation, use_bias=False, name=name)(
                x
            )
            return nn.relu(BatchNorm(None, name=f"{name}_norm")(x, train=train))

        B, S, _, _ = images.shape
        place = jnp.linspace(-1.0, 1.0, S)
        place = jnp.stack(jnp.meshgrid(place, place, indexing="ij"), -1)
        x = jnp.concatenate([images, jnp.broadcast_to(place, (B, S, S, 2))], -1)
        fine = block(x, self.width, 2, 1, "half")
        coarse = block(fine, 2 * self.width, 2, 1, "quarter")
        coarse = block(coarse, 2 * self.width, 1, 1, "around")
        coarse = block(coarse, 2 * self.width, 1, 2, "farther")
        coarse = jax.image.resize(coarse, (*fine.shape[:3], coarse.shape[3]), "nearest")
        x = block(jnp.concatenate([fine, coarse], -1), 2 * self.width, 1, 1, "both")
        return nn.Dense(self.num_labels, name="labels")(x)


@dataclasses.dataclass(frozen=True)
class Segmenter:
    """A trained `PartSegmenter`."""

    model: PartSegmenter
    variables: Any

    def labels(self, variables: Any, images: jax.Array) -> jax.Array:
        """Label maps int32 `[B, S/2, S/2]` of uint8 images; to be jitted."""
        logits = self.model.apply(variables, normalise(images), train=False)
        return logits.argmax(-1).astype(jnp.int32)


def half_size(part_labels):
    """Label maps `[B, S, S]` at half the side, every second pixel: what a `Segmenter` gives."""
    return part_labels[:, ::2, ::2]


def shared_pixels(
    found: jax.Array, truth: jax.Array, num_parts: int
) -> tuple[jax.Array, jax.Array]:
    """Of label maps int `[B, H, W]`: pixels that both give to a part, and that either does.

    Both int `[B, num_parts]`, of the labels from 1 on; background is none.
    """
    labels = jnp.arange(1, num_parts + 1)
    a, b = found[..., None] == labels, truth[..., None] == labels
    return (a & b).sum((1, 2)), (a | b).sum((1, 2))


def overlap(shared: np.ndarray, either: np.ndarray) -> float | None:
    """Mean over the parts of intersection over union, in percent, all images taken together.

    Unlike the share of right pixels it gains nothing from background. None without any part.
    """
    shared, either = (np.asarray(counts, np.int64).sum(0) for counts in (shared, either))
    there = either > 0
    return float(100 * np.mean(shared[there] / either[there])) if there.any() else None


def train_segmenter(
    images: np.ndarray,
    part_labels: np.ndarray,
    num_labels: int,
    *,
    num_steps: int,
    batch_size: int,
    seed: int,
) -> Segmenter:
    """Trains on real images, uint8 `[N, S, S, 3]`, with their label maps, uint8 `[N, S, S]`."""
    model = PartSegmenter(num_labels)
    variables = model.init(jax.random.key(seed), normalise(images[:1]), train=False)
    optimizer = optax.adam(optax.cosine_decay_schedule(4e-3, num_steps))

    @jax.jit
    def step(params, batch_stats, opt_state, images, labels):
        def loss_fn(params):
            logits, updated = model.apply(
                {"params": params, "batch_stats": batch_stats},
                normalise(images),
                train=True,
                mutable=["batch_stats"],
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, half_size(labels))
            return loss.mean(), updated["batch_stats"]

        grads, batch_stats = jax.grad(loss_fn, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), batch_stats, opt_state

    params, batch_stats = variables["params"], variables["batch_stats"]
    opt_state = optimizer.init(params)
    rng = np.random.default_rng(seed)
    for _ in tqdm(range(num_steps), desc="Part judge", unit=" steps"):
        chosen = rng.integers(len(images), size=batch_size)
        params, batch_stats, opt_state = step(
            params, batch_stats, opt_state, images[chosen], part_labels[chosen].astype(np.int32)
        )
    return Segmenter(model, {"params": params, "batch_stats": batch_stats})
