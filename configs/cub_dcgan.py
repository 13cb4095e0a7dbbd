"""AttnDCGAN on CUB: the attentional generator makes one image, at 256 pixels.

    python -m attngan_jax.main --config configs/cub_dcgan.py
        --config.image_encoder.weights=inception_v3_google-0cc3c7bd.pth

One discriminator, without an unconditional head. The paper reports an inception score of
4.12 +- .05 and an R-precision of 38.45 +- 4.26 % (Table 3).
"""

from attngan_jax.configs import cub


def get_config():
    """As `cub.py`, with a single image."""
    config = cub.get_config()
    config.name = "cub_dcgan"
    config.generator.single_image = True
    return config
