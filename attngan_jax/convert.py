"""Imports and exports weights of the released code: flags and one call each way.

python -m attngan_jax.convert import --config C --workdir DIR --generator F.pth
    --text_encoder F.pth [--image_encoder F.pth] [--discriminator F.pth ...]
    --captions captions.pickle [--step N]
python -m attngan_jax.convert import --model FOLDER --workdir DIR
python -m attngan_jax.convert export --workdir DIR --out DIR [--format compact|stablehlo]
python -m attngan_jax.convert classifier --source FILE --out FILE.safetensors
"""

import shlex

from absl import flags
from ml_collections import config_flags

from attngan_jax import cli

_CONFIG = config_flags.DEFINE_config_file("config", None, "import: file with get_config().")
_WORKDIR = flags.DEFINE_string("workdir", None, "import, export: the run, new in an import.")
_MODEL = flags.DEFINE_string("model", None, "import: a model folder, in place of single files.")
flags.DEFINE_string("generator", None, "import: netG*.pth.")
flags.DEFINE_string("text_encoder", None, "import: text_encoder*.pth.")
flags.DEFINE_string("image_encoder", None, "import: image_encoder*.pth, to train or score the run.")
_DISCRIMINATOR = flags.DEFINE_multi_string(
    "discriminator", [], "import: netD*.pth, the flag once for each; those left away start afresh."
)
flags.DEFINE_string("captions", None, "import: captions.pickle, for its words.")
_STEP_HELP = "import: AttnGAN's updates so far; at config.attngan.num_train_steps it is finished."
_STEP = flags.DEFINE_integer("step", 0, _STEP_HELP, lower_bound=0)
_OUT = flags.DEFINE_string("out", None, "export: folder for the files; classifier: the file.")
_FORMAT_HELP = """export: a model folder with PyTorch's files; a compact one, in 8 bits and without
    DAMSM's image encoder, to generate alone; or one for jax without this package."""
_FORMAT = flags.DEFINE_enum("format", "folder", ["folder", "compact", "stablehlo"], _FORMAT_HELP)
_SOURCE_HELP = """classifier: torchvision's inception_v3 (.pth), the graph of 2015-12-05 (.pb, or
    pytorch-fid's .pth of it), or the prefix of the CUB classifier's checkpoint."""
_SOURCE = flags.DEFINE_string("source", None, _SOURCE_HELP)


def main(argv):
    """Imports or exports, and says what can be done with the result."""
    commands = {"import": _import, "export": _export, "classifier": _classifier}
    if len(argv) != 2 or argv[1] not in commands:
        usage = "convert import ..., convert export ... or convert classifier ..."
        raise flags.Error(f"say what to do: {usage}")
    commands[argv[1]]()


def _import():
    names = "generator text_encoder image_encoder captions".split()
    if _MODEL.value:
        _require("workdir")
        _refuse("config", *names, "discriminator", "step")
    else:
        _require("workdir", "config", "generator", "text_encoder", "captions")
    from attngan_jax.conversion.import_run import read_model, read_original, write_workdir

    if _MODEL.value:
        config, model, step = read_model(_MODEL.value)
    else:
        config, step = _CONFIG.value.lock(), _STEP.value
        paths = {name: flags.FLAGS[name].value for name in names}
        model = read_original(config, discriminators=_DISCRIMINATOR.value, **paths)
    write_workdir(config, _WORKDIR.value, model, step, card_of=_MODEL.value)
    where = shlex.quote(_WORKDIR.value)
    print(
        f"{_WORKDIR.value} is a run with these weights and {len(model.vocabulary)} words. "
        f"Generate with\n  python -m attngan_jax.sample --workdir {where} --out out "
        '--caption "this bird is red with black wings"'
    )
    if not config.generator.legacy_mask and not _MODEL.value:
        print(
            "Published weights were trained with the attention mask of the released code; to "
            "generate as it does, import with --config.generator.legacy_mask=True."
        )


def _export():
    _require("workdir", "out")
    if _FORMAT.value == "stablehlo":
        from attngan_jax.conversion.stablehlo import export_stablehlo

        print("\n".join(map(str, export_stablehlo(_WORKDIR.value, _OUT.value))))
        script = shlex.quote(f"{_OUT.value}/generate.py")
        print(f'Generate with jax alone: python {script} "a red bird"')
        return
    if _FORMAT.value == "compact":
        import attngan_jax

        attngan_jax.load(_WORKDIR.value).save(_OUT.value, compact=True)
        print(f"Generate with attngan_jax.load({_OUT.value!r}).generate([...])")
        return
    from attngan_jax.configuration import load_workdir_config
    from attngan_jax.conversion.export_run import export, loading_hint
    from attngan_jax.data.vocabulary import Vocabulary
    from attngan_jax.workdir import Workdir

    paths = export(_WORKDIR.value, _OUT.value)
    num_words = len(Vocabulary.load(Workdir(_OUT.value).vocabulary))
    print(
        f"{_OUT.value} is a model folder, to be handed on:\n"
        f"  attngan_jax.load({_OUT.value!r}).generate([...])\n"
        "Its networks are also in files of their own:"
    )
    print("\n".join(map(str, paths)))
    print(loading_hint(load_workdir_config(_OUT.value), num_words, paths))


def _classifier():
    _require("source", "out")
    from attngan_jax.interop.inception_weights import convert_classifier

    family = convert_classifier(_SOURCE.value, _OUT.value)
    keys = ["inception_score_weights"] + ["fid_weights"] * (family != "cub-50")
    print(
        f"{_OUT.value} is a classifier of the family {family}. Score a run with it:\n"
        "  python -m attngan_jax.evaluate --workdir DIR "
        + " ".join(f"--eval.{key}={shlex.quote(_OUT.value)}" for key in keys)
    )


def _refuse(*names):
    if given := [f"--{name}" for name in names if flags.FLAGS[name].present]:
        raise flags.Error(f"--model says it all: leave {', '.join(given)} away")


def _require(*names):
    missing = [f"--{name}" for name in names if not flags.FLAGS[name].value]
    if missing:
        raise flags.Error(f"this needs {', '.join(missing)}")


if __name__ == "__main__":
    cli.run(main)
