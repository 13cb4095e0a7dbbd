"""Mean and covariance of image features, taken in a batch at a time; reference statistics on disk.

A number means something only beside others of the same features: every set of statistics knows its
`Features`, and the metrics refuse to compare across them.
"""

import dataclasses
import hashlib
import io
import json
import zipfile

import numpy as np

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.storage import save_arrays

BLOCK = 256  # rows added together, whatever the batch they came in


@dataclasses.dataclass(frozen=True)
class Features:
    """What the numbers of a feature vector mean.

    Attributes:
      family: "torchvision", "tf-2015" or "damsm".
      weights_sha256: of the network's weights.
      resize: how an image becomes the network's input, in words.
    """

    family: str
    weights_sha256: str
    resize: str


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Of N images' features.

    Attributes:
      mean `[D]` and covariance `[D, D]` (unbiased), float64.
      sample: features of some of the images at even distances, float32 `[M, D]`, for KID.
      images: which images, in words: "1,000 test images of procedural_birds".
    """

    features: Features
    num_images: int
    mean: np.ndarray
    covariance: np.ndarray
    sample: np.ndarray
    images: str = ""


class Accumulator:
    """Sums of features in blocks of fixed size, so that no batch size shows in the result.

    Holds two `[D, D]` float64 matrices, a block, and the `keep` sampled rows, however many images
    there are.
    """

    def __init__(self, features: Features, num_images: int, *, keep: int):
        self._features, self._num_images = features, num_images
        self._keep = min(keep, num_images)
        self._count = 0
        self._waiting: list[np.ndarray] = []
        self._sample: list[np.ndarray] = []
        self._sum = self._products = None

    def add(self, rows: np.ndarray) -> None:
        """Takes in the features `[B, D]` of the next images."""
        places = np.arange(self._count, self._count + len(rows))
        keep, total = self._keep, self._num_images
        self._sample.append(rows[(places + 1) * keep // total > places * keep // total])
        self._count += len(rows)
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= BLOCK:
            rows = np.concatenate(self._waiting)
            whole = len(rows) // BLOCK * BLOCK
            for first in range(0, whole, BLOCK):
                self._add_block(rows[first : first + BLOCK])
            self._waiting = [rows[whole:]]

    def _add_block(self, rows: np.ndarray) -> None:
        rows = rows.astype(np.float64)
        if self._sum is None:
            self._shift = rows[0].copy()  # a covariance is a small difference of large sums
            self._sum = np.zeros(rows.shape[1])
            self._products = np.zeros((rows.shape[1],) * 2)
        rows -= self._shift
        self._sum += rows.sum(0)
        self._products += rows.T @ rows

    def result(self, images: str = "") -> Statistics:
        """The statistics of what was added."""
        if self._count != self._num_images or self._count < 2:
            raise ValueError(f"{self._count} of {self._num_images} images were added")
        rest = np.concatenate(self._waiting)
        if len(rest):
            self._add_block(rest)
            self._waiting = [rest[:0]]
        mean = self._sum / self._count
        covariance = (self._products - self._count * np.outer(mean, mean)) / (self._count - 1)
        return Statistics(
            self._features,
            self._count,
            mean + self._shift,
            covariance,
            np.concatenate(self._sample).astype(np.float32),
            images,
        )


class ReferenceCache:
    """Reference statistics in a folder, each in a file named after all that they follow from.

    Args:
      provenance: dataset, split, image count, how the images were cut out: JSON values.
    """

    def __init__(self, folder: storage.PathLike, features: Features, provenance: dict):
        self._features = features
        self._text = json.dumps(provenance | dataclasses.asdict(features), sort_keys=True)
        key = hashlib.sha256(self._text.encode()).hexdigest()[:12]
        self.path = storage.path(folder) / f"{features.family}-{key}.npz"

    def load(self) -> Statistics | None:
        """What `save` wrote, or None; `UserError` for a file that is no such thing.

        What a bucket says that refuses is raised as it is.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as arrays:
                arrays = dict(arrays)
            if str(arrays["provenance"]) != self._text:
                raise ValueError("its provenance is another")
            return Statistics(
                self._features,
                int(arrays["num_images"]),
                arrays["mean"],
                arrays["covariance"],
                arrays["sample"],
                str(arrays["images"]),
            )
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            if storage.describe_error(error):
                raise
            raise UserError(
                f"the reference statistics {self.path} cannot be used "
                f"({' '.join(str(error).split())}): delete that file, and they are "
                "computed again"
            ) from error

    def save(self, statistics: Statistics) -> None:
        """Writes the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(
            self.path,
            provenance=np.array(self._text),
            num_images=np.array(statistics.num_images),
            mean=statistics.mean,
            covariance=statistics.covariance,
            sample=statistics.sample,
            images=np.array(statistics.images),
        )


def check_comparable(a: Statistics, b: Statistics) -> None:
    """Raises `UserError` unless both are of the same features."""
    if a.features.family != b.features.family:
        raise UserError(
            f"features of the family {a.features.family} and of {b.features.family} "
            "cannot be compared: an FID or KID is of one family"
        )
    for name in ("weights_sha256", "resize"):
        one, other = getattr(a.features, name), getattr(b.features, name)
        if one != other:
            raise UserError(
                f"{a.features.family} features of different {name} ({one[:40]} and "
                f"{other[:40]}) cannot be compared"
            )
