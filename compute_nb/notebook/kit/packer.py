"""This module is the packer: objects of one side as one pickle, code as source and all else by value.

Functions and classes that the notebook defined have no module that a worker could import. A function goes as
the text of the statement that holds its code (found again there by name and line, so that nothing is run
twice) and with its defaults, closure cells and attributes by value, which stays true whatever was assigned to
them later. Where the text does not give the same code, the code goes in Python's own form, for a worker of
the same Python only.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import marshal
import pickle
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from .arrays import Arrays, is_array
from .dataclass import DECORATED, decorated, is_remade
from .home import MAIN, Home
from .skeleton import MEMBERS, REGISTERED, member_attributes, registered, skeleton
from .source import global_names
from .unpacker import (
    find_named,
    find_type,
    make_alias,
    make_cached,
    make_class,
    make_code,
    make_function,
    set_alias,
    set_class,
    set_function,
    settle,
)

PROTOCOL = 5


class Definitions(dict):  # type: ignore[type-arg]
    """Functions and classes by name, which the other side has under their names before all that follows.

    What rebuilds a value (`__reduce__`, `__setstate__`) may call them.
    """


def _importable(thing: Any) -> bool:
    """Returns whether another process gets `thing` by importing its module and walking its name."""
    found = sys.modules.get(getattr(thing, "__module__", None) or "")
    if found is None or found.__name__ == MAIN:
        return False
    try:
        for part in thing.__qualname__.split("."):
            found = getattr(found, part)
    except AttributeError:
        return False
    return found is thing


class _Rules:
    """How single objects are packed; shared by the fast packer and the one that knows dill's rules too."""

    home: Home
    by_name: Callable[[Any], str | None]
    with_globals: bool
    reads: set[str]
    met: dict[str, Any]
    modules: set[str]
    sourceless: set[str]
    arrays: Arrays
    _cells: dict[int, tuple[int, Any]]
    _spaces: dict[int, tuple[int, Any]]

    def begin(
        self, home: Home, by_name: Callable[[Any], str | None], with_globals: bool, arrays: Arrays
    ) -> None:
        self.home, self.by_name, self.with_globals, self.arrays = home, by_name, with_globals, arrays
        self.reads, self.met, self._cells, self._spaces = set(), {}, {}, {}
        self.modules, self.sourceless = set(), set()

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for whatever is not a plain builtin; says how it is rebuilt."""
        rule = _RULES.get(type(obj))
        if rule is not None:
            return rule(self, obj)
        if isinstance(obj, type):
            return self.of_class(obj)
        if is_array(obj):
            return self.arrays.meet(obj)
        if isinstance(obj, _LIVE) and not isinstance(obj, (io.BytesIO, io.StringIO)):
            self.refuse(obj)
        if type(obj).__module__ == "dataclasses" and type(obj).__name__ in _SENTINELS:
            return _SENTINELS[type(obj).__name__] or obj.name
        return self._imported(obj) if isinstance(obj, types.BuiltinFunctionType) else NotImplemented

    def _imported(self, thing: Any) -> Any:
        """Leaves something to pickle, which has it imported."""
        self.modules.add(thing.__module__ or "")
        return NotImplemented

    def of_definitions(self, names: Definitions) -> Any:
        return (settle, (dict(names),))

    def of_function(self, function: types.FunctionType) -> Any:
        named = self._named(function)
        if named is not None:
            return named
        at_home = function.__globals__ is self.home.namespace
        if not at_home and _importable(function):
            return self._imported(function)
        module = None if at_home else _module_of(function)
        own = None if at_home or module else function.__globals__
        self.modules.add(module or "")
        names = global_names(function.__code__) if at_home or own is not None else set()
        self.reads |= names if at_home else set()
        cells = [self._cell(cell) for cell in function.__closure__ or ()]
        place = module if own is None else self._own_space(own)
        spec = (function.__code__, function.__name__, function.__qualname__, place)
        numbers = tuple(number for number, _ in cells)
        slots = {
            "__defaults__": function.__defaults__,
            "__kwdefaults__": function.__kwdefaults__,
            "__annotations__": function.__annotations__,
            "__module__": function.__module__,
            "__doc__": function.__doc__,
        }
        if getattr(function, "__type_params__", ()):
            slots["__type_params__"] = function.__type_params__  # type: ignore[attr-defined]
        filled = [pair for pair in cells if pair[1]]
        read = self._globals(names) if own is None else {name: own[name] for name in sorted(names & set(own))}
        state = (slots, function.__dict__, filled, read)
        return (make_function, (*spec, numbers), state, None, None, set_function)

    def _globals(self, names: set[str]) -> dict[str, Any]:
        if not self.with_globals:
            return {}
        space = self.home.namespace
        return {name: space[name] for name in sorted(names) if name in space}

    def _own_space(self, space: dict[str, Any]) -> int:
        """Returns the number of a namespace that a program made: its functions share it there too."""
        number, _ = self._spaces.setdefault(id(space), (len(self._spaces), space))
        return number

    def _cell(self, cell: Any) -> tuple[int, tuple[Any, ...]]:
        number, _ = self._cells.setdefault(id(cell), (len(self._cells), cell))
        try:
            return number, (cell.cell_contents,)
        except ValueError:  # empty: its function has not got that far
            return number, ()

    def _named(self, thing: Any) -> Any:
        name = self.by_name(thing)
        if name is None:
            return None
        self.met[name] = thing
        _, _, label = self.home.arrived.get(id(thing), (thing, name, ""))
        return (find_named, (name, label))

    def of_code(self, code: types.CodeType) -> Any:
        text = self.home.text_of(code)
        if text is not None:
            return (make_code, tuple(text))
        self.sourceless.add(getattr(code, "co_qualname", code.co_name))
        return (make_code, (marshal.dumps(code), tuple(sys.version_info[:2]), code.co_name))

    def of_class(self, cls: type) -> Any:
        named = self._named(cls)
        if named is not None:
            return named
        if cls.__module__ == "builtins":
            return self.of_builtin_class(cls)
        if cls.__module__ != MAIN and _importable(cls):
            return self._imported(cls)
        kind, parts, skipped = skeleton(cls)
        state = {
            name: value
            for name, value in cls.__dict__.items()
            if name not in skipped and not isinstance(value, _SLOT_TYPES)
        }
        spec_of_decorator = decorated(cls)
        if spec_of_decorator is not None:
            state = {name: value for name, value in state.items() if not is_remade(name, spec_of_decorator)}
            state[DECORATED] = spec_of_decorator
        members = member_attributes(cls)
        if any(members.values()):
            state[MEMBERS] = members
        others = registered(cls)
        if others:
            state[REGISTERED] = others
        names = (cls.__name__, cls.__qualname__, cls.__module__)
        spec = (kind, *names, self._label(cls), self.home.name_of_class(cls), *parts)
        return (make_class, spec, state, None, None, set_class)

    def of_builtin_class(self, cls: type) -> Any:
        if getattr(builtins, cls.__name__, None) is cls:
            return NotImplemented
        names = [name for name, value in vars(types).items() if value is cls]
        return (find_type, (names[0],)) if names else NotImplemented

    def _label(self, cls: type) -> str:
        for value in cls.__dict__.values():
            code = getattr(value, "__code__", None)
            at_home = getattr(value, "__globals__", None) is self.home.namespace
            if at_home and isinstance(code, types.CodeType) and code.co_filename != "<string>":
                return self.home.label(code.co_filename)
        return ""

    def of_module(self, module: types.ModuleType) -> Any:
        if module.__name__ != MAIN and sys.modules.get(module.__name__) is not module:
            raise TypeError(f"cannot pickle module '{module.__name__}', which no import gives")
        self.modules.add(module.__name__)
        return (importlib.import_module, (module.__name__,))

    def of_type_variable(self, variable: Any) -> Any:
        module = variable.__module__  # of `def f[T]` it is "typing", which has none of that name
        if getattr(sys.modules.get(module), variable.__name__, None) is variable and module != MAIN:
            return NotImplemented
        # What this Python's kind knows of them; a default says so itself.
        given = {name: getattr(variable, f"__{name}__", None) for name in _TYPE_VARIABLE_PARTS}
        given = {name: value for name, value in given.items() if value}
        has_default: Callable[[], bool] = getattr(variable, "has_default", bool)
        if has_default():
            given["default"] = variable.__default__
        kind: Any = type(variable)
        make = functools.partial(kind, **given)
        named = (variable.__name__, *getattr(variable, "__constraints__", ()))
        return (make, named, (None, {"__module__": module}))

    def of_type_alias(self, alias: Any) -> Any:
        if alias.__module__ != MAIN:
            return NotImplemented
        if alias.__type_params__:
            kind: Any = type(alias)
            make = functools.partial(kind, type_params=alias.__type_params__)
            return (make, (alias.__name__, alias.__value__))
        return (make_alias, (alias.__name__,), alias.__value__, None, None, set_alias)  # it may name itself

    def of_new_type(self, new_type: Any) -> Any:
        if new_type.__module__ != MAIN:
            return NotImplemented
        return (type(new_type), (new_type.__name__, new_type.__supertype__), {"__module__": MAIN})

    def of_cached(self, cached: Any) -> Any:
        if _importable(cached):
            return NotImplemented
        named = self._named(cached)
        return named or (make_cached, (cached.__wrapped__, cached.cache_parameters()))

    def of_cached_property(self, cached: Any) -> Any:
        return (functools.cached_property, (cached.func,), {"attrname": cached.attrname})

    def of_static(self, method: Any) -> Any:
        return (type(method), (method.__func__,))

    def of_method(self, method: types.MethodType) -> Any:
        """Binds a method of a notebook's class anew: looked up, it would not be there while that is made."""
        cls = method.__self__
        if not isinstance(cls, type) or cls.__module__ != MAIN or self.by_name(cls) is not None:
            return NotImplemented
        return (types.MethodType, (method.__func__, cls))

    def of_property(self, prop: property) -> Any:
        return (property, (prop.fget, prop.fset, prop.fdel, prop.__doc__))

    def of_proxy(self, proxy: Any) -> Any:
        return (types.MappingProxyType, (dict(proxy),))

    def refuse(self, obj: Any) -> Any:
        raise TypeError(f"cannot pickle '{_full_name(type(obj))}' object")


def _full_name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else cls.__module__ + "." + cls.__qualname__


def _module_of(function: types.FunctionType) -> str | None:
    """Returns whose globals a function has; None if a program made a namespace for it, as attrs does."""
    name = function.__globals__.get("__name__", "")
    module = sys.modules.get(name)
    return str(name) if module is not None and module.__dict__ is function.__globals__ else None


_TYPE_VARIABLE_PARTS = ("bound", "covariant", "contravariant", "infer_variance")
_SLOT_TYPES = (types.MemberDescriptorType, types.GetSetDescriptorType)
_LIVE = (io.IOBase, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, types.FrameType)
_SENTINELS = {
    "_MISSING_TYPE": "MISSING",
    "_KW_ONLY_TYPE": "KW_ONLY",
    "_HAS_DEFAULT_FACTORY_CLASS": "_HAS_DEFAULT_FACTORY",
    "_FIELD_BASE": "",
}


def _rules() -> dict[type, Any]:
    import threading
    import typing
    from typing import NewType, TypeVar

    rules: dict[type, Any] = {
        Definitions: _Rules.of_definitions,
        types.FunctionType: _Rules.of_function,
        types.CodeType: _Rules.of_code,
        types.MethodType: _Rules.of_method,
        types.ModuleType: _Rules.of_module,
        types.MappingProxyType: _Rules.of_proxy,
        TypeVar: _Rules.of_type_variable,
        staticmethod: _Rules.of_static,
        classmethod: _Rules.of_static,
        property: _Rules.of_property,
        functools.cached_property: _Rules.of_cached_property,
        type(threading.Lock()): _Rules.refuse,
        type(threading.RLock()): _Rules.refuse,
    }
    rules[type(functools.lru_cache(len))] = _Rules.of_cached
    for name in ("ParamSpec", "TypeVarTuple"):  # since Python 3.10, 3.11
        if hasattr(typing, name):
            rules[getattr(typing, name)] = _Rules.of_type_variable
    if hasattr(typing, "TypeAliasType"):  # since Python 3.12
        rules[typing.TypeAliasType] = _Rules.of_type_alias
    if isinstance(NewType, type):  # since Python 3.10; a function before
        rules[NewType] = _Rules.of_new_type
    return rules


_RULES = _rules()


class Packer(_Rules, pickle.Pickler):
    """Pickles by C code, with the rules above for what it cannot do."""


class Packed(NamedTuple):
    """A pickle, and what was learned by making it.

    Attributes:
        reads: Global names that packed functions read.
        met: What went by name.
        modules: What reading it imports, dotted names.
        sourceless: Code in it that no other minor version of Python can read.
    """

    data: bytes
    reads: set[str]
    met: dict[str, Any]
    modules: set[str]
    sourceless: set[str]


def pack(
    thing: Any,
    home: Home,
    by_name: Callable[[Any], str | None] = lambda thing: None,
    with_globals: bool = False,
) -> Packed:
    """Pickles one object; dill is asked only for what pickle can't do.

    Args:
        thing: What travels.
        home: The side that it leaves.
        by_name: Gives the name of a function or class that the other side has already, else None.
        with_globals: Whether functions take the values of the globals that they read along.

    Raises:
        Exception: Whatever pickle raises for something that cannot travel.
    """
    try:
        return _pack(Packer, thing, home, by_name, with_globals)
    except Exception:
        packer = _dill_packer()
        if packer is None:
            raise
        try:
            return _pack(packer, thing, home, by_name, with_globals)
        except Exception:  # noqa: BLE001 - a value's own code may raise anything
            pass
        raise


def _pack(
    packer: Any,
    thing: Any,
    home: Home,
    by_name: Callable[[Any], str | None],
    with_globals: bool,
) -> Packed:
    arrays = Arrays()
    while True:
        file = io.BytesIO()
        pickler = packer(file, PROTOCOL)
        pickler.begin(home, by_name, with_globals, arrays)
        pickler.dump(thing)
        if not arrays.again():
            modules = {
                name
                for name in pickler.modules - {"", "builtins", MAIN}
                if name.rpartition(".")[0] != __package__
            }
            return Packed(file.getvalue(), pickler.reads, pickler.met, modules, pickler.sourceless)


def _dill_packer() -> Any:
    try:
        import dill
    except ImportError:
        return None
    return type("DillPacker", (_Rules, dill.Pickler), {})
