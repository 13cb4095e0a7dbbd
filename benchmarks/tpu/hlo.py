"""The text of a compiled module, taken apart: computations, their instructions, arrays, loops."""

import collections
import dataclasses
import math
import re

_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16}  # other names end with theirs
_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\](?:\{([^}]*)\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$")
_RUNNING = ("while", "fusion", "call", "conditional", "async-start")
_BODY = re.compile(r"\bbody=%?([\w.-]+)")
_CALLED = re.compile(r"\b(?:calls|to_apply|true_computation|false_computation)=%?([\w.-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Array:
    """An array of a result.

    Attributes:
      layout: dimensions from the fastest to the slowest, "" where the text has none.
      tile: of the last dimensions, which are filled up to its multiples.
      on_chip: whether it lies in the chip's own memory (a memory space that is not the default).
    """

    dtype: str
    shape: tuple[int, ...]
    layout: tuple[int, ...] = ()
    tile: tuple[int, ...] = ()
    on_chip: bool = False

    @property
    def bytes(self) -> int:
        """Of its values."""
        return math.prod(self.shape) * self._bits // 8

    @property
    def bytes_in_memory(self) -> int:
        """With what fills the tiles up."""
        sizes = [self.shape[d] for d in self.layout]
        for place, tile in enumerate(reversed(self.tile)):
            if place < len(sizes):
                sizes[place] = -(-sizes[place] // tile) * tile
        return math.prod(sizes or self.shape) * self._bits // 8

    @property
    def _bits(self) -> int:
        digits = re.match(r"[a-z]+(\d+)", self.dtype)
        return _BITS.get(self.dtype) or (int(digits[1]) if digits else 0)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line: `name = arrays operation(operands), rest`."""

    name: str
    arrays: tuple[Array, ...]
    operation: str
    operands: tuple[str, ...]
    rest: str
    is_root: bool

    def called(self) -> list[tuple[str, int]]:
        """The computations that it runs, and how often: loops, branches (each once), fusions."""
        if self.operation == "while":
            known = _TRIPS.search(self.rest)
            names, times = _BODY.findall(self.rest), int(known[1]) if known else 1
        else:
            names, times = _CALLED.findall(self.rest), 1
            for branches in _BRANCHES.findall(self.rest):
                names += re.findall(r"[\w.-]+", branches)
        return [(name, times) for name in names]


@dataclasses.dataclass
class Module:
    """Instructions by computation, in their order; the entry's name."""

    computations: dict[str, list[Instruction]]
    entry: str = ""

    def runs(self, *, fusions: bool = True) -> collections.Counter:
        """How often a step runs each computation; loops within loops multiply.

        A loop whose count the text doesn't say counts once. Without `fusions` those are left out.
        """
        result = collections.Counter()

        def run(name, times):
            result[name] += times
            for instruction in self.computations.get(name, ()):
                if instruction.operation in _RUNNING and (
                    fusions or instruction.operation != "fusion"
                ):
                    for called, trips in instruction.called():
                        run(called, times * trips)

        run(self.entry, 1)
        return result


def parse(text: str) -> Module:
    """The module that `compiled.as_text()` writes."""
    module, instructions = Module({}), []
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            instructions = module.computations[header[2]] = []
            if header[1]:
                module.entry = header[2]
            continue
        found = _INSTRUCTION.match(line)
        if found:
            root, name, arrays, operation, rest = found.groups()
            operands = tuple(re.findall(r"%([\w.-]+)", rest.split("), ")[0]))
            instructions.append(
                Instruction(name, arrays_of(arrays), operation, operands, rest, bool(root))
            )
    return module


def arrays_of(text: str) -> tuple[Array, ...]:
    """The arrays of a result's type, `f32[8,128]{1,0:T(8,128)S(1)}` or a tuple of such."""
    result = []
    for dtype, dimensions, placed in _ARRAY.findall(text):
        layout, _, memory = placed.partition(":")
        tile, space = (re.search(pattern, memory) for pattern in (r"T\(([\d,]*)\)", r"S\([1-9]"))
        result.append(
            Array(
                dtype,
                _numbers(dimensions),
                _numbers(layout),
                _numbers(tile[1]) if tile else (),
                bool(space),
            )
        )
    return tuple(result)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(",") if n)
