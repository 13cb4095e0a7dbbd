"""Captions that became wrong by one word: hard negatives of their images.

In a batch of random captions two or three colours tell all of them apart, so that nothing makes the
encoders look at the rest of what is said. A caption that differs from the true one by a word does.
Yuksekgonul et al. fine-tune CLIP on captions with words exchanged ("When and why vision-language
models behave like bags-of-words, and what to do about it?", ICLR 2023).
"""

import numpy as np

from attngan_jax.data.vocabulary import Vocabulary

# In a kind of describing words synonyms stand together: an exchange is between groups.
COLORS = (
    "red crimson scarlet",
    "orange",
    "yellow golden gold",
    "green olive",
    "blue turquoise teal",
    "purple violet",
    "pink",
    "brown tan rust rusty",
    "grey gray silver",
    "black",
    "white cream",
)
KINDS = (
    COLORS,
    ("small tiny little", "medium average", "large big huge"),
    ("short stubby", "long elongated lengthy"),
    ("pointed pointy sharp", "curved hooked", "thick stout blunt conical"),
)


class WordSwapper:
    """Exchanges the describing words of a vocabulary's captions.

    With `few_colors` only the last copy may have another colour, if the caption has words of other
    kinds to exchange. One of these may then be exchanged in several copies.
    """

    def __init__(self, vocabulary: Vocabulary, *, few_colors: bool = False):
        self._few_colors = few_colors
        self._colors = set(vocabulary.encode(" ".join(COLORS).split()))
        self._others: dict[int, np.ndarray] = {}
        for kind in KINDS:
            groups = [vocabulary.encode(group.split()) for group in kind]
            for group in groups:
                others = [number for other in groups if other is not group for number in other[:1]]
                if others:
                    self._others |= dict.fromkeys(group, np.array(others, np.int32))

    def __call__(self, caption: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """`count` copies of a padded caption, int32 [count, T], in each of which one word has
        another one of its kind in its place, of another meaning; unchanged where it has none."""
        copies = np.tile(caption, (count, 1))
        places = [t for t, number in enumerate(caption) if int(number) in self._others]
        order = _in_turn(places, count, rng)
        if self._few_colors:
            others = [t for t in places if int(caption[t]) not in self._colors]
            order = _in_turn(others, count - 1, rng) + order
        for copy, t in zip(copies, order):
            copy[t] = rng.choice(self._others[int(caption[t])])
        return copies


def _in_turn(places: list[int], count: int, rng: np.random.Generator) -> list[int]:
    """`count` of the places, different ones while there are any. Empty without places."""
    rounds = -(-count // len(places)) if places else 0
    return [t for _ in range(rounds) for t in rng.permutation(places)][:count]
