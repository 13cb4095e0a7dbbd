"""Fetches weights that the paper's authors published, as a model folder: flags and one call.

python -m attngan_jax.published cub [--out DIR] [--mirror URL_OR_FOLDER]
    [--files GENERATOR TEXT_ENCODER CAPTIONS]
"""

import shlex

from absl import flags

from attngan_jax import cli

_OUT = flags.DEFINE_string("out", None, "Folder for the model; by default where load() looks.")
_MIRROR = flags.DEFINE_string("mirror", None, "Another address, or a folder, that has the files.")
_FILES = flags.DEFINE_multi_string(
    "files", [], "The files, downloaded by hand: three of them, or their folder."
)


def main(argv):
    """Writes the model folder and says whose the model is."""
    from attngan_jax.conversion import published
    from attngan_jax.workdir import PUBLISHED

    name, files = (argv[1] if len(argv) > 1 else ""), _FILES.value + argv[2:]
    if name not in published.MODELS:
        raise flags.Error(f"say which model: {', '.join(published.MODELS)}")
    if argv[2:] and not _FILES.value:
        cli.no_arguments(argv[1:])
    if files and _MIRROR.value:
        raise flags.Error("give either --files or --mirror")
    out = _OUT.value or PUBLISHED[f"{name}-published"]
    published.make(name, out, mirror=_MIRROR.value, files=files)
    where = _OUT.value or f"{name}-published"
    print(
        f"{out} is the model that Tao Xu et al. published with AttnGAN (CVPR 2018), under the MIT "
        "License, Copyright (c) 2018 Tao Xu; the text is in its README.md. Generate with\n"
        f"  python -m attngan_jax.sample --workdir {shlex.quote(where)} --out out "
        '--caption "this bird is red with black wings"'
    )


if __name__ == "__main__":
    cli.run(main)
