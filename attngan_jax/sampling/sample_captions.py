"""A person's captions to images, a grid of them, and word maps laid over them."""

import os
import pathlib
import sys

import jax
import numpy as np
from absl import logging
from tqdm import tqdm

from attngan_jax import storage
from attngan_jax.data.transforms import pad_caption
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.reporting import figures
from attngan_jax.sampling.trained_model import TrainedModel

MAX_CAPTIONS_BYTES = 64 * 2**20  # a captions file larger than this is something else


def read_captions(path: str | os.PathLike) -> list[str]:
    """The non-empty lines of a UTF-8 text file; `UserError` where it cannot be one."""
    try:
        if os.path.getsize(path) > MAX_CAPTIONS_BYTES:
            raise UserError(
                f"{path} is larger than {MAX_CAPTIONS_BYTES >> 20} MiB: give a text "
                "file with one caption a line"
            )
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"the captions file {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"the captions file {path} is not UTF-8 (byte {error.start}): save it as "
            "UTF-8, one caption a line"
        ) from error
    captions = [line.strip() for line in text.splitlines() if line.strip()]
    if not captions:
        raise UserError(f"the captions file {path} holds no caption: write one a line")
    return captions


def encode(
    captions: list[str],
    vocabulary: Vocabulary,
    max_words: int,
    seed: int,
    overflow_rule: str = "random_subset",
):
    """Captions as `caption [N, T]`, `caption_length [N]` and the words that they keep.

    Words that the run never saw are named in a warning and left out. `UserError` for a caption
    that is empty, not UTF-8, or has no known word.
    """
    rows = []
    for caption in captions:
        _check_text(caption)
        words = vocabulary.tokenise(caption)
        unknown = vocabulary.unknown(words)
        numbers = vocabulary.encode(words)
        if not numbers:
            some = ", ".join(vocabulary.words[1:9])
            raise UserError(
                f"the caption {caption!r} has no word that this run knows: it knows "
                f"{len(vocabulary) - 1} words, such as {some} (all of them are in "
                "vocabulary.txt)"
            )
        if unknown:
            logging.warning(
                "not in the vocabulary, left out: %s (of %r)", ", ".join(unknown), caption
            )
        if len(numbers) > max_words:
            used = (
                f"the first {max_words} of them are used"
                if overflow_rule == "first"
                else f"a random {max_words} of them are used (--seed changes which)"
            )
            logging.warning("%r has %d words; %s", caption, len(numbers), used)
        rows.append(pad_caption(numbers, max_words, np.random.default_rng(seed), overflow_rule))
    return np.stack([row for row, _ in rows]), np.array([n for _, n in rows], np.int32)


def _check_text(caption: str) -> None:
    try:
        caption.encode("utf-8")  # an argument that is not UTF-8 holds lone surrogates
    except UnicodeEncodeError as error:
        raise UserError(
            f"the caption {caption!r} is not UTF-8: type it in a UTF-8 terminal, or "
            "use --captions with a UTF-8 file"
        ) from error
    if not caption.strip():
        raise UserError(
            "a caption is empty: describe an image, for example "
            '--caption "a small red bird with black wings"'
        )


def draw(
    workdir: storage.PathLike,
    captions: list[str],
    out: storage.PathLike,
    *,
    attention: bool,
    seed: int,
    num_images: int,
) -> list[storage.Path]:
    """Draws `num_images` images for each caption into the folder `out`; returns the files.

    `grid.png` shows all of them over their captions, `caption_003_image_1.png` is a single one,
    `caption_003_image_1_attention.png` its word maps. Image k of every caption is drawn from
    the same noise, so that only the words make the difference.
    """
    trained = TrainedModel.load(workdir)
    generator = trained.config.generator
    if attention and not (generator.attention and generator.num_stages > 1):
        raise UserError(
            f"the generator of {workdir} has no word attention to draw "
            "(config.generator.attention, num_stages): leave --attention away"
        )
    data = trained.config.data
    rows, lengths = encode(
        captions, trained.vocabulary, data.eval_max_words, seed, data.overflow_rule
    )
    caption_of = np.repeat(np.arange(len(captions)), num_images)
    batch = {
        "caption": rows[caption_of],
        "caption_length": lengths[caption_of],
        "number": np.tile(np.arange(num_images, dtype=np.int32), len(captions)),
    }
    made = _generate(trained, batch, attention, seed)
    out = storage.path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {out} cannot be made ({error.strerror}): choose another --out"
        ) from error
    pictures = made[f"image_{trained.task.image_sizes[-1]}"]
    written = [out / "grid.png"]
    figures.captioned_grid(
        pictures,
        [captions[i] for i in caption_of],
        written[0],
        columns=num_images if num_images > 1 else 4,
    )
    for k, i in enumerate(
        tqdm(caption_of, desc="Pictures", unit=" images", disable=not sys.stderr.isatty())
    ):
        stem = f"caption_{i:03d}_image_{batch['number'][k]}"
        written.append(out / f"{stem}.png")
        figures.save_png(pictures[k], written[-1])
        if attention:
            written.append(out / f"{stem}_attention.png")
            _draw_attention(trained, made, k, rows[i], written[-1])
    return written


def _generate(trained: TrainedModel, batch: dict, attention: bool, seed: int) -> dict:
    """Runs the batch in pieces of one size, the last one filled up."""

    @jax.jit
    def generate(variables, piece):
        made = trained.generate(variables, piece, with_attention=attention, seed=seed)
        del made["code"]  # so that the image encoder is not run
        return made

    total = len(batch["number"])
    size = min(total, trained.config.eval.batch_size)
    pieces = []
    for start in tqdm(
        range(0, total, size), desc="Drawing", unit=" batches", disable=total == size
    ):
        places = np.minimum(np.arange(start, start + size), total - 1)
        piece = {name: value[places] for name, value in batch.items()}
        pieces.append(jax.device_get(generate(trained.variables, piece)))
    return {name: np.concatenate([piece[name] for piece in pieces])[:total] for name in pieces[0]}


def _draw_attention(trained: TrainedModel, made: dict, k: int, row, path) -> None:
    words = trained.vocabulary.decode(row)
    images, maps = {}, {}
    for name, value in made.items():
        kind, _, size = name.partition("_")
        if kind == "attention":
            maps[int(size)] = value[k].transpose(2, 0, 1)[: len(words)]
        elif kind == "image":
            images[int(size)] = value[k]
    figures.attention_figure(images, maps, words, path)
