"""The tiny twin of `configs/cub.py`, for the sources of `tests/made_up_sources.py`."""

from configs import cub
from tests.tiny_configs.sizes import shrink


def get_config():
    """The experiment's own settings but for the image encoder and what makes it small."""
    return shrink(cub.get_config())
