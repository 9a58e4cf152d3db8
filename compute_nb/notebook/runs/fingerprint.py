"""This module is the fingerprint: a hash of values by their content, the same in every process.

Pickles differ between processes for equal sets, and between runs for the same function. Here sets have no
order, arrays are their bytes, and functions and classes of the notebook are their code with all that it
carries. The hash is keyed (HMAC), so that whoever has it learns nothing about the values.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import hmac
import struct
import sys
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

MAIN = "__main__"
_CLASS_NOISE = frozenset(
    {"__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__", "__doc__"}
) | {"__annotate__", "__annotate_func__", "__annotations_cache__", "__abstractmethods__", "_abc_impl"}
_CONSTANTS = (type(None), bool, type(Ellipsis), type(NotImplemented))


class Unstable(Exception):
    """A value has no content that means the same in another process; the text says which."""


def fingerprint(secret: bytes, value: Any) -> str:
    """Returns 64 hex digits that are the same for equal content and secret only.

    Raises:
        Unstable: Something in the value can't be told by its content.
    """
    return Fingerprint(secret).add(value).hexdigest()


class Fingerprint:
    """A hash that grows by values; `copy` begins several that share their beginning.

    Args:
        secret: Without it nobody can tell whether a guess about the values is right.
        most: How many parts are looked at before it gives up; each costs about 2 microseconds.
    """

    def __init__(self, secret: bytes, most: int = sys.maxsize) -> None:
        self._hash = hmac.new(secret, digestmod=hashlib.sha256)
        self._secret = secret
        self._met: dict[int, tuple[int, Any]] = {}
        self._most = self._left = most

    def copy(self) -> Fingerprint:
        """Returns another one with the same beginning."""
        other = Fingerprint(self._secret, self._most)
        other._left = self._left
        other._hash = self._hash.copy()
        other._met = dict(self._met)
        return other

    def hexdigest(self) -> str:
        """Returns the hash so far."""
        return self._hash.hexdigest()

    def add(self, value: Any) -> Fingerprint:
        """Adds a value and returns itself.

        Raises:
            Unstable: It can't be told by its content.
        """
        try:
            self._value(value)
        except Unstable:
            raise
        except RecursionError:
            raise Unstable("it is nested too deeply") from None
        except Exception as error:  # a value's own code may raise anything
            raise Unstable(f"{type(value).__name__}: {error}") from error
        return self

    # -- one value --------------------------------------------------------------------------

    def _say(self, tag: str, data: bytes = b"") -> None:
        # With its length: no two different values say the same bytes.
        head = f"{tag}:{len(data)}:".encode()
        self._hash.update(head)
        self._hash.update(data)

    def _value(self, value: Any) -> None:
        self._count(1)
        kind = type(value)
        if kind in _CONSTANTS:
            self._say("constant", repr(value).encode())
        elif kind is int:
            self._say("int", str(value).encode() if abs(value) < 10**18 else hex(value).encode())
        elif kind is float:
            self._say("float", struct.pack("<d", value))
        elif kind is complex:
            self._say("complex", struct.pack("<dd", value.real, value.imag))
        elif kind is str:
            self._say("str", value.encode("utf-8", "surrogatepass"))
        elif kind in (bytes, bytearray):
            self._say(kind.__name__, bytes(value))
        elif kind is tuple:
            self._all("tuple", value)
        elif kind in (set, frozenset):
            self._unordered(kind.__name__, value)
        elif not self._again(value):
            self._thing(kind, value)

    def _count(self, parts: int) -> None:
        self._left -= parts
        if self._left < 0:
            raise Unstable(f"it has more than {self._most:,} parts")

    def _all(self, tag: str, values: Iterable[Any]) -> None:
        values = list(values)
        self._say(tag, str(len(values)).encode())
        for value in values:
            self._value(value)

    def _unordered(self, tag: str, values: Collection[Any]) -> None:
        self._count(4 * len(values))  # each has a hash of its own
        digests = sorted(fingerprint(self._secret, value) for value in values)
        self._say(tag, "".join(digests).encode())

    def _again(self, value: Any) -> bool:
        """Tells a thing that was met before by its number, so that circles end and sharing counts."""
        known = self._met.get(id(value))
        if known is not None:
            self._say("again", str(known[0]).encode())
            return True
        self._met[id(value)] = len(self._met), value  # held, so that no other gets its id
        return False

    def _thing(self, kind: type, value: Any) -> None:
        if kind is list:
            self._all("list", value)
        elif kind is dict:
            self._mapping("dict", value)
        elif isinstance(value, types.ModuleType):
            self._say("module", value.__name__.encode())
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.CodeType):
            self._code(value)
        elif isinstance(value, enum.Enum):
            self._all("enum", (type(value), value.name))
        elif (special := _SPECIAL.get(f"{kind.__module__.partition('.')[0]}.{kind.__name__}")) is not None:
            special(self, value)
        else:
            self._reduced(value)

    def _mapping(self, tag: str, value: Mapping[Any, Any]) -> None:
        self._say(tag, str(len(value)).encode())
        for key, item in value.items():
            self._value(key)
            self._value(item)

    def _class(self, value: type) -> None:
        self._say("class", f"{value.__module__}.{value.__qualname__}".encode())
        if value.__module__ != MAIN:
            return
        self._all("bases", value.__bases__)
        for name in sorted(vars(value).keys() - _CLASS_NOISE):
            if not isinstance(vars(value)[name], types.GetSetDescriptorType | types.MemberDescriptorType):
                self._say("attribute", name.encode())
                self._value(vars(value)[name])

    def _function(self, value: types.FunctionType) -> None:
        module = sys.modules.get(value.__module__ or "")
        if value.__module__ != MAIN and "<" not in value.__qualname__ and module is not None:
            self._say("function", f"{value.__module__}.{value.__qualname__}".encode())
            return
        self._say("own function", value.__qualname__.encode())
        self._code(value.__code__)
        self._all("defaults", (value.__defaults__, value.__kwdefaults__, dict(value.__dict__)))
        cells = [_contents(cell) for cell in value.__closure__ or ()]
        self._all("closure", cells)

    def _code(self, code: types.CodeType) -> None:
        numbers = (code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self._all("code", (code.co_name, code.co_code, *numbers, *names, sys.version_info[:2]))
        self._all("constants", code.co_consts)

    def _reduced(self, value: Any) -> None:
        """Tells a value as pickle would: who makes it again, from what."""
        for kinds, parts in _PARTS:
            if isinstance(value, kinds):
                self._all(type(value).__name__, parts(value))
                return
        known = copyreg.dispatch_table.get(type(value))
        found = value.__reduce_ex__(4) if known is None else known(value)
        if isinstance(found, str):
            self._say("named", f"{type(value).__module__}.{found}".encode())
            return
        make, arguments, *rest = found
        state, items, pairs = [*rest, None, None, None][:3]
        self._all("object", (type(value), make, arguments, state))
        self._all("items", items or ())
        self._all("pairs", pairs or ())

    # -- arrays and tables ------------------------------------------------------------------

    def _array(self, value: Any) -> None:
        self._say("array", f"{value.dtype.str} {value.shape}".encode())
        if value.dtype.hasobject:
            self._all("elements", value.reshape(-1).tolist())
        else:
            self._all("dtype", (str(value.dtype),))
            self._say("bytes", value.tobytes())  # in the order of the indices, however it lies in memory

    def _series(self, value: Any) -> None:
        self._all("series", (type(value).__name__, value.name, str(value.dtype)))
        self._value(dict(value.attrs))
        self._value(value.index)
        self._column(value)

    def _index(self, value: Any) -> None:
        every = getattr(value, "freqstr", None)
        self._all("index", (type(value).__name__, tuple(value.names), str(value.dtype), every))
        self._column(value)

    def _frame(self, value: Any) -> None:
        self._say("frame", str(value.shape).encode())
        self._value(dict(value.attrs))
        self._value(value.columns)
        self._value(value.index)
        for place in range(value.shape[1]):
            column = value.iloc[:, place]
            self._all("column", (str(column.dtype),))
            self._column(column)

    def _column(self, value: Any) -> None:
        numpy: Any = sys.modules["numpy"]
        if isinstance(value.dtype, numpy.dtype) and not value.dtype.hasobject:
            self._array(value.to_numpy())
            return
        if type(value.dtype).__name__ == "CategoricalDtype":  # whose text doesn't tell them
            self._all("categories", (value.dtype.ordered, *value.dtype.categories))
        self._all("elements", list(value))


_SPECIAL: Mapping[str, Callable[[Fingerprint, Any], None]] = {
    "numpy.ndarray": Fingerprint._array,
    "pandas.DataFrame": Fingerprint._frame,
    "pandas.Series": Fingerprint._series,
    "pandas.Index": Fingerprint._index,
    "pandas.RangeIndex": Fingerprint._index,
    "pandas.DatetimeIndex": Fingerprint._index,
    "pandas.MultiIndex": Fingerprint._index,
}


# What pickle can't take apart, or takes apart otherwise in each process.
_PARTS: tuple[tuple[Any, Callable[[Any], tuple[Any, ...]]], ...] = (
    (types.BuiltinFunctionType, lambda value: (value.__self__, value.__name__)),
    (
        (types.MethodDescriptorType, types.WrapperDescriptorType),
        lambda value: (value.__objclass__, value.__name__),
    ),
    (types.MethodType, lambda value: (value.__func__, value.__self__)),
    ((staticmethod, classmethod), lambda value: (value.__func__,)),
    (property, lambda value: (value.fget, value.fset, value.fdel)),
    (functools._lru_cache_wrapper, lambda value: (value.__wrapped__, *value.cache_parameters().items())),
    (types.MappingProxyType, lambda value: (dict(value),)),
)


def _contents(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not filled yet
        return ()
