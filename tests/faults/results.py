"""What a run has come to: arrays of its checkpoints and rows of its log, to be compared."""

import collections
import json
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp

TIMES = ("train/data_wait_fraction",)  # of the machine, not of the run


def arrays(checkpoint: pathlib.Path) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint, as they are on disk."""
    tree = ocp.PyTreeCheckpointer().restore(checkpoint.absolute() / "state")
    return {
        jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree.leaves_with_path(tree)
    }


def differences(run: pathlib.Path, other: pathlib.Path, checkpoints: list[str]) -> list[str]:
    """Names of arrays that aren't bit-equal, and rows that the log of `run` lacks or has twice."""
    found = []
    for name in checkpoints:
        if not (run / name).is_dir():
            found.append(f"{name} is not there")
            continue
        one, two = arrays(run / name), arrays(other / name)
        unequal = {
            key for key in one.keys() & two.keys() if one[key].tobytes() != two[key].tobytes()
        }
        found += [f"{name}: {key}" for key in sorted(unequal | one.keys() ^ two.keys())]
    here, there = rows(run), rows(other)
    found += [f"twice: {key}" for key, values in here.items() if len(values) > 1]
    found += [
        f"row: {key}" for key in here.keys() | there.keys() if here.get(key) != there.get(key)
    ]
    return found


def rows(run: pathlib.Path) -> dict[tuple, list[float]]:
    """(stage, step, name) -> the values of `metrics.jsonl`."""
    values = collections.defaultdict(list)
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        for name, value in line["scalars"].items():
            if name not in TIMES:
                values[line["stage"], line["step"], name].append(value)
    return dict(values)
