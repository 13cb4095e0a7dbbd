"""Inception-v3 and the image encoder in PyTorch, under torchvision's names, without torchvision."""

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


def average(x):
    """The mean of 3 x 3 pixels, the zeros of the padding counted."""
    return F.avg_pool2d(x, 3, 1, 1)


def maximum(x):
    """The greatest of 3 x 3 pixels, at every second one."""
    return F.max_pool2d(x, 3, 2)


# A row of a table is a branch: an optional pool, then units (name, outputs, size, stride). A list
# of units in a branch is a fork, whose results are concatenated.
ONE, THREE, FIVE, WIDE, HIGH = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def block_a(pool: int) -> list:
    """Mixed_5."""
    return [
        (None, ("branch1x1", 64, ONE)),
        (None, ("branch5x5_1", 48, ONE), ("branch5x5_2", 64, FIVE)),
        (None, ("branch3x3dbl_1", 64, ONE), *(("branch3x3dbl_" + n, 96, THREE) for n in "23")),
        (average, ("branch_pool", pool, ONE)),
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
        (average, ("branch_pool", 192, ONE)),
    ]


def block_e() -> list:
    """Mixed_7b and Mixed_7c."""

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
        (average, ("branch_pool", 192, ONE)),
    ]


MIXED_6A = [
    (None, ("branch3x3", 384, THREE, 2)),
    (
        None,
        ("branch3x3dbl_1", 64, ONE),
        ("branch3x3dbl_2", 96, THREE),
        ("branch3x3dbl_3", 96, THREE, 2),
    ),
    (maximum,),
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
    (maximum,),
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
    "Mixed_7b": block_e(),
    "Mixed_7c": block_e(),
}


class Block(nn.Module):
    """Branches of a table, concatenated."""

    def __init__(self, inputs: int, table: list):
        super().__init__()
        self.table, self.outputs = table, 0
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
            h = x if pool is None else pool(x)
            for link in links:
                if isinstance(link, list):
                    h = torch.cat([getattr(self, name)(h) for name, *_ in link], 1)
                else:
                    h = getattr(self, link[0])(h)
            results.append(h)
        return torch.cat(results, 1)


class ImageEncoder(nn.Module):
    """Inception-v3 at 299 pixels, and two projections."""

    def __init__(self, embedding_dim: int):
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, THREE, 2)
        self.Conv2d_2a_3x3 = Unit(32, 32, THREE, 1, 0)
        self.Conv2d_2b_3x3 = Unit(32, 64, THREE)
        self.Conv2d_3b_1x1 = Unit(64, 80)
        self.Conv2d_4a_3x3 = Unit(80, 192, THREE, 1, 0)
        width = 192
        for name, table in BLOCKS.items():
            block = Block(width, table)
            self.add_module(name, block)
            width = block.outputs
        self.emb_features = nn.Conv2d(768, embedding_dim, 1, bias=False)
        self.emb_cnn_code = nn.Linear(2048, embedding_dim)

    def forward(self, images):
        """Images `[B, 3, S, S]` -> regions `[B, D, 289]`, codes `[B, D]`, float32."""
        x = F.interpolate(images, (299, 299), mode="bilinear", align_corners=False)
        x = maximum(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = maximum(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        regions = x
        for name in BLOCKS:
            x = getattr(self, name)(x)
            if name == "Mixed_6e":
                regions = x
        codes = self.emb_cnn_code(x.mean((2, 3)))
        return self.emb_features(regions).flatten(2).float(), codes.float()
