"""Names and shapes of torchvision's Inception-v3, as far as the image encoder goes.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016; names of
`torchvision.models.inception_v3`. Our paths are the same, below `inception`.
"""

from attngan_jax.interop.weight_mapping import Row, conv_norm

LOCAL_FEATURES, POOLED_FEATURES = 768, 2048  # of Mixed_6e and of Mixed_7c

Convolutions = dict[str, tuple[int, int, int, int]]  # name -> [out, in, H, W]


def _stem() -> Convolutions:
    return {
        "Conv2d_1a_3x3": (32, 3, 3, 3),
        "Conv2d_2a_3x3": (32, 32, 3, 3),
        "Conv2d_2b_3x3": (64, 32, 3, 3),
        "Conv2d_3b_1x1": (80, 64, 1, 1),
        "Conv2d_4a_3x3": (192, 80, 3, 3),
    }


def _mixed_5(inputs: int, pool: int) -> Convolutions:
    return {
        "branch1x1": (64, inputs, 1, 1),
        "branch5x5_1": (48, inputs, 1, 1),
        "branch5x5_2": (64, 48, 5, 5),
        "branch3x3dbl_1": (64, inputs, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
        "branch_pool": (pool, inputs, 1, 1),
    }


def _mixed_6a() -> Convolutions:
    return {
        "branch3x3": (384, 288, 3, 3),
        "branch3x3dbl_1": (64, 288, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
    }


def _mixed_6(width: int) -> Convolutions:
    return {
        "branch1x1": (192, 768, 1, 1),
        "branch7x7_1": (width, 768, 1, 1),
        "branch7x7_2": (width, width, 1, 7),
        "branch7x7_3": (192, width, 7, 1),
        "branch7x7dbl_1": (width, 768, 1, 1),
        "branch7x7dbl_2": (width, width, 7, 1),
        "branch7x7dbl_3": (width, width, 1, 7),
        "branch7x7dbl_4": (width, width, 7, 1),
        "branch7x7dbl_5": (192, width, 1, 7),
        "branch_pool": (192, 768, 1, 1),
    }


def _mixed_7a() -> Convolutions:
    return {
        "branch3x3_1": (192, 768, 1, 1),
        "branch3x3_2": (320, 192, 3, 3),
        "branch7x7x3_1": (192, 768, 1, 1),
        "branch7x7x3_2": (192, 192, 1, 7),
        "branch7x7x3_3": (192, 192, 7, 1),
        "branch7x7x3_4": (192, 192, 3, 3),
    }


def _mixed_7(inputs: int) -> Convolutions:
    return {
        "branch1x1": (320, inputs, 1, 1),
        "branch3x3_1": (384, inputs, 1, 1),
        "branch3x3_2a": (384, 384, 1, 3),
        "branch3x3_2b": (384, 384, 3, 1),
        "branch3x3dbl_1": (448, inputs, 1, 1),
        "branch3x3dbl_2": (384, 448, 3, 3),
        "branch3x3dbl_3a": (384, 384, 1, 3),
        "branch3x3dbl_3b": (384, 384, 3, 1),
        "branch_pool": (192, inputs, 1, 1),
    }


_BLOCKS = {
    "Mixed_5b": _mixed_5(192, 32),
    "Mixed_5c": _mixed_5(256, 64),
    "Mixed_5d": _mixed_5(288, 64),
    "Mixed_6a": _mixed_6a(),
    "Mixed_6b": _mixed_6(128),
    "Mixed_6c": _mixed_6(160),
    "Mixed_6d": _mixed_6(160),
    "Mixed_6e": _mixed_6(192),
    "Mixed_7a": _mixed_7a(),
    "Mixed_7b": _mixed_7(1280),
    "Mixed_7c": _mixed_7(2048),
}

CONVOLUTIONS: Convolutions = _stem() | {
    f"{block}.{branch}": shape
    for block, branches in _BLOCKS.items()
    for branch, shape in branches.items()
}


def inception_rows(below: str = "inception/") -> list[Row]:
    """The trunk's rows; our paths begin with `below`."""
    return [
        row
        for name, shape in CONVOLUTIONS.items()
        for row in conv_norm(f"{name}.conv", f"{name}.bn", below + name.replace(".", "/"), shape)
    ]
