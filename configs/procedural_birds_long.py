"""Procedural birds at 64 x 64, trained longer: the model `procedural-birds` of the package.

python -m attngan_jax.main --config configs/procedural_birds_long.py
"""

from attngan_jax.configs import procedural_birds


def get_config():
    """The quickstart's networks; a DAMSM that knows the details, a GAN with time to draw them."""
    config = procedural_birds.get_config()
    config.name = "procedural_birds_long"

    # As the package's model was trained.
    config.text_encoder.embedding_limit = 0.1
    config.data.damsm_max_words = 20
    config.damsm.num_train_steps = 8_000
    config.damsm.decay_steps = 667
    config.damsm.swapped_captions = 4
    config.damsm.checkpoint_every_steps = 500

    config.attngan.num_train_steps = 20_000
    config.attngan.generator_learning_rate = 8e-4
    config.attngan.discriminator_learning_rate = 8e-4
    config.attngan.final_learning_rate_fraction = 0.05
    config.attngan.update(adam_b2=0.999, ema_decay=0.998)
    config.attngan.checkpoint_every_steps = 500
    config.attngan.sample_every_steps = 1_000
    return config
