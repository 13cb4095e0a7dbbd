"""The tiny twin of `configs/coco.py`, for the sources of `tests/made_up_sources.py`."""

from configs import coco
from tests.tiny_configs.sizes import shrink


def get_config():
    """The experiment's own settings but for widths, sizes and numbers of steps."""
    config = coco.get_config()
    config.name = "tiny_coco"
    config.image_encoder.trunk = "cnn"
    return shrink(config)
