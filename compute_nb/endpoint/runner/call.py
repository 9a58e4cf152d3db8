"""This module is the call of a task: its function, as it was when it was sent, and its arguments."""

from __future__ import annotations

import operator
import pickle
import types
from typing import TYPE_CHECKING, Any

from .buffers import load, unpack
from .failure import NOTE
from .pickles import ATOMS, mime
from .source import SourceCode, named_source

if TYPE_CHECKING:
    from collections.abc import Callable


PICKLED = {"00\n": "DillDataBase64", "01\n": "DillCode", "02\n": "PickleCode"}
INSTEAD = {"the function": "as source, with its imports inside", "an argument": "as plain data"}


def load_for_task(what: str, buffer: str) -> Any:
    """Loads a part of a task; an error in a pickle gets a note of how it was sent and what to try."""
    try:
        return load(buffer)
    except Exception as error:
        if buffer[:3] in PICKLED:
            note = (
                f"\n({what} was sent by {PICKLED[buffer[:3]]} and can't be read here: give this worker the "
                f"modules and the Python that it was made with, or send it {INSTEAD[what]})"
            )
            setattr(error, NOTE, note)
        raise


class PickledCode:
    """A function that came as a pickle: read anew for each task unless it can't hold anything between two."""

    def __init__(self, buffer: str) -> None:
        self.buffer = buffer
        self.kept: Callable[..., Any] | None = None
        self.globals: list[Any] = []

    def make(self) -> Callable[..., Any]:
        """Returns the function as it was when it was sent."""
        kept = self.kept
        if kept is not None and not kept.__dict__ and same(kept.__globals__, self.globals):
            return kept
        function: Callable[..., Any] = load_for_task("the function", self.buffer)
        if holds_nothing(function):
            function.__globals__.setdefault("__builtins__", __builtins__)
            self.kept, self.globals = function, list(function.__globals__.values())
        return function


def same(names: dict[str, Any], values: list[Any]) -> bool:
    """True if the names still have the very values that they had."""
    return len(names) == len(values) and all(map(operator.is_, names.values(), values))


def holds_nothing(function: Any) -> bool:
    """True if a function has no state: no closure, no changeable defaults, only modules and plain globals."""
    if type(function) is not types.FunctionType or function.__closure__ or function.__dict__:
        return False
    defaults = (function.__defaults__ or ()) + tuple((function.__kwdefaults__ or {}).values())
    plain = all(
        name == "__builtins__" or type(value) in ATOMS or isinstance(value, types.ModuleType)
        for name, value in function.__globals__.items()
    )
    return plain and all(type(value) in ATOMS for value in defaults)


def code_of(packed: str) -> Any:
    """Returns the maker of a registered function from its packed text."""
    (buffer,) = unpack(packed)
    if buffer[:3] in ("st\n", "sd\n"):
        return SourceCode(*named_source(buffer[3:]))
    return PickledCode(buffer)


EMPTY = {"00\n" + mime(pickle.dumps(kind(), 4)): kind for kind in (dict, tuple)}


def arguments(packed: str) -> tuple[Any, Any]:
    """Returns positional and named arguments of a call."""
    args, kwargs = unpack(packed)
    return (
        EMPTY[args]() if args in EMPTY else load_for_task("an argument", args),
        EMPTY[kwargs]() if kwargs in EMPTY else load_for_task("an argument", kwargs),
    )
