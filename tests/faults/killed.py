"""Runs a module until it comes to a chosen point, and kills the process there, with SIGKILL.

python -m tests.faults.killed POINT COUNT MODULE ARGUMENTS...     at the COUNTth time, from 1
"""

import os
import pkgutil
import runpy
import signal
import sys

# Each a function, and whether the kill comes before or after its call.
POINTS = {
    "before a save": ("attngan_jax.training.checkpoints:Checkpoints.save", False),
    "while a checkpoint is written": ("attngan_jax.training.checkpoints:Checkpoints.save", True),
    "before its digests": ("attngan_jax.training.digests:write", False),
    "after its digests": ("attngan_jax.training.digests:write", True),
    "after a row of the log": ("attngan_jax.log_file:Log.append", True),
    "between writing a file and renaming it": ("os:replace", False),
    "before the scores are logged": ("attngan_jax.evaluation.suite:log_scalars", False),
    "after the scores are logged": ("attngan_jax.evaluation.suite:log_scalars", True),
}


def kill_at(point: str, count: int) -> None:
    """Has this process die when it comes to a point for so many times."""
    place, after = POINTS[point]
    module, _, path = place.partition(":")
    *parents, name = path.split(".")
    owner, left = pkgutil.resolve_name(":".join([module, *parents])), [count]
    function = getattr(owner, name)

    def wrapped(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    point, count, module, *sys.argv[1:] = sys.argv[1:]
    sys.argv[0] = module
    kill_at(point, int(count))
    runpy.run_module(module, run_name="__main__", alter_sys=True)
