"""What DAMSM knows of procedural birds: does it tell the values of each attribute apart?

    python -m benchmarks.damsm_attributes --workdir runs/procedural_birds

Real images of 400 species that no run has are compared with one sentence for each value of an
attribute, such as "this bird has a red beak", by the cosine of image and sentence embedding.
Printed is how often the true value has the highest. A generator can hardly learn from DAMSM what
DAMSM does not know.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from attngan_jax import cli
from attngan_jax.data.birds.drawing import draw_bird
from attngan_jax.data.birds.species import ATTRIBUTES, Species, make_species
from attngan_jax.data.vocabulary import tokenise
from attngan_jax.sampling.trained_model import TrainedModel

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run or of a model.", required=True)

SEED = 99  # of species and images; the configs have 1, the judges 2
NUM_SPECIES = 400
SENTENCES = {
    "wing_color": "this bird has {} wings",
    "beak_length": "this bird has a {} beak",
    "beak_shape": "this bird has a {} beak",
    "tail_length": "this bird has a {} tail",
    "size": "this is a {} bird",
}


def sentences(attribute: str) -> list[str]:
    """One for each value of an attribute."""
    part = attribute.removesuffix("_color")
    template = SENTENCES.get(attribute, f"this bird has a {{}} {part}")
    words = {"medium": "medium length"} if attribute == "beak_length" else {}
    return [template.format(words.get(value, value)) for value in ATTRIBUTES[attribute]]


def unit(vectors: jax.Array) -> np.ndarray:
    """`[N, D]` with rows of length 1."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def accuracies(model: TrainedModel, species: list[Species]) -> dict[str, tuple[float, float]]:
    """By attribute the percentage of images whose value is found, and chance."""
    side, T = model.config.procedural_birds.image_size, model.config.data.eval_max_words
    rngs = (np.random.default_rng([SEED, one.class_id]) for one in species)
    images = np.stack([draw_bird(one, rng, side)[0] for one, rng in zip(species, rngs)])
    encode_images, encode_captions = jax.jit(model.encode_images), jax.jit(model.encode_captions)
    embeddings = unit(encode_images(model.variables, jnp.asarray(images, jnp.uint8))[1])
    found = {}
    for attribute, values in ATTRIBUTES.items():
        if attribute in ("eye_ring", "wing_bars"):  # which are named only where there are any
            continue
        rows = [model.vocabulary.encode(tokenise(text)) for text in sentences(attribute)]
        batch = {"caption": np.array([(row + [0] * T)[:T] for row in rows], np.int32)}
        batch["caption_length"] = np.array([len(row) for row in rows], np.int32)
        scores = embeddings @ unit(encode_captions(model.variables, batch)[1]).T
        true = [values.index(one.value(attribute)) for one in species]
        found[attribute] = 100 * float(np.mean(scores.argmax(1) == true)), 100 / len(values)
    return found


def main(argv):
    """Prints a line for each attribute."""
    del argv
    model = TrainedModel.load(_WORKDIR.value, networks=("text", "image"))
    for attribute, (right, chance) in accuracies(model, make_species(NUM_SPECIES, SEED)).items():
        print(f"{attribute:12s} {right:5.1f} %   chance {chance:.0f} %")


if __name__ == "__main__":
    cli.run(main)
