"""A trained model as Python code uses it: `attngan_jax.load` returns one."""

import functools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attngan_jax import storage
from attngan_jax.configuration import Config
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.sampling import model_folder, sample_captions
from attngan_jax.sampling.trained_model import TrainedModel, networks_in, say_if_unfinished
from attngan_jax.workdir import find_model


class Attention(NamedTuple):
    """Where each refinement stage looks, for N images."""

    words: list[list[str]]  # the words of each image's caption that were used
    maps: list[
        np.ndarray
    ]  # float32 `[N, h, w, T]` a stage; the words' weights in a region add to 1


class Generated(NamedTuple):
    """What `Model.generate` returns for N images."""

    images: np.ndarray  # uint8 `[N, H, W, 3]`, of the last stage
    stages: list[np.ndarray]  # uint8 `[N, S, S, 3]` of every stage, smallest first
    attention: Attention  # no maps where the generator has no attention


class Model:
    """A trained AttnGAN with its DAMSM.

    Attributes:
      config: the run's config. vocabulary: the words it knows. step: the generator's.
    """

    def __init__(self, path_or_name: storage.PathLike):
        """Reads generator and text encoder; the image encoder when it is needed."""
        self._folder = find_model(path_or_name)
        self._trained = TrainedModel.load(self._folder, networks=("generator", "text"))
        say_if_unfinished(self._trained, self._folder)
        self.config: Config = self._trained.config
        self.vocabulary: Vocabulary = self._trained.vocabulary
        self.step: int = self._trained.step

    def __repr__(self) -> str:
        return f"<attngan_jax model {self._folder}, step {self.step:,}>"

    def generate(
        self,
        captions: str | Sequence[str],
        *,
        seed: int = 0,
        num_images: int = 1,
        truncation: float | None = None,
    ) -> Generated:
        """`num_images` images of each caption, those of a caption side by side.

        Image k of every caption is made from the same noise, that of `seed`. With `truncation`,
        such as 0.7, z stays between that and its negative: less variety, fewer failures. Unknown
        words are left out with a warning; `UserError` for a caption without a known word,
        `ValueError` for a seed that is not from 0 to 2**32 - 1.
        """
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed is from 0 to 2**32 - 1, not {seed}")
        rows, lengths = self._encode(captions, seed)
        options: dict = dict(seed=np.uint32(seed), truncation=truncation, with_attention=True)
        made = sample_captions.generate(self._trained, rows, lengths, num_images, **options)
        words = [self.vocabulary.decode(row) for row in rows for _ in range(num_images)]
        sizes = self._trained.task.image_sizes
        stages = [made.images[size] for size in sizes]
        return Generated(stages[-1], stages, Attention(words, list(made.attention.values())))

    def embed_text(self, captions: str | Sequence[str]) -> np.ndarray:
        """DAMSM's sentence embeddings, float32 `[M, D]`."""
        rows, lengths = self._encode(captions, 0)
        batch: dict = {"caption": rows, "caption_length": lengths}
        encode = jax.jit(self._trained.encode_captions)
        return np.asarray(encode(self._trained.variables, batch)[1], np.float32)

    def embed_images(self, images: Any) -> np.ndarray:
        """DAMSM's image embeddings, float32 `[N, D]`, of uint8 `[N, H, W, 3]` of any size."""
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            what = f"{images.dtype} {list(images.shape)}"
            raise ValueError(f"images are uint8 [N, H, W, 3], not {what}")
        encode = jax.jit(self._trained.encode_images)
        return np.asarray(encode(self._image_variables, jnp.asarray(images))[1], np.float32)

    def similarity(self, captions: str | Sequence[str], images: Any) -> np.ndarray:
        """Cosine similarity of captions and images in DAMSM's space, float32 `[M, N]`."""
        text, image = self.embed_text(captions), self.embed_images(images)
        norms = [np.linalg.norm(x, axis=1, keepdims=True) for x in (text, image)]
        return text / norms[0] @ (image / norms[1]).T

    def save(self, folder: storage.PathLike, *, compact: bool = False) -> None:
        """Writes a model folder, which `load` and `--workdir` take: four files and an image.

        A compact one, a quarter of the size or less, generates images and neither embeds them nor
        trains on: its weights are rounded to 8 bits, and DAMSM's image encoder is left out. Raises
        `UserError` where it would replace the model itself.
        """
        if compact and os.path.realpath(storage.path(folder)) == os.path.realpath(self._folder):
            raise UserError(f"{folder} has the whole model, which this would replace: name another")
        networks = [n for n in networks_in(self._folder) if not (compact and n == "image")]
        trained = TrainedModel.load(self._folder, networks=networks)
        what = trained.config, trained.variables, trained.step
        model_folder.write(folder, self._folder, *what, compact=compact)

    def _encode(self, captions: str | Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
        texts = [captions] if isinstance(captions, str) else list(captions)
        return sample_captions.encode(texts, self.vocabulary, self.config.data, seed)

    @functools.cached_property
    def _image_variables(self) -> dict:
        return TrainedModel.load(self._folder, networks=("image",)).variables
