"""Inception-v3 in PyTorch with seeded weights: the numbers that tests compare the JAX network with.

    PYTHON benchmarks/inception_in_pytorch.py [FILE.pth]

PYTHON is one that has PyTorch and NumPy; this package is not needed. Prints features and logits of
two images, as Python. `FILE.pth` gets the weights under torchvision's names, with 1,008 outputs, as
pytorch-fid's file has them. Written from the description of the layers: convolutions without bias,
BatchNorm with epsilon 1e-3 and ReLU; in the blocks of the 2015 graph average pools leave the
padding out, and the last block takes the maximum.
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


def network():
    """The network of the 2015 graph, `[B, 3, 299, 299]` -> features `[B, 2048]`, logits."""
    import torch
    from torch import nn
    from torch.nn import functional

    def average(x):
        return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    def maximum(x):
        return functional.max_pool2d(x, 3, stride=1, padding=1)

    def reduce(x):
        return functional.max_pool2d(x, 3, stride=2)

    class Unit(nn.Module):
        def __init__(self, inputs, outputs, kernel=1, stride=1, padding=0):
            super().__init__()
            self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
            self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

        def forward(self, x):
            return torch.relu(self.bn(self.conv(x)))

    class A(nn.Module):
        def __init__(self, inputs, pooled):
            super().__init__()
            self.branch1x1 = Unit(inputs, 64)
            self.branch5x5_1, self.branch5x5_2 = Unit(inputs, 48), Unit(48, 64, 5, 1, 2)
            self.branch3x3dbl_1, self.branch3x3dbl_2 = Unit(inputs, 64), Unit(64, 96, 3, 1, 1)
            self.branch3x3dbl_3 = Unit(96, 96, 3, 1, 1)
            self.branch_pool = Unit(inputs, pooled)

        def forward(self, x):
            five = self.branch5x5_2(self.branch5x5_1(x))
            double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
            parts = [self.branch1x1(x), five, double, self.branch_pool(average(x))]
            return torch.cat(parts, 1)

    class B(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch3x3 = Unit(288, 384, 3, 2)
            self.branch3x3dbl_1, self.branch3x3dbl_2 = Unit(288, 64), Unit(64, 96, 3, 1, 1)
            self.branch3x3dbl_3 = Unit(96, 96, 3, 2)

        def forward(self, x):
            double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
            return torch.cat([self.branch3x3(x), double, reduce(x)], 1)

    class C(nn.Module):
        def __init__(self, width):
            super().__init__()
            wide, tall = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
            self.branch1x1, self.branch_pool = Unit(768, 192), Unit(768, 192)
            self.branch7x7_1, self.branch7x7_2 = Unit(768, width), Unit(width, width, *wide)
            self.branch7x7_3 = Unit(width, 192, *tall)
            self.branch7x7dbl_1, self.branch7x7dbl_2 = Unit(768, width), Unit(width, width, *tall)
            self.branch7x7dbl_3 = Unit(width, width, *wide)
            self.branch7x7dbl_4 = Unit(width, width, *tall)
            self.branch7x7dbl_5 = Unit(width, 192, *wide)

        def forward(self, x):
            seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
            double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
            double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
            parts = [self.branch1x1(x), seven, double, self.branch_pool(average(x))]
            return torch.cat(parts, 1)

    class D(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch3x3_1, self.branch3x3_2 = Unit(768, 192), Unit(192, 320, 3, 2)
            self.branch7x7x3_1 = Unit(768, 192)
            self.branch7x7x3_2 = Unit(192, 192, (1, 7), 1, (0, 3))
            self.branch7x7x3_3 = Unit(192, 192, (7, 1), 1, (3, 0))
            self.branch7x7x3_4 = Unit(192, 192, 3, 2)

        def forward(self, x):
            seven = self.branch7x7x3_2(self.branch7x7x3_1(x))
            seven = self.branch7x7x3_4(self.branch7x7x3_3(seven))
            return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, reduce(x)], 1)

    class E(nn.Module):
        def __init__(self, inputs, pool):
            super().__init__()
            self.pool = pool
            wide, tall = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
            self.branch1x1, self.branch_pool = Unit(inputs, 320), Unit(inputs, 192)
            self.branch3x3_1 = Unit(inputs, 384)
            self.branch3x3_2a, self.branch3x3_2b = Unit(384, 384, *wide), Unit(384, 384, *tall)
            self.branch3x3dbl_1, self.branch3x3dbl_2 = Unit(inputs, 448), Unit(448, 384, 3, 1, 1)
            self.branch3x3dbl_3a = Unit(384, 384, *wide)
            self.branch3x3dbl_3b = Unit(384, 384, *tall)

        def forward(self, x):
            three = self.branch3x3_1(x)
            double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
            parts = [self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three)]
            parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
            return torch.cat([*parts, self.branch_pool(self.pool(x))], 1)

    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Unit(3, 32, 3, 2), Unit(32, 32, 3)
            self.Conv2d_2b_3x3 = Unit(32, 64, 3, 1, 1)
            self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Unit(64, 80), Unit(80, 192, 3)
            self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = A(192, 32), A(256, 64), A(288, 64)
            self.Mixed_6a, self.Mixed_6b, self.Mixed_6c = B(), C(128), C(160)
            self.Mixed_6d, self.Mixed_6e, self.Mixed_7a = C(160), C(192), D()
            self.Mixed_7b, self.Mixed_7c = E(1280, average), E(2048, maximum)
            self.fc = nn.Linear(2048, CLASSES)

        def forward(self, x):
            x = reduce(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
            x = reduce(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
            for block in "5b 5c 5d 6a 6b 6c 6d 6e 7a 7b 7c".split():
                x = getattr(self, f"Mixed_{block}")(x)
            features = x.mean((2, 3))
            return features, features @ self.fc.weight.T  # the graph's scores are without bias

    return Inception()


def main() -> None:
    import torch

    model = network().eval()
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
