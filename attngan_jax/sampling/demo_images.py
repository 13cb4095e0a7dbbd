"""What the demo shows: its page, and the images of a link's settings.

The settings are the link's query: `caption` (one, or two to compare), `seed`, `images` (of each
caption), `truncation`. The same link gives the same images.
"""

import base64
import functools
import math
import urllib.parse
from typing import Any, NamedTuple

import numpy as np

from attngan_jax import storage
from attngan_jax.data.vocabulary import tokenise
from attngan_jax.errors import UserError
from attngan_jax.reporting import embedded_images, figures, page, run_files
from attngan_jax.sampling.model import Generated, Model
from attngan_jax.workdir import find_model

NUM_IMAGES = (1, 2, 4, 8)  # a choice, because XLA compiles for each number
MAX_CAPTIONS, MAX_CHARACTERS = 2, 300
MAX_SEED, MAX_TRUNCATION = 2**32 - 1, 10.0
GRID_TILE = 192  # pixels, at least, of an image in `/images.png`

EXAMPLES = (  # those whose words a model knows are shown
    "a small red bird with black wings and a short yellow beak",
    "this bird is blue with a white belly",
    "a yellow bird with a black crown and grey wings",
    "the bird has a green back, an orange breast and a long tail",
    "a plate of food with broccoli and rice on a wooden table",
    "a man riding a wave on a surfboard in the ocean",
    "a large clock tower in front of a blue sky",
    "a herd of cows standing on a green field",
)
NUM_EXAMPLES = 4


class Settings(NamedTuple):
    """What a link asks for."""

    captions: tuple[str, ...]
    seed: int
    images: int
    truncation: float | None


def parse_settings(query: str) -> Settings:
    """The settings in a link's query; `UserError` for what is missing or beyond the limits."""
    try:
        given = urllib.parse.parse_qs(query, max_num_fields=16)
    except ValueError as error:
        raise UserError("the link has too many settings: copy it again") from error
    captions = tuple(text for c in given.get("caption", []) if (text := " ".join(c.split())))
    if not captions:
        raise UserError("the caption is empty: describe an image")
    if len(captions) > MAX_CAPTIONS:
        raise UserError(f"{len(captions)} captions are too many: give one or two")
    if longest := max((len(c) for c in captions if len(c) > MAX_CHARACTERS), default=0):
        raise UserError(
            f"a caption of {longest} characters is too long: use {MAX_CHARACTERS} or fewer"
        )
    seed = _number("seed", given.get("seed", ["0"])[-1], int, 0, MAX_SEED)
    images = _number("images", given.get("images", ["4"])[-1], int, 1, NUM_IMAGES[-1])
    if images not in NUM_IMAGES:
        choices = ", ".join(map(str, NUM_IMAGES))
        raise UserError(f"images={images} is not offered: choose one of {choices}")
    truncation = None
    if "truncation" in given:
        truncation = _number("truncation", given["truncation"][-1], float, 0.01, MAX_TRUNCATION)
    return Settings(captions, seed, images, truncation)


def _number(name: str, text: str, kind: type, least: float, most: float) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise UserError(f"{name}={text[:20]} is no number from {least} to {most}: change it")
    return value


class Demo:
    """A model, and what the page shows of it."""

    def __init__(self, path_or_name: storage.PathLike):
        """Loads the model and generates once, so that the first visitor doesn't wait for XLA."""
        self.model = Model(path_or_name)
        self.generate = functools.lru_cache(maxsize=4)(self._generate)
        self._templates = page.environment()
        examples = self._examples(find_model(path_or_name))
        made = self.generate(Settings((examples[0],), 0, 4, None))
        self.page = self._templates.get_template("demo.html").render(
            name=storage.path(path_or_name).name or self.model.config.name,
            sizes=[stage.shape[1] for stage in made.stages],
            has_attention=bool(made.attention.maps),
            examples=examples,
            numbers=NUM_IMAGES,
            max_seed=MAX_SEED,
            max_characters=MAX_CHARACTERS,
            facts={
                "words": self.model.vocabulary.words[1:],
                "tokenizer": self.model.config.data.tokenizer,
            },
            heat=embedded_images.HEAT,
            **page.script("explorer.js", "demo.js"),
        )

    def _examples(self, folder: storage.Path) -> list[str]:
        """Captions to begin with: the run's own, or those whose words it knows."""
        vocabulary, samples = self.model.vocabulary, run_files.read_samples(folder)
        rule = self.model.config.data.tokenizer
        captions = [*(samples.captions if samples else ()), *EXAMPLES]
        known = [c for c in captions if not vocabulary.unknown(tokenise(c, rule))]
        fitting = [c for c in dict.fromkeys(known) if len(c) <= MAX_CHARACTERS]
        return fitting[:NUM_EXAMPLES] or [" ".join(vocabulary.words[1:6])]

    def _generate(self, settings: Settings) -> Generated:
        """The images of the captions; `UserError` for a caption without a known word."""
        vocabulary = self.model.vocabulary
        for caption in settings.captions:
            if not vocabulary.encode(tokenise(caption, self.model.config.data.tokenizer)):
                some = ", ".join(vocabulary.words[1:9])
                raise UserError(
                    f"the model knows no word of “{caption}”. It knows {len(vocabulary) - 1:,} "
                    f"words, such as {some}"
                )
        captions, seed, num_images, truncation = settings
        options: dict = dict(seed=seed, num_images=num_images, truncation=truncation)
        return self.model.generate(captions, **options)

    def results(self, settings: Settings) -> str:
        """HTML: a card for each caption, with its words and its images."""
        made = self.generate(settings)
        cards = [self._card(made, settings, k) for k in range(len(settings.captions))]
        return self._templates.get_template("demo_results.html").render(cards=cards)

    def _card(self, made: Generated, settings: Settings, place: int) -> dict:
        """A caption's words and images, as the template takes them."""
        caption, first = settings.captions[place], place * settings.images
        typed = tokenise(caption, self.model.config.data.tokenizer)
        words = made.attention.words[first]
        unknown = self.model.vocabulary.unknown(typed)
        maps = [stage[..., : len(words)] for stage in made.attention.maps]
        # AttnDCGAN has one image, which all its maps lie over.
        stages = made.stages if len(made.stages) > len(maps) else made.stages * len(maps)
        without: list[np.ndarray | None] = [None] * (len(stages) - len(maps))
        pairs = list(zip(stages, [*without, *maps]))
        strengths = np.ones(len(words))
        if maps:
            scores = [
                figures.attention_scores(maps[-1][n].transpose(2, 0, 1))
                for n in range(first, first + settings.images)
            ]
            strengths = np.mean(scores, axis=0)
        return {
            "caption": caption,
            "words": words,
            "unknown": unknown,
            "cut": len([w for w in typed if w not in unknown]) - len(words),
            "strengths": (strengths / max(strengths.max(), 1e-12)).round(3).tolist(),
            "images": [
                [_stage(images[n], None if m is None else m[n]) for images, m in pairs]
                for n in range(first, first + settings.images)
            ],
            "file": f"seed_{settings.seed}_caption_{place + 1}_image",
        }

    def grid(self, settings: Settings) -> bytes:
        """A PNG of the images, those of a caption side by side below it."""
        images = self.generate(settings).images
        truncation = f", truncation {settings.truncation:g}" if settings.truncation else ""
        strips: list[run_files.Strip] = []
        for place, caption in enumerate(settings.captions):
            own = images[place * settings.images : (place + 1) * settings.images]
            text = f"{caption} (seed {settings.seed}{truncation})"
            strips.append((text, [("", image) for image in own]))
        size = images.shape[1]
        return figures.png(figures.draw_strips(strips, size * -(-GRID_TILE // size)))


def _stage(image: np.ndarray, maps: np.ndarray | None) -> dict:
    """A stage's image `[S, S, 3]` as PNG, and its maps `[h, w, T]` if it has attention."""
    uri = "data:image/png;base64," + base64.b64encode(figures.png(image)).decode()
    stage = {"size": len(image), "image": uri, "maps": ""}
    return stage if maps is None else stage | embedded_images.encoded_maps(maps.transpose(2, 0, 1))
