"""The tiny twin of `configs/procedural_birds.py`: every part of a run, in seconds."""

from configs import procedural_birds
from tests.tiny_configs.sizes import shrink


def get_config():
    """16-pixel birds of twenty species, two stages of 8 and 16 pixels, a few steps."""
    config = procedural_birds.get_config()
    config.name = "birds"
    birds = dict(image_size=16, num_species=20, test_species=5, images_per_species=3)
    config.procedural_birds.update(birds)
    config.attngan.damsm_weight = 2.5  # with it rounding grows, by which runs are compared here
    return shrink(config)
