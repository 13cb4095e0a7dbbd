"""Images between two captions or two noises, and of captions with one colour swapped.

If the generator has learned rather than remembered, the birds between two captions change
smoothly, and a swapped colour changes that part and nothing else.
"""

import itertools
from typing import NamedTuple

import jax
import numpy as np

from attngan_jax.data.datasets import Dataset
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.sampling.sample_writer import fixed_batch
from attngan_jax.sampling.trained_model import TrainedModel, generate_images, quantise
from attngan_jax.storage import PathLike, save_arrays
from attngan_jax.training.networks import word_mask
from attngan_jax.workdir import Workdir

STEPS = np.linspace(0, 1, 8, dtype=np.float32)  # of the K images in a row, from end to end
PERCENT = tuple(f"{step:.0%}" for step in STEPS)
NUM_ROWS = 2  # of each kind
NUM_CAPTIONS = 64  # test captions to choose from
COLORS = "red orange yellow green blue purple brown black white gray grey pink".split()


class Row(NamedTuple):
    """A row of K images before they are generated; captions are int `[T]`, or `[K, T]` for each."""

    kind: str  # "captions" goes from `first` to `last`, "noise" to another noise; "swap" stays
    title: str
    labels: tuple[str, ...]  # K of them
    first: np.ndarray
    last: np.ndarray


def save_interpolations(trained: TrainedModel, dataset: Dataset, workdir: PathLike) -> None:
    """Writes `images` uint8 `[R, K, S, S, 3]`, `kinds`, `titles` and `labels` of R rows."""
    image_size, words = trained.config.image_encoder.image_size, trained.vocabulary
    captions = fixed_batch(dataset, trained.config, NUM_CAPTIONS, image_size)["caption"]
    rows = [row for make in (caption_rows, noise_rows, swap_rows) for row in make(captions, words)]
    kinds, titles, labels = (np.array(column) for column in list(zip(*rows))[:3])
    arrays = dict(images=generate(trained, rows), kinds=kinds, titles=titles, labels=labels)
    save_arrays(Workdir(workdir).interpolations, **arrays)


def caption_rows(captions: np.ndarray, vocabulary: Vocabulary) -> list[Row]:
    """From one caption to another of as many words, with one noise; captions int `[N, T]`."""
    lengths = (captions > 0).sum(1)
    groups = [captions[lengths == length] for length in np.unique(lengths)]
    groups.sort(key=len, reverse=True)  # the most frequent length first
    pairs = [group[:2] for group in groups if len(group) > 1]
    return [
        Row("captions", " → ".join(" ".join(vocabulary.decode(c)) for c in pair), PERCENT, *pair)
        for pair in pairs[:NUM_ROWS]
    ]


def noise_rows(captions: np.ndarray, vocabulary: Vocabulary) -> list[Row]:
    """From one noise to another, with one caption."""
    shown = captions[:NUM_ROWS]
    return [Row("noise", " ".join(vocabulary.decode(c)), PERCENT, c, c) for c in shown]


def swap_rows(captions: np.ndarray, vocabulary: Vocabulary) -> list[Row]:
    """One colour of a caption swapped for others; only where the vocabulary has other colours."""
    colors = {name: number for name in COLORS for number in vocabulary.encode([name])}
    rows: list[Row] = []
    previous = None  # the word behind the colour in the row before
    for caption in captions:
        places = np.flatnonzero(np.isin(caption, list(colors.values())))
        if not len(places) or len(colors) < 2 or len(rows) == NUM_ROWS:
            continue
        place, words = int(places[0]), vocabulary.decode(caption)
        if (part := words[place + 1 : place + 2]) == previous:
            continue
        previous = part
        others = (name for name in colors if name != words[place])
        names = list(itertools.islice(itertools.cycle([words[place], *others]), len(STEPS)))
        swapped = np.tile(caption, (len(STEPS), 1))
        swapped[:, place] = [colors[name] for name in names]
        words[place] = "[…]"
        rows.append(Row("swap", " ".join(words), tuple(names), swapped, swapped))
    return rows


def generate(trained: TrainedModel, rows: list[Row]) -> np.ndarray:
    """The last stage's images, uint8 `[R, K, S, S, 3]`.

    Word and sentence embeddings are mixed linearly, noise along an arc. Each row has its own noise.
    """
    g = trained.config.generator

    @jax.jit
    def run(variables, first, last, mix, noise):
        ends = [{"caption": c, "caption_length": (c > 0).sum(1)} for c in (first, last)]
        words, sentence = trained.encode_captions(variables, ends[0])
        last_words, last_sentence = trained.encode_captions(variables, ends[1])
        words += (last_words - words) * mix[:, None, None]
        sentence += (last_sentence - sentence) * mix[:, None]
        inputs = (noise[:, : g.z_dim], noise[:, g.z_dim :], sentence, words, word_mask(ends[0]))
        output = generate_images(trained.task.generator, variables["generator"], *inputs)
        return quantise(output.images[-1])

    rng = np.random.default_rng(trained.config.seed)
    ends = rng.standard_normal((len(rows), 2, g.z_dim + g.condition_dim)).astype(np.float32)
    images = []
    for row, (noise, other_noise) in zip(rows, ends):
        shape = (len(STEPS), row.first.shape[-1])
        first, last = (np.broadcast_to(captions, shape) for captions in (row.first, row.last))
        noise = arc(noise, other_noise, STEPS * (row.kind == "noise"))
        images.append(run(trained.variables, first, last, STEPS * (row.kind == "captions"), noise))
    return np.stack(jax.device_get(images))


def arc(first: np.ndarray, last: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points `[K, D]` on the arc from `first` to `last` `[D]`, at `shares` `[K]` of its angle.

    Unlike points of the straight line they keep the length that normal noise has.
    """
    cosine = (first * last).sum() / (np.linalg.norm(first) * np.linalg.norm(last))
    angle = np.arccos(np.clip(cosine, -1, 1))
    weights = np.sin((1 - shares) * angle), np.sin(shares * angle)
    return (np.outer(weights[0], first) + np.outer(weights[1], last)) / np.sin(angle)
