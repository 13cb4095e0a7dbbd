"""Caltech-UCSD Birds 200-2011 at 256 x 256, the paper's AttnGAN2: `default.py` as it is.

    python -m attngan_jax.main --config configs/cub.py
        --config.image_encoder.weights=inception_v3_google-0cc3c7bd.pth

8,855 training images of 150 species, 2,933 test images of 50 others, ten captions each. The paper
reports an inception score of 4.36 +- .03 and an R-precision of 67.82 +- 4.43 % (Tables 2 and 3),
and 4.35 and 58.65 % for AttnGAN1, which stops at 128 pixels: --config.generator.num_stages=2.
"""

from attngan_jax.configs import default


def get_config():
    """Three stages of 64, 128 and 256 pixels; 600 epochs of each stage of the training."""
    config = default.get_config()
    config.name = "cub"
    config.data.dataset = "cub"
    config.data.read_threads = 8  # a TPU eats faster than one thread decodes
    return config
