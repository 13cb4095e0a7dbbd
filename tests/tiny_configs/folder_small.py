"""The tiny twin of `configs/folder_small.py`, for the sources of `tests/made_up_sources.py`."""

from configs import folder_small
from tests.tiny_configs.sizes import shrink


def get_config():
    """The experiment's own settings but for what makes it small."""
    return shrink(folder_small.get_config())
