"""This module is the skeleton of a class: what has to be there before its attributes, and how it is made."""

from __future__ import annotations

import abc
import sys
import types
from collections.abc import Callable
from typing import Any

from .home import MAIN

# In the state of a class: no attribute can be called so.
MEMBERS = "<members>"  # of an enum
REGISTERED = "<registered>"  # with an abstract base class
NO_ATTRIBUTES = frozenset({"__dict__", "__weakref__", "__module__", "__slots__", "_abc_impl"})
NAMEDTUPLE_PARTS = frozenset(
    [
        "__slots__",
        "__new__",
        "_make",
        "_replace",
        "__replace__",
        "__repr__",
        "_asdict",
        "__getnewargs__",
        "__match_args__",
        "_fields",
        "_field_defaults",
        "__module__",
        "__dict__",
        "__weakref__",
    ]
)


def skeleton(cls: type) -> tuple[str, tuple[Any, ...], Any]:
    """Returns the kind of a class, what is needed to make it bare, and attributes not to set afterwards."""
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(cls, enum.EnumMeta):
        members = {name: member.value for name, member in cls.__members__.items()}
        plain = (type(cls), cls.__bases__, members, _annotations(cls), _plain_parts(cls))
        return "enum", plain, _EnumParts(cls, members)
    if tuple in cls.__bases__ and isinstance(cls.__dict__.get("_fields"), tuple):
        fields, defaults = cls._fields, cls._field_defaults  # type: ignore[attr-defined]
        written = {
            name
            for name, value in cls.__dict__.items()
            if isinstance(value, types.FunctionType) and value.__module__ == cls.__module__
        }
        return "namedtuple", (fields, tuple(defaults.values())), (NAMEDTUPLE_PARTS | set(fields)) - written
    first = {name: cls.__dict__[name] for name in ("__slots__", "__orig_bases__") if name in cls.__dict__}
    return "class", (type(cls), cls.__bases__, first), NO_ATTRIBUTES


def _annotations(cls: type) -> dict[str, Any]:
    return dict(cls.__dict__.get("__annotations__", {}))  # noqa: RUF063 - Python 3.8


class _EnumParts:
    """The attributes that making an enum sets by itself."""

    def __init__(self, cls: type, members: dict[str, Any]) -> None:
        bare = {name for base in cls.__mro__[1:] for name in base.__dict__ if name.startswith("_")}
        own = (types.FunctionType, classmethod, staticmethod)
        self._own = {name for name, value in cls.__dict__.items() if isinstance(value, own)} | {"__doc__"}
        self._known = bare | set(members) | NO_ATTRIBUTES

    def __contains__(self, name: str) -> bool:
        if name == "_boundary_":
            return False
        if name in self._own and name not in ("__new__", "_generate_next_value_"):
            return False
        return name in self._known or (name.startswith("_") and name.endswith("_"))


def _plain_parts(cls: Any) -> dict[str, tuple[Any, ...]]:
    """Returns what the members of an enum with a `__new__` of its own are in themselves: (number,) or ()."""
    made = getattr(cls, "_new_member_", None)
    if not isinstance(made, types.FunctionType) or made.__module__ == "enum":
        return {}
    kind = cls._member_type_
    if kind is object:
        return dict.fromkeys(cls.__members__, ())
    return {
        name: (kind.__str__(member) if kind is str else kind(member),)
        for name, member in cls.__members__.items()
    }


def member_attributes(cls: type) -> dict[str, dict[str, Any]]:
    """Returns what `__init__` or `__new__` of an enum gave its members, which are made without them."""
    enum = sys.modules.get("enum")
    if enum is None or not isinstance(cls, enum.EnumMeta):
        return {}
    members: Any = cls.__members__
    return {name: _own_attributes(member) for name, member in members.items()}


def registered(cls: type) -> list[type]:
    """Returns the classes that were registered with an abstract base class of the notebook."""
    if not isinstance(cls, abc.ABCMeta):
        return []
    references = getattr(abc, "_get_dump", lambda _: [()])(cls)[0]
    return [found for found in (reference() for reference in references) if found is not None]


def _own_attributes(member: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in getattr(member, "__dict__", {}).items()
        if not (name.startswith("_") and name.endswith("_"))
    }


def _bare_class(
    name: str, space: dict[str, Any], metaclass: Any, bases: tuple[type, ...], first: Any
) -> type:
    space.update(first)
    if metaclass.__name__ == "_TypedDictMeta":  # called, it refuses the bases that it has made itself
        made: type = type.__new__(metaclass, name, bases, space)
        return made
    with _QuietBases(bases):
        if metaclass.__module__ == MAIN:  # its own code has run where the class comes from
            kind: Any = next(kind for kind in metaclass.__mro__ if kind.__module__ != MAIN)
            made = kind.__new__(metaclass, name, bases, space)
            return made
        return types.new_class(name, bases, {"metaclass": metaclass}, lambda body: body.update(space))


def _bare_enum(  # noqa: PLR0917
    name: str,
    space: dict[str, Any],
    metaclass: Any,
    bases: tuple[type, ...],
    members: dict[str, Any],
    annotations: dict[str, Any],
    parts: dict[str, Any],
) -> type:
    body = metaclass.__prepare__(name, bases)
    if parts:
        body["__new__"] = _new_member  # the enum's own has run where it comes from
        members = {member: _Given((parts[member], value)) for member, value in members.items()}
    for key, value in {**space, **members}.items():
        body[key] = value
    made: type = metaclass.__new__(metaclass, name, bases, body)
    if annotations:
        type.__setattr__(made, "__annotations__", annotations)
    return made


class _Given(tuple):  # type: ignore[type-arg]
    """Plain part and value of a member on its way."""


def _new_member(cls: Any, part: Any, value: Any) -> Any:
    member = cls._member_type_.__new__(cls, *part)
    member._value_ = value
    return member


def _bare_namedtuple(
    name: str, space: dict[str, Any], fields: tuple[str, ...], defaults: tuple[Any, ...]
) -> type:
    from collections import namedtuple

    made = namedtuple(name, fields, defaults=defaults, module=space["__module__"])  # type: ignore[misc]
    made.__qualname__ = space["__qualname__"]
    return made


BARE: dict[str, Callable[..., type]] = {
    "class": _bare_class,
    "enum": _bare_enum,
    "namedtuple": _bare_namedtuple,
}


class _QuietBases:
    """Keeps `__init_subclass__` of classes that travelled from running a second time."""

    def __init__(self, bases: tuple[type, ...]) -> None:
        self._hooks = [
            (cls, cls.__dict__["__init_subclass__"])
            for base in bases
            for cls in getattr(base, "__mro__", ())
            if cls.__module__ == MAIN and "__init_subclass__" in cls.__dict__
        ]

    def __enter__(self) -> None:
        for cls, _ in self._hooks:
            if "__init_subclass__" in cls.__dict__:
                type.__delattr__(cls, "__init_subclass__")

    def __exit__(self, *_: Any) -> None:
        for cls, hook in self._hooks:
            type.__setattr__(cls, "__init_subclass__", hook)
