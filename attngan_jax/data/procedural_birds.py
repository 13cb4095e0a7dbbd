"""Procedural birds: made-up species, drawn and described by this package (TFDS, ArrayRecord).

Nothing is downloaded. The truth about every image is known and part of its record: what the
attributes of the bird are, which of them each caption states, and where each part lies.
"""

import dataclasses
import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from attngan_jax.data.birds.captions import write_captions
from attngan_jax.data.birds.drawing import draw_bird
from attngan_jax.data.birds.species import ATTRIBUTES, Species, make_species

CAPTIONS_PER_IMAGE = 10


@dataclasses.dataclass(eq=False)
class ProceduralBirdsConfig(tfds.core.BuilderConfig):
    """What is drawn; the name, and so the folder of the records, follows from it.

    image_size: side of the images in pixels.
    num_species: of train and test together.
    test_species: how many of them, the last ones, are drawn in the test split only.
    images_per_species: in either split.
    seed: of the species, the images and the sentences.
    """

    name: str = dataclasses.field(init=False, default="")
    image_size: int = 64
    num_species: int = 900
    test_species: int = 100
    images_per_species: int = 10
    seed: int = 1

    def __post_init__(self):
        for field in ("image_size", "images_per_species"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be positive, not {getattr(self, field)}")
        if not 0 < self.test_species < self.num_species:
            raise ValueError(
                f"test_species must lie between 0 and num_species = "
                f"{self.num_species}, not {self.test_species}"
            )
        self.name = (
            f"{self.image_size}px_{self.num_species}species_{self.test_species}test_"
            f"{self.images_per_species}images_seed{self.seed}"
        )


class ProceduralBirds(tfds.core.GeneratorBasedBuilder):
    """Birds drawn by a program, split by species, with ten captions each.

    Beside image, captions, class_id, bbox and name a record holds
      attributes: int32 [A], the index of each attribute's value, in the order of ATTRIBUTES.
      caption_attributes: int32 [captions, A], the same where a caption states it, else -1.
      part_labels: [S, S, 1], 0 for the background and i + 1 where PARTS[i] is topmost.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        config: ProceduralBirdsConfig | None = None,
        file_format: str = "array_record",
        **kwargs,
    ):
        super().__init__(
            config=config or ProceduralBirdsConfig(), file_format=file_format, **kwargs
        )

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.builder_config.image_size
        encoding = image_encoding(side)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(side, side, 3), encoding_format=encoding),
                    "captions": tfds.features.Sequence(
                        tfds.features.Text(), length=CAPTIONS_PER_IMAGE
                    ),
                    "class_id": np.int64,
                    "bbox": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    "name": tfds.features.Text(),
                    "attributes": tfds.features.Tensor(shape=(len(ATTRIBUTES),), dtype=np.int32),
                    "caption_attributes": tfds.features.Tensor(
                        shape=(CAPTIONS_PER_IMAGE, len(ATTRIBUTES)), dtype=np.int32
                    ),
                    "part_labels": tfds.features.Image(
                        shape=(side, side, 1), encoding_format="png"
                    ),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        config = self.builder_config
        species = make_species(config.num_species, config.seed)
        return {
            "train": self._generate_examples(species[: -config.test_species]),
            "test": self._generate_examples(species[-config.test_species :]),
        }

    def _generate_examples(self, species: list[Species]):
        for one in species:
            for image_number in range(self.builder_config.images_per_species):
                key = f"{one.name}/{image_number:04d}"
                yield key, make_record(one, image_number, self.builder_config) | {"name": key}


def make_record(species: Species, image_number: int, config: ProceduralBirdsConfig) -> dict:
    """Image number `image_number` of a species, whatever was drawn before it."""

    def generator(purpose: int) -> np.random.Generator:
        return np.random.default_rng([config.seed, purpose, species.class_id, image_number])

    image, part_labels, bbox = draw_bird(species, generator(1), config.image_size)
    captions = write_captions(species, generator(2), CAPTIONS_PER_IMAGE)
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
    """Pillow's bytes; TFDS would load TensorFlow for it wherever it finds it."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, encoding, quality=95, compress_level=4)
    return encoded.getvalue()
