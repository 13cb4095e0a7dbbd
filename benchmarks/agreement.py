"""FID, KID and Inception Score of two folders of images: by other programs, and by this one.

    PYTHON benchmarks/inception_in_pytorch.py seeded.pth
    python -m attngan_jax.convert classifier --source seeded.pth --out seeded.safetensors
    PYTHON benchmarks/agreement.py others A B seeded.pth [PROGRAM ...]
    python -m benchmarks.agreement ours A B seeded.safetensors [PROGRAM ...]

PYTHON is one that has pytorch-fid 0.3.0 and torch-fidelity 0.4.0; PROGRAM is one of the two, by
default both. A and B are folders of PNGs of one size, such as `evaluate --save_images` writes; with
names that begin with SEEDED, `others` first writes 4 seeded images to each, those of the tests.
The Inception Score is A's, in one split; KID is over all pairs.
"""

import json
import pathlib
import sys

import numpy as np
from PIL import Image

BATCH, SEEDED = 24, 4
FAMILIES = {"pytorch-fid": "tf-2015-pytorch-fid", "torch-fidelity": "tf-2015"}


def seeded(folder: pathlib.Path, first: int) -> None:
    """Writes `SEEDED` images of `inception_in_pytorch.seeded_images` from number `first` on."""
    from inception_in_pytorch import seeded_images

    folder.mkdir(exist_ok=True)
    for n, image in enumerate(seeded_images(first + SEEDED)[first:]):
        Image.fromarray(image).save(folder / f"{n:02d}.png")


def others(a: str, b: str, weights: str, programs: list[str]) -> dict:
    """By pytorch-fid and torch-fidelity."""
    found: dict = {}
    if "pytorch-fid" in programs:
        import pytorch_fid.inception
        import torch
        from pytorch_fid.fid_score import calculate_fid_given_paths

        pytorch_fid.inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights)
        fid = calculate_fid_given_paths([a, b], BATCH, "cpu", 2048, num_workers=0)
        found["pytorch-fid"] = {"fid": float(fid)}
    if "torch-fidelity" in programs:
        import torch_fidelity

        count = len(list(pathlib.Path(a).glob("*.png")))
        settings = dict(isc=True, fid=True, kid=True, kid_subsets=1, kid_subset_size=count)
        settings |= dict(isc_splits=1, batch_size=BATCH, cuda=False, cache=False, verbose=False)
        settings |= dict(feature_extractor_weights_path=weights)
        metrics = torch_fidelity.calculate_metrics(input1=a, input2=b, **settings)
        names = {"fid": "frechet_inception_distance", "kid": "kernel_inception_distance_mean"}
        names["inception_score"] = "inception_score_mean"
        found["torch-fidelity"] = {name: float(metrics[key]) for name, key in names.items()}
    return found


def ours(a: str, b: str, weights: str, programs: list[str]) -> dict:
    """By this package, with each program's input rule."""
    import jax

    from attngan_jax.evaluation.inception_classifier import Classifier
    from attngan_jax.evaluation.metrics import fid_kid
    from attngan_jax.evaluation.metrics.inception_score import InceptionScore

    found = {}
    for program in programs:
        classifier = Classifier.load(weights, FAMILIES[program])
        apply, statistics = jax.jit(classifier.apply), []
        for folder in (a, b):
            paths = sorted(pathlib.Path(folder).glob("*.png"))
            sums = fid_kid.Accumulator(classifier.features, len(paths), keep=len(paths))
            score = InceptionScore(len(paths), 1, 0)
            for n in range(0, len(paths), BATCH):
                images = [np.asarray(Image.open(path)) for path in paths[n : n + BATCH]]
                features, probabilities = apply(classifier.variables, np.stack(images))
                sums.add(np.asarray(features))
                score.add(np.asarray(probabilities))
            statistics.append((sums.result(), score.result()["mean"]))
        (one, is_a), (other, _) = statistics
        fid, kid = fid_kid.distances(one, other)
        found[program] = {"fid": fid, "kid": kid["value"], "inception_score": is_a}
    return found


if __name__ == "__main__":
    way, a, b, weights, *programs = sys.argv[1:]
    for number, name in enumerate((a, b)):
        if way == "others" and name.startswith("SEEDED"):
            seeded(pathlib.Path(name), SEEDED * number)
    measure = {"others": others, "ours": ours}[way]
    print(json.dumps(measure(a, b, weights, programs or list(FAMILIES)), indent=1))
