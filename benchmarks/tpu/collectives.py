"""What the devices send each other in a step: as traced, with its purpose, and as compiled."""

import re
from collections.abc import Iterator

import numpy as np

from benchmarks.tpu.hlo import Module

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
# Which function of the package asks for an exchange says what it is for.
PURPOSES = {
    "_sum_over_devices": "statistics",  # BatchNorm's, and their gradients
    "mean_over_devices": "gradients",  # and the few scalars of the metrics
    "gather": "captions",  # to every device, and their gradients back
    "_logsumexp_over_images": "softmax",  # over all images of the batch: a number a caption
}
_PRIMITIVES = {
    "psum": "all-reduce",
    "pmax": "all-reduce",
    "pmin": "all-reduce",
    "all_gather": "all-gather",
    "reduce_scatter": "reduce-scatter",
    "all_to_all": "all-to-all",
    "ppermute": "collective-permute",
    "pbroadcast": "collective-broadcast",
}


def compiled(module: Module) -> dict[str, dict[str, int]]:
    """Collectives of a compiled module, `{kind: {"operations", "bytes"}}` of one step.

    An operation's bytes are those of the whole array that each device has before (reduce-scatter)
    or after it (all others). The body of a loop counts as often as the loop runs. A collective
    that the compiler spreads over many fusions, to hide it behind their work, counts once.
    """
    found, chains, times = {}, set(), module.runs()
    for computation, instructions in module.computations.items():
        for instruction in instructions:
            kind = instruction.operation.removesuffix("-start")
            if kind not in KINDS:
                continue
            chain = re.search(r'chain_id="(\d+)"', instruction.rest)
            key = (kind, chain[1] if chain else (computation, instruction.name))
            if key in chains:
                continue
            chains.add(key)
            sizes = [array.bytes for array in instruction.arrays]
            size = sum(sizes)
            if kind != instruction.operation and kind != "all-reduce":
                size = max(sizes)  # (operands..., results..., what the hardware keeps)
            if kind == "reduce-scatter":
                size *= _group_size(instruction.rest)
            count = times.get(computation, 1)
            entry = found.setdefault(kind, {"operations": 0, "bytes": 0})
            entry["operations"] += count
            entry["bytes"] += count * size
    return found


def _group_size(line: str) -> int:
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    if listed:
        return listed[1].count(",") + 1
    shaped = re.search(r"replica_groups=\[\d+,(\d+)\]", line)
    return int(shaped[1]) if shaped else 1


def traced(jaxpr) -> dict[str, dict[str, int]]:
    """Collectives that a step asks for, `{purpose: {"operations", "bytes"}}`, before compilation.

    `jaxpr` is that of `step.trace(...)`. What no name of `PURPOSES` asks for is "other".
    """
    found = {}
    for equation, times in _collectives(jaxpr, 1):
        entry = found.setdefault(_purpose(equation), {"operations": 0, "bytes": 0})
        values = (
            equation.invars if equation.primitive.name == "reduce_scatter" else (equation.outvars)
        )
        entry["operations"] += times
        entry["bytes"] += times * sum(v.aval.size * np.dtype(v.aval.dtype).itemsize for v in values)
    return found


def _collectives(jaxpr, times: int) -> Iterator[tuple]:
    for equation in jaxpr.eqns:
        if _PRIMITIVES.get(equation.primitive.name):
            yield equation, times
        repeated = times * equation.params.get("length", 1)  # of a scan
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _collectives(inner, repeated)


def _purpose(equation) -> str:
    scopes = re.findall(r"\w+(?=\)*(?:/|$))", str(equation.source_info.name_stack))  # or vmap(name)
    traceback = equation.source_info.traceback
    callers = [
        name
        for frame in (traceback.frames if traceback else ())
        if "attngan_jax" in frame.file_name
        for name in frame.function_name.split(".")
    ]
    return next((PURPOSES[name] for name in scopes + callers if name in PURPOSES), "other")
