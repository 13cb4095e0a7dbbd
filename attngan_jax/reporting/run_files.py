"""What the files of a workdir say about its run: logs, samples, metrics and attention maps."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Sequence

import jinja2
import numpy as np

from attngan_jax import plain_files, storage
from attngan_jax.configuration import load_workdir_config
from attngan_jax.errors import UserError
from attngan_jax.workdir import Workdir, read_json

STAGES = ("damsm", "attngan")
_WRONG_VALUES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
MAX_SAMPLE_STEPS = 16  # so that the page stays small

# A title, or "", and (label, uint8 [S, S, 3]) images side by side.
Strip = tuple[str, list[tuple[str, np.ndarray]]]
BySize = dict[int, np.ndarray]  # a stage's size in pixels -> its images or maps


@dataclasses.dataclass(frozen=True)
class Series:
    """One scalar over training; steps rise."""

    steps: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Samples:
    """Images of N fixed captions and noise vectors over training."""

    captions: list[str]
    real_images: np.ndarray  # uint8 [N, S, S, 3], the images that the captions describe
    steps: list[int]  # the K steps shown, rising
    over_time: np.ndarray  # uint8 [K, N, S, S, 3], the last stage's images at each step
    last: BySize  # uint8 [N, s, s, 3], every stage at the last step


@dataclasses.dataclass(frozen=True)
class Attention:
    """Attention maps of N captions, by the generator or by DAMSM."""

    captions: list[str]
    words: list[list[str]]  # of each caption, without padding
    images: BySize  # uint8 [N, S, S, 3]; DAMSM has one "stage"
    maps: BySize  # of the stages with attention, float32 [N, T, h, w]


@dataclasses.dataclass(frozen=True)
class Run:
    """All of a workdir that a report shows; None or empty where there is nothing yet."""

    workdir: storage.Path
    config: dict
    num_words: int
    scalars: dict[str, dict[str, Series]]
    wall_seconds: dict[str, float]
    metrics: dict | None
    samples: Samples | None
    attention: Attention | None
    damsm_attention: Attention | None
    # By kind: between two "captions", two "noise" vectors, or with a word changed, "swap".
    interpolations: dict[str, list[Strip]]


@contextlib.contextmanager
def explained(files: Workdir) -> Iterator[None]:
    """Turns what other values than a run writes do to a page into a `UserError`."""
    try:
        yield
    except (*_WRONG_VALUES, jinja2.TemplateError) as error:
        raise UserError(
            f"{files} cannot be reported ({type(error).__name__}: {' '.join(str(error).split())}): "
            f"{files.metrics}, {files.wall_seconds.name}, {files.metrics_log.name} or "
            f"{files.prepare_report.name} does not hold what a run writes there. Remove the one "
            "that was changed, and run attngan_jax.evaluate again"
        ) from error


def read_run(workdir: storage.PathLike) -> Run:
    """Reads a workdir, whichever of its files exist; `UserError` for one that is broken."""
    files = Workdir(workdir)
    config = load_workdir_config(files.folder).to_dict()
    metrics, seconds = read_json(files.metrics), read_json(files.wall_seconds) or {}
    words = plain_files.read_text(files.vocabulary) if files.vocabulary.exists() else ""
    return Run(
        workdir=files.folder,
        config=config,
        num_words=sum(map(bool, words.splitlines())),
        scalars=read_scalars(files.metrics_log),
        wall_seconds=seconds | ((metrics or {}).get("wall_seconds") or {}),
        metrics=metrics,
        samples=read_samples(files),
        attention=read_attention(files.attention),
        damsm_attention=read_attention(files.damsm_attention, damsm=True),
        interpolations=read_interpolations(files.interpolations),
    )


def read_scalars(path: storage.Path) -> dict[str, dict[str, Series]]:
    """Stage -> scalar's name -> series, from `metrics.jsonl`.

    A step that was logged twice, because training resumed from before it, counts once, the last
    time. Non-finite values are left out, and so is an incomplete last line of a killed run.
    """
    if not path.exists():
        return {}
    values: dict[str, dict[str, dict[int, float]]] = {}
    lines = plain_files.read_bytes(path).decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            stage = values.setdefault(entry["stage"], {})
            for name, value in entry["scalars"].items():
                stage.setdefault(name, {})[int(entry["step"])] = float(value)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            if number < len(lines):
                why = f"is no log entry ({error}): remove that line and run the report again"
                raise UserError(f"{path}, line {number} {why}") from error
    return {stage: {key: _series(one[key]) for key in one} for stage, one in values.items()}


def _series(points: dict[int, float]) -> Series:
    steps = sorted(step for step, value in points.items() if np.isfinite(value))
    return Series(np.array(steps, int), np.array([points[step] for step in steps], float))


def example_caption(workdir: storage.PathLike) -> str:
    """A caption of the run's own test split that a shell can print; CAPTION where none is kept."""
    samples = read_samples(workdir)
    captions = samples.captions if samples else []
    return next((text for text in captions if text.isprintable()), "CAPTION")


def read_samples(workdir: storage.PathLike | Workdir) -> Samples | None:
    """The images of the fixed captions, or None before the first of them."""
    files = Workdir(workdir)
    found = {file.stem.removeprefix("step_"): file for file in files.samples.glob("step_*.npz")}
    by_step = {int(step): file for step, file in found.items() if step.isdigit()}
    if not by_step or not files.fixed_samples.exists():
        return None
    steps = evenly_spaced(sorted(by_step), MAX_SAMPLE_STEPS)
    fixed = _read_arrays(files.fixed_samples, ("captions", "real_images"))
    stages = [_by_size(_read_arrays(by_step[step]), "images") for step in steps]
    over_time = np.stack([images[max(stages[-1])] for images in stages])
    return Samples(fixed["captions"].tolist(), fixed["real_images"], steps, over_time, stages[-1])


def evenly_spaced(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of the items, the first and the last among them."""
    return [items[round(k)] for k in np.linspace(0, len(items) - 1, min(count, len(items)))]


def read_attention(path: storage.Path, *, damsm: bool = False) -> Attention | None:
    """The generator's attention maps, or DAMSM's on real images; None where there are none."""
    arrays = _read_arrays(path, ("words", "captions") + (("image", "attention") if damsm else ()))
    if not arrays:
        return None
    if damsm:  # one stage, of the image's size
        size = arrays["image"].shape[1]
        arrays |= {f"{name}_{size}": arrays[name] for name in ("image", "attention")}
    words = [[word for word in row if word] for row in arrays["words"].tolist()]
    images, maps = _by_size(arrays, "image"), _by_size(arrays, "attention")
    return Attention(arrays["captions"].tolist(), words, images, maps)


def read_interpolations(path: storage.Path) -> dict[str, list[Strip]]:
    """The strips of images between captions and noise vectors by kind; none without the file."""
    names = ("kinds", "titles", "labels", "images")
    arrays = _read_arrays(path, names) or _read_arrays(path.with_name("explorations.npz"), names)
    strips: dict[str, list[Strip]] = {}
    for kind, title, labels, images in zip(*(arrays.get(name, ()) for name in names)):
        strips.setdefault(str(kind), []).append((str(title), list(zip(labels.tolist(), images))))
    return strips


def _read_arrays(path: storage.Path, needed: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`, none where there is no file; `UserError` for a broken one."""
    remedy = "remove it; the run writes it again, or the page goes without"
    if not path.exists():
        return {}
    try:
        arrays = plain_files.read_arrays(plain_files.read_bytes(path))
    except plain_files.DAMAGED_ARRAYS as error:
        raise UserError(f"{path} cannot be read ({error}): {remedy}") from error
    if missing := [name for name in needed if name not in arrays]:
        raise UserError(f"{path} lacks {', '.join(missing)}: {remedy}")
    return arrays


def _by_size(arrays: dict[str, np.ndarray], name: str) -> BySize:
    """The arrays `<name>_<size>` by size, the smallest first."""
    found = ((re.fullmatch(rf"{name}_(\d+)", key), array) for key, array in arrays.items())
    return dict(sorted((int(match[1]), array) for match, array in found if match))
