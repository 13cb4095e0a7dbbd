"""What lies where in a workdir: the one place that names its files."""

import json
import os
import pathlib

from attngan_jax import plain_files, storage
from attngan_jax.errors import UserError


class Workdir:
    """The paths in a run's folder or `gs://` address; performs no I/O until asked to.

    Attributes:
      folder: the workdir itself.
      config, vocabulary: what makes it complete in itself, beside the checkpoints.
      weights, card, card_images: of a model folder, which has the two files above and no
        checkpoints; a workdir has none of these.
      metrics_log: every scalar as a JSON line. wall_seconds: what each part of the run took.
      digests: of the vocabulary, as it was written. lock: who trains here just now.
      samples: images of fixed captions over training, beside `fixed_samples`, their captions.
      imported, damsm_from, inception_weights: where weights came from, if from elsewhere.
      reference: statistics of real images, for FID and KID in this run's own features.
      report: the page, with `metrics`, `prepare_report` and the arrays that the page draws.
    """

    def __init__(self, folder: "storage.PathLike | Workdir"):
        self.folder = storage.path(str(folder))
        self.config = self.folder / "config.json"
        self.vocabulary = self.folder / "vocabulary.txt"
        self.weights = self.folder / "model.safetensors"
        self.card = self.folder / "README.md"
        self.card_images = self.folder / "samples.png"
        self.metrics_log = self.folder / "metrics.jsonl"
        self.wall_seconds = self.folder / "wall_seconds.json"
        self.digests = self.folder / "digests.json"
        self.lock = self.folder / "lock.json"
        self.imported = self.folder / "imported.json"
        self.damsm_from = self.folder / "damsm_from.json"
        self.inception_weights = self.folder / "inception_weights.json"
        self.samples = self.folder / "samples"
        self.fixed_samples = self.samples / "fixed.npz"
        self.reference = self.folder / "reference"
        self.report = self.folder / "report"
        self.page = self.report / "index.html"
        self.figures = self.report / "figures"
        self.metrics = self.report / "metrics.json"
        self.prepare_report = self.report / "prepare.json"
        self.attention = self.report / "attention.npz"
        self.damsm_attention = self.report / "damsm_attention.npz"
        self.interpolations = self.report / "interpolations.npz"

    def __str__(self) -> str:
        return str(self.folder)

    def stage(self, name: str) -> storage.Path:
        """The checkpoints of a stage, "damsm" or "attngan", one folder a step."""
        return self.folder / name

    def events(self, stage: str) -> storage.Path:
        """The event files of a stage, or of the "eval"uations."""
        return self.stage(stage) / "events"


PRETRAINED = pathlib.Path(__file__).parent / "pretrained"  # models of this package, by name
_CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
# Published models -> where they are, once `attngan published` or `attngan_jax.load` fetched them.
PUBLISHED = {"cub-published": _CACHE / "attngan_jax" / "published" / "cub"}


def find_model(path_or_name: storage.PathLike) -> storage.Path:
    """The folder of a workdir or a model, of a model that comes with this package or was fetched.

    Raises `UserError` where there is none.
    """
    folder, shipped = storage.path(path_or_name), PRETRAINED / str(path_or_name)
    if shipped.parent == PRETRAINED and shipped.is_dir() and not folder.exists():
        return shipped
    name = str(path_or_name)
    if name in PUBLISHED and not folder.exists():
        if PUBLISHED[name].exists():
            return PUBLISHED[name]
        command = f"python -m attngan_jax.published {name.removesuffix('-published')}"
        raise UserError(f"the model {name} has not been fetched yet: {command} does so")
    if not folder.exists():
        shipped_names = [path.name for path in PRETRAINED.glob("[a-z]*")]
        names = ", ".join(sorted([*shipped_names, *PUBLISHED]))
        raise UserError(
            f"there is no folder {folder}, and no model of that name: give the folder of a run or "
            f"of a saved model, or one of the names {names}"
        )
    return folder


def read_json(path: storage.Path) -> dict | None:
    """What a run noted in a JSON file, None where there is none; `UserError` for a broken one."""
    if not path.exists():
        return None
    remedy = "remove it, and run the same command again"
    try:
        value = json.loads(plain_files.read_text(path, plain_files.MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and storage.describe_error(error):
            raise
        why = (
            storage.strerror(error) if isinstance(error, OSError) else " ".join(str(error).split())
        )
        raise UserError(f"{path} is not valid JSON ({why[:200]}): {remedy}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {str(value)[:40]!r}, no keys and values: {remedy}")
    return value


def has_image_encoder(workdir: storage.PathLike) -> bool:
    """False for a run that was imported without one: it can generate, not be trained or scored."""
    return bool((read_json(Workdir(workdir).imported) or {}).get("image_encoder", True))


def check_has_image_encoder(workdir: storage.PathLike) -> None:
    """Raises `UserError` for a run that can generate, but not be trained or scored."""
    if not has_image_encoder(workdir):
        raise UserError(
            f"{workdir} was imported without an image encoder, which training and scoring need: "
            "import it again, with --image_encoder FILE or a model folder that is not compact"
        )
