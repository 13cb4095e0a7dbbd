"""A reader of pickles that can't run anything: its values are plain data, by construction.

Python's own unpickler looks up and calls whatever a file names, and takes lengths on trust. This
one interprets the opcodes that lists, dicts, tuples, strings and numbers are written with, and has
a table of the few names that a file may call, each of them a function of ours. All else is
refused. Every length is checked against the bytes that are left, and the opcodes are counted, so
that memory and time stay in proportion to the file.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Refused(ValueError):
    """The file holds something else than plain data, or is damaged; the message says what."""


class Name(NamedTuple):
    """A name that the file has looked up; it can be called, and nothing else."""

    module: str
    name: str


class Unfinished:
    """A value that the file completes after it has made it (the BUILD opcode)."""

    def complete(self, state: Any) -> None:
        """Takes the state that the file gives."""
        raise Refused("it gives a state to an object that has none")


Names = Mapping[Name, Callable[..., Any]]
_DAMAGE = (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error)


class PickleReader:
    """Reads one pickle at `position` of `data`; afterwards `position` is right behind it.

    Attributes:
      data: the file's bytes. position: where to read on.
      names: what the file may call, and what is called for it, with the pickle's arguments.
      persistent_load: gives what a persistent id stands for; None refuses them.
      max_operations: how many opcodes to follow at most.
    """

    def __init__(
        self,
        data: bytes,
        position: int = 0,
        *,
        names: Names | None = None,
        persistent_load: Callable[[Any], Any] | None = None,
        max_operations: int = 1_000_000,
    ):
        self.data = data
        self.position = position
        self.names = names or {}
        self.persistent_load = persistent_load
        self.max_operations = max_operations
        self.stack: list[Any] = []
        self.below_marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def read(self) -> Any:
        """The pickle's value. Raises `Refused` for all but plain data and the names given."""
        try:
            for _ in range(self.max_operations):
                opcode = self.take(1)[0]
                if opcode == _STOP:
                    return self.stack.pop()
                action = _OPCODES.get(opcode)
                if action is None:
                    raise Refused(
                        "it holds an object that is not plain data "
                        f"(opcode {opcode:#04x} at byte {self.position - 1})"
                    )
                action(self)
        except Refused:
            raise
        except _DAMAGE as error:
            raise self.damaged() from error
        raise Refused(f"it holds more than {self.max_operations} objects")

    def damaged(self) -> Refused:
        """The error for bytes that make no sense."""
        return Refused(f"it is truncated or damaged (at byte {self.position})")

    # What the opcodes are made of.

    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise self.damaged()
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, layout: struct.Struct) -> Any:
        return layout.unpack(self.take(layout.size))[0]

    def counted(self, layout: struct.Struct) -> bytes:
        return self.take(self.number(layout))

    def line(self) -> bytes:
        end = self.data.index(b"\n", self.position)
        line = self.data[self.position : end]
        self.position = end + 1
        return line

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        self.below_marks.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below_marks.pop()
        return items

    def pop_tuple(self, count: int) -> tuple:
        return tuple([self.stack.pop() for _ in range(count)][::-1])

    def remember(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise self.damaged()
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise self.damaged()
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a deeply nested tuple overflows the interpreter's stack.
            if not isinstance(key, (str, int, float, np.number)):
                raise Refused(f"it holds a dict with a key that is a {type(key).__name__}")
            target[key] = value

    def look_up(self, module: str, name: str) -> None:
        found = Name(module, name)
        if found not in self.names:
            raise Refused(
                f"it asks for {module}.{name}, which plain data does not need; nothing "
                "of it was run"
            )
        self.push(found)

    def call(self) -> None:
        name, arguments = self.pop_tuple(2)
        if not (isinstance(name, Name) and isinstance(arguments, tuple)):
            raise self.damaged()
        self.push(self.names[name](*arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Unfinished):
            target.complete(state)
        elif not isinstance(target, dict):  # attributes of an OrderedDict (`_metadata`) are dropped
            raise Refused(f"it sets attributes of a {type(target).__name__}")

    def persistent(self) -> None:
        if self.persistent_load is None:
            raise Refused("it refers to objects outside of the file")
        self.push(self.persistent_load(self.stack.pop()))


def _text_integer(line: bytes) -> int | bool:
    if line in (b"00", b"01"):  # how protocol 0 writes booleans
        return line == b"01"
    return int(line.rstrip(b"L"))


def _quoted(line: bytes) -> str:
    if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1]:
        raise ValueError("a string without its quotes")
    return line[1:-1].decode("unicode_escape")  # \xNN becomes the latin-1 character, as wanted


def _utf8(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def _make_dict(reader: PickleReader) -> None:
    items = reader.pop_to_mark()
    reader.push({})
    reader.update(items)


_1, _2, _4, _8 = (struct.Struct(layout) for layout in ("<B", "<H", "<I", "<Q"))
_SIGNED_4, _DOUBLE = struct.Struct("<i"), struct.Struct(">d")
_STOP = ord(".")
# Opcode -> what it does. Strings of Python 2 become text (latin-1).
_ACTIONS: dict[str, Callable[[PickleReader], Any]] = {
    "\x80": lambda r: r.take(1),  # the protocol's number
    "\x95": lambda r: r.take(8),  # a frame's length, which is of no use here
    "(": PickleReader.mark,
    "0": lambda r: r.stack.pop(),
    "1": PickleReader.pop_to_mark,
    "2": lambda r: r.push(r.stack[-1]),
    # constants and numbers
    "N": lambda r: r.push(None),
    "\x88": lambda r: r.push(True),
    "\x89": lambda r: r.push(False),
    "I": lambda r: r.push(_text_integer(r.line())),
    "L": lambda r: r.push(_text_integer(r.line())),
    "J": lambda r: r.push(r.number(_SIGNED_4)),
    "K": lambda r: r.push(r.take(1)[0]),
    "M": lambda r: r.push(r.number(_2)),
    "\x8a": lambda r: r.push(int.from_bytes(r.counted(_1), "little", signed=True)),
    "F": lambda r: r.push(float(r.line())),
    "G": lambda r: r.push(r.number(_DOUBLE)),
    # text and bytes
    "S": lambda r: r.push(_quoted(r.line())),
    "T": lambda r: r.push(r.counted(_SIGNED_4).decode("latin-1")),
    "U": lambda r: r.push(r.counted(_1).decode("latin-1")),
    "V": lambda r: r.push(r.line().decode("raw-unicode-escape")),
    "X": lambda r: r.push(_utf8(r.counted(_4))),
    "\x8c": lambda r: r.push(_utf8(r.counted(_1))),
    "\x8d": lambda r: r.push(_utf8(r.counted(_8))),
    "B": lambda r: r.push(r.counted(_4)),
    "C": lambda r: r.push(r.counted(_1)),
    "\x8e": lambda r: r.push(r.counted(_8)),
    # lists, dicts, tuples
    "]": lambda r: r.push([]),
    "l": lambda r: r.push(r.pop_to_mark()),
    "a": lambda r: r.extend([r.stack.pop()]),
    "e": lambda r: r.extend(r.pop_to_mark()),
    "}": lambda r: r.push({}),
    "d": _make_dict,
    "s": lambda r: r.update(list(r.pop_tuple(2))),
    "u": lambda r: r.update(r.pop_to_mark()),
    ")": lambda r: r.push(()),
    "t": lambda r: r.push(tuple(r.pop_to_mark())),
    "\x85": lambda r: r.push(r.pop_tuple(1)),
    "\x86": lambda r: r.push(r.pop_tuple(2)),
    "\x87": lambda r: r.push(r.pop_tuple(3)),
    # the memo
    "p": lambda r: r.remember(int(r.line())),
    "q": lambda r: r.remember(r.take(1)[0]),
    "r": lambda r: r.remember(r.number(_4)),
    "\x94": lambda r: r.remember(len(r.memo)),
    "g": lambda r: r.push(r.memo[int(r.line())]),
    "h": lambda r: r.push(r.memo[r.take(1)[0]]),
    "j": lambda r: r.push(r.memo[r.number(_4)]),
    # names, calls, states
    "c": lambda r: r.look_up(_utf8(r.line()), _utf8(r.line())),
    "\x93": lambda r: r.look_up(*map(str, r.pop_tuple(2))),
    "R": PickleReader.call,
    "b": PickleReader.build,
    "Q": PickleReader.persistent,
}
_OPCODES = {ord(opcode): action for opcode, action in _ACTIONS.items()}
