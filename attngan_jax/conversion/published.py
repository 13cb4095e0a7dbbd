"""Weights that the paper's authors published, as model folders: fetched, checked, imported."""

import functools
import hashlib
import http.client
import os
import pathlib
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import NamedTuple

from attngan_jax import plain_files, storage
from attngan_jax.bars import Bar
from attngan_jax.configs import cub
from attngan_jax.configuration import Config
from attngan_jax.conversion.import_run import read_original
from attngan_jax.errors import UserError
from attngan_jax.reporting import model_card
from attngan_jax.sampling import model_folder
from attngan_jax.workdir import PUBLISHED, Workdir

ATTEMPTS = 3  # of one file, each from where the one before stopped
SECONDS = 30  # without a byte, and an attempt is over
CHUNK = 2**18
MAX_BYTES = 2**29  # a longer file is none of these
COMMIT = "0d000e652b407e976cb88fab299e8566f3de8a37"
ADDRESS = f"https://raw.githubusercontent.com/taoxugit/AttnGAN/{COMMIT}/eval/data"


def _cub() -> Config:
    """The settings of CUB's published model: those of the released code."""
    config = cub.get_config()
    config.name = "cub-published"
    config.generator.legacy_mask = True  # it was trained with
    return config.lock()


class Published(NamedTuple):
    """A published model: generator, text encoder and captions, each (name, git's blob id)."""

    address: str
    files: dict[str, tuple[str, str]]
    config: Callable[[], Config]
    card: str  # a template: whose it is, and under which licence


MODELS = {
    "cub": Published(
        ADDRESS,
        {
            "generator": ("bird_AttnGAN2.pth", "054f77df56e27c6fa99c1dbb633233d9fc0d8293"),
            "text_encoder": ("text_encoder200.pth", "55f71fedeef57da825679f6d3bbec4062cba240e"),
            "captions": ("captions.pickle", "50a73915c23dc0d6f84f97f31a37cc75db084cbd"),
        },
        _cub,
        "published_cub.md",
    )
}


def find_or_fetch(path_or_name: storage.PathLike) -> storage.PathLike:
    """The folder of a published model's name, fetched when there is none; all else as it is."""
    name = os.fspath(path_or_name)
    if name in PUBLISHED and not os.path.exists(name) and not PUBLISHED[name].exists():
        make(name.removesuffix("-published"), PUBLISHED[name])
    return path_or_name


def make(
    name: str,
    out: storage.PathLike,
    *,
    mirror: str | None = None,
    files: Sequence[storage.PathLike] = (),
) -> None:
    """Writes the model folder of a published model, or nothing.

    Args:
      mirror: an address (http) or folder that has the files, in place of the authors'.
      files: the files themselves, in any order.

    Raises `UserError` for files that are not the published ones or cannot be had.
    """
    model, target = MODELS[name], pathlib.Path(os.path.abspath(os.path.expanduser(out)))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{out} is not empty: choose another --out, or delete it")
    if files:
        paths = _given(model, files)
    elif mirror and "://" not in mirror:
        paths = {
            part: pathlib.Path(mirror).expanduser() / file
            for part, (file, _) in model.files.items()
        }
        for part, path in paths.items():
            _check(path, model.files[part][1], "it is not imported")
    else:
        address, cache = mirror or model.address, PUBLISHED[f"{name}-published"].parent / "files"
        paths = {
            part: fetch(f"{address.rstrip('/')}/{file}", cache / file, blob)
            for part, (file, blob) in model.files.items()
        }
    config = model.config()
    generator, text_encoder, captions = (paths[part] for part in model.files)
    original = read_original(
        config, generator=generator, text_encoder=text_encoder, captions=captions
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        folder = pathlib.Path(temporary) / "model"
        original.vocabulary.save(Workdir(folder).vocabulary)
        storage.write_text(Workdir(folder).card, model_card.fill_in(model.card))
        variables = {"generator": original.generator, "text": original.text_encoder}
        model_folder.write(folder, folder, config, variables, 0)
        os.rename(folder, target)  # replaces an empty folder


def blob_id(path: pathlib.Path) -> str:
    """What git calls a file's content: the SHA-1 of `blob`, its size, a zero byte and itself."""
    plain_files.check_plain(path)
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        for chunk in iter(functools.partial(file.read, CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(address: str, path: pathlib.Path, blob: str) -> pathlib.Path:
    """Downloads a file, on from where an earlier attempt stopped, unless it is there already.

    Raises `UserError` for an address that cannot be read, or has another content; that is deleted.
    """
    if path.exists() and blob_id(path) == blob:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = partial(path, address)
    by_hand = "or download the files by hand and name them with --files"
    for attempt in range(ATTEMPTS):
        try:
            _download(address, part)
            break
        except urllib.error.HTTPError as error:
            problem = f"{address} cannot be had ({error.code} {error.reason})"
            raise UserError(f"{problem}: give another place with --mirror, {by_hand}") from error
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "filename", None):
                raise  # of this machine
            if attempt + 1 == ATTEMPTS:
                reason = " ".join(str(getattr(error, "reason", error)).split())
                problem = f"{address} was not reached to its end ({reason or type(error).__name__})"
                go_on = "run the same command again, which goes on from there"
                raise UserError(f"{problem}: check the network and {go_on}; {by_hand}") from error
    try:
        _check(part, blob, f"it is not kept; give another place with --mirror, {by_hand}", address)
    except UserError:
        part.unlink()
        raise
    os.replace(part, path)
    for other in path.parent.glob(f"{path.name}.*.part"):
        other.unlink(missing_ok=True)
    return path


def partial(path: pathlib.Path, address: str) -> pathlib.Path:
    """The beginning of a file from one address; other addresses' may be of other content."""
    return path.with_name(f"{path.name}.{hashlib.sha256(address.encode()).hexdigest()[:8]}.part")


def _download(address: str, part: pathlib.Path) -> None:
    """Appends what is lacking of a file; an error if the server ends before it does."""
    start, name = part.stat().st_size if part.exists() else 0, address.rpartition("/")[2]
    request = urllib.request.Request(address, headers={"User-Agent": "attngan_jax"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return  # it is whole, as far as this server knows
        raise
    with response, Bar(desc=name, unit="B", unit_scale=True, unit_divisor=1024) as bar:
        if response.status != http.client.PARTIAL_CONTENT:
            start = 0
        length = response.headers.get("Content-Length", "")
        end = start + int(length) if length.isdecimal() else None
        bar.total = end
        bar.update(start)
        with part.open("ab" if start else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > MAX_BYTES:
                    part.unlink()
                    raise UserError(f"{address} is longer than any published file: not fetched")
            if end is not None and file.tell() < end:
                raise http.client.HTTPException(f"{file.tell():,} of {end:,} bytes came")


def _check(path: pathlib.Path, blob: str, advice: str, name: object = None) -> None:
    """Raises `UserError`, naming it `name`, for a file that is not the one with this id."""
    try:
        found = blob_id(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): get it from {ADDRESS}"
        ) from error
    if found != blob:
        problem = (
            f"{name or path} is not the published file: its git blob id is {found}, not {blob}"
        )
        raise UserError(f"{problem}; {advice}")


def _given(model: Published, files: Sequence[storage.PathLike]) -> dict[str, pathlib.Path]:
    """The parts of a model among the files, which may have any name; a folder has them all."""
    paths = [pathlib.Path(file).expanduser() for file in files]
    if len(paths) == 1 and paths[0].is_dir():
        paths = [paths[0] / file for file, _ in model.files.values()]
    parts = {blob: part for part, (_, blob) in model.files.items()}
    found = {}
    for path in paths:
        try:
            blob = blob_id(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        if blob not in parts:
            names = ", ".join(file for file, _ in model.files.values())
            problem = f"{path} is none of the published {names}: its git blob id is {blob}"
            raise UserError(f"{problem}; get them from {model.address}")
        found[parts[blob]] = path
    if missing := [file for part, (file, _) in model.files.items() if part not in found]:
        raise UserError(f"--files lacks {', '.join(missing)}: get them from {model.address}")
    return found
