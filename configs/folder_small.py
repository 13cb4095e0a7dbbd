"""Images of one's own at 64 x 64, on a small machine and without a download.

    python -m attngan_jax.main --config configs/folder_small.py --config.data.source=FOLDER

The networks are those of `configs/procedural_birds.py`, whose image encoder is trained from
nothing; the steps are more, for photographs are harder than drawings, and the GAN's rates lower.
docs/looks_bad.md says how to judge the result.
"""

from attngan_jax.configs import default, procedural_birds


def get_config():
    """Three stages of 16, 32 and 64 pixels."""
    config = procedural_birds.get_config()
    config.name = "folder_small"
    config.data.update(default.get_config().data)  # crops and captions of any length
    config.data.dataset = "folder"
    config.data.captions_per_image = 5

    config.damsm.num_train_steps = 3_000
    config.damsm.decay_steps = 250
    config.attngan.num_train_steps = 6_000
    config.attngan.update(generator_learning_rate=1e-3, discriminator_learning_rate=1e-3)
    config.attngan.update(adam_b2=0.999, ema_decay=0.995, damsm_weight=4.0, gamma3=20.0)
    config.attngan.checkpoint_every_steps = 500
    config.attngan.sample_every_steps = 500
    config.eval.num_images = 1_000
    config.eval.fold_size = 100
    return config
