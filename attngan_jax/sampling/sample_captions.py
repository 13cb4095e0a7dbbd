"""Images of captions as people type them: PNG files, a grid of them, and attention maps."""

import dataclasses
import itertools
import operator
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from absl import logging

from attngan_jax import plain_files, storage
from attngan_jax.bars import Bar
from attngan_jax.configuration import Config
from attngan_jax.data.transforms import pad_caption
from attngan_jax.data.vocabulary import MAX_CHARACTERS, Vocabulary, dropped_characters, tokenise
from attngan_jax.errors import UserError
from attngan_jax.reporting import figures
from attngan_jax.sampling.trained_model import GeneratedImages, TrainedModel, say_if_unfinished
from attngan_jax.workdir import find_model

MAX_IN_GRID = 256  # images; those that come after are in files of their own
MAX_IN_FIGURE = 300  # characters of a caption below its image
MAX_NAMED = 10  # words, characters or captions in one line
MAX_WARNINGS = 20  # captions that something is said about

Row = tuple[np.ndarray, int]  # a caption's word numbers, padded, int32 `[T]`; how many are words


def sample(
    workdir: storage.PathLike,
    captions: Iterable[str],
    out: storage.PathLike,
    *,
    attention: bool,
    seed: int,
    num_images: int,
    truncation: float | None = None,
) -> Iterator[storage.Path]:
    """Writes `num_images` images of each caption to the folder `out`; yields each file written.

    `captions` are read twice, so that a bad one is found before the first image is made: a list,
    or a `CaptionsFile`. `grid.png` shows the first `MAX_IN_GRID` images over their captions,
    `caption_003_image_1.png` is a single one, `caption_003_image_1_attention.png` its word maps.
    """
    folder = find_model(workdir)
    trained = TrainedModel.load(folder, networks=("generator", "text"))
    say_if_unfinished(trained, folder)
    config, vocabulary = trained.config, trained.vocabulary
    if attention and not (config.generator.attention and config.generator.num_stages > 1):
        keys = "config.generator.attention, num_stages"
        problem = f"the generator of {workdir} has no word attention to draw ({keys})"
        raise UserError(f"{problem}: leave --attention away")
    encoder = CaptionEncoder(vocabulary, config.data, seed)
    total = num_images * sum(1 for _ in map(encoder.encode, captions))
    encoder.say_rest()
    out = storage.path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"the folder {out} cannot be made ({error.strerror}): choose another --out"
        raise UserError(text) from error
    if total > MAX_IN_GRID:
        logging.info("grid.png shows the first %d of %d images", MAX_IN_GRID, total)
    encoder.is_quiet = True
    examples = ((encoder.encode(caption), k) for caption in captions for k in range(num_images))
    options: dict = dict(seed=np.uint32(seed), truncation=truncation, with_attention=attention)
    made = _one_by_one(trained, examples, total, **options)
    texts = (caption for caption in captions for _ in range(num_images))
    numbered = enumerate(zip(made, texts))
    first = list(itertools.islice(numbered, MAX_IN_GRID))
    yield _write_grid([one for _, one in first], out / "grid.png", num_images)
    rest = Bar(itertools.chain(first, numbered), "Files", total, disable=not sys.stderr.isatty())
    for n, ((images, maps, row), _) in rest:
        i, k = divmod(n, num_images)
        path = out / f"caption_{i:03d}_image_{k}.png"
        figures.save_png(images[max(images)], path)
        yield path
        if attention:
            path = out / f"caption_{i:03d}_image_{k}_attention.png"
            transposed = {size: m.transpose(2, 0, 1) for size, m in maps.items()}
            figures.attention_figure(images, transposed, vocabulary.decode(row), path)
            yield path


def _write_grid(made: list, path: storage.Path, num_images: int) -> storage.Path:
    """The figure of images, each with its caption."""
    images = np.stack([images[max(images)] for (images, _, _), _ in made])
    texts = [caption[:MAX_IN_FIGURE] for _, caption in made]
    columns = min(num_images, MAX_IN_GRID) if num_images > 1 else 4
    figures.captioned_grid(images, texts, path, columns=columns)
    return path


def generate(
    trained: TrainedModel,
    captions: np.ndarray,
    lengths: np.ndarray,
    num_images: int,
    **options: Any,
) -> GeneratedImages:
    """`num_images` images of each caption int `[N, T]`, with options of `TrainedModel.generate`.

    Image k of every caption is made from the same noise: only the words make the difference.
    """
    examples = ((row, k) for row in zip(captions, lengths) for k in range(num_images))
    batches = [made for _, made in _batches(trained, examples, len(captions) * num_images, options)]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def _batches(
    trained: TrainedModel, examples: Iterable[tuple[Row, int]], total: int, options: dict
) -> Iterator[tuple[list[Row], GeneratedImages]]:
    """The images of captions and their numbers, batch by batch; no more than one is in memory."""
    examples, size = iter(examples), min(total, trained.config.eval.batch_size)
    bar = Bar(desc="Generating", total=-(-total // size), unit=" batches", disable=total == size)
    with bar:
        while batch := list(itertools.islice(examples, size)):
            # One size for all batches, so that XLA compiles once: the last image fills up the last.
            filled = batch + batch[-1:] * (size - len(batch))
            arrays = {
                "caption": np.stack([row for (row, _), _ in filled]),
                "caption_length": np.array([length for (_, length), _ in filled], np.int32),
                "number": np.array([k for _, k in filled], np.int32),
            }
            made = jax.device_get(trained.jitted_generate(trained.variables, arrays, **options))
            valid = slice(len(batch))
            yield [row for row, _ in batch], jax.tree.map(operator.itemgetter(valid), made)
            bar.update()


def _one_by_one(
    trained: TrainedModel, examples: Iterable[tuple[Row, int]], total: int, **options: Any
) -> Iterator[tuple[dict, dict, np.ndarray]]:
    """Of each example the images of all stages, the word maps, and the word numbers."""
    for rows, made in _batches(trained, examples, total, options):
        for n, (row, _) in enumerate(rows):
            images, maps = (
                {s: x[n] for s, x in of.items()} for of in (made.images, made.attention)
            )
            yield images, maps, row


@dataclasses.dataclass
class CaptionEncoder:
    """Captions to word numbers; what is left out is warned of, of the first captions at least."""

    vocabulary: Vocabulary
    data: Config  # config.data
    seed: int  # of the words that a caption of too many keeps
    is_quiet: bool = False
    num_warned: int = 0

    def encode(self, caption: str) -> Row:
        """A caption's numbers int32 `[T]`, padded with zeros, and how many are words.

        T is `data.eval_max_words`. `UserError` for a caption that is empty, not UTF-8, or has no
        known word.
        """
        vocabulary, longest, rule = self.vocabulary, self.data.eval_max_words, self.data.tokenizer
        _check(caption, vocabulary)
        words = tokenise(caption, rule)
        numbers, unknown = vocabulary.encode(words), _unknown(words, vocabulary, self._is_silent())
        if not numbers:
            known = f"{len(vocabulary) - 1} words, such as {', '.join(vocabulary.words[1:9])}"
            hint = f"it knows {known} (all of them are in vocabulary.txt)"
            unknown = _unknown(words, vocabulary)
            hint = f"{unknown}; {hint}" if "did you mean" in unknown else hint
            text = f"the caption {_short(caption)!r} has no word that this run knows"
            raise UserError(f"{text}: {_dropped(caption, rule)}{hint}")
        said = []
        if dropped := _dropped(caption, rule):
            said.append(f"{dropped}left out of {_short(caption)!r}")
        if unknown:
            said.append(f"not in the vocabulary, left out: {unknown} (of {_short(caption)!r})")
        if len(numbers) > longest:
            in_a_row = " in a row" * (self.data.overflow_rule == "window")
            used = f"a random {longest} of them{in_a_row} are used (--seed changes which)"
            if self.data.overflow_rule == "first":
                used = f"the first {longest} of them are used"
            said.append(f"{_short(caption)!r} has {len(numbers)} words; {used}")
        if said and not self.is_quiet:
            self.num_warned += 1
        for line in said if not self._is_silent(1) else ():
            logging.warning("%s", line)
        rng = np.random.default_rng(self.seed)
        return pad_caption(numbers, longest, rng, self.data.overflow_rule)

    def _is_silent(self, more: int = 0) -> bool:
        return self.is_quiet or self.num_warned >= MAX_WARNINGS + more

    def say_rest(self) -> None:
        """Says of how many captions nothing was said."""
        if (rest := self.num_warned - MAX_WARNINGS) > 0:
            logging.warning("of %d more captions something is left out", rest)


def encode(
    captions: Iterable[str], vocabulary: Vocabulary, data: Config, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Captions as word numbers int32 `[N, T]`, and their lengths int32 `[N]`: `CaptionEncoder`."""
    encoder = CaptionEncoder(vocabulary, data, seed)
    rows, lengths = zip(*map(encoder.encode, captions))
    encoder.say_rest()
    return np.stack(rows), np.array(lengths, np.int32)


def _check(caption: str, vocabulary: Vocabulary) -> None:
    if len(caption) > MAX_CHARACTERS:
        problem = f"a caption has {len(caption):,} characters ({_short(caption)!r})"
        raise UserError(f"{problem}: describe an image in {MAX_CHARACTERS:,} at most")
    if re.search("[\ud800-\udfff]", caption):  # what is not UTF-8 comes as lone surrogates
        hint = "type it in a UTF-8 terminal, or use --captions with a UTF-8 file"
        raise UserError(f"the caption {_short(caption)!r} is not UTF-8: {hint}")
    if not caption.strip():
        example = f"such as {', '.join(vocabulary.words[1:9])}"
        raise UserError(f"a caption is empty: describe an image in words like these, {example}")


def _short(caption: str) -> str:
    return caption if len(caption) <= MAX_IN_FIGURE else f"{caption[:MAX_IN_FIGURE]}..."


def _dropped(caption: str, tokenizer: str) -> str:
    """Which characters are no part of a word by the run's rule; "" if there are none."""
    if not (found := list(dict.fromkeys(dropped_characters(caption, tokenizer)))):
        return ""
    named = " ".join(found[:MAX_NAMED]) + " ..." * (len(found) > MAX_NAMED)
    rule = "its words are ASCII" if tokenizer == "ascii" else "symbols are no words"
    return f"the characters {named} mean nothing to this run ({rule}), "


def _unknown(words: list[str], vocabulary: Vocabulary, quietly: bool = False) -> str:
    """The words that are not known, each with the known one that may be meant."""
    found = vocabulary.unknown(words)
    closest = {word: None if quietly else vocabulary.closest(word) for word in found[:MAX_NAMED]}
    named = [
        f"{word} (did you mean {known}?)" if known else word[:MAX_IN_FIGURE]
        for word, known in closest.items()
    ]
    return ", ".join(named + ["..."] * (len(found) > MAX_NAMED))


@dataclasses.dataclass(frozen=True)
class CaptionsFile:
    """The non-empty lines of a UTF-8 text file, read anew each time that one iterates over them."""

    path: str | os.PathLike[str]

    def __iter__(self) -> Iterator[str]:
        try:
            for line in plain_files.lines(os.path.expanduser(self.path), longest=MAX_CHARACTERS):
                if line.strip():
                    yield line.strip()
        except OSError as error:
            problem = f"the captions file {self.path} cannot be read ({error.strerror})"
            raise UserError(f"{problem}: give a text file with one caption a line") from error
        except UnicodeDecodeError as error:
            problem = f"the captions file {self.path} is not UTF-8 ({error.reason})"
            raise UserError(f"{problem}: save it as UTF-8, one caption a line") from error


def read_captions(path: str | os.PathLike[str]) -> CaptionsFile:
    """The captions of a text file; `UserError` if it has none, or can't be read at its start."""
    captions = CaptionsFile(path)
    if next(iter(captions), None) is None:
        raise UserError(f"the captions file {path} holds no caption: write one a line")
    return captions
