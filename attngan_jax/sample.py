"""Generates images from captions: flags and one call.

python -m attngan_jax.sample --workdir DIR (--caption TEXT ... | --captions FILE) --out DIR
    [--attention] [--seed N] [--num_images N] [--truncation X]
"""

from absl import flags

from attngan_jax import cli

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of a trained run or a model; or a model's name.", required=True
)
_CAPTION = flags.DEFINE_multi_string(
    "caption", [], "A caption; may be given several times, and several captions may follow it."
)
_CAPTIONS = flags.DEFINE_string("captions", None, "A UTF-8 text file, one caption a line.")
flags.DEFINE_string(  # so that one set of flags serves main, evaluate and sample
    "data_dir", None, "Where the dataset is: not needed here, for a run knows its words."
)
_OUT = flags.DEFINE_string("out", None, "Folder for the images.", required=True)
_ATTENTION = flags.DEFINE_bool("attention", False, "Also draw which pixels attend to each word.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the noise: another seed, other images.", 0, 2**32 - 1)
_NUM_IMAGES = flags.DEFINE_integer("num_images", 4, "Images for each caption.", 1, 10**6)
_TRUNCATION = flags.DEFINE_float(
    "truncation", None, "Keeps the noise z within this distance of 0: less varied, fewer failures."
)


def main(argv):
    """Writes the images and says where they are."""
    captions = _CAPTION.value + (argv[1:] if _CAPTION.value else [])
    if not _CAPTION.value:
        cli.no_arguments(argv)
    if bool(captions) == bool(_CAPTIONS.value):
        raise flags.Error("give either --caption or --captions")
    cli.keep_programs()
    from attngan_jax.sampling import sample_captions

    if _CAPTIONS.value:
        captions = sample_captions.read_captions(_CAPTIONS.value)
    for path in sample_captions.sample(
        _WORKDIR.value,
        captions,
        _OUT.value,
        attention=_ATTENTION.value,
        seed=_SEED.value,
        num_images=_NUM_IMAGES.value,
        truncation=_TRUNCATION.value,
    ):
        print(path)


if __name__ == "__main__":
    cli.run(main)
