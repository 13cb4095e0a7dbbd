"""Is the PyTorch side the same work? Three whole steps beside the original's recorded losses.

    TORCH_PYTHON -m benchmarks.against_pytorch.torch_check

Prints the greatest relative difference of each step's losses from tests/data/reference.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

from benchmarks.against_pytorch.torch_networks import Widths
from benchmarks.against_pytorch.torch_step import SIZES, Step, Way

FOLDER = Path(__file__).parents[2] / "tests" / "data" / "reference"
ALLOWED = (1e-5, 1e-3, 3e-3)  # in each step: Adam makes rounding grow


def normal(tag: str, shape, seed: int) -> np.ndarray:
    """As tests/reference_vectors.py draws them, which needs JAX."""
    rng = np.random.default_rng([seed, zlib.crc32(tag.encode())])
    return rng.standard_normal(shape).astype(np.float32)


def seeded(network: torch.nn.Module, names_and_shapes, seed: int) -> None:
    """Loads the weights that the vectors were recorded with."""
    weights = {}
    for name, shape in names_and_shapes:
        n = normal(name, shape, seed) if shape else np.zeros((), np.int64)
        if name.endswith("num_batches_tracked"):
            n = np.zeros(shape, np.int64)
        elif name.endswith("running_var"):
            n = 1 + np.float32(0.2) * np.abs(n)
        elif name.endswith("running_mean"):
            n = np.float32(0.1) * n
        elif n.ndim == 1:
            n = 1 + np.float32(0.1) * n if name.endswith("weight") else np.float32(0.05) * n
        else:
            gain = 2**0.5 if n.ndim == 4 else 1.0
            n = n * np.float32(gain / np.prod(shape[1:]) ** 0.5)
        weights[name] = torch.from_numpy(np.asarray(n))
    network.load_state_dict(weights)


def differences(way: Way) -> np.ndarray:
    """Relative, `[3 steps, 5 losses]`."""
    spec = json.loads((FOLDER / "spec.json").read_text(encoding="utf-8"))
    recorded = np.load(FOLDER / "train_three_steps.npz")
    dims, B, seed = spec["dims"], spec["batch"], spec["seed"]
    D, T = dims["TEXT__EMBEDDING_DIM"], dims["TEXT__WORDS_NUM"]
    gan = [dims[f"GAN__{name}"] for name in "GF_DIM DF_DIM Z_DIM CONDITION_DIM R_NUM".split()]
    step = Step(Widths(*gan, D, T), way)
    seeded(step.generator, spec["specs"]["generator"], seed)
    seeded(step.image_encoder, spec["specs"]["image_encoder"], seed)
    for network, size in zip(step.discriminators, SIZES):
        seeded(network, spec["specs"][f"discriminator_{size}"], seed)
    step.average = [p.detach().clone() for p in step.generator.parameters()]

    def tensor(tag, *shape):
        return torch.from_numpy(normal(tag, shape, seed)).to(way.device)

    losses = []
    for i in range(len(recorded["losses"])):
        images = [torch.tanh(tensor(f"x{i}_{size}", B, 3, size, size)) for size in SIZES]
        classes = torch.from_numpy(np.asarray(recorded["class_ids"])).long().to(way.device)
        batch = {"images": images, "class_id": classes}
        noise = tensor(f"z{i}", B, gan[2]), tensor(f"e{i}", B, gan[3])
        features = 0.5 * tensor(f"w{i}", B, D, T), tensor(f"s{i}", B, D)
        losses.append([float(loss) for loss in step.update(batch, *features, *noise)])
    return np.abs(np.array(losses) / recorded["losses"] - 1)


def main() -> None:
    """Checks eager mode on the CPU."""
    worst = differences(Way()).max(1)
    print("differences from the original's losses in three steps:", worst)
    if (worst > ALLOWED).any():
        raise SystemExit("the PyTorch side does other work than the original")


if __name__ == "__main__":
    main()
