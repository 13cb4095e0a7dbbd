"""Images on the way from one caption or noise to another, and of captions with a word swapped.

They show what the generator has learned rather than remembered: on the way between two captions
the birds should change smoothly, and a swapped colour should change that part and nothing else.
"""

import dataclasses

import jax
import numpy as np

from attngan_jax import storage
from attngan_jax.data import pipeline
from attngan_jax.data.pipeline import EvenSubset
from attngan_jax.sampling.trained_model import TrainedModel, quantise
from attngan_jax.storage import save_arrays
from attngan_jax.training.networks import word_mask

NUM_STEPS = 8  # images in a row
ROWS_OF_A_KIND = 2
NUM_CAPTIONS = 64  # test captions to choose from
COLORS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "brown",
    "black",
    "white",
    "gray",
    "grey",
    "pink",
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of images before it is drawn.

    Attributes:
      kind: "captions", "noise" or "swap".
      title: what the row shows. labels: what each image is, K of them.
      captions: int `[K, T]`, twice: the two captions between which each image lies.
      shares: float `[K]`, how far on the way to the second.
      angles: float `[K]`, how far on the way to another noise.
    """

    kind: str
    title: str
    labels: tuple[str, ...]
    captions: tuple[np.ndarray, np.ndarray]
    shares: np.ndarray
    angles: np.ndarray


def save_interpolations(trained: TrainedModel, dataset, folder: storage.Path) -> None:
    """Writes `explorations.npz`: `images` uint8 `[R, K, S, S, 3]`, `kinds`, `titles`, `labels`."""
    batch = next(
        iter(
            pipeline.eval_batches(
                EvenSubset(dataset.test, NUM_CAPTIONS),
                trained.config,
                vocabulary=trained.vocabulary,
                batch_size=NUM_CAPTIONS,
                image_sizes=(trained.config.image_encoder.image_size,),
            )
        )
    )
    captions = batch["caption"]
    rows = (
        caption_rows(captions, trained.vocabulary)
        + noise_rows(captions, trained.vocabulary)
        + swap_rows(captions, trained.vocabulary)
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_arrays(
        folder / "explorations.npz",
        images=draw(trained, rows),
        kinds=np.array([row.kind for row in rows]),
        titles=np.array([row.title for row in rows]),
        labels=np.array([row.labels for row in rows]),
    )


def caption_rows(captions: np.ndarray, vocabulary) -> list[Row]:
    """From one caption to another of as many words, with one noise.

    Args:
      captions: int `[N, T]`, padded with zeros.
    """
    lengths, rows = (captions > 0).sum(1), []
    for length in sorted(set(lengths.tolist()), key=lambda n: (-(lengths == n).sum(), n)):
        pair = captions[lengths == length][:2]
        if len(pair) == 2 and len(rows) < ROWS_OF_A_KIND:
            first, second = (" ".join(vocabulary.decode(caption)) for caption in pair)
            labels = [f"{share:.0%}" for share in np.linspace(0, 1, NUM_STEPS)]
            rows.append(_row("captions", f"{first} → {second}", labels, *pair, moves="captions"))
    return rows


def noise_rows(captions: np.ndarray, vocabulary) -> list[Row]:
    """From one noise to another, with one caption."""
    labels = [f"{share:.0%}" for share in np.linspace(0, 1, NUM_STEPS)]
    return [
        _row("noise", " ".join(vocabulary.decode(caption)), labels, caption, caption, moves="noise")
        for caption in captions[:ROWS_OF_A_KIND]
    ]


def swap_rows(captions: np.ndarray, vocabulary) -> list[Row]:
    """One colour of a caption swapped for others; only where the vocabulary has other colours."""
    colors = {name: number for name in COLORS for number in vocabulary.encode([name])}
    rows, last = [], None
    for caption in captions:
        places = np.flatnonzero(np.isin(caption, list(colors.values())))
        words = vocabulary.decode(caption)
        if not len(places) or len(colors) < 2 or len(rows) == ROWS_OF_A_KIND:
            continue
        place = int(places[0])
        if words[place + 1 : place + 2] == last:
            continue  # another part than in the row before
        last = words[place + 1 : place + 2]
        names = [words[place], *(name for name in colors if name != words[place])]
        names = [names[n % len(names)] for n in range(NUM_STEPS)]
        swapped = np.tile(caption, (NUM_STEPS, 1))
        swapped[:, place] = [colors[name] for name in names]
        words[place] = "[…]"
        rows.append(
            Row(
                "swap",
                " ".join(words),
                tuple(names),
                (swapped, swapped),
                np.zeros(NUM_STEPS),
                np.zeros(NUM_STEPS),
            )
        )
    return rows


def _row(kind, title, labels, first, second, *, moves) -> Row:
    ends = tuple(np.tile(caption, (NUM_STEPS, 1)) for caption in (first, second))
    way, still = np.linspace(0, 1, NUM_STEPS), np.zeros(NUM_STEPS)
    return Row(
        kind,
        title,
        tuple(labels),
        ends,
        way if moves == "captions" else still,
        way if moves == "noise" else still,
    )


def draw(trained: TrainedModel, rows: list[Row]) -> np.ndarray:
    """The last stage's images, uint8 `[R, K, S, S, 3]`.

    Word and sentence features are mixed linearly; noise along the arc between two draws, which
    keeps its length. Each row has its own noise.
    """
    first, second = (np.concatenate([row.captions[end] for row in rows]) for end in (0, 1))
    shares = np.concatenate([row.shares for row in rows]).astype(np.float32)
    angles = np.concatenate([row.angles for row in rows]).astype(np.float32)
    g = trained.config.generator
    rng = np.random.default_rng(trained.config.seed)
    noise = rng.standard_normal((len(rows), 2, g.z_dim + g.condition_dim)).astype(np.float32)
    noise = arc(*np.repeat(noise, NUM_STEPS, axis=0).swapaxes(0, 1), angles)

    @jax.jit
    def made(variables, first, second, shares, noise):
        ends = [
            {"caption": caption, "caption_length": (caption > 0).sum(1)}
            for caption in (first, second)
        ]
        (words, sentence), (words_2, sentence_2) = (
            trained.encode_captions(variables, end) for end in ends
        )
        words = words + (words_2 - words) * shares[:, None, None]
        sentence = sentence + (sentence_2 - sentence) * shares[:, None]
        output = trained.task.generator.apply(
            variables["generator"],
            noise[:, : g.z_dim],
            noise[:, g.z_dim :],
            sentence,
            words,
            word_mask(ends[0]),
            train=False,
        )
        return quantise(output.images[-1])

    images = np.asarray(made(trained.variables, first, second, shares, noise))
    return images.reshape(len(rows), NUM_STEPS, *images.shape[1:])


def arc(first: np.ndarray, second: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points on the arc from `first` to `second` `[N, D]`, each at its share `[N]` of the angle."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    angle = np.arccos(np.clip((first * second).sum(1) / lengths, -1, 1))
    weights = np.sin((1 - shares) * angle), np.sin(shares * angle)
    return (weights[0][:, None] * first + weights[1][:, None] * second) / np.sin(angle)[:, None]
