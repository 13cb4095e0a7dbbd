"""Inception-v3 in PyTorch under torchvision's names, without torchvision; and the image encoder."""

import torch
import torch.nn.functional as F
from torch import nn


class Unit(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, size=(1, 1), stride: int = 1, padding=None):
        super().__init__()
        if padding is None:  # stride 1 keeps the size of the image, stride 2 pads nothing
            padding = (size[0] // 2, size[1] // 2) if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        """`[B, outputs, H', W']`."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


def halve(x):
    """The greatest of 3 x 3 pixels, at every second one."""
    return F.max_pool2d(x, 3, 2)


# A row of a table is a branch: a pool's name or None, then units (name, outputs, size, stride). A
# list of units in a branch is a fork, whose results are concatenated.
ONE, THREE, FIVE, WIDE, HIGH = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def block_a(pool: int) -> list:
    """Mixed_5."""
    return [
        (None, ("branch1x1", 64, ONE)),
        (None, ("branch5x5_1", 48, ONE), ("branch5x5_2", 64, FIVE)),
        (None, ("branch3x3dbl_1", 64, ONE), *(("branch3x3dbl_" + n, 96, THREE) for n in "23")),
        ("average", ("branch_pool", pool, ONE)),
    ]


def block_c(width: int) -> list:
    """Mixed_6b to Mixed_6e."""
    doubled = [width, width, width, width, 192]
    sizes = [ONE, HIGH, WIDE, HIGH, WIDE]
    return [
        (None, ("branch1x1", 192, ONE)),
        (
            None,
            ("branch7x7_1", width, ONE),
            ("branch7x7_2", width, WIDE),
            ("branch7x7_3", 192, HIGH),
        ),
        (None, *((f"branch7x7dbl_{i + 1}", doubled[i], sizes[i]) for i in range(5))),
        ("average", ("branch_pool", 192, ONE)),
    ]


def block_e(pool: str) -> list:
    """Mixed_7b and Mixed_7c, of whose pools there are two kinds."""

    def fork(name):
        return [(f"{name}a", 384, (1, 3)), (f"{name}b", 384, (3, 1))]

    return [
        (None, ("branch1x1", 320, ONE)),
        (None, ("branch3x3_1", 384, ONE), fork("branch3x3_2")),
        (
            None,
            ("branch3x3dbl_1", 448, ONE),
            ("branch3x3dbl_2", 384, THREE),
            fork("branch3x3dbl_3"),
        ),
        (pool, ("branch_pool", 192, ONE)),
    ]


MIXED_6A = [
    (None, ("branch3x3", 384, THREE, 2)),
    (
        None,
        ("branch3x3dbl_1", 64, ONE),
        ("branch3x3dbl_2", 96, THREE),
        ("branch3x3dbl_3", 96, THREE, 2),
    ),
    ("halve",),
]
MIXED_7A = [
    (None, ("branch3x3_1", 192, ONE), ("branch3x3_2", 320, THREE, 2)),
    (
        None,
        ("branch7x7x3_1", 192, ONE),
        ("branch7x7x3_2", 192, WIDE),
        ("branch7x7x3_3", 192, HIGH),
        ("branch7x7x3_4", 192, THREE, 2),
    ),
    ("halve",),
]
BLOCKS = {
    "Mixed_5b": block_a(32),
    "Mixed_5c": block_a(64),
    "Mixed_5d": block_a(64),
    "Mixed_6a": MIXED_6A,
    "Mixed_6b": block_c(128),
    "Mixed_6c": block_c(160),
    "Mixed_6d": block_c(160),
    "Mixed_6e": block_c(192),
    "Mixed_7a": MIXED_7A,
    "Mixed_7b": block_e("average"),
    "Mixed_7c": block_e("last"),
}


class Block(nn.Module):
    """Branches of a table, concatenated; `pools` are functions by name."""

    def __init__(self, inputs: int, table: list, pools: dict):
        super().__init__()
        self.table, self.pools, self.outputs = table, pools, 0
        for _, *links in table:
            width = inputs
            for link in links:
                units = link if isinstance(link, list) else [link]
                for name, outputs, *how in units:
                    self.add_module(name, Unit(width, outputs, *how))
                width = sum(unit[1] for unit in units)
            self.outputs += width

    def forward(self, x):
        """`[B, self.outputs, H', W']`."""
        results = []
        for pool, *links in self.table:
            h = x if pool is None else self.pools[pool](x)
            for link in links:
                if isinstance(link, list):
                    h = torch.cat([getattr(self, name)(h) for name, *_ in link], 1)
                else:
                    h = getattr(self, link[0])(h)
            results.append(h)
        return torch.cat(results, 1)


class Trunk(nn.Module):
    """Inception-v3 without its end.

    Its average pools count the zeros of the padding; with `of_2015` they leave them out, and the
    last block takes the maximum, as the graph of 2015 does.
    """

    def __init__(self, of_2015: bool = False):
        super().__init__()

        def average(x):
            return F.avg_pool2d(x, 3, 1, 1, count_include_pad=not of_2015)

        def greatest(x):
            return F.max_pool2d(x, 3, 1, 1)

        pools = {"average": average, "halve": halve, "last": greatest if of_2015 else average}
        self.Conv2d_1a_3x3 = Unit(3, 32, THREE, 2)
        self.Conv2d_2a_3x3 = Unit(32, 32, THREE, 1, 0)
        self.Conv2d_2b_3x3 = Unit(32, 64, THREE)
        self.Conv2d_3b_1x1 = Unit(64, 80)
        self.Conv2d_4a_3x3 = Unit(80, 192, THREE, 1, 0)
        width = 192
        for name, table in BLOCKS.items():
            block = Block(width, table, pools)
            self.add_module(name, block)
            width = block.outputs

    def maps(self, x):
        """`[B, 3, 299, 299]` -> the maps of Mixed_6e `[B, 768, 17, 17]`, features `[B, 2048]`."""
        x = halve(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = halve(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        regions = x
        for name in BLOCKS:
            x = getattr(self, name)(x)
            if name == "Mixed_6e":
                regions = x
        return regions, x.mean((2, 3))


class ImageEncoder(Trunk):
    """Inception-v3 at 299 pixels, and two projections."""

    def __init__(self, embedding_dim: int):
        super().__init__()
        self.emb_features = nn.Conv2d(768, embedding_dim, 1, bias=False)
        self.emb_cnn_code = nn.Linear(2048, embedding_dim)

    def forward(self, images):
        """Images `[B, 3, S, S]` -> regions `[B, D, 289]`, codes `[B, D]`, float32."""
        x = F.interpolate(images, (299, 299), mode="bilinear", align_corners=False)
        regions, features = self.maps(x)
        codes = self.emb_cnn_code(features)
        return self.emb_features(regions).flatten(2).float(), codes.float()


class Classifier(Trunk):
    """The graph of 2015, whose scores have no bias, with so many outputs."""

    def __init__(self, outputs: int):
        super().__init__(of_2015=True)
        self.fc = nn.Linear(2048, outputs)

    def forward(self, x):
        """`[B, 3, 299, 299]` in [-1, 1] -> features `[B, 2048]`, logits `[B, outputs]`."""
        _, features = self.maps(x)
        return features, features @ self.fc.weight.T
