"""Training examples a second from a dataset on disk, on one core, and what decoding alone takes.

    python -m benchmarks.pipeline [--num_images 2000] [--seconds 15] [--num_workers N]
        [--folder DIR]

Builds a small CUB of made-up images of about 500 x 375 (see benchmarks/made_up_cub.py) and reads
it as the training of `configs/cub.py` does: JPEG to a random crop around the box at 64, 128 and 256
pixels, for DAMSM at 299, with a caption's word numbers. Everything runs on one core, unless flags
give more threads or worker processes. All files are read once before, into the file cache.
"""

import os
import pathlib
import tempfile
import time
from collections.abc import Callable

from absl import app, flags, logging

from attngan_jax.data import datasets, pipeline, transforms
from benchmarks.made_up_cub import make_source
from configs import cub

_NUM_IMAGES = flags.DEFINE_integer("num_images", 2_000, "Images to make up.", lower_bound=200)
_SECONDS = flags.DEFINE_float("seconds", 15.0, "How long to read for each number.")
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "config.data.num_workers", lower_bound=0)
_READ_THREADS = flags.DEFINE_integer("read_threads", 1, "config.data.read_threads", lower_bound=1)
_FOLDER = flags.DEFINE_string("folder", None, "Where to work; default: the system's.")


def build(folder: pathlib.Path):
    """An open dataset in CUB's layout, and its config."""
    (folder / "source").mkdir()
    make_source(folder / "source", _NUM_IMAGES.value)
    config = cub.get_config()
    config.data.data_dir, config.data.source = str(folder / "data"), str(folder / "source")
    config.data.num_workers = _NUM_WORKERS.value
    config.data.read_threads = _READ_THREADS.value
    datasets.prepare(config)
    return datasets.load(config), config


def rate(step: Callable[[], int]) -> float:
    """Things per second that `step` does; each call returns how many it has done."""
    step()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < _SECONDS.value:
        count += step()
    return count / (time.perf_counter() - start)


def pipeline_rate(
    dataset, config, batch_size: int, image_sizes: tuple[int, ...], max_words: int
) -> float:
    """Examples a second out of the training iterator."""
    iterator = pipeline.train_iterator(
        dataset, config, batch_size=batch_size, seed=0, image_sizes=image_sizes, max_words=max_words
    )
    try:
        return rate(lambda: len(next(iterator)["caption"]))
    finally:
        iterator.close()


def main(argv):
    """Prints the rates."""
    del argv
    logging.set_verbosity(logging.WARNING)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
        dataset, config = build(pathlib.Path(folder))
        records = [dataset.train[i] for i in range(len(dataset.train))]  # reads every file
        if cores and config.data.num_workers == 0 and config.data.read_threads == 1:
            os.sched_setaffinity(0, cores[:1])
        size = sum(len(record["image"]) for record in records) / len(records)
        print(f"{len(records):,} training images of {size / 1000:.0f} kB", flush=True)
        some = records[:64]

        def decode() -> int:
            for record in some:
                transforms.decode_image(record["image"])
            return len(some)

        print(f"decoding alone               {rate(decode):6.0f} images/s", flush=True)
        data = config.data
        for what, batch_size, sizes, words in (
            (
                "AttnGAN, 64 + 128 + 256 px ",
                config.attngan.batch_size,
                (64, 128, 256),
                data.max_words,
            ),
            ("DAMSM, 299 px              ", config.damsm.batch_size, (299,), data.damsm_max_words),
        ):
            found = pipeline_rate(dataset, config, batch_size, sizes, words)
            print(f"{what}  {found:6.0f} images/s", flush=True)


if __name__ == "__main__":
    app.run(main)
