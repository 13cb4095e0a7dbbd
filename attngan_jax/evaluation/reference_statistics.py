"""Statistics of real images in files: this program's cache, and the `.npz` of other programs.

pytorch-fid, TTUR and DM-GAN keep a mean `mu [D]` and a covariance `sigma [D, D]`. Such files are
untrusted: the sizes they declare are checked before they are read, and nothing is unpickled.
"""

import hashlib
import io
import json
import math
import zipfile
import zlib
from typing import IO

import numpy as np
from absl import logging

from attngan_jax import plain_files, storage
from attngan_jax.errors import UserError
from attngan_jax.evaluation.metrics.fid_kid import Features, Statistics

MAX_TEXT = 2**16  # bytes of provenance that are read
# NotImplementedError and RuntimeError are zipfile's, of unknown methods and of passwords.
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
_DAMAGED = (OSError, EOFError, KeyError, TypeError, ValueError, *_BAD_ZIP)


class ReferenceCache:
    """A file for `Statistics`, named after their features and further provenance, JSON values.

    It is looked for in each of `folders`, and kept in the first that can be written.
    """

    def __init__(self, folders: list[storage.Path], features: Features, provenance: dict):
        self._features = features
        self._provenance = json.dumps(provenance | vars(features), sort_keys=True)
        key = hashlib.sha256(self._provenance.encode()).hexdigest()[:12]
        self.paths = [folder / f"{features.family}-{key}.npz" for folder in folders]

    def load(self) -> Statistics | None:
        """What `save` wrote, or None; `UserError` for a file that holds something else."""
        path = next((path for path in self.paths if path.exists()), None)
        if path is None:
            return None
        try:
            arrays = plain_files.read_arrays(plain_files.read_bytes(path))
            if str(arrays.pop("provenance")) != self._provenance:
                raise ValueError("its provenance is another")
            images, num_images = str(arrays.pop("images")), int(arrays.pop("num_images"))
            return Statistics(self._features, num_images, **arrays, images=images)
        except _DAMAGED as error:
            if storage.describe_error(error):  # of an object store
                raise
            problem = f"cannot be used ({' '.join(str(error).split())})"
            repair = "delete that file, and they are computed again"
            raise UserError(f"the reference statistics {path} {problem}: {repair}") from error

    def save(self, statistics: Statistics) -> None:
        """Writes the file, whole or not at all; without a place for it, it warns."""
        values = vars(statistics) | {"provenance": self._provenance}
        arrays = {n: np.array(x) for n, x in values.items() if n not in ("features", "file")}
        for path in self.paths:
            if storage.is_writable(path.parent):
                try:
                    return storage.save_arrays(path, **arrays)
                except OSError as error:
                    logging.warning("%s is not written (%s)", path, storage.strerror(error))
        logging.warning("the statistics of real images are not kept: no folder can be written")


def write_reference(path: storage.PathLike, statistics: Statistics) -> None:
    """Writes `mu` and `sigma`, float64, and the `provenance`, JSON; whole or not at all."""
    about = vars(statistics.features) | {"images": statistics.images}
    provenance = json.dumps(about | {"num_images": statistics.num_images}, sort_keys=True)
    arrays = {"mu": statistics.mean, "sigma": statistics.covariance, "provenance": provenance}
    storage.save_arrays(storage.path(path), **arrays)


def read_reference(path: storage.PathLike, features: Features, width: int) -> Statistics:
    """`Statistics` of a file of `write_reference`, pytorch-fid or DM-GAN, without a sample.

    What they are of is taken as given: a file that says that it is of other features than
    `features`, of `width` numbers, is refused with a `UserError`, as is one that is no such file.
    """
    what, name = f"the reference statistics {path}", storage.path(path).name
    try:
        content = plain_files.read_bytes(storage.path(path))
    except OSError as error:
        if storage.describe_error(error):
            raise
        raise UserError(f"{what} cannot be read ({storage.strerror(error)})") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            mean, covariance = (_array(file, *one, width) for one in (("mu", 1), ("sigma", 2)))
            provenance = _provenance(file)
    except _DAMAGED as error:
        wanted = "give an .npz with mu [D] and sigma [D, D], as pytorch-fid writes it"
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{what} cannot be used ({why}): {wanted}") from error
    for key in ("family", "weights_sha256", "resize"):
        theirs, ours = provenance.get(key), getattr(features, key)
        if theirs is not None and theirs != ours:
            problem = f"say that they are of another {key} ({str(theirs)[:60]}, here {ours[:60]})"
            raise UserError(f"{what} {problem}: give those of this family, or another family")
    digest = hashlib.sha256(content).hexdigest()
    images = f"{name}, as given (SHA-256 {digest[:12]})"
    if about := str(provenance.get("images", ""))[:200]:
        images += f", which says: {about}"
    sample = np.zeros((0, width), np.float32)
    return Statistics(features, 0, mean, covariance, sample, images, file=name)


def _array(file: zipfile.ZipFile, name: str, ndim: int, width: int) -> np.ndarray:
    """A member of an .npz, float64; `ValueError` unless it has finite numbers in `ndim` axes."""
    info = file.getinfo(f"{name}.npy")
    with file.open(info) as member:
        shape, fortran, dtype = _header(member)
        if dtype.kind != "f" or dtype.itemsize not in (4, 8):
            raise ValueError(f"{name} is of {dtype}, not of float32 or float64")
        if shape != (width,) * ndim:
            raise ValueError(f"{name} is {list(shape)}, of these features {[width] * ndim}")
        size = math.prod(shape) * dtype.itemsize
        data = member.read(size + 1)
    if len(data) != size:
        raise ValueError(f"{name} does not hold the {math.prod(shape):,} numbers it declares")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    array = np.array(array, np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    if ndim == 2 and not np.allclose(array, array.T, rtol=1e-3, atol=1e-3 * np.abs(array).max()):
        raise ValueError(f"{name} is not symmetric")
    return array


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(member)
    if version not in read:
        raise ValueError(f"it is of version {version} of the format")
    return read[version](member)


def _provenance(file: zipfile.ZipFile) -> dict:
    """What `write_reference` wrote beside the statistics; {} in files of other programs."""
    if "provenance.npy" not in file.namelist():
        return {}
    with file.open("provenance.npy") as member:
        shape, _, dtype = _header(member)
        if shape or dtype.kind != "U" or dtype.itemsize > MAX_TEXT:
            return {}
        text = str(np.frombuffer(member.read(dtype.itemsize), dtype)[0])
    about = json.loads(text)
    return about if isinstance(about, dict) else {}
