"""What the judges see in images, and the percentages that follow from it."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from attngan_jax.data.birds.species import PARTS
from attngan_jax.evaluation.judges.networks import (
    AttributeClassifier,
    CaptionMatcher,
    PartSegmenter,
    prepare,
)
from attngan_jax.evaluation.metrics import pointing_game, spectrum

# What part presence is about, each by the parts of the label maps that it consists of.
PRESENT = {
    "head": ("crown",),
    "body": ("back", "breast", "belly"),
    **{part: (part,) for part in ("wing", "tail", "beak", "eye", "legs")},
}


def features(variables: Mapping, images: jax.Array) -> jax.Array:
    """The attribute classifier's last features `[B, 160]` of uint8 `[B, S, S, 3]`."""
    return AttributeClassifier().bind(variables["attributes"])(prepare(images), train=False)[0]


def see(variables: Mapping, images: jax.Array) -> dict[str, jax.Array]:
    """What `Judges.variables` make of uint8 `[B, S, S, 3]`.

    Returns `seen_attributes` int `[B, A]`, `judge_features` `[B, 160]`, `seen_parts` int32
    `[B, 64, 64]` (a label map), `seen_pixels` int32 `[B, len(PRESENT)]`, `band_power` `[B, bands]`,
    `matched_image` `[B, D]`.
    """
    x = prepare(images)
    embedding = matcher(variables).embed_images(x)[1]
    seen, logits = AttributeClassifier().bind(variables["attributes"])(x, train=False)
    parts = PartSegmenter().bind(variables["parts"])(x, train=False).argmax(-1).astype(jnp.int32)
    groups = [[PARTS.index(part) + 1 for part in group] for group in PRESENT.values()]
    counts = [jnp.isin(parts, jnp.array(group)).sum((1, 2)) for group in groups]
    return {
        "seen_attributes": jnp.stack([one.argmax(-1) for one in logits], axis=1),
        "judge_features": seen,
        "seen_parts": parts,
        "seen_pixels": jnp.stack(counts, axis=1),
        "band_power": spectrum.band_power(x),
        "matched_image": embedding,
    }


def matcher(variables: Mapping) -> CaptionMatcher:
    """The network of `variables["matching"]`, with them."""
    own = variables["matching"]
    return CaptionMatcher(len(own["params"]["text"]["embedding"]["embedding"])).bind(own)


def read(variables: Mapping, batch: Mapping, word_numbers: jax.Array) -> jax.Array:
    """Sentence embeddings `[B, D]` of a run's captions, `word_numbers` of `Judges.word_numbers`.

    Words that the matcher does not know are left out, as if the caption did not have them.
    """
    numbers = jnp.asarray(word_numbers)[batch["caption"]]
    has_word = jnp.arange(numbers.shape[1]) < batch["caption_length"][:, None]
    known = has_word & (numbers > 0)
    order = jnp.argsort(~known, axis=1, stable=True)
    caption = jnp.take_along_axis(jnp.where(known, numbers, 0), order, axis=1)
    batch = {"caption": caption, "caption_length": jnp.maximum(known.sum(1), 1)}
    return matcher(variables).embed_captions(batch)[1]


def judge(
    variables: Mapping, batch: Mapping, images: jax.Array, maps: Mapping
) -> tuple[jax.Array, dict]:
    """The label maps of `see`, and everything else that the judges say of images and captions.

    `variables` are those of `measurements.Subject.judging`. Each of `maps`, word maps
    `[B, T, h, w]` by name, plays the pointing game on the label maps.
    """
    words, rows = variables["words"], see(variables["networks"], images)
    parts, named = rows.pop("seen_parts"), words["parts"][batch["caption"]]
    return parts, rows | {
        "matched_caption": read(variables["networks"], batch, words["numbers"]),
        "caption_attributes": batch["caption_attributes"],
        "word_labels": named,
        "games": {n: pointing_game.pointing_game(m, named, parts) for n, m in maps.items()},
    }


def attribute_accuracy(predicted: np.ndarray, stated: np.ndarray, names: Sequence[str]) -> dict:
    """How often the classifier sees what the caption says, in percent, by attribute stated at all.

    Values are int `[N, A]`, -1 where the caption states none. Chance is the accuracy against
    captions dealt out at random: always painting brown heads has the share of brown heads.
    """
    result = {}
    for i, name in enumerate(names):
        known = stated[:, i] >= 0
        if not known.any():
            continue
        seen, said = predicted[known, i], stated[known, i]
        size = max(seen.max(), said.max()) + 1
        shares = [np.bincount(values, minlength=size) / len(values) for values in (seen, said)]
        accuracy, chance = 100 * (seen == said).mean(), 100 * (shares[0] @ shares[1])
        result[name] = dict(accuracy=float(accuracy), chance=float(chance), count=len(seen))
    return result


def compare_parts(seen: jax.Array, truth: jax.Array) -> dict[str, jax.Array]:
    """How label maps of `see` fit true ones int `[B, S, S]` of another size.

    `part_pixels` `[B]` is the share of right pixels, background included; `part_shared` and
    `part_either` int `[B, parts]` count pixels that both give to a part, and that either does.
    """
    places = (np.arange(seen.shape[1]) + 0.5) * truth.shape[1] / seen.shape[1]
    places = places.astype(int)
    truth, labels = truth[:, places][:, :, places], jnp.arange(1, len(PARTS) + 1)
    a, b = seen[..., None] == labels, truth[..., None] == labels
    counts = {"part_shared": (a & b).sum((1, 2)), "part_either": (a | b).sum((1, 2))}
    return {"part_pixels": (seen == truth).mean((1, 2))} | counts


def overlap(shared: np.ndarray, either: np.ndarray) -> float | None:
    """Mean over the parts of intersection over union, in percent, all images taken together."""
    shared, either = (np.asarray(counts, np.int64).sum(0) for counts in (shared, either))
    there = either > 0  # None without any part
    return float(100 * np.mean(shared[there] / either[there])) if there.any() else None


def usual_pixels(seen_pixels: np.ndarray) -> dict[str, tuple[int, int]]:
    """How many pixels of each of PRESENT nearly all real images have, of counts `[N, P]`.

    From the first percentile, at least one pixel, to the ninety-ninth.
    """
    low, high = np.percentile(seen_pixels, (1, 99), axis=0, method="nearest").astype(int)
    return {name: (int(max(a, 1)), int(b)) for name, a, b in zip(PRESENT, low, high)}


def part_presence(
    seen_pixels: np.ndarray, part_pixels: Mapping[str, tuple[int, int]]
) -> dict[str, float]:
    """Share of images, in percent, with as much of each part as `usual_pixels` found usual."""
    shares = {}
    for i, name in enumerate(PRESENT):
        low, high = part_pixels[name]
        shares[name] = float(
            100 * ((low <= seen_pixels[:, i]) & (seen_pixels[:, i] <= high)).mean()
        )
    return shares
