"""Grounding: does the map of a word peak inside the part that the word names?

The pointing game (Zhang et al., ECCV 2016) on procedural birds, whose parts' masks are known. A
word's peak is the cell where its map is highest; it hits if any pixel of that cell shows the part.
"""

from collections.abc import Iterable, Sequence

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


def pointing_game(
    maps: jax.Array, word_labels: jax.Array, part_labels: jax.Array
) -> dict[str, jax.Array]:
    """Of every word that names a part: whether its peak hits it.

    Args:
      maps: `[B, T, h, w]`, where each word is looked at.
      word_labels: int `[B, T]`, the part that a word names, 0 for none.
      part_labels: int `[B, S, S]`, the part that a pixel shows, 0 for none.

    Returns:
      `hit` bool `[B, T]`; `chance` `[B, T]`, the share of cells that would hit; `other_words`
      `[B, T]`, the share of the caption's words for other parts whose peaks would hit (NaN without
      such words). Rubbish where `word_labels` is 0.
    """
    B, T, h, w = maps.shape
    rows, columns = (_cells(part_labels.shape[axis], n) for axis, n in ((1, h), (2, w)))
    shown = jax.nn.one_hot(part_labels, len(PARTS) + 1)
    shown = jnp.einsum("hs,bstp,wt->bhwp", rows, shown, columns) > 0
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


def _cells(size: int, cells: int) -> np.ndarray:
    """`[cells, size]`, 1 where a pixel lies in a cell."""
    return (np.arange(size) * cells // size == np.arange(cells)[:, None]).astype(np.float32)


class Grounding:
    """Counts of the pointing game, a batch at a time."""

    def __init__(self):
        self._words = {part: [] for part in WORDS}

    def add(self, word_labels: np.ndarray, game: dict[str, np.ndarray]) -> None:
        """Takes in a batch of `pointing_game` and the labels that it was played with."""
        for part, found in self._words.items():
            named = word_labels == PARTS.index(part) + 1
            found.append(
                np.stack(
                    [
                        np.asarray(game[name], np.float64)[named]
                        for name in ("hit", "chance", "other_words")
                    ],
                    axis=-1,
                )
            )

    def result(self) -> dict:
        """`{part: {accuracy, chance, other_words, count}}` in percent, and the mean over words."""
        parts = {part: np.concatenate(found) for part, found in self._words.items()}
        words = _percent(parts.values())
        return (
            {"mean": words.pop("accuracy")}
            | words
            | {part: _percent([found]) for part, found in parts.items() if len(found)}
        )


def _percent(found: Iterable[np.ndarray]) -> dict:
    rows = np.concatenate(list(found))
    with np.errstate(invalid="ignore"):
        means = [
            float(100 * column[np.isfinite(column)].mean()) if np.isfinite(column).any() else None
            for column in rows.T
        ]
    return dict(zip(("accuracy", "chance", "other_words"), means)) | {"count": len(rows)}
