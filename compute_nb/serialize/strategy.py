"""This module is the serialization strategy: the contract, and the registry of all that are known.

A strategy becomes known by being defined; its identifier is what a reader goes by.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from compute_nb.errors import DeserializationError, SerdeError

IDENTIFIER_LENGTH = 3
PUBLISHED_MODULE = "globus_compute_sdk.serialize.concretes"

_known: dict[str, SerializationStrategy] = {}


class SerializationStrategy(ABC):
    """One way of writing objects as text; `ComputeSerializer` calls it.

    Attributes:
        identifier: Two characters and a newline, unique, the start of each buffer it writes.
        for_code: True if it writes callables, False if it writes data.
    """

    identifier: ClassVar[str]
    for_code: ClassVar[bool]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        identifier = cls.__dict__.get("identifier")
        if identifier is None:
            return
        if len(identifier) != IDENTIFIER_LENGTH or not identifier.endswith("\n"):
            raise ValueError(f"an identifier is two characters and a newline, not {identifier!r}")
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

    @property
    def import_path(self) -> str:
        """The path that names this strategy on the wire; the published one, so that any agent knows it."""
        return f"{PUBLISHED_MODULE}.{type(self).__name__}"


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
    """Returns the strategy meant by a class, an instance or an import path.

    Raises:
        SerdeError: It names none that is known here.
    """
    if isinstance(given, SerializationStrategy):
        return given
    for strategy in known():
        if given in (type(strategy), strategy.import_path, _own_path(strategy)) or (
            isinstance(given, str) and _is_published_path(given, strategy)
        ):
            return strategy
    raise SerdeError(
        f"{given!r} is no serialization strategy; known are: "
        + ", ".join(sorted(type(s).__name__ for s in known()))
    )


def _own_path(strategy: SerializationStrategy) -> str:
    return f"{type(strategy).__module__}.{type(strategy).__name__}"


def _is_published_path(path: str, strategy: SerializationStrategy) -> bool:
    package, _, name = path.rpartition(".")
    return name == type(strategy).__name__ and package in (
        PUBLISHED_MODULE,
        "globus_compute_sdk.serialize",
        "compute_nb.serialize",
    )
