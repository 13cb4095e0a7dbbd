"""Procedural birds: made-up species, drawn and described by this package (TFDS, ArrayRecord).

Nothing is downloaded. The ground truth of every image is part of its record: the attributes of the
bird, which of them each caption states, and where each part lies.
"""

import dataclasses
import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from attngan_jax.bars import Bar
from attngan_jax.configuration import Config
from attngan_jax.data.birds.captions import write_captions
from attngan_jax.data.birds.drawing import draw_bird
from attngan_jax.data.birds.species import ATTRIBUTES, Species, make_species
from attngan_jax.errors import UserError

CAPTIONS_PER_IMAGE = 10


@dataclasses.dataclass(eq=False)
class ProceduralBirdsConfig(tfds.core.BuilderConfig):
    """What is drawn; the name, and so the folder of the records, follows from it."""

    name: str = dataclasses.field(init=False, default="")
    image_size: int = 64  # side of the images in pixels
    num_species: int = 900  # of train and test together
    test_species: int = 100  # how many of them, the last ones, are drawn in the test split only
    images_per_species: int = 10  # in either split
    seed: int = 1  # of the species, the images and the captions

    def __post_init__(self):
        for field in ("image_size", "images_per_species"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be positive, not {getattr(self, field)}")
        total, test = self.num_species, self.test_species
        if not 0 < test < total:
            limits = f"between 0 and num_species = {total}"
            raise ValueError(f"test_species must lie {limits}, not {test}")
        images = f"{self.images_per_species}images_seed{self.seed}"
        self.name = f"{self.image_size}px_{total}species_{test}test_{images}"


class ProceduralBirds(tfds.core.GeneratorBasedBuilder):
    """Birds drawn by a program, split by species, with ten captions each.

    Beside image, captions, class_id, bbox and name a record holds
      attributes: int32 [A], the index of each attribute's value, in the order of ATTRIBUTES.
      caption_attributes: int32 [captions, A], the same where a caption states it, else -1.
      part_labels: [S, S, 1], 0 for the background and i + 1 where PARTS[i] is topmost.
    """

    VERSION = tfds.core.Version("1.0.0")
    CONFIG_CLASS = ProceduralBirdsConfig

    def __init__(self, *, data_config: Config | None = None, source: str = "", **kwargs):
        if source:
            raise UserError("procedural_birds is drawn by the program: leave --source away")
        super().__init__(**kwargs)
        self.num_classes = self.builder_config.num_species

    def check_source(self) -> None:
        """There is nothing to build from."""

    def _info(self) -> tfds.core.DatasetInfo:
        side, stated = self.builder_config.image_size, (CAPTIONS_PER_IMAGE, len(ATTRIBUTES))
        kinds = tfds.features
        features = {
            "image": kinds.Image(shape=(side, side, 3), encoding_format=image_encoding(side)),
            "captions": kinds.Sequence(kinds.Text(), length=CAPTIONS_PER_IMAGE),
            "class_id": np.int64,
            "bbox": kinds.Tensor(shape=(4,), dtype=np.float32),
            "name": kinds.Text(),
            "attributes": kinds.Tensor(shape=stated[1:], dtype=np.int32),
            "caption_attributes": kinds.Tensor(shape=stated, dtype=np.int32),
            "part_labels": kinds.Image(shape=(side, side, 1), encoding_format="png"),
        }
        return tfds.core.DatasetInfo(builder=self, features=kinds.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        config = self.builder_config
        species = make_species(config.num_species, config.seed)
        first = config.num_species - config.test_species  # of the test species
        splits = {"train": species[:first], "test": species[first:]}
        return {split: self._generate_examples(part) for split, part in splits.items()}

    def _generate_examples(self, species: list[Species]):
        for one in Bar(species, "Drawing birds", unit=" species"):
            for image_number in range(self.builder_config.images_per_species):
                key = f"{one.name}/{image_number:04d}"
                yield key, make_record(one, image_number, self.builder_config) | {"name": key}


def make_record(species: Species, image_number: int, config: ProceduralBirdsConfig) -> dict:
    """Makes image number `image_number` of a species, independent of what was made before it."""
    seeds = ([config.seed, use, species.class_id, image_number] for use in (1, 2))
    image_rng, caption_rng = map(np.random.default_rng, seeds)
    image, part_labels, bbox = draw_bird(species, image_rng, config.image_size)
    captions = write_captions(species, caption_rng, CAPTIONS_PER_IMAGE)
    return {
        "image": _encode(image, image_encoding(config.image_size)),
        "captions": [caption.text for caption in captions],
        "class_id": species.class_id,
        "bbox": bbox,
        "attributes": np.array(species.attributes, np.int32),
        "caption_attributes": np.array([caption.states for caption in captions], np.int32),
        "part_labels": _encode(part_labels, "png"),
    }


def image_encoding(image_size: int) -> str:
    """How images of a size are stored: exactly while they are small."""
    return "png" if image_size <= 64 else "jpeg"


def _encode(pixels: np.ndarray, encoding: str) -> bytes:
    """Encodes with Pillow; TFDS would load TensorFlow for it wherever it finds it."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, encoding, quality=95, compress_level=4)
    return encoded.getvalue()
