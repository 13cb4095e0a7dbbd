"""How far a piece of work is: a bar on a terminal, plain lines in a log."""

import sys

from tqdm import tqdm

LOG_SECONDS = 30.0  # between two lines; what takes less than this leaves none


class Bar(tqdm):
    """tqdm's bar where standard error is a terminal, or else a line of it every `LOG_SECONDS`."""

    def __init__(self, *arguments, **options):
        self._writes_lines = not sys.stderr.isatty()
        if self._writes_lines:
            seconds = dict(delay=LOG_SECONDS, mininterval=LOG_SECONDS, maxinterval=2 * LOG_SECONDS)
            options |= seconds
        super().__init__(*arguments, **options)

    def line(self) -> str:
        """Such as `Words of train: 4,000 of 8,000 images, 00:35 left`."""
        number = self.format_sizeof if self.unit_scale else "{:,}".format
        line = f"{self.desc}: {number(self.n)}"
        if not self.total:
            return f"{line}{self.unit}"
        left = (self.total - self.n) * self.format_dict["elapsed"] / max(self.n, 1)
        return f"{line} of {number(self.total)}{self.unit}, {self.format_interval(left)} left"

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if self._writes_lines:
            print(self.line(), file=sys.stderr, flush=True)
        else:
            super().display(msg, pos)

    def close(self) -> None:
        if self._writes_lines:
            self.disable = True  # there is nothing to wipe
        super().close()
