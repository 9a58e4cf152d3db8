"""This module is the serialization strategy: the contract, and the registry of all that are known.

A strategy becomes known by being defined; its identifier is what a reader goes by, its import path what a
peer is told. The paths are the published ones: any agent understands them, and ours understands both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from compute_nb.errors import DeserializationError, SerdeError

IDENTIFIER_LENGTH = 3
PUBLISHED_MODULE = "globus_compute_sdk.serialize.concretes"
_PACKAGES = (PUBLISHED_MODULE, "globus_compute_sdk.serialize", "compute_nb.serialize")

_known: dict[str, SerializationStrategy] = {}


class SerializationStrategy(ABC):
    """One way of writing objects as text; `ComputeSerializer` calls it.

    Attributes:
        identifier: Two characters and a newline, unique, the start of each buffer it writes.
        for_code: True if it writes callables, False if it writes data.
        selectable: False if it is there to read what others have written, and for nothing else.
    """

    identifier: ClassVar[str]
    for_code: ClassVar[bool]
    selectable: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        identifier = cls.__dict__.get("identifier")
        if identifier is None:
            return
        if len(identifier) != IDENTIFIER_LENGTH or not identifier.endswith("\n"):
            raise ValueError(f"an identifier is two characters and a newline, not {identifier!r}")
        other = type(_known[identifier]) if identifier in _known else cls
        if _path(other) != _path(cls):  # a cell that defines its own strategy may be run again
            raise ValueError(f"the identifier {identifier!r} is taken by {_path(other)}")
        _known[identifier] = cls()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @abstractmethod
    def serialize(self, data: Any) -> str:
        """Returns the buffer of `data`, identifier first; any exception means that it can't."""

    @abstractmethod
    def deserialize(self, payload: str) -> Any:
        """Returns the object of a buffer that this strategy wrote; any exception means that it can't."""

    def chomp(self, payload: str) -> str:
        """Returns the buffer without its identifier.

        Raises:
            DeserializationError: Another strategy wrote it.
        """
        if not payload.startswith(self.identifier):
            raise DeserializationError(
                f"{type(self).__name__} reads buffers that start with {self.identifier!r}, "
                f"this one starts with {payload[:IDENTIFIER_LENGTH]!r}"
            )
        return payload[IDENTIFIER_LENGTH:]

    def mend(self, data: Any) -> str:
        """Returns what to do about an object that this strategy could not write; for the text of an error."""
        if self.for_code:
            return "make what it needs inside the function, or pass it as an argument"
        return "send what it is made from (a path, a query, its fields) and make it on the other side"

    @property
    def import_path(self) -> str:
        """The path that names this strategy on the wire; for ours the published one."""
        return f"{PUBLISHED_MODULE}.{type(self).__name__}" if self.is_ours else _path(type(self))

    @property
    def is_ours(self) -> bool:
        """True unless the user has defined it: then no peer knows it."""
        return type(self).__module__.startswith("compute_nb.serialize.")


def known() -> Iterator[SerializationStrategy]:
    """Yields every strategy that has been defined, those of the user too."""
    yield from _known.values()


def by_identifier(identifier: str) -> SerializationStrategy:
    """Returns the strategy that reads buffers which start so.

    Raises:
        DeserializationError: None does.
    """
    strategy = _known.get(identifier)
    if strategy is None:
        names = ", ".join(f"{s.identifier[:2]} {type(s).__name__}" for s in known())
        raise DeserializationError(
            f"Invalid header: {identifier!r}; the buffer was written by a strategy that is not known "
            f"here, or by none; known are: {names}"
        )
    return strategy


def resolve(given: object) -> SerializationStrategy:
    """Returns the strategy meant by a class, an instance or an import path, also of the published package.

    Raises:
        SerdeError: It names none that is known here and may be chosen.
    """
    strategy = given if isinstance(given, SerializationStrategy) else _find(given)
    if strategy is not None and strategy.selectable:
        return strategy
    why = "is no serialization strategy" if strategy is None else "can only be read, not chosen"
    names = ", ".join(sorted(type(s).__name__ for s in known() if s.selectable))
    raise SerdeError(f"{given!r} {why}; known are: {names}")


def path_for_peers(given: object) -> str:
    """Returns the import path by which a worker is asked for a strategy.

    Raises:
        SerdeError: No worker knows it: it was defined here.
    """
    strategy = resolve(given)
    if not strategy.is_ours:
        raise SerdeError(
            f"{type(strategy).__name__} is defined here only, so no worker can write results by it: choose "
            "one of compute_nb.serialize"
        )
    return strategy.import_path


def _find(given: object) -> SerializationStrategy | None:
    kind = given if isinstance(given, type) else type(given)
    path = given if isinstance(given, str) else _path(kind)
    return next((s for s in known() if type(s) is kind or path in _paths(s)), None)


def _paths(strategy: SerializationStrategy) -> set[str]:
    name = type(strategy).__name__
    published = {f"{package}.{name}" for package in _PACKAGES} if strategy.is_ours else set()
    return {_path(type(strategy)), *published}


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
