"""Builds the dataset of a config, and nothing else: flags and one call.

python -m attngan_jax.prepare --config configs/cub.py [--data_dir DIR] [--source DIR]
"""

import time

from absl import flags
from ml_collections import config_flags

from attngan_jax import cli, configuration

_CONFIG = config_flags.DEFINE_config_file("config", None, "File with get_config().")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where to build; default: config.data.data_dir.")
_SOURCE = flags.DEFINE_string("source", "", "What to build from, where the dataset needs it.")
flags.mark_flag_as_required("config")


def main(argv):
    """Builds what is missing and says what is there."""
    cli.no_arguments(argv)
    from attngan_jax.data import dataset_checks, dataset_report, datasets

    start = time.time()
    config = _CONFIG.value.lock()
    config.data.data_dir = _DATA_DIR.value or config.data.data_dir
    configuration.check(config)
    datasets.prepare(config, _SOURCE.value)
    dataset = datasets.load(config)
    if dataset.report is not None:
        print(dataset_report.table(dataset.report))
    dataset_checks.warn(config, dataset)
    print(
        f"{dataset.name}: {len(dataset.train)} training and {len(dataset.test)} test images, "
        f"{len(dataset.vocabulary)} words, in {dataset.folder} "
        f"({time.time() - start:.0f} s)"
    )


if __name__ == "__main__":
    cli.run(main)
