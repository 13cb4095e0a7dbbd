"""Whether two scorings of one checkpoint gave the same numbers, but for rounding."""

import pytest

ASIDE = ("wall_seconds", "settings")  # when, and with which batch size, it was scored
SHARES = ("r_precision", "damsm_retrieval", "attribute_accuracy", "grounding", "part_presence")
COUNTS = ("count", "num_images", "num_pairs")
DISTANCE = 1e-3  # of a block's largest: rounding, 1e-7, moves a few pixels by a level of 255


def assert_same_metrics(one: dict, other: dict) -> None:
    """Words, counts and which metrics there are must be equal.

    Shares may differ by one example of those that they are of: other shapes round otherwise, and
    where two answers all but tie, that decides. Everything else follows from sums over all images
    and is the same to `DISTANCE`.
    """
    assert one.keys() == other.keys()
    for name in one.keys() - ASIDE:
        of_shares = name.startswith(SHARES)
        _assert_same(one[name], other[name], name, 1.0 if of_shares else None)


def _assert_same(one, other, name: str, example: float | None, margin: float = 0.0) -> None:
    """`example` is one example's share in percent, None where the numbers are no shares."""
    assert type(one) is type(other), name
    if not isinstance(one, dict):
        is_float = isinstance(one, float)
        assert one == (pytest.approx(other, rel=0, abs=margin) if is_float else other), name
        return
    assert one.keys() == other.keys(), name
    if example is None:
        sizes = [abs(value) for value in one.values() if isinstance(value, float)]
        margin = DISTANCE * max(sizes, default=0.0)
    else:
        example = next((100 / one[key] for key in COUNTS if key in one), example)
        margin = 1.001 * example
    for key in one:
        of_fold = key == "std" and "fold_size" in one
        allowed = 100 / one["fold_size"] if of_fold else margin
        _assert_same(one[key], other[key], f"{name}.{key}", example, allowed)
