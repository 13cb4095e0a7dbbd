"""Training of the judges on the real training images of a procedural birds dataset."""

import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from attngan_jax.bars import Bar
from attngan_jax.configuration import Config
from attngan_jax.data import transforms
from attngan_jax.data.birds.species import ATTRIBUTES
from attngan_jax.data.datasets import Dataset
from attngan_jax.data.pipeline import EvenSubset
from attngan_jax.data.vocabulary import Vocabulary, tokenise
from attngan_jax.evaluation.batched_map import BatchedMap
from attngan_jax.evaluation.judges import scoring
from attngan_jax.evaluation.judges.files import NAMES, Judges
from attngan_jax.evaluation.judges.networks import (
    SIZE,
    AttributeClassifier,
    CaptionMatcher,
    PartSegmenter,
)
from attngan_jax.evaluation.metric_blocks import r_precision_protocol
from attngan_jax.evaluation.metrics import r_precision
from attngan_jax.training.state import Network

ZOOM = (1.03, 1.1)  # of the random crops; around data.resize_ratio of the runs, 68 / 64
MAX_WORDS = 20
NUM_COUNTED = 4_000  # training images whose parts are counted


def train_judges(dataset: Dataset, config: Config, command: str) -> Judges:
    """All three, trained for `eval.judge_steps` and `eval.part_judge_steps` steps from the seed."""
    vocabulary = dataset.vocabulary
    data, variables = read_split(dataset.train, vocabulary), {}
    steps = {"attributes": config.eval.judge_steps, "parts": config.eval.part_judge_steps}
    steps["matching"] = config.eval.judge_steps * 3 // 2
    batches = dict.fromkeys(NAMES, config.eval.judge_batch_size)
    batches["parts"] = max(1, batches["parts"] // 2)  # of whose pixels each is an example
    rates = {"attributes": 3e-3, "parts": 4e-3, "matching": 3e-3}
    models: dict[str, nn.Module] = {"attributes": AttributeClassifier(), "parts": PartSegmenter()}
    models["matching"] = CaptionMatcher(len(vocabulary))
    for name, model in models.items():
        options = dict(learning_rate=rates[name], num_steps=steps[name], seed=config.seed)
        variables[name] = train(model, data, batch_size=batches[name], **options)
    # As the files keep them, so that the scores are those of the files.
    variables = jax.tree.map(lambda x: np.float32(np.float16(x)), variables)
    judges = Judges(variables, vocabulary, {}, {})
    scores, part_pixels = real_scores(judges, dataset, config)
    name, version = dataset.folder.parts[-2:]
    record = {
        "dataset": {"name": dataset.name, "version": version, "config": name},
        "command": command,
        "seed": config.seed,
        "steps": steps,
        "batch_size": batches,
        "training_images": len(data["images"]),
        "real_test_images": scores,
    }
    return Judges(variables, vocabulary, part_pixels, record)


def real_scores(judges: Judges, dataset: Dataset, config: Config) -> tuple[dict, dict]:
    """What the judges make of `dataset`'s test images, in percent, and `scoring.usual_pixels` of
    its training images; both as `evaluate` crops them."""
    numbers = judges.word_numbers(dataset.vocabulary)

    def function(variables, batch):
        rows = scoring.see(variables, batch[f"image_{SIZE}"])
        compared = scoring.compare_parts(rows.pop("seen_parts"), batch["part_labels"])
        caption = scoring.read(variables, batch, numbers)
        return (
            rows
            | compared
            | {
                "attributes": batch["attributes"],
                "matched_caption": caption,
                "class_id": batch["class_id"],
                "index": batch["index"],
            }
        )

    mapped = BatchedMap(function, config, dataset, SIZE)
    split = EvenSubset(dataset.train, min(len(dataset.train), NUM_COUNTED))
    usual = scoring.usual_pixels(mapped.collect(judges.variables, split)["seen_pixels"])
    real = mapped.collect(judges.variables, dataset.test)
    names = ("matched_image", "matched_caption", "class_id", "index")
    pairs = r_precision.Pairs(*(real[name] for name in names))
    right = 100 * (real["seen_attributes"] == real["attributes"]).mean(0)
    scores = {
        "images": len(real["index"]),
        "attributes": {name: round(float(x), 1) for name, x in zip(ATTRIBUTES, right)},
        "part_pixels_right": round(float(100 * real["part_pixels"].mean()), 2),
        "part_overlap": scoring.overlap(real["part_shared"], real["part_either"]),
        "part_presence": scoring.part_presence(real["seen_pixels"], usual),
        "r_precision": r_precision.score(pairs, r_precision_protocol(config.eval), config.seed),
    }
    return scores, usual


def read_split(records: Any, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """A whole split: `images` uint8 `[N, 64, 64, 3]`, `attributes` `[N, A]`, `part_labels` uint8
    `[N, 64, 64]`, `captions` int32 `[N, captions, T]`, `lengths` `[N, captions]`, `class_id`."""
    rows: dict[str, list] = {}
    for n in range(len(records)):
        record, words = records[n], []
        image = transforms.open_image(record["image"]).convert("RGB")
        labels = transforms.decode_labels(record["part_labels"])
        for caption in record["captions"]:
            numbers = vocabulary.encode(tokenise(caption.decode()))[:MAX_WORDS]
            words.append((numbers + [0] * MAX_WORDS)[:MAX_WORDS] + [len(numbers)])
        row = {
            "images": np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX)),
            "part_labels": np.asarray(labels.resize((SIZE, SIZE), Image.Resampling.NEAREST)),
            "attributes": record["attributes"],
            "class_id": record["class_id"],
            "captions": np.array(words, np.int32),
        }
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
    arrays = {name: np.stack(values) for name, values in rows.items()}
    arrays["lengths"] = arrays["captions"][..., -1]
    arrays["captions"] = arrays["captions"][..., :-1]
    return arrays


def augment(images: jax.Array, labels: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Random flips, crops, blur and noise of uint8 `[B, S, S, 3]` and its label maps `[B, S, S]`.

    Images come out in [-1, 1]. A crop enlarges by `ZOOM`; half of the images are blurred along
    rows and columns by (t, 1 - 2t, t) with t up to 1/4, half have noise of up to 0.1 added.
    """
    B, S = images.shape[:2]
    keys = jax.random.split(key, 8)
    zoom = jax.random.uniform(keys[0], (B, 1), minval=ZOOM[0], maxval=ZOOM[1])
    t = jax.random.uniform(keys[1], (B, 1, 1), maxval=0.25)
    t *= jax.random.bernoulli(keys[2], 0.5, (B, 1, 1))
    matrices, nearest = [], []
    for axis in range(2):
        first = jax.random.uniform(keys[3 + axis], (B, 1)) * (S - S / zoom)
        place = first + (jnp.arange(S) + 0.5) / zoom - 0.5  # [B, S], where output pixels lie
        if axis:
            flip = jax.random.bernoulli(keys[5], 0.5, (B, 1))
            place = jnp.where(flip, place[:, ::-1], place)
        place = jnp.clip(place, 0, S - 1)
        weights = jnp.maximum(0.0, 1.0 - abs(place[..., None] - jnp.arange(S)))  # [B, S, S]
        padded = jnp.pad(weights, ((0, 0), (1, 1), (0, 0)), "edge")
        matrices.append((1 - 2 * t) * weights + t * (padded[:, 2:] + padded[:, :-2]))
        nearest.append(jnp.round(place).astype(jnp.int32))
    x = images.astype(jnp.float32) / 127.5 - 1.0
    x = jnp.einsum("bij,bjkc,blk->bilc", matrices[0], x, matrices[1])
    strength = jax.random.uniform(keys[6], (B, 1, 1, 1), maxval=0.2) - 0.1
    x += jnp.maximum(strength, 0.0) * jax.random.normal(keys[7], x.shape)
    rows, columns = nearest
    labels = labels[jnp.arange(B)[:, None, None], rows[:, :, None], columns[:, None]]
    return x, labels.astype(jnp.int32)


def train(
    model: nn.Module,
    data: dict[str, np.ndarray],
    *,
    learning_rate: float,
    num_steps: int,
    batch_size: int,
    seed: int,
) -> dict:
    """Variables of one of `networks`, trained on `read_split`'s arrays."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, num_steps // 20, num_steps)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-3)
    )
    apply = functools.partial(model.apply, method="loss", mutable=["batch_stats"])
    root = jax.random.key(seed)

    def batch_of(data, key):
        images, labels = augment(data["images"], data["part_labels"], key)
        return data | {"images": images, "part_labels": labels}

    def init(data):
        key = jax.random.key(seed + 1)
        return model.init(root, batch_of(data, key), key, method="loss")

    @jax.jit
    def step(network, data, n):
        key = jax.random.fold_in(root, n)
        batch = batch_of(data, key)

        def loss_fn(params):
            variables = network.variables | {"params": params}
            loss, updated = apply(variables, batch, jax.random.fold_in(key, 1))
            return loss, updated["batch_stats"]

        (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(network.params)
        return network.update(optimizer, grads, batch_stats), loss

    batches = _batches(data, batch_size, seed)
    network = Network.create(jax.jit(init)(next(batches)), optimizer)
    with Bar(total=num_steps, desc=type(model).__name__, unit=" steps") as bar:
        for n, batch in zip(range(num_steps), batches):
            network, loss = step(network, batch, n)
            bar.update()
            if n % 25 == 0:
                bar.set_postfix(loss=f"{loss:.3f}")
    return jax.device_get(network.variables)


def _batches(data: dict[str, np.ndarray], batch_size: int, seed: int) -> Iterator[dict]:
    """Endless shuffled batches of `read_split`'s arrays, with one `caption` of each image."""
    rng, order = np.random.default_rng(seed), np.zeros(0, int)
    while True:
        if len(order) < batch_size:
            order = rng.permutation(len(data["images"]))
        chosen, order = order[:batch_size], order[batch_size:]
        batch = {name: values[chosen] for name, values in data.items()}
        if "captions" in batch:
            rows = np.arange(len(chosen))
            numbers = rng.integers(batch["captions"].shape[1], size=len(chosen))
            batch["caption"] = batch.pop("captions")[rows, numbers]
            batch["caption_length"] = batch.pop("lengths")[rows, numbers]
        yield batch
