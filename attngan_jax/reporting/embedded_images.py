"""Images and attention maps for the page, embedded in its HTML: WebP data URIs and base64."""

import base64
import io
import re

import numpy as np
from PIL import Image

from attngan_jax.reporting import figures
from attngan_jax.reporting.run_files import Attention, Samples

LARGEST_MAP = 32  # cells on a side; larger maps are averaged down
LARGEST_FRAME = 160  # pixels of the images over time; the last step is also there in full
THUMBNAIL = 96  # pixels of the most attended words' images
MAX_EXPLORERS = 16
# What explorer.js draws an overlay with.
HEAT = ",".join(map(str, (*figures.HEAT, figures.HEAT_STRENGTH, figures.DIMMED)))


def data_uri(image: np.ndarray) -> str:
    """A uint8 `[H, W, 3]` image as a WebP data URI.

    Small images are lossless: WebP halves the resolution of colours, which shows when enlarged.
    """
    buffer = io.BytesIO()
    small = max(image.shape[:2]) <= figures.PIXELATED_UP_TO
    Image.fromarray(image).save(buffer, "WEBP", lossless=small, quality=88, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def frame(image: np.ndarray) -> str:
    """A generated or real image `[S, S, 3]` as a data URI, of limited size."""
    return data_uri(figures.scaled(image, at_most=LARGEST_FRAME))


def sample_cards(samples: Samples) -> list[dict]:
    """For each fixed caption: the real image, a frame for each step, every stage at the last."""
    return [
        {
            "caption": caption,
            "real": frame(samples.real_images[n]),
            "frames": [(k, frame(made[n])) for k, made in zip(samples.steps, samples.over_time)],
            "stages": [(size, data_uri(images[n])) for size, images in samples.last.items()],
        }
        for n, caption in enumerate(samples.captions)
    ]


def explorers(attention: Attention | None) -> list[dict]:
    """For each of the first captions that have words, its attention maps, to explore by word."""
    if attention is None or not attention.maps:
        return []
    views = []
    for n in [n for n, words in enumerate(attention.words) if words][:MAX_EXPLORERS]:
        words, caption = attention.words[n], attention.captions[n]
        maps = {size: stage[n][: len(words)] for size, stage in attention.maps.items()}
        scores = figures.attention_scores(maps[max(maps)])
        view = {
            "caption": caption,
            "words": words,  # T, without padding
            # Whether words of the caption are missing: unknown ones, or those beyond the limit.
            "cut": re.findall(r"\w+", caption.lower()) != words,
            # How strongly the last stage attends to each word, up to 1.
            "strengths": (scores / max(float(scores.max()), 1e-12)).round(3).tolist(),
            "selected": int(scores.argmax()),  # the word shown first
            "stages": [_stage(i[n], words, maps.get(size)) for size, i in attention.images.items()],
        }
        views.append(view)
    return views


def _stage(image: np.ndarray, words: list[str], maps: np.ndarray | None) -> dict:
    """A stage's image and its words' `encoded_maps`; `top` are the most attended words."""
    stage = {"size": len(image), "image": data_uri(image), "maps": ""}
    if maps is None:
        return stage
    maps = maps.astype(np.float32)
    enlarged = figures.scaled(image, THUMBNAIL, THUMBNAIL)
    encoded = encoded_maps(maps)
    top = [
        (t, words[t], encoded["peaks"][t], data_uri(figures.overlay_attention(enlarged, maps[t])))
        for t in figures.ranked(maps)
    ]
    return stage | encoded | {"top": top}


def encoded_maps(maps: np.ndarray) -> dict:
    """The words' attention maps `[T, h, w]` of a stage, as explorer.js reads them.

    `maps` is base64 of uint8 `[T, rows, columns]`, each map scaled to its own peak; `peaks` and
    `means` are weights.
    """
    small = averaged_down(maps)
    relative = small / np.maximum(small.max((1, 2), keepdims=True), 1e-12)
    return {
        "maps": base64.b64encode(np.rint(relative * 255).astype(np.uint8).tobytes()).decode(),
        "rows": small.shape[1],
        "columns": small.shape[2],
        "peaks": maps.max((1, 2)).round(5).tolist(),
        "means": maps.mean((1, 2)).round(5).tolist(),
    }


def averaged_down(maps: np.ndarray) -> np.ndarray:
    """`[T, h, w]` with at most `LARGEST_MAP` cells on a side, by means of whole blocks."""
    count, rows, columns = maps.shape
    factor = -(-max(rows, columns) // LARGEST_MAP)
    rows, columns = rows // factor, columns // factor
    cut = maps[:, : rows * factor, : columns * factor]
    return cut.reshape(count, rows, factor, columns, factor).mean((2, 4))
