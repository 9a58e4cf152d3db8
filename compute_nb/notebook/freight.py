"""This module is the freight: objects of a notebook as one pickle, code as source and all else by value.

Its text travels to the worker as it stands, so it needs nothing but the standard library of Python 3.8. Both
sides run the same rules: the notebook packs inputs and unpacks results, the worker the other way round.

Functions and classes that the notebook defined have no module that a worker could import. A function goes as
the text of the statement that holds its code (found again there by name and line, so that nothing is run
twice) and with its defaults, closure cells and attributes by value, which stays true whatever was assigned to
them later. Where the text does not give the same code, the code goes in Python's own form, for a worker of
the same Python only.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import functools
import importlib
import io
import linecache
import marshal
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

PROTOCOL = 5
MAIN = "__main__"
POSTPONED = __future__.annotations.compiler_flag  # the one `from __future__ import` that changes code
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
        "__doc__",
    ]
)


class NotHere(Exception):
    """A pickle names a function or class that this side does not have.

    Args:
        name: Qualified name of the function or class.
        label: The cell that defined it, or "".
    """

    def __init__(self, name: str, label: str) -> None:
        super().__init__(name, label)
        self.name = name
        self.label = label


class CodeText(NamedTuple):
    """Where the source of a code object is: whole lines that hold it, its name, first line and rank there."""

    label: str
    first_line: int
    text: str
    name: str
    line: int
    rank: int
    postponed: bool


class CodeBytes(NamedTuple):
    """A code object in the form that one Python version alone can read."""

    data: bytes
    version: tuple[int, int]
    name: str


class Home:
    """The namespace that objects live in on one side, and how its code is found.

    Args:
        namespace: The globals of the notebook, or of the task.
        label: File name of code -> what people call it ("Cell In[3]").
    """

    def __init__(self, namespace: dict[str, Any], label: Callable[[str], str] = lambda name: name) -> None:
        self.namespace = namespace
        self.label = label
        self.arrived: dict[int, tuple[Any, str, str]] = {}
        self._texts: dict[tuple[str, int], tuple[str, int]] = {}

    def arrive(self, thing: Any, name: str, label: str) -> None:
        """Notes that a function or class came from the other side, where `name` means it."""
        self.arrived[id(thing)] = (thing, name, label)

    def find(self, name: str, label: str = "") -> Any:
        """Returns what a dotted name means here.

        Raises:
            NotHere: It means nothing here.
        """
        first, *rest = name.split(".")
        try:
            found = self.namespace[first]
            for part in rest:
                found = getattr(found, part)
        except (KeyError, AttributeError):
            raise NotHere(name, label) from None
        return found

    def text_of(self, code: types.CodeType) -> CodeText | None:
        """Returns where the source of `code` is, or None if no text gives that code again."""
        postponed = bool(code.co_flags & POSTPONED)
        found = self._statement(code.co_filename, code.co_firstlineno)
        if found is None:
            return None
        text, first_line = found
        same_name = (code.co_name, code.co_firstlineno)
        candidates = _codes(text, first_line, code.co_filename, postponed, same_name)
        for rank, candidate in enumerate(candidates):
            if alike(candidate, code):
                label = self.label(code.co_filename)
                return CodeText(label, first_line, text, *same_name, rank, postponed)
        return None

    def _statement(self, filename: str, line: int) -> tuple[str, int] | None:
        lines = linecache.getlines(filename)
        try:
            statements = ast.parse("".join(lines)).body
        except (SyntaxError, ValueError):
            return None
        for statement in statements:
            first, last = first_line_of(statement), statement.end_lineno or line
            if first <= line <= last:
                key = (filename, first)
                return self._texts.setdefault(key, ("".join(lines[first - 1 : last]), first))
        return None


def first_line_of(statement: ast.AST) -> int:
    """Returns the line on which a statement begins, decorators included."""
    lines = [decorator.lineno for decorator in getattr(statement, "decorator_list", [])]
    return int(min([getattr(statement, "lineno", 1), *lines]))


def walk_code(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yields a code object and all that it holds."""
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from walk_code(const)


def _codes(
    text: str, first_line: int, filename: str, postponed: bool, same: tuple[str, int]
) -> list[types.CodeType]:
    padded = "\n" * (first_line - 1) + text
    flags = POSTPONED if postponed else 0
    try:
        module = compile(padded, filename, "exec", flags=flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return []
    return [code for code in walk_code(module) if (code.co_name, code.co_firstlineno) == same]


def alike(one: types.CodeType, other: types.CodeType) -> bool:
    """Returns whether two code objects do the same, wherever they were compiled."""
    names = [
        "co_name",
        "co_code",
        "co_names",
        "co_varnames",
        "co_freevars",
        "co_cellvars",
        "co_argcount",
        "co_kwonlyargcount",
        "co_posonlyargcount",
        "co_flags",
    ]
    if any(getattr(one, name) != getattr(other, name) for name in names):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    return all(_same_const(a, b) for a, b in zip(one.co_consts, other.co_consts))  # noqa: B905 - Python 3.8


def _same_const(a: Any, b: Any) -> bool:
    if isinstance(a, types.CodeType) and isinstance(b, types.CodeType):
        return alike(a, b)
    return type(a) is type(b) and repr(a) == repr(b)


def global_names(code: types.CodeType) -> set[str]:
    """Returns the names that code reads from its globals when it is called."""
    import dis

    found: set[str] = set()
    for part in walk_code(code):
        for step in dis.get_instructions(part):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
                found.add(step.argval)
    return found


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


# What the pickle calls on the other side; `Unpacker.find_class` puts its own methods in their place.
def find_named(name: str, label: str) -> Any:
    """Stands for `Unpacker.find_named`."""
    raise NotHere(name, label)


def make_code(*spec: Any) -> Any:
    """Stands for `Unpacker.make_code`."""
    raise NotImplementedError


def make_function(*spec: Any) -> Any:
    """Stands for `Unpacker.make_function`."""
    raise NotImplementedError


def set_function(*spec: Any) -> Any:
    """Stands for `Unpacker.set_function`."""
    raise NotImplementedError


def make_class(*spec: Any) -> Any:
    """Stands for `Unpacker.make_class`."""
    raise NotImplementedError


def set_class(*spec: Any) -> Any:
    """Stands for `Unpacker.set_class`."""
    raise NotImplementedError


def make_cached(wrapped: Any, parameters: dict[str, Any]) -> Any:
    """Returns a new, empty `functools.lru_cache` around a function."""
    return functools.lru_cache(**parameters)(wrapped)


class _Rules:
    """How single objects are packed; shared by the fast packer and the one that knows dill's rules too."""

    home: Home
    by_name: Callable[[Any], str | None]
    with_globals: bool
    reads: set[str]
    met: dict[str, Any]
    _cells: dict[int, tuple[int, Any]]

    def begin(self, home: Home, by_name: Callable[[Any], str | None], with_globals: bool) -> None:
        self.home, self.by_name, self.with_globals = home, by_name, with_globals
        self.reads, self.met, self._cells = set(), {}, {}

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for whatever is not a plain builtin; says how it is rebuilt."""
        rule = _RULES.get(type(obj))
        if rule is not None:
            return rule(self, obj)
        if isinstance(obj, type):
            return self.of_class(obj)
        if isinstance(obj, _LIVE) and not isinstance(obj, (io.BytesIO, io.StringIO)):
            self.refuse(obj)
        if type(obj).__module__ == "dataclasses" and type(obj).__name__ in _SENTINELS:
            return _SENTINELS[type(obj).__name__] or obj.name
        return NotImplemented

    def of_function(self, function: types.FunctionType) -> Any:
        named = self._named(function)
        if named is not None:
            return named
        at_home = function.__globals__ is self.home.namespace
        if not at_home and _importable(function):
            return NotImplemented
        module = None if at_home else _module_of(function)
        names = global_names(function.__code__) if at_home else set()
        self.reads |= names
        cells = [self._cell(cell) for cell in function.__closure__ or ()]
        spec = (function.__code__, function.__name__, function.__qualname__, module)
        numbers = tuple(number for number, _ in cells)
        slots = {
            "__defaults__": function.__defaults__,
            "__kwdefaults__": function.__kwdefaults__,
            "__annotations__": function.__annotations__,
            "__module__": function.__module__,
            "__doc__": function.__doc__,
        }
        state = (slots, function.__dict__, [pair for pair in cells if pair[1]], self._globals(names))
        return (make_function, (*spec, numbers), state, None, None, set_function)

    def _globals(self, names: set[str]) -> dict[str, Any]:
        if not self.with_globals:
            return {}
        space = self.home.namespace
        return {name: space[name] for name in sorted(names) if name in space}

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
        return (make_code, (marshal.dumps(code), tuple(sys.version_info[:2]), code.co_name))

    def of_class(self, cls: type) -> Any:
        named = self._named(cls)
        if named is not None:
            return named
        if cls.__module__ != MAIN and (_importable(cls) or cls.__module__ == "builtins"):
            return NotImplemented
        kind, parts, skipped = _skeleton(cls)
        state = {
            name: value
            for name, value in cls.__dict__.items()
            if name not in skipped and not isinstance(value, _SLOT_TYPES)
        }
        spec = (kind, cls.__name__, cls.__qualname__, cls.__module__, self._label(cls), *parts)
        return (make_class, spec, state, None, None, set_class)

    def _label(self, cls: type) -> str:
        for value in cls.__dict__.values():
            code = getattr(value, "__code__", None)
            if isinstance(code, types.CodeType) and code.co_filename != "<string>":
                return self.home.label(code.co_filename)
        return ""

    def of_module(self, module: types.ModuleType) -> Any:
        if module.__name__ != MAIN and sys.modules.get(module.__name__) is not module:
            raise TypeError(f"cannot pickle module '{module.__name__}', which no import gives")
        return (importlib.import_module, (module.__name__,))

    def of_type_variable(self, variable: Any) -> Any:
        if variable.__module__ != MAIN:
            return NotImplemented
        given = {"covariant": variable.__covariant__, "contravariant": variable.__contravariant__}
        kind: Any = type(variable)
        make = functools.partial(kind, bound=variable.__bound__, **given)
        return (make, (variable.__name__, *variable.__constraints__))

    def of_cached(self, cached: Any) -> Any:
        if _importable(cached):
            return NotImplemented
        named = self._named(cached)
        return named or (make_cached, (cached.__wrapped__, cached.cache_parameters()))

    def of_cached_property(self, cached: Any) -> Any:
        return (functools.cached_property, (cached.func,), {"attrname": cached.attrname})

    def of_static(self, method: Any) -> Any:
        return (type(method), (method.__func__,))

    def of_property(self, prop: property) -> Any:
        return (property, (prop.fget, prop.fset, prop.fdel, prop.__doc__))

    def of_proxy(self, proxy: Any) -> Any:
        return (types.MappingProxyType, (dict(proxy),))

    def refuse(self, obj: Any) -> Any:
        raise TypeError(f"cannot pickle '{_full_name(type(obj))}' object")


def _full_name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else cls.__module__ + "." + cls.__qualname__


def _module_of(function: types.FunctionType) -> str:
    name = function.__globals__.get("__name__", "")
    module = sys.modules.get(name)
    if module is None or module.__dict__ is not function.__globals__:
        raise TypeError(f"cannot pickle function {function.__qualname__}, made in memory for no module")
    return str(name)


def _skeleton(cls: type) -> tuple[str, tuple[Any, ...], Any]:
    """Returns the kind of a class, what is needed to make it bare, and attributes not to set afterwards."""
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(cls, enum.EnumMeta):
        members = {name: member.value for name, member in cls.__members__.items()}
        plain = (type(cls), cls.__bases__, members, _annotations(cls))
        return "enum", plain, _EnumParts(cls, members)
    if tuple in cls.__bases__ and isinstance(cls.__dict__.get("_fields"), tuple):
        fields, defaults = cls._fields, cls._field_defaults  # type: ignore[attr-defined]
        return "namedtuple", (fields, tuple(defaults.values())), NAMEDTUPLE_PARTS | set(fields)
    first = {name: cls.__dict__[name] for name in ("__slots__", "__orig_bases__") if name in cls.__dict__}
    return "class", (type(cls), cls.__bases__, first), NO_ATTRIBUTES


def _annotations(cls: type) -> dict[str, Any]:
    return dict(cls.__dict__.get("__annotations__", {}))  # noqa: RUF063 - Python 3.8


class _EnumParts:
    """The attributes that making an enum sets by itself."""

    def __init__(self, cls: type, members: dict[str, Any]) -> None:
        bare = {name for base in cls.__mro__[1:] for name in base.__dict__ if name.startswith("_")}
        self._own = {name for name, value in cls.__dict__.items() if isinstance(value, types.FunctionType)}
        self._known = bare | set(members) | NO_ATTRIBUTES

    def __contains__(self, name: str) -> bool:
        if name in self._own and name not in ("__new__", "_generate_next_value_"):
            return False
        return name in self._known or (name.startswith("_") and name.endswith("_"))


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
    from typing import TypeVar

    rules: dict[type, Any] = {
        types.FunctionType: _Rules.of_function,
        types.CodeType: _Rules.of_code,
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
    return rules


_RULES = _rules()


class Packer(_Rules, pickle.Pickler):
    """Pickles by C code, with the rules above for what it cannot do."""


def pack(
    thing: Any,
    home: Home,
    by_name: Callable[[Any], str | None] = lambda thing: None,
    with_globals: bool = False,
) -> tuple[bytes, set[str], dict[str, Any]]:
    """Pickles one object; dill is asked only for what pickle can't do.

    Args:
        thing: What travels.
        home: The side that it leaves.
        by_name: Gives the name of a function or class that the other side has already, else None.
        with_globals: Whether functions take the values of the globals that they read along.

    Returns:
        The pickle; the global names that packed functions read; what went by name.

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
) -> tuple[bytes, set[str], dict[str, Any]]:
    file = io.BytesIO()
    pickler = packer(file, PROTOCOL)
    pickler.begin(home, by_name, with_globals)
    pickler.dump(thing)
    return file.getvalue(), pickler.reads, pickler.met


def _dill_packer() -> Any:
    try:
        import dill
    except ImportError:
        return None
    return type("DillPacker", (_Rules, dill.Pickler), {})


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
        self._present: set[int] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Called by pickle for each global name in the stream."""
        if name in _MAKERS and module.endswith("freight"):
            return globals()[name] if name == "make_cached" else getattr(self, name)
        if module == MAIN:
            return self.home.find(name)
        return super().find_class(module, name)

    def find_named(self, name: str, label: str) -> Any:
        """Returns what this side calls `name`."""
        return self.home.find(name, label)

    def make_code(self, *spec: Any) -> types.CodeType:
        """Returns a code object from its text, or from its bytes."""
        if len(spec) == len(CodeBytes._fields):
            return _from_bytes(CodeBytes(*spec))
        text = CodeText(*spec)
        remember(text.label, text.first_line, text.text)
        same = (text.name, text.line)
        return _codes(text.text, text.first_line, text.label, text.postponed, same)[text.rank]

    def make_function(
        self,
        code: types.CodeType,
        name: str,
        qualname: str,
        module: str | None,
        numbers: tuple[int, ...],
    ) -> types.FunctionType:
        """Returns a function without defaults, its cells still empty."""
        space = self._function_globals if module is None else importlib.import_module(module).__dict__
        cells = tuple(self._cells.setdefault(number, types.CellType()) for number in numbers)
        function = types.FunctionType(code, space, name, None, cells)
        function.__qualname__ = qualname
        if module is None:
            self.home.arrive(function, qualname, code.co_filename)
        return function

    def set_function(self, function: types.FunctionType, state: tuple[Any, ...]) -> None:
        """Gives a function all that is by value."""
        slots, attributes, cells, names = state
        for name, value in slots.items():
            setattr(function, name, value)
        function.__dict__.update(attributes)
        for number, contents in cells:
            self._cells[number].cell_contents = contents[0]
        for name, value in names.items():
            self._function_globals.setdefault(name, value)

    def make_class(self, kind: str, name: str, qualname: str, module: str, label: str, *parts: Any) -> type:
        """Returns a class without its attributes, or the one that this side has already."""
        present = self._present_class(qualname) if module == MAIN else None
        if present is not None:
            self._present.add(id(present))
            return present
        cls = _BARE[kind](name, {"__module__": module, "__qualname__": qualname}, *parts)
        self.home.arrive(cls, qualname, label)
        if module == MAIN and "." not in qualname:
            self._function_globals.setdefault(qualname, cls)
        return cls

    def _present_class(self, qualname: str) -> type | None:
        if not self._prefer_present:
            return None
        try:
            found = self.home.find(qualname)
        except NotHere:
            return None
        return found if isinstance(found, type) and found.__module__ == MAIN else None

    def set_class(self, cls: type, state: dict[str, Any]) -> None:
        """Gives a class its attributes."""
        if id(cls) in self._present:
            return
        for name, value in state.items():
            type.__setattr__(cls, name, value)


_MAKERS = frozenset(
    ["find_named", "make_code", "make_function", "set_function", "make_class", "set_class", "make_cached"]
)


def _from_bytes(code: CodeBytes) -> types.CodeType:
    here = tuple(sys.version_info[:2])
    if here != code.version:
        raise TypeError(
            f"`{code.name}` was made by a program, so no source tells its code, and it can't go from Python "
            f"{code.version[0]}.{code.version[1]} to {here[0]}.{here[1]}: define it inside the cell"
        )
    loaded: types.CodeType = marshal.loads(code.data)
    return loaded


def remember(label: str, first_line: int, text: str) -> None:
    """Lets tracebacks show `text` as the lines of `label` from `first_line` on."""
    entry = linecache.cache.get(label)
    lines = list(entry[2]) if entry is not None and len(entry) > 2 else []
    new = text.splitlines(keepends=True)
    lines.extend(["\n"] * (first_line - 1 + len(new) - len(lines)))
    lines[first_line - 1 : first_line - 1 + len(new)] = new
    linecache.cache[label] = (sum(map(len, lines)), None, lines, label)


def _bare_class(
    name: str, space: dict[str, Any], metaclass: Any, bases: tuple[type, ...], first: Any
) -> type:
    space.update(first)
    with _QuietBases(bases):
        return types.new_class(name, bases, {"metaclass": metaclass}, lambda body: body.update(space))


def _bare_enum(  # noqa: PLR0917
    name: str,
    space: dict[str, Any],
    metaclass: Any,
    bases: tuple[type, ...],
    members: dict[str, Any],
    annotations: dict[str, Any],
) -> type:
    body = metaclass.__prepare__(name, bases)
    for key, value in {**space, **members}.items():
        body[key] = value
    made: type = metaclass.__new__(metaclass, name, bases, body)
    if annotations:
        type.__setattr__(made, "__annotations__", annotations)
    return made


def _bare_namedtuple(
    name: str, space: dict[str, Any], fields: tuple[str, ...], defaults: tuple[Any, ...]
) -> type:
    from collections import namedtuple

    made = namedtuple(name, fields, defaults=defaults, module=space["__module__"])  # type: ignore[misc]
    made.__qualname__ = space["__qualname__"]
    return made


_BARE: dict[str, Callable[..., type]] = {
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
