"""Trains the judges that `evaluate` scores procedural birds with: flags and one call.

python -m attngan_jax.train_judges --config configs/judges.py --out DIR [--config.KEY=VALUE ...]
"""

import re
import shlex
import sys

from absl import flags
from ml_collections import config_flags

from attngan_jax import cli

_CONFIG = config_flags.DEFINE_config_file("config", None, "File with get_config().")
_OUT = flags.DEFINE_string("out", None, "Folder for the three networks and their record.")
flags.mark_flags_as_required(("config", "out"))


def main(argv):
    """Builds the dataset if it is missing, trains, and writes weights and scores."""
    cli.no_arguments(argv)
    from attngan_jax import configuration
    from attngan_jax.data import datasets
    from attngan_jax.errors import UserError
    from attngan_jax.evaluation.judges import files, training
    from attngan_jax.training import parallel

    config = _CONFIG.value.lock()
    configuration.check(config)
    if config.data.dataset != files.DATASET:
        raise UserError(f"judges are trained on {files.DATASET}, not on {config.data.dataset}")
    parallel.use_compilation_cache(config.compilation_cache_dir)
    datasets.prepare(config)
    command = f"python -m attngan_jax.train_judges {shlex.join(sys.argv[1:])}"
    command = re.sub(r" --config\.data\.data_dir[= ]\S+", "", command)  # folders of this machine
    command = re.sub(r" --out[= ]\S+", " --out DIR", command)
    files.save(_OUT.value, training.train_judges(datasets.load(config), config, command))
    print(f"The judges are in {_OUT.value}")


if __name__ == "__main__":
    cli.run(main)
