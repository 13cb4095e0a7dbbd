"""COCO 2014 at 256 x 256 with what later work found to help; not the paper's, see `coco.py`.

    python -m attngan_jax.main --config configs/coco_plus.py
        --config.image_encoder.weights=inception_v3_google-0cc3c7bd.pth

As `cub_plus.py`. This config has not been trained to the end here.
"""

from attngan_jax.configs import coco, cub_plus


def get_config():
    """COCO's data, steps and lambda; the networks and views of `cub_plus.py`."""
    config, plus = coco.get_config(), cub_plus.get_config()
    config.name = "coco_plus"
    for name in ("view_shift", "view_blur", "view_noise"):
        config.damsm[name] = plus.damsm[name]
    config.generator.gf_dim = plus.generator.gf_dim
    config.discriminator.update(plus.discriminator)
    return config
