"""The paper's Table 2 on procedural birds: what each part of AttnGAN is worth.

    bash launch/ablation.sh                                                     all of it
    python -m attngan_jax.main --config configs/ablation.py:lambda_5            one variant

As in the paper, the weight of DAMSM is varied on "AttnGAN1", which has two stages; "AttnGAN2" has
three. All variants of one seed share stage 1, the data and every setting that is not their point.
The GAN's schedule is much shorter than that of `procedural_birds.py`, so that all of it fits an
evening on one CPU core: compare the variants with each other, not with that run.
"""

from attngan_jax.configs import procedural_birds

# What a variant changes; "" is "AttnGAN1" with the paper's lambda of 5.
VARIANTS = {
    "": {},
    "no_damsm": {"attngan.damsm_weight": 0.0},
    "lambda_0.1": {"attngan.damsm_weight": 0.1},
    "lambda_1": {"attngan.damsm_weight": 1.0},
    "lambda_5": {"attngan.damsm_weight": 5.0},  # also the two stages of "two or three"
    "lambda_10": {"attngan.damsm_weight": 10.0},
    "no_attention": {"generator.attention": False},
    "three_stages": {"generator.num_stages": 3},  # "AttnGAN2"
    "dcgan": {"generator.num_stages": 3, "generator.single_image": True},  # "AttnDCGAN"
}


def get_config(variant=""):
    """The settings that all share, and those of one of `VARIANTS`."""
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r}: choose one of {', '.join(VARIANTS)[2:]}")
    config = procedural_birds.get_config()
    config.name = f"ablation_{variant}" if variant else "ablation"
    # The paper's model, without what docs/recipes.md found to help.
    config.procedural_birds.update(num_species=900, test_species=100, images_per_species=10)
    config.damsm.update(view_shift=0.0, view_blur=0.0, view_noise=0.0)
    config.damsm.update(gamma3=10.0, swapped_captions=0, num_train_steps=1_200, decay_steps=100)
    config.attngan.augment_shift = 0.0
    config.discriminator.regions = False
    config.text_encoder.embedding_limit = 0.1
    config.data.damsm_max_words = 20
    config.attngan.update(generator_learning_rate=1e-3, discriminator_learning_rate=2e-4)
    config.attngan.update(adam_b2=0.999, ema_decay=0.995)
    config.attngan.final_learning_rate_fraction = 0.2
    config.generator.num_stages = 2
    config.attngan.update(damsm_weight=5.0, gamma3=10.0)
    config.attngan.num_train_steps = 800
    config.attngan.checkpoint_every_steps = 200
    config.attngan.sample_every_steps = 200
    config.eval.num_images = 1_000
    config.eval.fold_size = 100
    config.update_from_flattened_dict(VARIANTS[variant])
    return config
