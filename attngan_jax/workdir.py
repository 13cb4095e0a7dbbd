"""What lies where in a workdir: the one place that names its files."""

import json

from attngan_jax import storage
from attngan_jax.errors import UserError


class Workdir:
    """The paths in a run's folder or `gs://` address; performs no I/O until asked to.

    Attributes:
      folder: the workdir itself.
      config, vocabulary: what makes it complete in itself, beside the checkpoints.
      metrics_log: every scalar as a JSON line. wall_seconds: what each part of the run took.
      samples: images of fixed captions over training, beside `fixed_samples`, their captions.
      imported, damsm_from, inception_weights: where weights came from, if from elsewhere.
      reference: statistics of real images, for FID and KID in this run's own features.
      report: the page, with `metrics`, `prepare_report` and the arrays that the page draws.
    """

    def __init__(self, folder: "storage.PathLike | Workdir"):
        self.folder = storage.path(str(folder))
        self.config = self.folder / "config.json"
        self.vocabulary = self.folder / "vocabulary.txt"
        self.metrics_log = self.folder / "metrics.jsonl"
        self.wall_seconds = self.folder / "wall_seconds.json"
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


def has_image_encoder(workdir: storage.PathLike) -> bool:
    """False for a run that was imported without one: it can generate, not be trained or scored."""
    path = Workdir(workdir).imported
    return not path.exists() or json.loads(path.read_text(encoding="utf-8"))["image_encoder"]


def check_has_image_encoder(workdir: storage.PathLike) -> None:
    """Raises `UserError` for a run that can generate, but not be trained or scored."""
    if not has_image_encoder(workdir):
        raise UserError(
            f"{workdir} was imported without an image encoder, which training and scoring need: "
            "import it again with --image_encoder FILE"
        )
