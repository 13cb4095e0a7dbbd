"""What a workdir says about its run: logs, samples, metrics and attention, as far as they exist."""

import dataclasses
import io
import json
import re
import zipfile

import numpy as np

from attngan_jax import storage
from attngan_jax.configuration import load_workdir_config
from attngan_jax.errors import UserError

STAGES = ("damsm", "attngan")
MAX_TIMELINE_STEPS = 16  # sampled evenly, first and last kept, so that the page stays small


@dataclasses.dataclass(frozen=True)
class Series:
    """One scalar over training; steps rise."""

    steps: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Samples:
    """Images of the fixed captions and noise over training.

    Attributes:
      captions: N captions.
      real_images: uint8 `[N, S, S, 3]`, the images that the captions were written for.
      steps: the K steps shown, rising.
      over_time: uint8 `[K, N, S, S, 3]`, the last stage's images at each step.
      last: stage's size -> uint8 `[N, s, s, 3]`, every stage at the last step.
    """

    captions: list[str]
    real_images: np.ndarray
    steps: list[int]
    over_time: np.ndarray
    last: dict[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Attention:
    """Word maps of N captions.

    Attributes:
      captions: N captions; words: the real words of each.
      images: stage's size -> uint8 `[N, S, S, 3]`.
      maps: refinement stage's size -> float32 `[N, T, h, w]`.
    """

    captions: list[str]
    words: list[list[str]]
    images: dict[int, np.ndarray]
    maps: dict[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Exploration:
    """A row of images on the way between two captions or noises, or with a word swapped.

    Attributes:
      kind: "captions", "noise" or "swap". title: the caption or captions.
      labels: what each of the K images is.
      images: uint8 `[K, S, S, 3]`.
    """

    kind: str
    title: str
    labels: list[str]
    images: np.ndarray


@dataclasses.dataclass(frozen=True)
class Run:
    """All of a workdir that a report shows; None or empty where there is nothing yet."""

    workdir: storage.Path
    config: dict
    num_words: int | None
    scalars: dict[str, dict[str, Series]]
    wall_seconds: dict[str, float]
    metrics: dict | None
    samples: Samples | None
    attention: Attention | None
    damsm_attention: Attention | None
    explorations: list[Exploration]


def read_run(workdir: storage.PathLike) -> Run:
    """Reads a workdir, whichever of its files exist; `UserError` for one that is broken."""
    workdir = storage.path(workdir)
    config = load_workdir_config(workdir).to_dict()
    metrics = read_json(workdir / "report" / "metrics.json")
    words = workdir / "vocabulary.txt"
    return Run(
        workdir=workdir,
        config=config,
        num_words=_count_lines(words) if words.exists() else None,
        scalars=read_scalars(workdir / "metrics.jsonl"),
        wall_seconds=(
            (read_json(workdir / "wall_seconds.json") or {})
            | ((metrics or {}).get("wall_seconds") or {})
        ),
        metrics=metrics,
        samples=read_samples(workdir / "samples"),
        attention=read_attention(workdir / "report" / "attention.npz"),
        damsm_attention=read_damsm_attention(workdir / "report" / "damsm_attention.npz"),
        explorations=read_explorations(workdir / "report" / "explorations.npz"),
    )


def read_scalars(path: storage.Path) -> dict[str, dict[str, Series]]:
    """Stage -> scalar's name -> series, from `metrics.jsonl`.

    A step written twice (training resumed from before it) counts once, the last time. Non-finite
    values are left out, and so is an unfinished last line (the run was killed while writing it).
    """
    if not path.exists():
        return {}
    values: dict[str, dict[str, dict[int, float]]] = {}
    lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            stage = values.setdefault(entry["stage"], {})
            for name, value in entry["scalars"].items():
                stage.setdefault(name, {})[int(entry["step"])] = float(value)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if number == len(lines):
                break
            raise UserError(
                f"{path}, line {number} is no log entry ({error}): remove that line "
                "and run the report again"
            ) from error
    return {
        stage: {name: _series(points) for name, points in names.items()}
        for stage, names in values.items()
    }


def read_samples(folder: storage.Path) -> Samples | None:
    """The images of the fixed captions, or None before the first of them."""
    found = ((re.fullmatch(r"step_(\d+)\.npz", file.name), file) for file in folder.glob("*.npz"))
    files = {int(match[1]): file for match, file in found if match}
    if not files or not (folder / "fixed.npz").exists():
        return None
    every = sorted(files)
    count = min(len(every), MAX_TIMELINE_STEPS)
    steps = [every[round(place)] for place in np.linspace(0, len(every) - 1, count)]
    fixed = _read_arrays(folder / "fixed.npz", ("captions", "real_images"))
    by_step = [_by_size(_read_arrays(files[step]), "images_") for step in steps]
    size = max(by_step[-1])
    return Samples(
        captions=[str(caption) for caption in fixed["captions"]],
        real_images=fixed["real_images"],
        steps=steps,
        over_time=np.stack([stages[size] for stages in by_step]),
        last=by_step[-1],
    )


def read_attention(path: storage.Path) -> Attention | None:
    """The generator's word maps, or None if they were not written."""
    if not path.exists():
        return None
    arrays = _read_arrays(path, ("words", "captions"))
    return Attention(
        _strings(arrays["captions"]),
        _words(arrays["words"]),
        _by_size(arrays, "image_"),
        _by_size(arrays, "attention_"),
    )


def read_damsm_attention(path: storage.Path) -> Attention | None:
    """DAMSM's maps on real images, or None; as one stage of the image's size."""
    if not path.exists():
        return None
    arrays = _read_arrays(path, ("words", "captions", "image", "attention"))
    size = arrays["image"].shape[1]
    return Attention(
        _strings(arrays["captions"]),
        _words(arrays["words"]),
        {size: arrays["image"]},
        {size: arrays["attention"]},
    )


def read_explorations(path: storage.Path) -> list[Exploration]:
    """The rows of images between captions and noises; none if they were not drawn."""
    if not path.exists():
        return []
    arrays = _read_arrays(path, ("kinds", "titles", "labels", "images"))
    return [
        Exploration(str(kind), str(title), _strings(labels), images)
        for kind, title, labels, images in zip(
            *(arrays[name] for name in ("kinds", "titles", "labels", "images"))
        )
    ]


def _series(points: dict[int, float]) -> Series:
    steps = np.array(sorted(step for step, value in points.items() if np.isfinite(value)), int)
    return Series(steps, np.array([points[step] for step in steps], float))


def read_json(path: storage.Path) -> dict | None:
    """The content of a JSON file, None where there is none; `UserError` for a broken one."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path} is not valid JSON ({error}): remove it and run attngan_jax.evaluate again"
        ) from error


def _read_arrays(path: storage.Path, needed: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = dict(file)
    except (EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} cannot be read ({error}): remove it; the run writes it again, or "
            "the page goes without"
        ) from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}: remove it; the run writes it again, "
            "or the page goes without"
        )
    return arrays


def _by_size(arrays: dict[str, np.ndarray], prefix: str) -> dict[int, np.ndarray]:
    sizes = {
        int(name.removeprefix(prefix)): array
        for name, array in arrays.items()
        if re.fullmatch(prefix + r"\d+", name)
    }
    return dict(sorted(sizes.items()))


def _strings(array: np.ndarray) -> list[str]:
    return [str(text) for text in array]


def _words(array: np.ndarray) -> list[list[str]]:
    return [[str(word) for word in row if word] for row in array]


def _count_lines(path: storage.Path) -> int:
    return sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line)
