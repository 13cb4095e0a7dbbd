"""Procedural birds at 256 x 256 with CUB's widths, for an accelerator: `procedural-birds-256`.

python -m attngan_jax.main --config configs/procedural_birds_256.py

DAMSM keeps the quickstart's small trunk, which needs no file of ImageNet's weights. The steps are
those of the package's model, some minutes of a GPU; what more of them bring was not tried.
"""

from attngan_jax.configs import procedural_birds


def get_config():
    """Three stages of 64, 128 and 256 pixels."""
    config = procedural_birds.get_config()
    config.name = "procedural_birds_256"
    config.compute_dtype = "bfloat16"
    config.procedural_birds.image_size = 256

    config.image_encoder.cnn_dim = 48
    config.image_encoder.image_size = 128

    config.damsm.batch_size = 64
    config.damsm.num_train_steps = 5_000
    config.damsm.learning_rate = 2.5e-3
    config.damsm.decay_steps = 430
    config.damsm.swapped_captions = 2
    config.damsm.checkpoint_every_steps = 1_000

    config.generator.base_size = 64
    config.generator.gf_dim = 32
    config.generator.z_dim = 100
    config.generator.condition_dim = 100
    config.generator.num_residual_blocks = 2
    config.discriminator.df_dim = 64

    config.attngan.batch_size = 32
    config.attngan.num_train_steps = 4_000
    config.attngan.generator_learning_rate = 6e-4
    config.attngan.discriminator_learning_rate = 4e-4
    config.attngan.final_learning_rate_fraction = 0.05
    config.attngan.ema_decay = 0.998
    config.attngan.damsm_weight = 4.0
    config.attngan.gamma3 = 20.0
    config.attngan.checkpoint_every_steps = 2_000
    config.attngan.sample_every_steps = 2_000
    return config
