"""What the devices send each other in a step: as traced, with its purpose, and as compiled."""

import math
import re
from collections.abc import Iterator

import numpy as np

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute",
         "collective-broadcast")
# Which function of the package asks for an exchange says what it is for.
PURPOSES = {
    "_batch_statistics": "statistics",  # BatchNorm's, and their gradients
    "mean_over_devices": "gradients",  # and the few scalars of the metrics
    "gather": "captions",  # to every device, and their gradients back
    "_logsumexp_over_images": "softmax",  # over all images of the batch: a number a caption
}
_PRIMITIVES = {"psum": "all-reduce", "pmax": "all-reduce", "pmin": "all-reduce",
               "all_gather": "all-gather", "reduce_scatter": "reduce-scatter",
               "all_to_all": "all-to-all", "ppermute": "collective-permute",
               "pbroadcast": "collective-broadcast"}
_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16}  # other names end with theirs

_SHAPE = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\]")
_OPERATION = re.compile(rf"^\s*(?:ROOT )?%?[\w.-]+ = (.*?) ({'|'.join(KINDS)})(-start)?\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_WHILE = re.compile(r" while\(.*\bbody=%?([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


def compiled(hlo: str) -> dict[str, dict[str, int]]:
    """Collectives of a compiled module's text, `{kind: {"operations", "bytes"}}` of one step.

    An operation's bytes are those of the whole array that each device has before (reduce-scatter)
    or after it (all others). The body of a loop counts as often as the loop runs. A collective
    that the compiler spreads over many fusions, to hide it behind their work, counts once.
    """
    found, chains, times = {}, set(), _loop_counts(hlo)
    computation = ""
    for line in hlo.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            computation = header[1]
        match = _OPERATION.match(line)
        if not match:
            continue
        shapes, kind, start = match.groups()
        chain = re.search(r'chain_id="(\d+)"', line)
        if chain and (kind, chain[1]) in chains:
            continue
        chains.add((kind, chain[1]) if chain else line)
        sizes = [_bytes(*shape) for shape in _SHAPE.findall(shapes)]
        size = sum(sizes)
        if start and kind != "all-reduce":  # (operands..., results..., what the hardware keeps)
            size = max(sizes)
        if kind == "reduce-scatter":
            size *= _group_size(line)
        count = times.get(computation, 1)
        entry = found.setdefault(kind, {"operations": 0, "bytes": 0})
        entry["operations"] += count
        entry["bytes"] += count * size
    return found


def _loop_counts(hlo: str) -> dict[str, int]:
    """How often the bodies of loops run, by computation; loops within loops multiply."""
    parents, trips, computation = {}, {}, ""
    for line in hlo.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            computation = header[1]
        loop = _WHILE.search(line)
        if loop:
            known = _TRIPS.search(line)
            parents[loop[1]] = computation
            trips[loop[1]] = int(known[1]) if known else 1
    def count(name):
        return trips[name] * count(parents[name]) if name in trips else 1

    return {name: count(name) for name in trips}


def _group_size(line: str) -> int:
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    if listed:
        return listed[1].count(",") + 1
    shaped = re.search(r"replica_groups=\[\d+,(\d+)\]", line)
    return int(shaped[1]) if shaped else 1


def _bytes(dtype: str, dimensions: str) -> int:
    digits = re.match(r"[a-z]+(\d+)", dtype)
    bits = _BITS.get(dtype) or (int(digits[1]) if digits else 0)
    return math.prod(int(n) for n in dimensions.split(",") if n) * bits // 8


def traced(jaxpr) -> dict[str, dict[str, int]]:
    """Collectives that a step asks for, `{purpose: {"operations", "bytes"}}`, before compilation.

    `jaxpr` is that of `step.trace(...)`. What no name of `PURPOSES` asks for is "other".
    """
    found = {}
    for equation, times in _collectives(jaxpr, 1):
        entry = found.setdefault(_purpose(equation), {"operations": 0, "bytes": 0})
        values = equation.invars if equation.primitive.name == "reduce_scatter" else (
            equation.outvars)
        entry["operations"] += times
        entry["bytes"] += times * sum(
            v.aval.size * np.dtype(v.aval.dtype).itemsize for v in values)
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
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback else ():
        for name in frame.function_name.split("."):
            if name in PURPOSES and "attngan_jax" in frame.file_name:
                return PURPOSES[name]
    return "other"
