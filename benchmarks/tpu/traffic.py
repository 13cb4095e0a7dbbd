"""What a compiled step moves between a chip and its memory (HBM).

The compiler's own "bytes accessed" counts every operand and result, where they lie on the chip as
well as where they lie in memory; on a TPU with 128 MiB on the chip that is about twice the traffic
of these networks. Here counts what lies in memory, as large as it is there: with what fills the
tiles up, which for an array of few channels is most of it.
"""

import collections

from benchmarks.tpu.collectives import KINDS
from benchmarks.tpu.hlo import Instruction, Module

# These name arrays and move none; what a loop or a branch does counts in its own computation.
_NOTHING = {
    "parameter",
    "constant",
    "get-tuple-element",
    "tuple",
    "bitcast",
    "after-all",
    "while",
    "conditional",
    "call",
    "partition-id",
    "replica-id",
    "opt-barrier",
}
_NAMING_CALLS = ("AllocateBuffer", "AssumeGatherIndicesInBound", "ConcatBitcast")
_SLICES = {"dynamic-slice", "slice", "gather"}


def memory_bytes(module: Module) -> int:
    """Bytes that one step reads from and writes to a chip's memory."""
    return sum(by_origin(module).values())


def by_origin(module: Module) -> collections.Counter:
    """The same by what JAX calls the operation: "jit(train_step)/Generator/refine_2/..."."""
    moved = collections.Counter()
    for computation, count in module.runs(fusions=False).items():
        instructions = module.computations.get(computation, ())
        arrays = {one.name: one for one in instructions}
        for instruction in instructions:
            moved[_origin(instruction)] += count * _moved(module, instruction, arrays)
    return moved


def _origin(instruction: Instruction) -> str:
    _, _, name = instruction.rest.partition('op_name="')
    return name.partition('"')[0]


def _moved(module: Module, instruction: Instruction, arrays: dict[str, Instruction]) -> int:
    operation = instruction.operation
    if (
        operation in _NOTHING
        or operation.endswith("-done")
        or (  # counted where it started
            operation == "custom-call" and any(name in instruction.rest for name in _NAMING_CALLS)
        )
    ):
        return 0
    results = instruction.arrays
    if operation in ("copy-start", "slice-start", "dynamic-slice-start"):
        # Where from and where to, in either order, as whole as they lie there; a flag.
        ends = results[0], results[-2]
        size = min(array.bytes_in_memory for array in ends)
        return size * sum(not array.on_chip for array in ends)
    operands = [arrays[name] for name in instruction.operands if name in arrays]
    read = [_size(operand) for operand in operands]
    written = _size(instruction)
    if operation == "all-reduce-start":
        return sum(read) + written
    if operation.endswith("-start"):  # of another collective; its result names the operands again
        return written
    if operation == "fusion":
        read, written = _of_fusion(module, instruction, read, written)
    elif operation in _SLICES:
        read[:1] = [min(read[0], _size(instruction))] if read else []
    elif operation == "dynamic-update-slice":  # in place
        read[:1] = []
        written = written and sum(array.bytes_in_memory for array in operands[1].arrays)
    return sum(read) + written


def _of_fusion(module, fusion, read, written):
    """What a fusion reads of each operand, where it reads slices, and writes, where in place.

    A collective that is hidden behind fusions has its buffers pass through all of them; they count
    where it starts.
    """
    inside = module.computations.get(fusion.called()[0][0], [])
    by_name = {one.name: one for one in inside}
    users = collections.defaultdict(list)
    for one in inside:
        for operand in one.operands:
            users[operand].append(one)
    root = next((one for one in inside if one.is_root), None)
    if root is not None and root.operation == "tuple":
        for name, array in zip(root.operands, fusion.arrays):
            if by_name[name].operation in ("parameter", *KINDS) and not array.on_chip:
                written -= array.bytes_in_memory
    for parameter in inside:
        if parameter.operation != "parameter":
            continue
        number = int(parameter.rest.partition(")")[0])
        uses = users[parameter.name]
        if number >= len(read) or not read[number] or not uses:
            continue
        if all(use is root and use.operation == "tuple" or use.operation in KINDS for use in uses):
            read[number] = 0
        elif all(use.operation in _SLICES and use.operands[0] == parameter.name for use in uses):
            read[number] = min(
                read[number], sum(array.bytes_in_memory for use in uses for array in use.arrays)
            )
        for use in uses:
            if (
                use.operation == "dynamic-update-slice"
                and use.operands[0] == parameter.name
                and _reaches_root(use, users)
                and len(uses) == 1
            ):
                written -= read[number]
                read[number] = 0
                written += sum(array.bytes_in_memory for array in by_name[use.operands[1]].arrays)
    return read, max(written, 0)


def _reaches_root(instruction, users) -> bool:
    """Whether a result leaves its computation as it is."""
    return instruction.is_root or any(
        user.operation in ("bitcast", "tuple") and _reaches_root(user, users)
        for user in users[instruction.name]
    )


def _size(instruction: Instruction) -> int:
    return sum(array.bytes_in_memory for array in instruction.arrays if not array.on_chip)
