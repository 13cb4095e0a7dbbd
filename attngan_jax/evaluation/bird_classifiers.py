"""Classifiers of the attributes and parts of procedural birds, trained on real images alone.

Of generated images, they tell whether what a caption says came out, and where.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from attngan_jax.configuration import Config
from attngan_jax.data.birds.species import ATTRIBUTES, PARTS
from attngan_jax.data.datasets import Dataset
from attngan_jax.data.pipeline import EvenSubset
from attngan_jax.evaluation.batched_map import BatchedMap
from attngan_jax.evaluation.metrics import pointing_game
from attngan_jax.models.image_encoder import SmallTrunk
from attngan_jax.models.layers import BatchNorm
from attngan_jax.training import multihost
from attngan_jax.training.networks import normalise
from attngan_jax.training.state import Network

NUM_TRAINING_IMAGES = 8_000
WIDTH = 16  # channels of the first layers
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


class AttributeClassifier(nn.Module):
    """Which value does each attribute of the bird have? `num_values` counts them."""

    num_values: tuple[int, ...] = tuple(map(len, ATTRIBUTES.values()))

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> list[jax.Array]:
        """Uint8 `[B, S, S, 3]` -> logits `[B, values]` of each attribute."""
        local, pooled = SmallTrunk(WIDTH, name="cnn")(normalise(images), train=train)
        # The map itself, not only its mean: where a colour is decides which part has it.
        local = nn.Conv(2 * WIDTH, (1, 1), name="reduce")(local)
        features = jnp.concatenate([local.reshape(len(images), -1), pooled], axis=-1)
        return [nn.Dense(n, name=f"attribute_{i}")(features) for i, n in enumerate(self.num_values)]

    def loss(self, logits: Sequence[jax.Array], attributes: jax.Array) -> jax.Array:
        """Cross-entropy, summed over attributes int `[B, A]`."""
        return sum(cross_entropy(x, attributes[:, i]).mean() for i, x in enumerate(logits))

    def predict(self, variables: dict, images: jax.Array) -> jax.Array:
        """Value indices int `[B, A]`."""
        return jnp.stack([x.argmax(-1) for x in self.bind(variables)(images, train=False)], axis=1)


class PartSegmenter(nn.Module):
    """Which part of the bird, or background, does each pixel show?"""

    num_labels: int = len(PARTS) + 1

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Uint8 `[B, S, S, 3]` -> logits `[B, S/2, S/2, num_labels]`."""

        def block(x, width, stride, dilation, name):
            options = dict(kernel_dilation=dilation, use_bias=False, name=name)
            x = nn.Conv(width, (3, 3), stride, **options)(x)
            return nn.relu(BatchNorm(None, name=f"{name}_norm")(x, train=train))

        axis = jnp.linspace(-1.0, 1.0, images.shape[1])
        position = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1)
        position = jnp.broadcast_to(position, (*images.shape[:3], 2))
        x = jnp.concatenate([normalise(images), position], -1)
        fine = block(x, WIDTH, 2, 1, "half")
        coarse = block(fine, 2 * WIDTH, 2, 1, "quarter")
        coarse = block(coarse, 2 * WIDTH, 1, 1, "around")
        coarse = block(coarse, 2 * WIDTH, 1, 2, "farther")
        coarse = jax.image.resize(coarse, (*fine.shape[:3], coarse.shape[3]), "nearest")
        x = block(jnp.concatenate([fine, coarse], -1), 2 * WIDTH, 1, 1, "both")
        return nn.Dense(self.num_labels, name="labels")(x)

    def loss(self, logits: jax.Array, part_labels: jax.Array) -> jax.Array:
        """Mean cross-entropy over every second pixel of label maps int `[B, S, S]`."""
        return cross_entropy(logits, part_labels[:, ::2, ::2]).mean()

    def predict(self, variables: dict, images: jax.Array) -> jax.Array:
        """Label maps int32 `[B, S/2, S/2]`."""
        return self.bind(variables)(images, train=False).argmax(-1).astype(jnp.int32)


def train(
    model: AttributeClassifier | PartSegmenter,
    images: np.ndarray,
    targets: np.ndarray,
    learning_rate: float,
    num_steps: int,
    *,
    batch_size: int,
    seed: int,
    flip: bool = False,
) -> dict:
    """Variables for real images, uint8 `[N, S, S, 3]`, half of them mirrored with `flip`, and the
    targets of `model.loss`."""
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    variables = model.init(jax.random.key(seed), images[:1], train=False)
    network = Network.create(variables, optimizer)
    apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])

    @jax.jit
    def step(network, images, targets):
        def loss_fn(params):
            logits, updated = apply(network.variables | {"params": params}, images)
            return model.loss(logits, targets), updated["batch_stats"]

        grads, batch_stats = jax.grad(loss_fn, has_aux=True)(network.params)
        return network.update(optimizer, grads, batch_stats)

    rng = np.random.default_rng(seed)
    for _ in tqdm(range(num_steps), desc=type(model).__name__, unit=" steps"):
        chosen = rng.integers(len(images), size=batch_size)
        batch = images[chosen]
        if flip:
            flipped = rng.random(batch_size) < 0.5
            batch[flipped] = batch[flipped, :, ::-1]
        network = step(network, batch, targets[chosen].astype(np.int32))
    return network.variables


def train_both(dataset: Dataset, config: Config, size: int) -> dict:
    """Variables of `attributes` and `parts`, trained on real images of `size` pixels.

    `word_labels` int `[V]` beside them is the part that each word of the vocabulary names. The
    networks are small: the first process trains them on one device.
    """
    names, settings = (f"image_{size}", "attributes", "part_labels"), config.eval
    mapped = BatchedMap(lambda _, batch: [batch[name] for name in names], config, dataset, size)
    split = EvenSubset(dataset.train, min(len(dataset.train), NUM_TRAINING_IMAGES))
    images, attributes, parts = mapped.collect({}, split, description="Real training images")
    fit = functools.partial(train, batch_size=settings.judge_batch_size, seed=config.seed)

    def run() -> dict:
        steps, model = settings.judge_steps, AttributeClassifier()
        first = fit(model, images, attributes, 2e-3, steps, flip=True)
        second = fit(PartSegmenter(), images, parts, 4e-3, settings.part_judge_steps)
        return {"attributes": first, "parts": second}

    word_labels = pointing_game.labels_of_words(dataset.vocabulary.words)
    return multihost.from_first(run, "bird classifiers") | {"word_labels": word_labels}


def classify(variables: dict, batch: dict, images: jax.Array, maps: dict) -> tuple[jax.Array, dict]:
    """The label maps of images uint8 `[B, S, S, 3]` by `train_both`'s variables, and rows of each.

    Each of `maps`, word maps `[B, T, h, w]` by name, plays the pointing game on these label maps.
    """
    found = PartSegmenter().predict(variables["parts"], images)
    named = variables["word_labels"][batch["caption"]]
    return found, {
        "seen_attributes": AttributeClassifier().predict(variables["attributes"], images),
        "caption_attributes": batch["caption_attributes"],
        "word_labels": named,
        "games": {n: pointing_game.pointing_game(m, named, found) for n, m in maps.items()},
    }


def attribute_accuracy(predicted: np.ndarray, stated: np.ndarray, names: Sequence[str]) -> dict:
    """How often the classifier sees what the caption says, in percent, by attribute stated at all.

    Values are int `[N, A]`, -1 where the caption states none. Chance is the accuracy against
    captions dealt out at random: always painting brown heads has the share of brown heads.
    """
    result = {}
    for i, name in enumerate(names):
        known = stated[:, i] >= 0
        if not known.any():
            continue
        seen, said = predicted[known, i], stated[known, i]
        size = max(seen.max(), said.max()) + 1
        shares = [np.bincount(values, minlength=size) / len(values) for values in (seen, said)]
        accuracy, chance = 100 * (seen == said).mean(), 100 * (shares[0] @ shares[1])
        result[name] = dict(accuracy=float(accuracy), chance=float(chance), count=len(seen))
    return result


def compare_parts(found: jax.Array, truth: jax.Array) -> dict[str, jax.Array]:
    """How the label maps of `classify` fit true ones int `[B, S, S]`, which may be finer.

    `part_pixels` `[B]` is the share of right pixels, background included; `part_shared` and
    `part_either` int `[B, parts]` count pixels that both give to a part, and that either does.
    """
    stride, labels = truth.shape[1] // found.shape[1], jnp.arange(1, len(PARTS) + 1)
    truth = truth[:, ::stride, ::stride]
    a, b = found[..., None] == labels, truth[..., None] == labels
    counts = {"part_shared": (a & b).sum((1, 2)), "part_either": (a | b).sum((1, 2))}
    return {"part_pixels": (found == truth).mean((1, 2))} | counts


def overlap(shared: np.ndarray, either: np.ndarray) -> float | None:
    """Mean over the parts of intersection over union, in percent, all images taken together."""
    shared, either = (np.asarray(counts, np.int64).sum(0) for counts in (shared, either))
    there = either > 0  # None without any part
    return float(100 * np.mean(shared[there] / either[there])) if there.any() else None
