"""This module is the unpacker: it rebuilds what the other side packed."""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import pickle
import types
from typing import Any

from .arrays import make_view  # noqa: F401 - found here by its name
from .dataclass import DECORATED, decorate
from .home import MAIN, Home, NotHere
from .skeleton import BARE, MEMBERS, REGISTERED
from .source import CodeBytes, CodeText, codes_in, from_bytes, remember

PREFIX = "_compute_nb_"  # of the names that kits have on workers


ONLY_HERE = "a cell's pickle is read by `unpack` of this package only"


# What the pickle calls on the other side; `Unpacker.find_class` puts its own methods in their place.
def find_named(name: str, label: str) -> Any:
    """Stands for `Unpacker.find_named`."""
    raise NotHere(name, label)


def settle(names: dict[str, Any]) -> Any:
    """Stands for `Unpacker.settle`."""
    raise TypeError(ONLY_HERE)


def make_alias(name: str) -> Any:
    """Stands for `Unpacker.make_alias`."""
    raise TypeError(ONLY_HERE)


def set_alias(alias: Any, value: Any) -> Any:
    """Stands for `Unpacker.set_alias`."""
    raise TypeError(ONLY_HERE)


def make_code(*spec: Any) -> Any:
    """Stands for `Unpacker.make_code`."""
    raise TypeError(ONLY_HERE)


def make_function(*spec: Any) -> Any:
    """Stands for `Unpacker.make_function`."""
    raise TypeError(ONLY_HERE)


def set_function(*spec: Any) -> Any:
    """Stands for `Unpacker.set_function`."""
    raise TypeError(ONLY_HERE)


def make_class(*spec: Any) -> Any:
    """Stands for `Unpacker.make_class`."""
    raise TypeError(ONLY_HERE)


def set_class(*spec: Any) -> Any:
    """Stands for `Unpacker.set_class`."""
    raise TypeError(ONLY_HERE)


def find_type(name: str) -> type:
    """Returns the built-in type that only `types` has a name for."""
    found: type = getattr(types, name)
    return found


def make_cached(wrapped: Any, parameters: dict[str, Any]) -> Any:
    """Returns a new, empty `functools.lru_cache` around a function."""
    return functools.lru_cache(**parameters)(wrapped)


class Unpacker(pickle.Unpickler):
    """Rebuilds what the other side packed.

    Args:
        file: The pickle.
        home: The side where it arrives.
        function_globals: Globals of the functions that arrive.
        prefer_present: Whether a class that this side has under the same name takes the place of the one
            that comes.
    """

    def __init__(self, file: Any, home: Home, function_globals: dict[str, Any], prefer_present: bool) -> None:
        super().__init__(file)
        self.home = home
        self._function_globals = function_globals
        self._prefer_present = prefer_present
        self._cells: dict[int, Any] = {}
        self._spaces: dict[int, dict[str, Any]] = {}
        self._present: set[int] = set()
        self._aliases: dict[int, list[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Called by pickle for each global name in the stream."""
        if name in _MAKERS and _is_kit(module):
            return globals()[name] if name in _PLAIN_MAKERS else getattr(self, name)
        if module == MAIN:
            return self.home.find(name)
        return super().find_class(module, name)

    def find_named(self, name: str, label: str) -> Any:
        """Returns what this side calls `name`."""
        return self.home.find(name, label)

    def settle(self, names: dict[str, Any]) -> dict[str, Any]:
        """Binds functions and classes that travel, before anything is made with their help."""
        self._function_globals.update(names)
        return names

    def make_alias(self, name: str) -> Any:
        """Returns what `type NAME = ...` gives, its value still to come."""
        value: list[Any] = []
        space = {"__name__": MAIN, "value": value}
        exec("type " + name + " = value[0]", space)
        self._aliases[id(space[name])] = value
        return space[name]

    def set_alias(self, alias: Any, value: Any) -> None:
        """Gives a type alias its value."""
        self._aliases[id(alias)].append(value)

    def make_code(self, *spec: Any) -> types.CodeType:
        """Returns a code object from its text, or from its bytes."""
        if len(spec) == len(CodeBytes._fields):
            return from_bytes(CodeBytes(*spec))
        text = CodeText(*spec)
        remember(text.label, text.first_line, text.text)
        same = (text.name, text.line)
        return codes_in(text.text, text.first_line, text.label, text.postponed, same)[text.rank]

    def make_function(
        self,
        code: types.CodeType,
        name: str,
        qualname: str,
        place: str | int | None,
        numbers: tuple[int, ...],
    ) -> types.FunctionType:
        """Returns a function without defaults, its cells still empty."""
        space = self._space(place)
        cells = tuple(self._cells.setdefault(number, types.CellType()) for number in numbers)
        function = types.FunctionType(code, space, name, None, cells)
        function.__qualname__ = qualname
        if place is None:
            self.home.arrive(function, qualname, code.co_filename)
        return function

    def _space(self, place: str | int | None) -> dict[str, Any]:
        """Returns globals for a function: the namespace, a module's, or a numbered one of a program."""
        if place is None:
            return self._function_globals
        if isinstance(place, str):
            return importlib.import_module(place).__dict__
        return self._spaces.setdefault(place, {"__name__": MAIN, "__builtins__": builtins})

    def set_function(self, function: types.FunctionType, state: tuple[Any, ...]) -> None:
        """Gives a function all that is by value."""
        slots, attributes, cells, names = state
        for name, value in slots.items():
            setattr(function, name, value)
        function.__dict__.update(attributes)
        for number, contents in cells:
            self._cells[number].cell_contents = contents[0]
        for name, value in names.items():
            function.__globals__.setdefault(name, value)

    def make_class(  # noqa: PLR0917 - as pickle calls it
        self, kind: str, name: str, qualname: str, module: str, label: str, known: str, *parts: Any
    ) -> type:
        """Returns a class without its attributes, or the one that this side has as `known` already."""
        present = self._present_class(known) if known else None
        if present is not None:
            self._present.add(id(present))
            return present
        cls = BARE[kind](name, {"__module__": module, "__qualname__": qualname}, *parts)
        self.home.arrive(cls, known, label)
        if module == MAIN and "." not in qualname:
            self._function_globals.setdefault(qualname, cls)
        return cls

    def _present_class(self, name: str) -> type | None:
        if not self._prefer_present:
            return None
        try:
            found = self.home.find(name)
        except NotHere:
            return None
        return found if isinstance(found, type) and found.__module__ == MAIN else None

    def set_class(self, cls: type, state: dict[str, Any]) -> None:
        """Gives a class its attributes."""
        if id(cls) in self._present:
            return
        if DECORATED in state:
            decorate(cls, state.pop(DECORATED))
        for name, attributes in state.pop(MEMBERS, {}).items():
            vars(cls.__members__[name]).update(attributes)  # type: ignore[attr-defined]
        others = state.pop(REGISTERED, ())
        for name, value in state.items():
            type.__setattr__(cls, name, value)
        for other in others:
            cls.register(other)  # type: ignore[attr-defined]


_PLAIN_MAKERS = frozenset(["find_type", "make_cached", "make_view"])
_MAKERS = _PLAIN_MAKERS | {
    "find_named",
    "settle",
    "make_alias",
    "set_alias",
    "make_code",
    "make_function",
    "set_function",
    "make_class",
    "set_class",
}


def _is_kit(module: str) -> bool:
    """Returns whether a module is of some kit: the one installed, or one that travelled, of any version."""
    first = module.partition(".")[0]
    return first == "compute_nb" or first.startswith(PREFIX)


def unpack(
    data: bytes,
    home: Home,
    function_globals: dict[str, Any] | None = None,
    prefer_present: bool = False,
) -> Any:
    """Rebuilds a packed object.

    Args:
        data: What `pack` gave.
        home: The side where it arrives.
        function_globals: Globals for functions that arrive; default a new namespace of their own.
        prefer_present: Whether instances take the class that this side has under the same name.

    Raises:
        NotHere: It needs a function or class that this side does not have yet.
        Exception: Whatever pickle and the classes raise.
    """
    if function_globals is None:
        function_globals = {"__name__": MAIN, "__builtins__": builtins}
    return Unpacker(io.BytesIO(data), home, function_globals, prefer_present).load()
