"""Inception-v3 in PyTorch with seeded weights: the numbers that tests compare the JAX network with.

    PYTHON benchmarks/inception_in_pytorch.py [FILE.pth]

PYTHON is one that has PyTorch and NumPy; this package is not needed. Prints features and logits of
two images, as Python. `FILE.pth` gets the weights under torchvision's names, with 1,008 outputs, as
pytorch-fid's file has them. The layers are those of `against_pytorch/torch_inception.py`.
"""

import sys
import zlib

import numpy as np

INDICES = (0, 1, 5, 100, 320, 777, 1088, 1500, 1856, 2000, 2047)  # of the features printed
LOGITS = (0, 1, 2, 500, 1007)
CLASSES, SIDE = 1008, 64


def seeded_weights(shapes: dict) -> dict:
    """A float32 array of each shape, by the array's name alone; variances are about kept."""
    weights = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        normal = rng.standard_normal(shape)
        if name.endswith("running_var"):
            array = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("bn.weight"):
            array = 1.0 + 0.1 * normal
        elif len(shape) > 1:
            array = normal * (2.0 / np.prod(shape[1:])) ** 0.5
        else:
            array = 0.1 * normal
        weights[name] = array.astype(np.float32)
    return weights


def seeded_images(count: int, side: int = SIDE) -> np.ndarray:
    """Blobs of colour with a little grain, uint8 `[count, side, side, 3]`."""
    images = []
    for n in range(count):
        rng = np.random.default_rng(n)
        rows, columns = np.mgrid[:side, :side] / side
        image = np.full((side, side, 3), rng.uniform(60, 200, 3))
        for _ in range(6):
            y, x, width = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.3)
            blob = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / width**2)
            image += blob[..., None] * rng.normal(0, 90, 3)
        image += rng.normal(0, 6, image.shape)
        images.append(np.clip(np.round(image), 0, 255).astype(np.uint8))
    return np.stack(images)


def main() -> None:
    """Prints the numbers; with an argument, writes the weights there."""
    import torch
    from against_pytorch.torch_inception import Classifier

    model = Classifier(CLASSES).eval()
    fixed = {n: a for n, a in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    weights = seeded_weights({name: tuple(array.shape) for name, array in fixed.items()})
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    model.load_state_dict(tensors, strict=False)
    if len(sys.argv) > 1:
        torch.save(tensors, sys.argv[1])
    x = torch.from_numpy(seeded_images(2).transpose(0, 3, 1, 2).astype(np.float32))
    # pytorch-fid's input rule: pixels lie at their middles, values in [-1, 1].
    x = torch.nn.functional.interpolate(x / 255.0, (299, 299), mode="bilinear", align_corners=False)
    with torch.no_grad():
        features, logits = model(2.0 * x - 1.0)
    print("FEATURES =", np.round(features.numpy()[:, list(INDICES)], 6).tolist())
    print("MEANS =", np.round(features.numpy().mean(1), 6).tolist())
    print("LOGITS =", np.round(logits.numpy()[:, list(LOGITS)], 6).tolist())


if __name__ == "__main__":
    main()
