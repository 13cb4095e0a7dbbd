"""Trains and scores a run, from dataset to report: flags and one call.

    python -m attngan_jax.main --config configs/cub.py [--workdir DIR] [--config.KEY=VALUE ...]
        [--damsm_from DIR] [--restart_damaged]

On several hosts all run this command together, with `--distributed` on TPUs, or with
`--coordinator=HOST:PORT --num_processes=N --process_index=K` on each.
"""

import os
import shlex
import sys

from absl import flags, logging
from ml_collections import config_flags

from attngan_jax import __version__, cli, storage

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with get_config(), or a name, such as cub."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run, or gs://BUCKET/PATH; default: runs/<config name>."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Where the dataset is, or is built; as --config.data.data_dir."
)
_DAMSM_FROM = flags.DEFINE_string(
    "damsm_from",
    None,
    "Folder of a run with the same stage 1: its finished one is copied, not trained.",
)
_RESTART = flags.DEFINE_bool(
    "restart_damaged",
    False,
    "Train a stage again whose checkpoints are damaged, all that it could go on from.",
)
cli.define_process_flags()
flags.mark_flag_as_required("config")


def main(argv):
    """Runs what is left of the run and says where its report is."""
    cli.no_arguments(argv)
    config = _CONFIG.value.lock()
    config.data.data_dir = _DATA_DIR.value or config.data.data_dir
    workdir = storage.path(_WORKDIR.value or f"runs/{config.name}")
    logging.info("attngan_jax %s: %s, in %s; starting", __version__, config.name, workdir)
    from attngan_jax.experiment import train_and_evaluate
    from attngan_jax.reporting.run_files import example_caption

    cli.join_processes()
    given = {"damsm_from": _DAMSM_FROM.value, "restart_damaged": _RESTART.value}
    report = train_and_evaluate(config, workdir, **given)
    if report is None:
        return
    # How this Python is called from here: not by its plain name, if .venv is not activated.
    path = os.path.relpath(sys.executable)
    python = "python" if path.startswith("..") else path
    attention = " --attention" * (config.generator.attention and config.generator.num_stages > 1)
    where = f"--workdir {shlex.quote(str(workdir))} --out out{attention}"
    caption = shlex.quote(example_caption(workdir))
    print(
        f"All done. The report is {report}\nTry a caption of your own, in words like these:\n"
        f"  {python} -m attngan_jax.sample {where} --caption {caption}"
    )


if __name__ == "__main__":
    cli.run(main)
