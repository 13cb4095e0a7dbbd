"""What lies where in a workdir: the one place that names its files."""

import json

from attngan_jax import storage
from attngan_jax.errors import UserError

RECORD = "imported.json"


def has_image_encoder(workdir: storage.PathLike) -> bool:
    """False for a run that was imported without one: it can draw, not be trained or scored."""
    path = storage.path(workdir) / RECORD
    return not path.exists() or json.loads(path.read_text(encoding="utf-8"))["image_encoder"]


def check_has_image_encoder(workdir: storage.PathLike) -> None:
    """Raises `UserError` for a run that can draw, but not be trained or scored."""
    if not has_image_encoder(workdir):
        raise UserError(
            f"{workdir} was imported without an image encoder, which training and "
            "scoring need: import it again with --image_encoder FILE"
        )
