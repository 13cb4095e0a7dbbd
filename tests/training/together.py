"""What processes agree on, to a file each: run by test_multihost.py.

python -m tests.training.together HOST:PORT NUM_PROCESSES PROCESS_INDEX FILE
"""

import json
import pathlib
import sys

import jax
import numpy as np

from attngan_jax.training import multihost, parallel


def outcome(function, *arguments):
    """What it returns, or what it raises in words."""
    try:
        return function(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def fails_in(process_index):
    """A function that fails in one process and says 7 in the others."""

    def function():
        if jax.process_index() == process_index:
            raise OSError(f"no room for {process_index}")
        return 7

    return function


def main(address: str, num_processes: str, process_index: str, path: str) -> None:
    """Writes a dictionary of outcomes."""
    multihost.initialise(address, int(num_processes), int(process_index))
    here = jax.process_index()
    said = {
        "own": outcome(multihost.on_each, lambda: [here, multihost.is_alone()], "own"),
        "first_alone": outcome(multihost.on_first, lambda: [here, multihost.is_alone()], "first"),
        "told": outcome(multihost.from_first, lambda: {"steps": [here, None], "é": "ü"}, "told"),
        "told_again": outcome(multihost.from_first, lambda: (here == 0, [here]), "told"),
        "second_fails": outcome(multihost.on_each, fails_in(1), "each"),
        "first_fails": outcome(multihost.on_first, fails_in(0), "first"),
        "telling_fails": outcome(multihost.from_first, fails_in(0), "told"),
        "after": outcome(multihost.from_first, lambda: "still together", "after"),
    }
    # Arrays of the first process go to all, to the last bit, and on all their devices.
    arrays = {"w": {"a": jax.numpy.full((3, 2), 1 / (3 + here))}, "n": np.int32(here + 5)}
    received = multihost.from_first(lambda: arrays, "arrays")
    mesh = parallel.make_mesh()
    spread = parallel.replicate(received, mesh)
    spread = parallel.replicate(spread, mesh)  # where it is already
    total = jax.jit(lambda tree: tree["w"]["a"].sum() * tree["n"])(spread)
    said["received"] = [received["w"]["a"].tolist(), int(received["n"])]
    said |= {"total": float(total), "devices": len(spread["w"]["a"].sharding.device_set)}
    pathlib.Path(path).write_text(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
