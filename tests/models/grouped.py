"""Packed channels in groups, as `models/packing.py` has them."""


def in_groups(x, together, groups):
    """One group of packed channels, of pixels or images, as several: `[B, H, W, together C]`."""
    split = x.reshape(*x.shape[:3], together, groups, -1)
    return split.transpose(0, 1, 2, 4, 3, 5).reshape(x.shape)
