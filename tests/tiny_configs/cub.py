"""The tiny twin of `configs/cub.py`, for the sources of `tests/made_up_sources.py`."""

from configs import cub
from tests.tiny_configs.sizes import shrink


def get_config():
    """The experiment's own settings but for widths, sizes and numbers of steps."""
    config = cub.get_config()
    config.name = "tiny_cub"
    config.image_encoder.trunk = "cnn"
    return shrink(config)
