"""This module is the text of a refusal: which strategy failed, on what, and what to try."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compute_nb.errors import SerializationError
from compute_nb.serialize.data import DillDataBase64
from compute_nb.serialize.reads import names_read
from compute_nb.serialize.strategy import SerializationStrategy


def described(data: Any) -> str:
    """Returns what a person would call an object."""
    name = getattr(data, "__qualname__", "") if callable(data) else ""
    kind = f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")
    return f"{name} ({kind})" if name else f"an object of type {kind}"


def of_writing(strategy: SerializationStrategy, data: Any, error: Exception) -> str:
    """Returns the text for an object that could not be written."""
    said = f"{described(data)} can't be serialized by {_called(strategy)}: "
    if isinstance(error, SerializationError):  # says itself what to do
        return f"{said}{error}"
    return f"{said}{type(error).__name__}: {error}{_globals_at_fault(data)}; {strategy.mend(data)}"


def of_arguments(strategy: SerializationStrategy, named: Iterable[tuple[str, Any]], error: Exception) -> str:
    """Returns the text for a call's arguments, the culprit among them named."""
    for name, value in named:
        try:
            strategy.serialize(value)
        except Exception as own:  # noqa: BLE001 - pickling runs anything
            return f"{name}: {of_writing(strategy, value, own)}"
    return f"the arguments can't be serialized by {type(strategy).__name__}: {error}"


def of_reading(strategy: SerializationStrategy, error: Exception) -> str:
    """Returns the text for a buffer that could not be read."""
    return (
        f"a buffer of {_called(strategy)} can't be read here: {type(error).__name__}: {error}; "
        f"{_reading_mend(strategy, error)}"
    )


def _called(strategy: SerializationStrategy) -> str:
    return f"{type(strategy).__name__} ({strategy.identifier[:2]})"


def _globals_at_fault(function: Any) -> str:
    bad = []
    for name, value in names_read(function).items():
        try:
            DillDataBase64().serialize(value)
        except Exception:  # noqa: BLE001 - pickling runs anything
            bad.append(f"{name} ({type(value).__qualname__})")
    return f"; it reads {', '.join(bad)}" if bad else ""


def _reading_mend(strategy: SerializationStrategy, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        other = "send the function as source" if strategy.for_code else "return plain data"
        return f"install {error.name!r} here, by whose name it was sent, or {other}"
    if isinstance(error, AttributeError) and "__main__" in str(error):
        return "define that name here first, then ask again"
    other = "send the function as source" if strategy.for_code else "return plain data or use JSONData"
    return f"the other side may run another Python or dill: {other}"
