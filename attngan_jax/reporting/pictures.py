"""The page's images: small WebP data URIs, and attention maps small enough to lie in the HTML."""

import base64
import dataclasses
import io
import re

import numpy as np
from PIL import Image

from attngan_jax.reporting.figures import attention_scores, enlarged, overlay_attention
from attngan_jax.reporting.run_files import Attention, Exploration, Samples

LOSSLESS_UP_TO = 32  # pixels; WebP halves the colour's resolution, which shows when enlarged
QUALITY = 88
LARGEST_MAP = 32  # cells on a side; larger maps are averaged down
THUMBNAIL = 96  # pixels of the top words' images
LARGEST_FRAME = 160  # pixels of the images over time; the last step is also there in full
NUM_TOP_WORDS = 5
MAX_EXAMPLES = 16  # captions in an attention explorer


@dataclasses.dataclass(frozen=True)
class SampleCard:
    """A fixed caption: its real image, a frame for each step, every stage at the last step."""

    caption: str
    real: str
    frames: list[tuple[int, str]]
    stages: list[tuple[int, str]]


@dataclasses.dataclass(frozen=True)
class TopWord:
    """One of the most attended words of a stage, with its map drawn over the image."""

    index: int
    word: str
    picture: str
    peak: float


@dataclasses.dataclass(frozen=True)
class StageView:
    """A stage's image and its word maps; `maps` is "" for a stage without attention.

    `maps` holds base64 of uint8 `[T, rows, columns]`, each word's map scaled to its own peak.
    """

    size: int
    picture: str
    maps: str = ""
    rows: int = 0
    columns: int = 0
    peaks: list[float] = dataclasses.field(default_factory=list)
    means: list[float] = dataclasses.field(default_factory=list)
    top: list[TopWord] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Explorer:
    """A caption whose words can be pointed at.

    `strengths` in 0..1 rank the words at the last stage; `cut` says that words of the caption are
    missing (unknown ones, or those beyond the limit).
    """

    caption: str
    words: list[str]
    strengths: list[float]
    stages: list[StageView]
    selected: int
    cut: bool


def data_uri(image: np.ndarray) -> str:
    """A uint8 `[H, W, 3]` image as a WebP data URI."""
    buffer = io.BytesIO()
    small = max(image.shape[:2]) <= LOSSLESS_UP_TO
    Image.fromarray(image).save(buffer, "WEBP", lossless=small, quality=QUALITY, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def sample_cards(samples: Samples) -> list[SampleCard]:
    """A card for each fixed caption."""
    return [
        SampleCard(
            caption=caption,
            real=data_uri(_at_most(samples.real_images[n], LARGEST_FRAME)),
            frames=[
                (step, data_uri(_at_most(images[n], LARGEST_FRAME)))
                for step, images in zip(samples.steps, samples.over_time)
            ],
            stages=[(size, data_uri(images[n])) for size, images in samples.last.items()],
        )
        for n, caption in enumerate(samples.captions)
    ]


def exploration_cards(explorations: list[Exploration]) -> list[tuple[str, str, list]]:
    """(kind, title, [(label, image)]) of each row."""
    return [
        (
            row.kind,
            row.title,
            [
                (label, data_uri(_at_most(image, LARGEST_FRAME)))
                for label, image in zip(row.labels, row.images)
            ],
        )
        for row in explorations
    ]


def explorers(attention: Attention) -> list[Explorer]:
    """An explorer for each caption, `MAX_EXAMPLES` at most; none without maps or without words."""
    if not attention.maps:
        return []
    with_words = [n for n, words in enumerate(attention.words) if words]
    return [_explorer(attention, n) for n in with_words[:MAX_EXAMPLES]]


def _explorer(attention: Attention, n: int) -> Explorer:
    words = attention.words[n]
    stages = [
        _stage(images[n], words, attention.maps[size][n] if size in attention.maps else None)
        for size, images in attention.images.items()
    ]
    last = attention.maps[max(attention.maps)][n][: len(words)]
    scores = attention_scores(last)
    strengths = scores / max(float(scores.max()), 1e-12)
    caption = attention.captions[n]
    return Explorer(
        caption,
        words,
        strengths.round(3).tolist(),
        stages,
        int(scores.argmax()),
        cut=re.findall(r"\w+", caption.lower()) != words,
    )


def _stage(image: np.ndarray, words: list[str], maps: np.ndarray | None) -> StageView:
    size = image.shape[0]
    if maps is None:
        return StageView(size, data_uri(image))
    maps = maps[: len(words)].astype(np.float32)
    small = _averaged_down(maps)
    scaled = small / np.maximum(small.max((1, 2), keepdims=True), 1e-12)
    encoded = base64.b64encode(np.rint(scaled * 255).astype(np.uint8).tobytes()).decode("ascii")
    peaks, means = maps.max((1, 2)), maps.mean((1, 2))
    order = np.argsort(-attention_scores(maps), kind="stable")[:NUM_TOP_WORDS]
    top = [
        TopWord(int(word), words[word], _thumbnail(image, maps[word]), float(peaks[word]))
        for word in order
    ]
    return StageView(
        size,
        data_uri(image),
        encoded,
        *small.shape[1:],
        peaks.round(5).tolist(),
        means.round(5).tolist(),
        top,
    )


def _thumbnail(image: np.ndarray, attention: np.ndarray) -> str:
    picture = enlarged(_at_most(image, THUMBNAIL), THUMBNAIL)
    return data_uri(overlay_attention(picture, attention))


def _at_most(image: np.ndarray, size: int) -> np.ndarray:
    height, width, _ = image.shape
    if max(height, width) <= size:
        return image
    scale = size / max(height, width)
    smaller = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(image).resize(smaller, Image.Resampling.BICUBIC))


def _averaged_down(maps: np.ndarray) -> np.ndarray:
    """`[T, h, w]` with at most `LARGEST_MAP` cells on a side, by means of whole blocks."""
    count, rows, columns = maps.shape
    factor = -(-max(rows, columns) // LARGEST_MAP)
    rows, columns = rows // factor, columns // factor
    cut = maps[:, : rows * factor, : columns * factor]
    return cut.reshape(count, rows, factor, columns, factor).mean((2, 4))
