"""What a run needs of TPUs that are not there: flags and one call.

    python -m attngan_jax.compile_check --config configs/cub.py --topology v5e:2x4
        [--per_device_batch N] [--vocabulary_size N] [--config.KEY=VALUE ...]

Compiles the training steps of both stages with the TPU's own compiler (requirements-tpu.txt) and
prints one JSON object, on one line and last: memory, arithmetic, exchanges, estimated time.
docs/tpu.md explains them. Minutes at full size; nothing is run and no data is needed.
"""

import json
import os

from absl import flags
from ml_collections import config_flags

from attngan_jax import cli

_CONFIG = config_flags.DEFINE_config_file("config", None, "File with get_config().")
_TOPOLOGY = flags.DEFINE_string("topology", None, "Chips, such as v5e:2x4.", required=True)
_BATCH = flags.DEFINE_integer("per_device_batch", None, "Images a chip; default: the config's.", 1)
_WORDS = flags.DEFINE_integer("vocabulary_size", 5450, "Words of the dataset, as CUB's.", 2)
flags.mark_flag_as_required("config")


def main(argv):
    """Prints the report as JSON."""
    cli.no_arguments(argv)
    os.environ["JAX_PLATFORMS"] = "cpu"  # for what surrounds the compiler; a TPU here stays free
    from attngan_jax.training.ahead_of_time import compile_check

    config = _CONFIG.value.copy_and_resolve_references()
    print(json.dumps(compile_check(config, _TOPOLOGY.value, _BATCH.value, _WORDS.value)))


if __name__ == "__main__":
    cli.run(main)
