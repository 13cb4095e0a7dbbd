"""What the shipped judges of procedural birds are trained on: 12,000 species, one image of each.

python -m attngan_jax.train_judges --config configs/judges.py --out DIR
"""

from attngan_jax.configs import procedural_birds


def get_config():
    """Species of another seed than the runs': none of their images is seen, and too many to tell
    apart by heart, so that a beak's shape has to be looked at."""
    config = procedural_birds.get_config()
    config.name = "judges"
    config.seed = 7
    config.procedural_birds.seed = 2
    config.procedural_birds.num_species = 13_000
    config.procedural_birds.test_species = 1_000
    config.procedural_birds.images_per_species = 1
    config.data.damsm_max_words = 20
    config.eval.num_images = 1_000
    return config
