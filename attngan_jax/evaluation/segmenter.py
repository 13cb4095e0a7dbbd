"""A judge that tells where the parts of a bird are, for pictures whose masks nobody knows.

Trained on real pictures and their true label maps alone; it never saw the generator.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from attngan_jax.models.layers import BatchNorm
from attngan_jax.training.damsm_task import normalise


class PartSegmenter(nn.Module):
    """Logits of the parts at half the picture's side.

    Attributes:
      num_labels: parts and background. width: of the first layer.
    """

    num_labels: int
    width: int = 16

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """`[B, S, S, 3]` in [-1, 1] -> `[B, S/2, S/2, num_labels]`."""
        def block(x, width, stride, dilation, name):
            x = nn.Conv(width, (3, 3), stride, kernel_dilation=dilation, use_bias=False,
                        name=name)(x)
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


def shared_pixels(found: jax.Array, truth: jax.Array, num_parts: int
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


def train_segmenter(images: np.ndarray, part_labels: np.ndarray, num_labels: int, *,
                    num_steps: int, batch_size: int, seed: int) -> Segmenter:
    """Trains on real pictures, uint8 `[N, S, S, 3]`, with their label maps, uint8 `[N, S, S]`."""
    model = PartSegmenter(num_labels)
    variables = model.init(jax.random.key(seed), normalise(images[:1]), train=False)
    optimizer = optax.adam(optax.cosine_decay_schedule(4e-3, num_steps))

    @jax.jit
    def step(params, batch_stats, opt_state, images, labels):
        def loss_fn(params):
            logits, updated = model.apply({"params": params, "batch_stats": batch_stats},
                                          normalise(images), train=True, mutable=["batch_stats"])
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
        params, batch_stats, opt_state = step(params, batch_stats, opt_state, images[chosen],
                                              part_labels[chosen].astype(np.int32))
    return Segmenter(model, {"params": params, "batch_stats": batch_stats})
