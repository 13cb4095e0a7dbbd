"""COCO 2014 at 256 x 256, the paper's AttnGAN2.

    python -m attngan_jax.main --config configs/coco.py
        --config.image_encoder.weights=inception_v3_google-0cc3c7bd.pth

82,783 training and 40,504 test images, five captions each, no classes: every other caption is a
negative. The paper reports an inception score of 25.89 +- .47 and an R-precision of
85.47 +- 3.69 % (Tables 2 and 3).
"""

from attngan_jax.configs import default


def get_config():
    """Wider and deeper than CUB; 120 epochs of AttnGAN."""
    config = default.get_config()
    config.name = "coco"
    config.data.dataset = "coco"
    config.data.read_threads = 8  # a TPU eats faster than one thread decodes
    config.data.captions_per_image = 5
    config.data.max_words = 12
    config.data.damsm_max_words = 15
    config.data.eval_max_words = 20
    config.data.crop_to_box = False

    config.damsm.decay_steps = 1_724  # an epoch of 82,783 images
    config.damsm.num_train_steps = 1_034_400  # 600 epochs

    config.generator.gf_dim = 48
    config.generator.num_residual_blocks = 3
    config.discriminator.df_dim = 96

    config.attngan.batch_size = 14
    config.attngan.num_train_steps = 709_560  # 120 epochs
    config.attngan.damsm_weight = 50.0
    return config
