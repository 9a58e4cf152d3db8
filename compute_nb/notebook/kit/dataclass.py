"""This module is the dataclass: what its decorator made of a class, which the other side's makes anew.

Those methods have no source, and their bytecode suits one Python only. What was changed later goes by value.
"""

from __future__ import annotations

from typing import Any

DECORATED = "<decorated>"  # in the state of a class, where no attribute can be called so
_OPTIONS = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")  # a class with `slots` has them already
_METHODS = (
    *("__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__"),
    *("__setattr__", "__delattr__", "__hash__", "__replace__", "__match_args__"),
)


def decorated(cls: type) -> tuple[Any, ...] | None:
    """Returns what the decorator of a dataclass was given and what it made; None for other classes."""
    params = cls.__dict__.get("__dataclass_params__")
    if params is None:
        return None
    options = {name: getattr(params, name) for name in type(params).__slots__}
    fields = [_told(field) for field in cls.__dataclass_fields__.values()]  # type: ignore[attr-defined]
    made = [name for name in sorted(_METHODS) if _is_made(cls, name)]
    init: Any = cls.__dict__["__init__"] if "__init__" in made else None
    defaults = init and (init.__defaults__, init.__kwdefaults__)
    return options, fields, made, defaults, init is not None and "__post_init__" in init.__code__.co_names


def is_remade(name: str, spec: tuple[Any, ...]) -> bool:
    """Returns whether an attribute comes of decorating the class again."""
    return name in spec[2] or name in ("__dataclass_fields__", "__dataclass_params__")


def _is_made(cls: type, name: str) -> bool:
    made = cls.__dict__.get(name)
    if name == "__replace__":
        return getattr(made, "__module__", None) == "dataclasses"
    code = getattr(getattr(made, "__wrapped__", made), "__code__", None)
    names = (cls.__qualname__ + "." + name, "__create_fn__.<locals>." + name)  # the latter before Python 3.10
    return code is not None and code.co_filename == "<string>" and made.__qualname__ in names  # type: ignore[union-attr]


def _told(field: Any) -> tuple[str, Any, str, dict[str, Any]]:
    """Returns name, type and kind of a field, and what `field()` is told that any Python knows."""
    from dataclasses import MISSING

    parts = {name: getattr(field, name) for name in ("init", "repr", "hash", "compare")}
    for name in ("default", "default_factory"):
        if getattr(field, name) is not MISSING:
            parts[name] = getattr(field, name)
    if field.metadata:
        parts["metadata"] = dict(field.metadata)
    if getattr(field, "kw_only", None) is True:
        parts["kw_only"] = True
    if getattr(field, "doc", None) is not None:
        parts["doc"] = field.doc
    return field.name, field.type, field._field_type.name, parts


def decorate(cls: Any, spec: tuple[Any, ...]) -> None:
    """Makes of a bare class what the decorator made of it on the other side, before it gets its attributes.

    Inherited fields are given again, since its bases may not be whole yet.
    """
    from dataclasses import InitVar, dataclass, field
    from typing import ClassVar

    options, fields, made, defaults, has_post_init = spec
    kinds: dict[str, Any] = {"_FIELD_CLASSVAR": ClassVar, "_FIELD_INITVAR": InitVar}
    space: dict[str, Any] = {name: field(**parts) for name, _, _, parts in fields}
    others = [name for name in _METHODS if name not in made]
    before = dict(cls.__dict__)
    # Types that are text mean names of the module, and may not be looked up yet.
    space["__annotations__"] = {name: kinds.get(kind, object) for name, _, kind, _ in fields}
    space["__doc__"] = "-"
    if has_post_init:
        space["__post_init__"] = None
    for name, value in space.items():
        type.__setattr__(cls, name, value)
    dataclass(**{name: options[name] for name in _OPTIONS})(cls)
    for name in (*space, *others):
        if name in before:
            type.__setattr__(cls, name, before[name])
        elif name in cls.__dict__:
            type.__delattr__(cls, name)
    for name in type(cls.__dataclass_params__).__slots__:
        setattr(cls.__dataclass_params__, name, options.get(name, getattr(cls.__dataclass_params__, name)))
    init = cls.__dict__["__init__"] if defaults else None
    if init is not None:
        init.__defaults__, init.__kwdefaults__ = defaults
    for name, kind, _, _ in fields:
        cls.__dataclass_fields__[name].type = kind
        if init is not None and name in init.__annotations__:
            init.__annotations__[name] = kind
