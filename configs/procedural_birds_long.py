"""Procedural birds at 64 x 64, trained longer: the model `procedural-birds` of the package.

python -m attngan_jax.main --config configs/procedural_birds_long.py
"""

from attngan_jax.configs import procedural_birds


def get_config():
    """The quickstart's networks; a DAMSM that knows the details, a GAN with time to draw them."""
    config = procedural_birds.get_config()
    config.name = "procedural_birds_long"

    config.damsm.num_train_steps = 10_000
    config.damsm.decay_steps = 830
    config.damsm.swapped_captions = 4
    config.damsm.checkpoint_every_steps = 500

    config.attngan.num_train_steps = 12_000
    config.attngan.generator_learning_rate = 1.2e-3
    config.attngan.discriminator_learning_rate = 1.2e-3
    config.attngan.final_learning_rate_fraction = 0.05
    config.attngan.ema_decay = 0.998
    config.attngan.few_swapped_colors = True
    config.attngan.checkpoint_every_steps = 500
    config.attngan.sample_every_steps = 1_000
    return config
