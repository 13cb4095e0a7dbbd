"""The training's input on one core: this package's pipeline beside one for PyTorch.

The PyTorch side (TORCH_PYTHON -m benchmarks.against_pytorch.input_rates FOLDER SECONDS) does the
released code's work for an image in Pillow, NumPy and torch: JPEG, the square around the box, 304
pixels, a random crop of 256, a flip, and tensors of 64, 128 and 256 pixels.
"""

import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time


def compare(python: str, rounds: int, seconds: float = 5) -> list[str]:
    """Rows of the table, of turns of both sides."""
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            name = [sys.executable, "-m", "benchmarks.pipeline"]
            flags = [f"--seconds={seconds}", f"--folder={folder}", "--num_images=400"]
            said = subprocess.run([*name, *flags], capture_output=True, text=True, check=True)
            ours.append(float(re.search(r"AttnGAN.*?(\d+) images/s", said.stdout)[1]))
            name = [python, "-m", "benchmarks.against_pytorch.input_rates", folder, str(seconds)]
            said = subprocess.run(name, capture_output=True, text=True, check=True)
            theirs.append(float(said.stdout.split()[-1]))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs))
    return [
        f"| input, one core | {way} | {statistics.median(rates):.0f} images/s "
        f"({min(rates):.0f} to {max(rates):.0f}) | {more} | | | | |"
        for way, rates, more in (("ours", ours, f"{ratio:.2f}"), ("PyTorch", theirs, ""))
    ]


def example(path: pathlib.Path, box, rng: random.Random) -> list:
    """Tensors `[3, S, S]` of one file, in [-1, 1]."""
    import numpy as np
    import torch
    from PIL import Image

    image = Image.open(path).convert("RGB")
    width, height = image.size
    x, y, w, h = box
    half, middle_x, middle_y = int(0.75 * max(w, h)), (2 * x + w) // 2, (2 * y + h) // 2
    left, top = max(0, middle_x - half), max(0, middle_y - half)
    image = image.crop((left, top, min(width, middle_x + half), min(height, middle_y + half)))
    scale = 304 / min(image.size)
    bilinear = Image.Resampling.BILINEAR
    image = image.resize([max(304, round(scale * side)) for side in image.size], bilinear)
    left, top = (rng.randint(0, side - 256) for side in image.size)
    image = image.crop((left, top, left + 256, top + 256))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    images = [image.resize((side, side), bilinear) for side in (64, 128)] + [image]
    tensors = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images]
    return [tensor.float().div(127.5).sub(1) for tensor in tensors]


def main() -> None:
    """Prints PyTorch's images a second, in batches of 20."""
    import torch

    from benchmarks.made_up_cub import make_source

    seconds = float(sys.argv[2])
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
        make_source(pathlib.Path(folder), 400)
        paths = sorted(pathlib.Path(folder).rglob("*.jpg"))
        for path in paths:
            path.read_bytes()
        rng, count, begin = random.Random(0), 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            chosen = [example(rng.choice(paths), (60, 27, 325, 304), rng) for _ in range(20)]
            [torch.stack(images) for images in zip(*chosen)]
            count += 20
        print(count / (time.perf_counter() - begin))


if __name__ == "__main__":
    main()
