"""Images of one's own at 128 x 128: some thousand with a caption or more each.

    python -m attngan_jax.main --config configs/folder.py --config.data.source=FOLDER
        --config.image_encoder.weights=inception_v3_google-0cc3c7bd.pth

The folder holds images with `name.txt` beside `name.jpg`, or a `captions.jsonl`: see
docs/data.md. Many sizes of collections need other numbers of steps: both stages save images and
losses to judge that by.

With few images, a thousand or fewer, discriminators may learn them by heart: their losses go to 0
while the images stop improving. Then start stage 2 again in a new workdir, with `--damsm_from` the
old one, `--config.attngan.augment_shift=0.125` and `--config.attngan.augment_cutout=0.5`, the
remedy of Zhao et al. (NeurIPS 2020). On small drawn birds whose discriminators had not come to that
it cost more than it brought (docs/recipes.md, "Few images"); on photographs it was not tried.
"""

from attngan_jax.configs import default


def get_config():
    """Two stages of 64 and 128 pixels."""
    config = default.get_config()
    config.name = "folder"
    config.data.dataset = "folder"
    config.data.read_threads = 8  # a TPU eats faster than one thread decodes
    config.data.captions_per_image = 5
    config.data.tokenizer = "unicode"  # captions in any language

    config.damsm.num_train_steps = 20_000
    config.generator.num_stages = 2
    config.attngan.num_train_steps = 60_000
    config.eval.num_images = 5_000
    config.eval.fold_size = 500
    return config
