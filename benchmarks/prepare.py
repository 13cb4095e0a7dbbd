"""Preparing a source of CUB's size: seconds, images a second, and peak memory.

    python -m benchmarks.prepare [--num_images 11788] [--folder DIR]

Makes up images of about 500 x 375 with ten captions each in the released code's layout (1.2 GB),
then runs `attngan_jax.prepare` on them in a process of its own. Needs 2.5 GB of disk for a while.
"""

import pathlib
import resource
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from benchmarks.made_up_cub import make_source

_NUM_IMAGES = flags.DEFINE_integer("num_images", 11_788, "Images; CUB has 11,788.", lower_bound=8)
_FOLDER = flags.DEFINE_string("folder", None, "Where to work; default: the system's.")


def main(argv):
    """Prints the time and memory of a build."""
    del argv
    root = pathlib.Path(__file__).parents[1]
    with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
        folder = pathlib.Path(folder)
        (folder / "source").mkdir()
        total = make_source(folder / "source", _NUM_IMAGES.value)
        print(f"{_NUM_IMAGES.value:,} images, {total / 1e9:.2f} GB", flush=True)
        start = time.perf_counter()
        subprocess.run(
            [
                sys.executable,
                "-m",
                "attngan_jax.prepare",
                "--config",
                "configs/cub.py",
                "--data_dir",
                str(folder / "data"),
                "--source",
                str(folder / "source"),
            ],
            cwd=root,
            check=True,
        )
        seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # Linux counts in KiB
    print(
        f"prepared in {seconds:.1f} s ({_NUM_IMAGES.value / seconds:.0f} images/s), "
        f"{memory:.2f} GiB of memory at its peak"
    )


if __name__ == "__main__":
    app.run(main)
