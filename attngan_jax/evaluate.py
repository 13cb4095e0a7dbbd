"""Scores a trained run and writes its report: flags and one call.

    python -m attngan_jax.evaluate --workdir DIR [--eval.KEY=VALUE ...] [--follow]
        [--save_images DIR [--image_format png|webp]] [--save_fid_reference FILE.npz]

On several hosts all run this command together, with the flags that attngan_jax.main has for it.
"""

import functools

from absl import flags
from ml_collections import config_flags

from attngan_jax import cli
from attngan_jax.configs import default

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
config_flags.DEFINE_config_dict("eval", default.get_config().eval, "In place of the run's own.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Where the dataset is, if it has moved; default: config.data.data_dir."
)
_FOLLOW = flags.DEFINE_bool(
    "follow", False, "Score each new checkpoint of a run that is being trained, until the last one."
)
_EVERY = flags.DEFINE_float("every_seconds", 30.0, "How often --follow looks.", lower_bound=0.1)
_SAVE_IMAGES = flags.DEFINE_string(
    "save_images", None, "Folder for the generated images, one file each, and a manifest."
)
_FORMAT = flags.DEFINE_enum("image_format", "png", ["png", "webp"], "Of these; both lossless.")
_SAVE_REFERENCE = flags.DEFINE_string(
    "save_fid_reference", None, "File (.npz) for mu and sigma of the real images FID compares with."
)
cli.define_process_flags()
flags.mark_flag_as_required("workdir")


def main(argv):
    """Writes report/metrics.json and the page around it."""
    cli.no_arguments(argv)
    if _FOLLOW.value and (_SAVE_IMAGES.value or _SAVE_REFERENCE.value):
        raise flags.Error(
            "--save_images and --save_fid_reference are of one checkpoint: no --follow"
        )
    cli.keep_programs()
    from attngan_jax.evaluation.suite import evaluate, follow
    from attngan_jax.reporting.page import write_report
    from attngan_jax.training import multihost

    cli.join_processes()
    workdir, settings = _WORKDIR.value, config_flags.get_override_values(flags.FLAGS["eval"])
    write = functools.partial(write_report, workdir)
    if _FOLLOW.value:
        for metrics in follow(
            workdir, seconds=_EVERY.value, settings=settings, data_dir=_DATA_DIR.value
        ):
            multihost.on_first(functools.partial(_print, metrics), "print")
            multihost.on_first(write, "report")
    else:
        metrics = evaluate(
            workdir,
            settings=settings,
            data_dir=_DATA_DIR.value,
            save_images=_SAVE_IMAGES.value,
            image_format=_FORMAT.value,
            save_fid_reference=_SAVE_REFERENCE.value,
        )
        multihost.on_first(functools.partial(_print, metrics), "print")
    if report := multihost.on_first(write, "report"):
        print(f"The report is {report}")


def _print(metrics: dict) -> None:
    print(f"step {metrics['step']}")
    for name in ("r_precision", "r_precision_real_images", "r_precision_independent"):
        if block := metrics[name]:
            real = f" (real images {block['real_images']:.2f} %)" if "real_images" in block else ""
            print(f"{name}: {block['mean']:.2f} +- {block['std']:.2f} %{real}")
    blocks = {"attribute_accuracy": metrics["attribute_accuracy"]}
    blocks |= {f"grounding ({name})": block for name, block in (metrics["grounding"] or {}).items()}
    for name, block in blocks.items():
        if isinstance(block, dict) and block["mean"] is not None:
            print(f"{name}: {block['mean']:.2f} % (chance {block['chance']:.2f} %)")
    for name in ("kid_judge", "fid_judge"):
        if block := metrics[name]:
            print(f"{name}: {block['value']:.4f} (floor {block['floor']:.4f})")
    if spectrum := metrics["spectrum"]:
        print("spectrum:", ", ".join(f"{band}: {ratio:.2f}" for band, ratio in spectrum.items()))
    if presence := metrics["part_presence"]:
        shares = (f"{p} {one['generated']:.1f} ({one['real']:.1f})" for p, one in presence.items())
        print(f"part_presence, % (real images): {', '.join(shares)}")
    for name in ("fid", "fid_damsm"):
        if fid := metrics[name]:
            print(f"FID ({fid['family']}): {fid['value']:.3f}")
    for name in ("inception_score", "inception_score_calibrated"):
        if score := metrics[name]:
            value = f"{score['mean']:.2f} +- {score['std']:.2f}"
            print(f"{name} ({score['classifier']}): {value}")
    for name, reason in metrics["reasons"].items():
        print(f"{name}: {reason}", flush=True)


if __name__ == "__main__":
    cli.run(main)
