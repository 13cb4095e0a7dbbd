"""Grounding: does the map of a word peak inside the part that the word names?

The pointing game (Zhang et al., ECCV 2016) on procedural birds, whose parts' masks are known. A
word's peak is the cell where its map is highest; it hits if any pixel of that cell shows the part.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from attngan_jax.data.birds.species import PARTS

# Words that name a part by themselves, as the captions' grammar has them.
WORDS = {
    "crown": ("crown", "head", "cap"),
    "back": ("back", "nape"),
    "wing": ("wing", "wings", "primaries", "secondaries"),
    "breast": ("breast", "chest"),
    "belly": ("belly", "abdomen", "stomach", "tummy"),
    "beak": ("beak", "bill"),
    "tail": ("tail",),
}


def labels_of_words(words: Sequence[str]) -> np.ndarray:
    """For each word of a vocabulary the part's label in a label map, 0 for none; int32 `[V]`."""
    label = {word: PARTS.index(part) + 1 for part, group in WORDS.items() for word in group}
    return np.array([label.get(word, 0) for word in words], np.int32)


def pointing_game(maps: jax.Array, word_labels: jax.Array, part_labels: jax.Array) -> dict:
    """Of every word that names a part: whether its peak hits it.

    Args:
      maps: `[B, T, h, w]`, how much each word attends to each cell.
      word_labels, part_labels: int `[B, T]`, `[B, S, S]`: the part of a word, a pixel; 0 for none.

    Returns, meaningless where `word_labels` is 0, `[B, T]` each: `hit`; `chance`, the share of
    cells that would hit; `other_words`, the share of the caption's words for other parts whose
    peaks would hit (NaN without such words).
    """
    (B, T, h, w), pixel = maps.shape, np.arange(part_labels.shape[1])
    # `[cells, S]`, 1 where a pixel lies in a row or column of cells.
    rows, columns = (pixel * n // len(pixel) == np.arange(n)[:, None] for n in (h, w))
    shown = jax.nn.one_hot(part_labels, len(PARTS) + 1)
    shown = jnp.einsum("hs,bstp,wt->bhwp", rows * 1.0, shown, columns * 1.0) > 0
    shown = shown.reshape(B, h * w, -1)
    peaks = maps.reshape(B, T, -1).argmax(-1)
    at_peaks = jnp.take_along_axis(shown, peaks[..., None], axis=1)  # [B, T, P]
    # would[b, t, u]: the peak of word u lies in the part of word t.
    would = jnp.take_along_axis(at_peaks.swapaxes(1, 2), word_labels[..., None], axis=1)
    others = (word_labels[:, None] > 0) & (word_labels[:, None] != word_labels[..., None])
    return {
        "hit": jnp.diagonal(would, axis1=1, axis2=2),
        "chance": jnp.take_along_axis(shown.mean(1), word_labels, axis=1),
        "other_words": (would & others).sum(-1) / others.sum(-1),
    }


def summarise(word_labels: np.ndarray, game: dict[str, np.ndarray]) -> dict:
    """The result of `pointing_game` in percent: over all words that name a part, and by part."""
    values = np.array([game[name] for name in ("hit", "chance", "other_words")], np.float64)
    parts = {part: values[:, word_labels == PARTS.index(part) + 1] for part in WORDS}
    words = _percent(np.concatenate(list(parts.values()), axis=1))
    by_part = {part: _percent(columns) for part, columns in parts.items() if len(columns[0])}
    return {"mean": words.pop("accuracy")} | words | by_part


def _percent(columns: np.ndarray) -> dict:
    """Means of accuracy, chance and other words, each over the words that have a value."""
    finite = [column[np.isfinite(column)] for column in columns]
    means = [float(100 * column.mean()) if len(column) else None for column in finite]
    names = ("accuracy", "chance", "other_words")
    return dict(zip(names, means)) | {"count": len(columns[0])}
