"""What DAMSM knows of procedural birds, attribute by attribute, and what the generator makes of it.

    python -m benchmarks.damsm_attributes --workdir runs/procedural_birds [--generated]

By sentences: real images of 400 species that no run has are compared with one sentence for each
value of an attribute, such as "this bird has a red beak", by the cosine of image and sentence
embedding. Printed is how often the true value has the highest.

The rest is of twins: a bird drawn and described twice, with another value of one attribute the
second time and all else the same, where the captions differ in one word or two (so that a beak of
medium length, which takes a word more, has no twin).

By twins: how often DAMSM, by words and sentence together, gives the two right pairs of image and
caption more than the two wrong ones, in sum. What captions alone make likely cancels out (Thrush et
al., "Winoground", CVPR 2022).

With --generated: both captions of one pair a bird with the same noise, seen by the attribute
classifier of the judges. How often does the image change in the direction of the word, and how
often are both values right?
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from attngan_jax import cli
from attngan_jax.data.birds.captions import write_captions
from attngan_jax.data.birds.drawing import draw_bird
from attngan_jax.data.birds.species import ATTRIBUTE_INDEX, ATTRIBUTES, Species, make_species
from attngan_jax.data.vocabulary import tokenise
from attngan_jax.evaluation.judges import files, networks
from attngan_jax.losses.damsm import sentence_scores, word_scores
from attngan_jax.sampling.trained_model import ENCODERS, NETWORKS, TrainedModel
from attngan_jax.training.networks import word_mask

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run or of a model.", required=True)
_GENERATED = flags.DEFINE_bool("generated", False, "Also judge what the generator makes of twins.")

SEED = 99  # of species and images; the configs have 1, the judges 2
NUM_SPECIES = 400
BATCH_SIZE = 50
GROUNDS = {"eye_ring": "crown_color", "wing_bars": "wing_color"}  # what a mark lies on
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


class Twins(NamedTuple):
    """A bird and the same with another value of an attribute: a pair of each."""

    images: tuple  # uint8 [S, S, 3]
    texts: tuple  # lists of words
    values: tuple  # indices


def other_value(one: Species, attribute: str) -> Species:
    """The same bird with another value of the attribute, of which no mark is on its own colour."""
    number, values = ATTRIBUTE_INDEX[attribute], ATTRIBUTES[attribute]
    ground = one.value(GROUNDS[attribute]) if attribute in GROUNDS else None
    others = [i for i, value in enumerate(values) if value not in (one.value(attribute), ground)]
    attributes = list(one.attributes)
    attributes[number] = others[one.class_id % len(others)]
    return one._replace(attributes=tuple(attributes))


def twins(attribute: str, species: list[Species], side: int) -> list[Twins]:
    """Those with captions that state the attribute and differ in one word or two, of ten a bird."""
    found, number = [], ATTRIBUTE_INDEX[attribute]
    for one in species:
        birds, seed = (one, other_value(one, attribute)), [SEED, one.class_id]
        written = (write_captions(bird, np.random.default_rng(seed), 10) for bird in birds)
        images = tuple(draw_bird(bird, np.random.default_rng(seed), side)[0] for bird in birds)
        pair = tuple(bird.attributes[number] for bird in birds)
        for captions in zip(*written):
            first, second = texts = tuple(tokenise(caption.text) for caption in captions)
            are_stated = tuple(caption.states[number] for caption in captions) == pair
            differences = sum(map(str.__ne__, first, second))
            if are_stated and len(first) == len(second) and differences <= 2:
                found.append(Twins(images, texts, pair))
    return found


def batches(model: TrainedModel, texts: list[list[str]]) -> Iterator[dict]:
    """Captions, `BATCH_SIZE` at a time; the last ones are filled up."""
    T = model.config.data.eval_max_words
    for first in range(0, len(texts), BATCH_SIZE):
        rows = [model.vocabulary.encode(text)[:T] for text in texts[first : first + BATCH_SIZE]]
        rows += [[1]] * (BATCH_SIZE - len(rows))
        yield {
            "caption": np.array([row + [0] * (T - len(row)) for row in rows], np.int32),
            "caption_length": np.array([len(row) for row in rows], np.int32),
            "number": np.arange(first, first + BATCH_SIZE, dtype=np.int32),
        }


def pair_scores(model: TrainedModel) -> Callable:
    """The score by words and sentence of each image with the caption in the same place, jitted."""
    gammas = {name: model.config.damsm[name] for name in ("gamma1", "gamma2")}

    def score(v, embedding, words, sentence, mask):  # of an image and a caption
        by_words = word_scores(v[None], words[None], mask[None], **gammas)
        return (by_words + sentence_scores(embedding[None], sentence[None]))[0, 0]

    @jax.jit
    def scores(images, batch):  # uint8 [B, S, S, 3] and captions -> [B]
        variables = model.variables
        encoded = *model.encode_images(variables, images), *model.encode_captions(variables, batch)
        return jax.vmap(score)(*encoded, word_mask(batch))

    return scores


def by_twins(model: TrainedModel, scores: Callable, found: list[Twins]) -> float:
    """The percentage whose right pairs have more of `pair_scores` than the wrong ones."""

    def total(image, text):  # of the twins' images of this number with their texts of that
        images = [pair.images[image] for pair in found]
        images = np.stack(images + images[:1] * (-len(found) % BATCH_SIZE))
        parts = zip(
            np.split(images, len(images) // BATCH_SIZE),
            batches(model, [pair.texts[text] for pair in found]),
        )
        return np.concatenate([scores(*part) for part in parts])[: len(found)]

    right, wrong = total(0, 0) + total(1, 1), total(0, 1) + total(1, 0)
    return 100 * float(np.mean(right > wrong))


def judge_logits() -> Callable:
    """The attribute classifier's logits of images, jitted."""
    classifier = networks.AttributeClassifier().bind(files.load().variables["attributes"])
    return jax.jit(lambda images: classifier(networks.prepare(images), train=False)[1])


def generated(
    model: TrainedModel, logits: Callable, found: list[Twins], number: int
) -> tuple[float, float]:
    """Percentages of generated twins that differ as the attribute of this number does, and of
    those of which the judge sees both values."""
    seen = []
    for text in (0, 1):
        made = (
            model.jitted_generate(model.variables, batch).images
            for batch in batches(model, [pair.texts[text] for pair in found])
        )
        of_one = [logits(images[max(images)])[number] for images in made]
        seen.append(np.concatenate(of_one)[: len(found)])
    first, second = np.array([pair.values for pair in found]).T
    rows = np.arange(len(found))
    lead = [each[rows, first] - each[rows, second] for each in seen]
    both = (seen[0].argmax(1) == first) & (seen[1].argmax(1) == second)
    return 100 * float(np.mean(lead[0] > lead[1])), 100 * float(np.mean(both))


def main(argv):
    """Prints a line for each attribute."""
    del argv
    names = NETWORKS if _GENERATED.value else ENCODERS
    model = TrainedModel.load(_WORKDIR.value, networks=names)
    scores, logits = pair_scores(model), judge_logits() if _GENERATED.value else None
    species, side = make_species(NUM_SPECIES, SEED), model.config.procedural_birds.image_size
    by_sentences = accuracies(model, species)
    for number, attribute in enumerate(ATTRIBUTES):
        found = twins(attribute, species, side)
        right = by_twins(model, scores, found)
        columns = [f"{attribute:12s} {len(found):4d} twins: {right:3.0f} % (chance 50)"]
        if logits:
            one_each = list({id(pair.images): pair for pair in found}.values())
            direction, both = generated(model, logits, one_each, number)
            columns.append(
                f"{len(one_each):3d} generated: direction {direction:3.0f} % (chance 50)"
            )
            columns.append(f"both right {both:3.0f} %")
        if attribute in by_sentences:
            right, chance = by_sentences[attribute]
            columns.append(f"by sentences {right:3.0f} % (chance {chance:.0f})")
        print(", ".join(columns))


if __name__ == "__main__":
    cli.run(main)
