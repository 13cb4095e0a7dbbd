"""Unpickling of untrusted files: plain data, and calls of a few trusted functions.

Python's unpickler calls whatever a file names, and believes every length. Here a pickle is checked
first, opcode by opcode and without building anything: it may have the opcodes of plain data only,
as many bytes as it announces, and no dict keys or attributes that could do harm. Then it is read,
with a `find_class` that knows the given functions alone. Memory and time are in proportion to the
file.
"""

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

_PLAIN = """PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE
    INT LONG LONG1 BININT BININT1 BININT2 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID""".split()
_OPCODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes if opcode.name in _PLAIN}
_PUTS, _GETS = ("BINPUT", "MEMOIZE", "LONG_BINPUT", "PUT"), ("BINGET", "LONG_BINGET", "GET")
# Kinds of values that may be keys: hashing a deeply nested tuple overflows the C stack.
_KEYS = {"int", "int_or_bool", "bool", "float", "str", "bytes_or_str", "any"}
_FUNCTION = pickletools.StackObject("function", object, "what find_class gives")
_DAMAGE: tuple[type[Exception], ...] = (pickle.UnpicklingError, EOFError, AttributeError)
_DAMAGE += (ValueError, TypeError, LookupError, ArithmeticError)


class Refused(Exception):
    """The file holds something else than plain data, or is damaged; the message says what."""


def require(condition: Any, message: str) -> None:
    """Raises `Refused` unless the condition holds."""
    if not condition:
        raise Refused(message)


def read_pickle(
    data: bytes,
    position: int = 0,
    *,
    functions: Mapping[str, Any] = {},
    persistent_load: Callable[[Any], Any] | None = None,
    max_operations: int = 1_000_000,
) -> tuple[Any, int]:
    """The value of the pickle at `position` of `data`, and where it ends.

    `functions` are what the file may call, by "module.name". A file can pass one large argument
    many times, so that a call has to refuse such arguments, or to be cheap. `persistent_load`
    gives what a persistent id stands for. There may be `max_operations` opcodes. Raises `Refused`
    for a file that is damaged, or asks for anything but plain data and these functions.
    """
    try:
        end = _check(data, position, max_operations)
        return _Unpickler(data[position:end], functions, persistent_load).load(), end
    except _DAMAGE as error:
        raise Refused("it is truncated or damaged") from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, functions: Mapping[str, Any], load_id: Any):
        file = io.BufferedReader(io.BytesIO(data))  # read in blocks, not opcode by opcode
        super().__init__(file, encoding="latin1")  # of strings of Python 2
        self.functions, self.load_id = functions, load_id

    def find_class(self, module: str, name: str) -> Any:
        name = f"{module}.{name}"
        message = f"it asks for {name[:80]!r}, which plain data does not need; none of it was run"
        require(name in self.functions, message)
        return self.functions[name]

    def persistent_load(self, pid: Any) -> Any:
        require(self.load_id, "it refers to objects outside of the file")
        return self.load_id(pid)


def _check(data: bytes, position: int, max_operations: int) -> int:
    """Follows the opcodes with kinds for values. Returns where the pickle ends."""
    file = io.BytesIO(data)
    file.seek(position)
    stack: list[pickletools.StackObject] = []
    below: list[list[pickletools.StackObject]] = []  # what lay on the stack at each mark
    memo: dict[int, pickletools.StackObject] = {}
    for _ in range(max_operations):
        (code,) = file.read(1)  # a ValueError at the end
        if code not in _OPCODES:
            where = f"(opcode {code:#04x} at byte {file.tell() - 1})"
            raise Refused(f"it holds an object that is not plain data {where}")
        opcode = _OPCODES[code]
        number = _argument(file, opcode)
        if opcode.name in ("FRAME", "PUT", "BINPUT", "LONG_BINPUT"):  # which allocate as much
            require(number <= len(data), f"it is truncated or damaged (at byte {file.tell()})")
        if opcode.name in _PUTS:
            memo[len(memo) if opcode.name == "MEMOIZE" else number] = stack[-1]
        elif opcode.name in _GETS:
            stack.append(memo[number])
        elif opcode.name == "MARK":
            below.append(stack)
            stack = []
        elif opcode.stack_before:
            stack = _follow(opcode, stack, below)
        else:
            stack += [_FUNCTION] if opcode.name == "GLOBAL" else opcode.stack_after
        if opcode.name == "STOP":
            return file.tell()
    raise Refused(f"it holds more than {max_operations} objects")


def _argument(file: io.BytesIO, opcode: pickletools.OpcodeInfo) -> Any:
    if opcode.name in ("STRING", "GLOBAL"):  # pickletools accepts ASCII alone
        return [file.readline() for _ in range(1 + (opcode.name == "GLOBAL"))]
    return opcode.arg.reader(file) if opcode.arg else None


def _follow(opcode: pickletools.OpcodeInfo, stack: list, below: list) -> list:
    """Takes an opcode's values from the stack, puts its result there, and returns the stack."""
    takes, items = len(opcode.stack_before), []
    if pickletools.markobject in opcode.stack_before:  # with all above the mark
        items, stack, takes = stack, below.pop(), takes - 2
    found = [stack.pop() for _ in range(takes)][::-1]
    if opcode.name in ("SETITEM", "SETITEMS", "DICT"):
        for kind in items[::2] or found[1:2]:
            require(kind.name in _KEYS, f"it holds a dict with a key that is a {kind.name}")
    if opcode.name == "BUILD":
        require(found[0].name in ("any", "dict"), f"it sets attributes of a {found[0].name}")
    stack += {"STACK_GLOBAL": [_FUNCTION], "DUP": 2 * found}.get(opcode.name, opcode.stack_after)
    return stack
