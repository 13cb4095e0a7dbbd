"""Configs: `default` declares every key, the others state only what differs."""

import dataclasses
import importlib
import math
from typing import Any

_LIMITS = {True: 2**31 - 1, False: 1e9}  # of numbers, whole or not
_MAX_CHARACTERS = 4_096


@dataclasses.dataclass(frozen=True)
class Key:
    """What is known of a config key beside its name.

    Attributes:
      value: the default. Its type is the key's type; an int also passes for a float.
      decides: the first part of a run whose results follow from the key: "damsm" is stage 1, and
        with it all that comes later, "attngan" stage 2. "nothing": scores, speed and files alone,
        so that it may differ between two starts of one run. None: as its section says.
      at_least, above, at_most: the range of a number. Where none is given an int is at least 1 and
        a float at least 0; the former fits into 32 bits, and the latter is at most 10^9.
      choices: the allowed values. registry: "module:NAME" of a dict whose keys are the choices.
      may_grow: whether a started run takes a larger value, and goes on from where it is.
      path: "any" for a path of this machine or a gs:// address, "local" for the former alone.
      before: what a run did that is older than the key, where that is not `value`; a function is
        given the run's own config, as nested dicts.
    """

    value: Any
    decides: str | None = None
    at_least: float | None = None
    above: float | None = None
    at_most: float = math.inf
    choices: tuple = ()
    registry: str = ""
    may_grow: bool = False
    path: str = ""
    before: Any = None

    def problem(self, value: Any) -> str:
        """Why `value` can't be this key's, with what would do instead; "" if it can."""
        if isinstance(self.value, bool | str):
            if type(value) is not type(self.value):
                return f"it must be {'True or False' if isinstance(self.value, bool) else 'a text'}"
            if isinstance(value, str) and not _is_writable(value):
                return f"it must be a text of at most {_MAX_CHARACTERS:,} characters of UTF-8"
        elif (problem := self._problem_of_number(value)) != "":
            return problem
        choices = self.choices
        if self.registry and value != self.value:
            module, _, name = self.registry.partition(":")
            choices = tuple(getattr(importlib.import_module(module), name))
        if choices and value not in choices:
            return f"choose one of {', '.join(map(str, choices))}"
        return ""

    def _problem_of_number(self, value: Any) -> str:
        is_whole = isinstance(self.value, int)
        if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float):
            return f"it must be a {'whole ' * is_whole}number"
        at_least = self.at_least
        if at_least is None and self.above is None:
            at_least = 1 if is_whole else 0
        if at_least is not None and not value >= at_least:
            return f"it must be at least {at_least}"
        if self.above is not None and not value > self.above:
            return f"it must be more than {self.above}"
        at_most = min(self.at_most, math.inf if self.at_most < math.inf else _LIMITS[is_whole])
        if not value <= at_most:
            return f"it must be at most {at_most}"
        return ""


def _is_writable(text: str) -> bool:
    """Whether a text can be a path, and be written to a file."""
    has_surrogates = any("\ud800" <= character <= "\udfff" for character in text)
    return len(text) <= _MAX_CHARACTERS and "\0" not in text and not has_surrogates


class Section:
    """Keys by name: `section.name = value`, or `= Key(value, ...)` where more is to be said."""

    _decides: str

    def __init__(self, decides: str):
        self.__dict__["_decides"] = decides

    def __setattr__(self, name: str, value: Any) -> None:
        if not isinstance(value, Section):
            key = value if isinstance(value, Key) else Key(value)
            value = dataclasses.replace(key, decides=key.decides or self._decides)
        self.__dict__[name] = value

    def keys(self) -> dict[str, Key]:
        """All keys by their dotted names."""
        found: dict[str, Key] = {}
        for name, item in vars(self).items():
            if isinstance(item, Key):
                found[name] = item
            elif isinstance(item, Section):
                found |= {f"{name}.{inner}": key for inner, key in item.keys().items()}
        return found
