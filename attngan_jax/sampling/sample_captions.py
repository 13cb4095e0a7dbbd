"""Images of captions as people type them: PNG files, a grid of them, and attention maps."""

import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import logging
from tqdm import tqdm

from attngan_jax import storage
from attngan_jax.configuration import Config
from attngan_jax.data.transforms import pad_caption
from attngan_jax.data.vocabulary import Vocabulary, tokenise
from attngan_jax.errors import UserError
from attngan_jax.reporting import figures
from attngan_jax.sampling.trained_model import GeneratedImages, TrainedModel, say_if_unfinished
from attngan_jax.workdir import find_model

MAX_IN_GRID = 100  # images; a larger grid is no picture any more
MAX_CAPTIONS_BYTES = 64 * 2**20  # a larger file is no list of captions


def sample(
    workdir: storage.PathLike,
    captions: list[str],
    out: storage.PathLike,
    *,
    attention: bool,
    seed: int,
    num_images: int,
    truncation: float | None = None,
) -> list[storage.Path]:
    """Writes `num_images` images of each caption to the folder `out`; returns the files.

    `caption_003_image_1.png` is a single one, `caption_003_image_1_attention.png` its word maps,
    and `grid.png` shows all of them over their captions, if there are no more than `MAX_IN_GRID`.
    No more than a batch of images is held at a time, beside those of the grid.
    """
    folder = find_model(workdir)
    trained = TrainedModel.load(folder, networks=("generator", "text"))
    say_if_unfinished(trained, folder)
    config, vocabulary = trained.config, trained.vocabulary
    if attention and not (config.generator.attention and config.generator.num_stages > 1):
        keys = "config.generator.attention, num_stages"
        problem = f"the generator of {workdir} has no word attention to draw ({keys})"
        raise UserError(f"{problem}: leave --attention away")
    rows, lengths = encode(captions, vocabulary, config.data, seed)
    options: dict = dict(seed=np.uint32(seed), truncation=truncation, with_attention=attention)
    out = storage.path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"the folder {out} cannot be made ({error.strerror}): choose another --out"
        raise UserError(text) from error
    in_grid = len(captions) * num_images <= MAX_IN_GRID
    grid, written, n = [], [out / "grid.png"] * in_grid, 0
    for made in generate_batches(trained, rows, lengths, num_images, **options):
        for image in range(len(made.sentence)):
            one = jax.tree.map(lambda array, image=image: array[image], made)
            i, k = divmod(n, num_images)
            name = out / f"caption_{i:03d}_image_{k}.png"
            written += _save(one, name, vocabulary.decode(rows[i]))
            if in_grid:
                grid.append(one.images[max(one.images)])
            n += 1
    if in_grid:
        texts, columns = np.repeat(captions, num_images).tolist(), num_images
        columns = columns if columns > 1 else 4
        figures.captioned_grid(np.stack(grid), texts, written[0], columns=columns)
    return written


def _save(made: GeneratedImages, path: storage.Path, words: list[str]) -> list[storage.Path]:
    """Writes one image, without the batch axis, and its word maps if it has any; the files."""
    figures.save_png(made.images[max(made.images)], path)
    if not made.attention:
        return [path]
    maps = {size: m.transpose(2, 0, 1) for size, m in made.attention.items()}
    attention = path.with_stem(f"{path.stem}_attention")
    figures.attention_figure(made.images, maps, words, attention)
    return [path, attention]


def generate(
    trained: TrainedModel,
    captions: np.ndarray,
    lengths: np.ndarray,
    num_images: int,
    **options: Any,
) -> GeneratedImages:
    """All of `generate_batches` as one."""
    batches = list(generate_batches(trained, captions, lengths, num_images, **options))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def generate_batches(
    trained: TrainedModel,
    captions: np.ndarray,
    lengths: np.ndarray,
    num_images: int,
    **options: Any,
) -> Iterator[GeneratedImages]:
    """`num_images` images of each caption int `[N, T]`, with options of `TrainedModel.generate`.

    Image k of every caption is made from the same noise: only the words make the difference.
    """
    examples = {
        "caption": np.repeat(captions, num_images, axis=0),
        "caption_length": np.repeat(lengths, num_images),
        "number": np.tile(np.arange(num_images, dtype=np.int32), len(captions)),
    }
    total = len(captions) * num_images
    size = min(total, trained.config.eval.batch_size)
    starts = range(0, total, size)
    for start in tqdm(starts, desc="Generating", unit=" batches", disable=total == size):
        # One size for all batches, so that XLA compiles once: the last image fills up the last.
        places = np.minimum(np.arange(start, start + size), total - 1)
        batch = {name: value[places] for name, value in examples.items()}
        made = jax.device_get(trained.jitted_generate(trained.variables, batch, **options))
        yield jax.tree.map(lambda array, start=start: array[: total - start], made)


def encode(
    captions: list[str], vocabulary: Vocabulary, data: Config, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Captions as word numbers int32 `[N, T]`, padded with zeros, and their lengths int32 `[N]`.

    T is `data.eval_max_words`; what is left out is warned of. `UserError` for a caption that is
    empty, not UTF-8, or has no known word.
    """
    padded, longest = [], data.eval_max_words
    for caption in captions:
        if re.search("[\ud800-\udfff]", caption):  # what is not UTF-8 comes as lone surrogates
            hint = "type it in a UTF-8 terminal, or use --captions with a UTF-8 file"
            raise UserError(f"the caption {caption!r} is not UTF-8: {hint}")
        if not caption.strip():
            example = f"such as {', '.join(vocabulary.words[1:9])}"
            raise UserError(f"a caption is empty: describe an image in words like these, {example}")
        words = tokenise(caption)
        numbers, unknown = vocabulary.encode(words), _unknown(words, vocabulary)
        if not numbers:
            known = f"{len(vocabulary) - 1} words, such as {', '.join(vocabulary.words[1:9])}"
            hint = f"it knows {known} (all of them are in vocabulary.txt)"
            hint = f"{unknown}; {hint}" if "did you mean" in unknown else hint
            raise UserError(f"the caption {caption!r} has no word that this run knows: {hint}")
        if unknown:
            logging.warning("not in the vocabulary, left out: %s (of %r)", unknown, caption)
        if len(numbers) > longest:
            used = f"a random {longest} of them are used (--seed changes which)"
            if data.overflow_rule == "first":
                used = f"the first {longest} of them are used"
            logging.warning("%r has %d words; %s", caption, len(numbers), used)
        rng = np.random.default_rng(seed)
        padded.append(pad_caption(numbers, longest, rng, data.overflow_rule))
    rows, lengths = zip(*padded)
    return np.stack(rows), np.array(lengths, np.int32)


def _unknown(words: list[str], vocabulary: Vocabulary) -> str:
    """The words that are not known, each with the known one that may be meant."""
    closest = {word: vocabulary.closest(word) for word in vocabulary.unknown(words)}
    return ", ".join(
        f"{word} (did you mean {known}?)" if known else word for word, known in closest.items()
    )


def read_captions(path: str | os.PathLike[str]) -> list[str]:
    """The non-empty lines of a UTF-8 text file; `UserError` for anything else."""
    try:
        if os.path.getsize(path) > MAX_CAPTIONS_BYTES:
            problem = f"{path} is larger than {MAX_CAPTIONS_BYTES >> 20} MiB"
            raise UserError(f"{problem}: give a text file with one caption a line")
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"the captions file {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        problem = f"the captions file {path} is not UTF-8 (byte {error.start})"
        raise UserError(f"{problem}: save it as UTF-8, one caption a line") from error
    if not (captions := [line.strip() for line in text.splitlines() if line.strip()]):
        raise UserError(f"the captions file {path} holds no caption: write one a line")
    return captions
