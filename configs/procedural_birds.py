"""Procedural birds at 64 x 64, made for two CPU cores.

python -m attngan_jax.main --config configs/procedural_birds.py
"""

from attngan_jax.configs import default


def get_config():
    """Three stages of 16, 32 and 64 pixels."""
    config = default.get_config()
    config.name = "procedural_birds"
    config.cpu_devices = 2

    # One image of each species, so that no palette is learnt by heart.
    config.procedural_birds.num_species = 9_000
    config.procedural_birds.test_species = 1_000
    config.procedural_birds.images_per_species = 1

    config.data.crop_to_box = False  # the birds fill their images already
    config.data.resize_ratio = 68 / 64
    config.data.max_words = 20
    config.data.damsm_max_words = 10
    config.data.overflow_rule = "window"
    config.data.eval_max_words = 20

    config.text_encoder.word_dim = 256
    config.text_encoder.sentence_pooling = "max"
    config.text_encoder.forget_bias = 1.0
    config.text_encoder.embedding_limit = 1.0
    config.text_encoder.dropout_rate = 0.1
    config.text_encoder.embedding_dim = 256
    config.image_encoder.trunk = "cnn"
    config.image_encoder.cnn_dim = 16
    config.image_encoder.image_size = 64

    config.damsm.batch_size = 32
    config.damsm.num_train_steps = 1_800
    config.damsm.learning_rate = 4e-3
    config.damsm.decay_rate = 0.82
    config.damsm.decay_steps = 150
    config.damsm.max_grad_norm = 1.0
    config.damsm.gamma3 = 20.0
    config.damsm.swapped_captions = 1
    config.damsm.view_shift = 1 / 16
    config.damsm.view_blur = 1.0
    config.damsm.view_noise = 0.3
    config.damsm.checkpoint_every_steps = 450

    config.generator.base_size = 16
    config.generator.gf_dim = 16
    config.generator.z_dim = 32
    config.generator.condition_dim = 64
    config.generator.num_residual_blocks = 1
    config.discriminator.df_dim = 16
    config.discriminator.regions = True

    config.attngan.batch_size = 16
    config.attngan.num_train_steps = 1_500
    config.attngan.generator_learning_rate = 3.2e-3
    config.attngan.discriminator_learning_rate = 3.2e-3
    config.attngan.final_learning_rate_fraction = 0.1
    config.attngan.adam_b2 = 0.99
    config.attngan.ema_decay = 0.98
    config.attngan.augment_shift = 1 / 16
    config.attngan.damsm_weight = 6.25
    config.attngan.gamma3 = 8.0
    config.attngan.checkpoint_every_steps = 250
    config.attngan.sample_every_steps = 250

    config.eval.num_images = 2_000
    config.eval.fold_size = 200
    return config
