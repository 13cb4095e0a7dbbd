"""The fixtures of this folder."""

from synthetic_run import finished, unfinished  # noqa: F401
