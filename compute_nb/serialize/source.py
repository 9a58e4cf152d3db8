"""This module is the strategies for code that travels as its source text.

The other side runs the text in a namespace of its own and takes what it calls by the name. Nothing around
the function goes along, so one that reads more than that is refused here and not at its run over there.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import textwrap
from abc import abstractmethod
from types import FunctionType, MethodType
from typing import Any

from compute_nb.errors import DeserializationError, SerializationError
from compute_nb.serialize import pickled
from compute_nb.serialize.reads import names_read, names_set
from compute_nb.serialize.strategy import SerializationStrategy
from compute_nb.syntax import beside_others, parse


class _Source(SerializationStrategy):
    """What the strategies share: a name and a source, found in one of two ways, spelled in one of two."""

    for_code = True

    def serialize(self, data: Any) -> str:
        """Returns name and source.

        Raises:
            SerializationError: It can't be run from its source alone; says why and what to do.
        """
        name = _name_of(data)
        try:
            source = flush_left(self._find(data))
        except (OSError, TypeError, IndexError) as error:
            raise SerializationError(
                f"the source of {name} can't be found ({error}): define it in a file or by a `def` in a "
                "cell, or choose DillCode, which needs no source"
            ) from error
        missing = _left_behind(data, name, source)
        if missing:
            raise SerializationError(
                f"the source of {name} does not bring {missing} along: define it inside, pass it as an "
                "argument, or choose DillCode"
            )
        if name not in _names_defined(source):
            raise SerializationError(
                f"what was found as the source of {name} does not define it: choose DillCode"
            )
        return self.identifier + self._spell(name, source)

    def deserialize(self, payload: str) -> Any:
        """Runs the source in an empty namespace and returns what it calls by the name.

        Raises:
            DeserializationError: The source doesn't run here, or doesn't define the name.
        """
        return run_source(*self._split(self.chomp(payload)))

    @abstractmethod
    def _find(self, data: Any) -> str:
        """Returns the source of a callable."""

    @abstractmethod
    def _spell(self, name: str, source: str) -> str:
        """Returns the text of a name and a source."""

    @abstractmethod
    def _split(self, text: str) -> tuple[str, str]:
        """Returns name and source of a text."""


class _Plain(_Source):
    def _spell(self, name: str, source: str) -> str:
        return f"{name}:{source}"

    def _split(self, text: str) -> tuple[str, str]:
        # Some published versions write these strategies in base64, which never holds a colon.
        text = text if ":" in text else pickled.bytes_of(text).decode()
        name, found, source = text.partition(":")
        if not found:
            raise DeserializationError(f"a buffer of {type(self).__name__} begins with a name and a colon")
        return name, source


class _Pickled(_Source):
    def _spell(self, name: str, source: str) -> str:
        return pickled.to_text((name, source))

    def _split(self, text: str) -> tuple[str, str]:
        name, source = pickled.from_text(text)
        return name, source


class _Inspected(_Source):
    def _find(self, data: Any) -> str:
        return beside_others(inspect.getsource, data)


class _FoundByDill(_Source):
    def _find(self, data: Any) -> str:
        from dill import source

        found: str = beside_others(source.getsource, data)  # its own lstrip shifts the text in strings too
        return found


class PureSourceTextInspect(_Inspected, _Plain):
    """The function's source as plain text, as `inspect` finds it: runs under any Python version."""

    identifier = "st\n"


class PureSourceDill(_FoundByDill, _Plain):
    """The function's source as plain text, as dill finds it: also what was typed at a prompt."""

    identifier = "sd\n"


class DillCodeTextInspect(_Inspected, _Pickled):
    """As PureSourceTextInspect, inside a pickle; deprecated by the published package."""

    identifier = "03\n"


class DillCodeSource(_FoundByDill, _Pickled):
    """As PureSourceDill, inside a pickle; deprecated by the published package."""

    identifier = "04\n"


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def source_buffer(name: str, source: str) -> str:
    """Returns the buffer for a function given by its source text."""
    return f"{PureSourceTextInspect.identifier}{name}:{source}"


def run_source(name: str, source: str) -> Any:
    """Runs a source in a namespace of its own and returns what it calls `name`.

    Raises:
        DeserializationError: It doesn't run here, or defines no such name.
    """
    file = f"<source of {name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    try:
        exec(compile(source, file, "exec"), namespace)
    except Exception as error:  # the source may do anything
        raise DeserializationError(
            f"the source of {name!r} does not run by itself here: {type(error).__name__}: {error}; what its "
            "decorators, defaults and annotations name must be in the source, else choose DillCode"
        ) from error
    if name not in namespace:
        raise DeserializationError(f"the source defines no {name!r}")
    return namespace[name]


def flush_left(source: str) -> str:
    """Returns a source so that it runs from the first column, its texts of several lines unchanged."""
    if source[:1] not in (" ", "\t"):
        return source
    shifted, nested = textwrap.dedent(source), "if True:\n" + source
    return shifted if _shape(nested) in (None, _shape(shifted)) else nested


def _shape(source: str) -> list[str] | None:
    """Returns what tells whether two sources mean the same; None for what is none by itself."""
    try:
        body = parse(source).body
    except SyntaxError:
        return None
    return [ast.dump(statement) for statement in _inner(body)]


def _inner(body: list[ast.stmt]) -> list[ast.stmt]:
    return body[0].body if isinstance(body[0], ast.If) else body


def _name_of(data: Any) -> str:
    name = getattr(data, "__name__", "")
    if not (isinstance(name, str) and name.isidentifier()):
        raise SerializationError(
            f"{name or type(data).__name__} has no name to be called by: write it with `def`, "
            "or choose DillCode"
        )
    return name


def _left_behind(data: Any, name: str, source: str) -> str:
    """Names what a callable needs beside its source, empty if nothing."""
    if isinstance(data, MethodType):
        return "`self`"
    names = _names_to_define(source)
    if isinstance(data, FunctionType):
        if inspect.unwrap(data) is not data:
            names = names or ["what wraps it"]
        else:
            own = names_set(data) | {name}
            names += [free for free in data.__code__.co_freevars if free != name]
            names += [read for read in names_read(data) if read not in own and read[:2] != "__"]
    return ", ".join(dict.fromkeys(names))


def _names_defined(source: str) -> set[str]:
    """Returns the names that a source defines at its top."""
    try:
        body = _inner(parse(source).body)
    except (SyntaxError, ValueError, IndexError):
        return set()
    assigned = [node for one in body if isinstance(one, ast.Assign) for node in one.targets]
    names = {node.id for node in assigned if isinstance(node, ast.Name)}
    return names | {one.name for one in body if isinstance(one, _DEFINITIONS)}


def _names_to_define(source: str) -> list[str]:
    """Returns the names that a definition's decorators, defaults, annotations and bases read."""
    try:
        statement = _inner(parse(source).body)[0]
    except (SyntaxError, ValueError, IndexError):
        return []
    if isinstance(statement, _DEFINITIONS):
        statement.body = []
    else:
        return []
    nodes = list(ast.walk(statement))
    bound = {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    read = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    return [name for name in read if name not in bound and not hasattr(builtins, name)]
