"""Birds of species that no judge has seen, drawn for the tests and cut as `evaluate` cuts them."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from attngan_jax.data.birds.captions import write_captions
from attngan_jax.data.birds.drawing import draw_bird
from attngan_jax.data.birds.species import make_species
from attngan_jax.data.vocabulary import tokenise


class Birds(NamedTuple):
    """N birds, each of its own species."""

    images: np.ndarray  # uint8 `[N, S, S, 3]`
    attributes: np.ndarray  # int `[N, A]`
    part_labels: np.ndarray  # uint8 `[N, S, S]`
    captions: list[list[str]]  # the words of one caption each


def draw(num_birds: int, *, seed: int, size: int = 64) -> Birds:
    rows, rng = [], np.random.default_rng(seed)
    for species in make_species(num_birds, seed):
        image, labels, _ = draw_bird(species, rng, size)
        words = tokenise(write_captions(species, rng, 1)[0].text)
        cut = _centre(image, Image.Resampling.BILINEAR), _centre(labels, Image.Resampling.NEAREST)
        rows.append((cut[0], species.attributes, cut[1], words))
    images, attributes, labels, captions = zip(*rows)
    return Birds(np.stack(images), np.array(attributes), np.stack(labels), list(captions))


def _centre(array, resample):
    """The middle of an image that was enlarged by 68 / 64."""
    size = array.shape[0]
    large = round(size * 68 / 64)
    first = (large - size) // 2
    enlarged = Image.fromarray(array).resize((large, large), resample)
    return np.asarray(enlarged)[first : first + size, first : first + size]
