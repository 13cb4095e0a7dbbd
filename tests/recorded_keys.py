"""`python -m attngan_jax.main`, which also writes down which keys of its config it read.

    python -m tests.recorded_keys FILE FLAG...

FILE gets a JSON list of dotted names. What the config's checks and the parsing of flags read does
not count, nor does reading all keys at once, as `to_dict` does.
"""

import atexit
import contextlib
import json
import pathlib
import runpy
import sys
from unittest import mock

import ml_collections

from attngan_jax import cli, configuration
from configs.default import SCHEMA, get_config

PACKAGE = str(pathlib.Path(configuration.__file__).parent)
CHECKS = (configuration.__file__, cli.__file__)
# A section's prefix by its keys: `frozenset({"gf_dim", ...})` -> "generator."
PREFIXES = {
    frozenset(section.keys()): f"{name}."
    for name, section in get_config().items()
    if isinstance(section, ml_collections.ConfigDict)
} | {frozenset(get_config()): ""}


@contextlib.contextmanager
def recording():
    """Gives a set that grows by each key of a config that the package reads."""
    read: set[str] = set()

    def getitem(self, key, original=ml_collections.ConfigDict.__getitem__):
        name = PREFIXES.get(frozenset(self.keys()), "unknown.") + key
        if name in SCHEMA and name not in read and _is_a_reader(sys._getframe(1)):
            read.add(name)
        return original(self, key)

    with mock.patch.object(ml_collections.ConfigDict, "__getitem__", getitem):
        yield read


def _is_a_reader(frame) -> bool:
    """Whether the code that reads a key is the package's, and neither a check nor the flags'."""
    while frame.f_code.co_name in ("__getattr__", "get"):  # of the ConfigDict
        frame = frame.f_back
    file, function = frame.f_code.co_filename, frame.f_code.co_name.lstrip("_")
    return file.startswith(PACKAGE) and file not in CHECKS and not function.startswith("check")


if __name__ == "__main__":
    file = pathlib.Path(sys.argv[1])
    sys.argv = ["main", *sys.argv[2:]]
    with recording() as read_keys:
        atexit.register(lambda: file.write_text(json.dumps(sorted(read_keys))))
        runpy.run_module("attngan_jax.main", run_name="__main__")
