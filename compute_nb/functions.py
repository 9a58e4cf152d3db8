"""This module is the functions that one Executor has registered, so that each travels once."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import Any, NamedTuple
from uuid import UUID

from compute_nb.serialize.code import DillCode
from compute_nb.serialize.combined import ComboSerializationStrategy
from compute_nb.serialize.reads import names_reached
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.serialize.strategy import SerializationStrategy
from compute_nb.shell import ShellFunction


class _Known(NamedTuple):
    """A registered function; `reads` are the globals, or attributes, that went with it."""

    function: Callable[..., Any]
    function_id: UUID
    reads: Mapping[str, Any]


class Functions:
    """Function -> id. Belongs to the threads that submit; two at once may register a function twice.

    A notebook's function that reads other globals than when it was registered counts as another one: the
    user has run the cell that defines them again.
    """

    def __init__(self) -> None:
        self._by_object: dict[int, _Known] = {}
        self._by_source: dict[bytes, UUID] = {}
        self._shells: dict[UUID, ShellFunction] = {}

    def find(self, function: Callable[..., Any]) -> UUID | None:
        """Returns the id of a function, None if it is not registered as it is now."""
        known = self._by_object.get(id(function))
        if known is None:
            return None
        names = _names(function)
        for name, value in known.reads.items():
            if names.get(name) is not value:
                return None
        return known.function_id

    def add(self, function: Callable[..., Any], function_id: UUID, serializer: ComputeSerializer) -> None:
        """Notes a function that was registered by `serializer`."""
        reads = _names_sent(function, serializer)
        self._by_object[id(function)] = _Known(function, function_id, reads)
        self._note_shell(function, function_id)

    def add_known(self, function: Callable[..., Any], function_id: UUID) -> None:
        """Notes a function that somebody registered before.

        Raises:
            ValueError: It is registered under another id.
        """
        known = self._by_object.get(id(function))
        if known is not None and known.function_id != function_id:
            raise ValueError(f"{function!r} is registered as {known.function_id} already")
        if known is not None:
            warnings.warn(f"{function!r} is registered already", UserWarning, stacklevel=3)
        self._by_object[id(function)] = _Known(function, function_id, {})
        self._note_shell(function, function_id)

    def shell(self, function_id: UUID) -> ShellFunction | None:
        """Returns the shell function that is registered under an id, None for any other."""
        return self._shells.get(function_id)

    def find_source(self, source: str, name: str) -> UUID | None:
        """Returns the id of a source text."""
        return self._by_source.get(_digest(source, name))

    def add_source(self, source: str, name: str, function_id: UUID) -> None:
        """Notes a source text that was registered."""
        self._by_source[_digest(source, name)] = function_id

    def _note_shell(self, function: Callable[..., Any], function_id: UUID) -> None:
        if isinstance(function, ShellFunction):
            self._shells[function_id] = function


def _names(function: Callable[..., Any]) -> Mapping[str, Any]:
    if isinstance(function, ShellFunction):
        return vars(function)
    return getattr(function, "__globals__", {})


def _names_sent(function: Callable[..., Any], serializer: ComputeSerializer) -> Mapping[str, Any]:
    if isinstance(function, ShellFunction):
        return dict(vars(function))
    if not sends_bytecode(serializer.code_serializer) or not isinstance(function, FunctionType):
        return {}
    return names_reached(function) if function.__module__ == "__main__" else {}


def sends_bytecode(strategy: SerializationStrategy) -> bool:
    """True if functions travel as the bytecode of this Python, with the globals that they read."""
    if isinstance(strategy, ComboSerializationStrategy):
        return DillCode in strategy.strategies
    return isinstance(strategy, DillCode)


def _digest(source: str, name: str) -> bytes:
    return hashlib.sha256(f"{name}\n{source}".encode()).digest()


def chunk_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that calls `function` for each tuple of arguments in a list.

    It counts as one of `__main__`, so that it travels by value: the worker has no compute_nb.
    """
    code = compile("def chunk(calls): return [function(*args) for args in calls]", "<chunk>", "exec")
    body = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
    made = FunctionType(body, {"__name__": "__main__", "function": function}, "chunk")
    made.__module__ = "__main__"
    return made
