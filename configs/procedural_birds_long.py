"""Procedural birds at 64 x 64, trained longer: the model `procedural-birds` of the package.

python -m attngan_jax.main --config configs/procedural_birds_long.py

Stage 2 took half an hour of CPU time on one core. More steps were not tried.
"""

from attngan_jax.configs import procedural_birds


def get_config():
    """The quickstart's stage 1; its GAN twice as long, with smaller steps at the end."""
    config = procedural_birds.get_config()
    config.name = "procedural_birds_long"

    config.attngan.num_train_steps = 5_000
    config.attngan.generator_learning_rate = 8e-4
    config.attngan.discriminator_learning_rate = 8e-4
    config.attngan.final_learning_rate_fraction = 0.05
    config.attngan.ema_decay = 0.998
    config.attngan.checkpoint_every_steps = 500
    config.attngan.sample_every_steps = 500
    return config
