"""What was left out of a data set and what was mended, by reason, with the first names of each."""

import dataclasses
from typing import Any

from attngan_jax.errors import UserError

NUM_NAMED = 10


@dataclasses.dataclass
class Reasons:
    """How often each reason occurred, and where first."""

    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    first: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """Counts `reason`, which occurred at `name`."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        names = self.first.setdefault(reason, [])
        if len(names) < NUM_NAMED:
            names.append(name)

    @property
    def total(self) -> int:
        """Over all reasons."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """`{reason: {"count", "first"}}`, the most frequent first."""
        return {reason: {"count": count, "first": self.first[reason]}
                for reason, count in sorted(self.counts.items(), key=lambda item: -item[1])}


class Tally:
    """Counts the pictures of a build, and ends it when too many are left out.

    Attributes:
      left_out: pictures that the records don't hold.
      repaired: what was mended, or missing and not needed, in pictures that they do.
    """

    def __init__(self, max_left_out: float):
        """`max_left_out`: the largest share of the pictures that may be left out."""
        self.left_out, self.repaired = Reasons(), Reasons()
        self._max_left_out = max_left_out
        self._first: list[str] = []

    def leave_out(self, reason: str, name: str) -> None:
        """Counts a picture that is left out."""
        self.left_out.add(reason, name)
        if len(self._first) < NUM_NAMED:
            self._first.append(f"{name} ({reason})")

    def check(self, num_pictures: int, *, finished: bool) -> None:
        """Raises `UserError` with the first ten when too many of `num_pictures` are left out.

        Before the end (`finished`), only once there are ten to name.
        """
        total = self.left_out.total
        if total > self._max_left_out * num_pictures and (finished or total >= NUM_NAMED):
            so_far = "" if finished else " so far"
            raise UserError(
                f"{total} of {num_pictures} pictures cannot be used{so_far}, more than "
                f"config.data.max_left_out = {self._max_left_out:g} of them: "
                f"{'; '.join(self._first)}. Mend the source, or raise that value")
