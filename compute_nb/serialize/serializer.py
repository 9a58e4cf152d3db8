"""This module is the serializer: it chooses the strategy, packs buffers and says what went wrong.

A callable is written by the code strategy, anything else by the data strategy; a buffer is read by the
strategy that its first characters name, if the allow-list has it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from compute_nb import wire
from compute_nb.errors import DeserializationError, SerdeError, SerializationError
from compute_nb.serialize import refusal
from compute_nb.serialize.allowlist import AllowList
from compute_nb.serialize.code import DillCode
from compute_nb.serialize.data import DillDataBase64
from compute_nb.serialize.strategy import (
    IDENTIFIER_LENGTH,
    SerializationStrategy,
    by_identifier,
    resolve,
)
from compute_nb.shell_result import revived

log = logging.getLogger(__name__)


class ComputeSerializer:
    """Writes and reads what travels between caller and worker. Any thread may use it.

    Args:
        strategy_code: How callables are written: an instance, a class or an import path; `DillCode` by
            default.
        strategy_data: How all else is written; `DillDataBase64` by default.
        allowed_deserializer_types: The strategies whose buffers may be read: classes, instances, import
            paths, or the wildcards of `AllowlistWildcard`. None: all.

    Attributes:
        code_serializer, data_serializer: The strategies in use.

    Raises:
        SerdeError: A strategy is of the wrong kind, or the allow-list lacks one kind or mixes a wildcard
            with single strategies.
    """

    def __init__(
        self,
        strategy_code: SerializationStrategy | type[SerializationStrategy] | str | None = None,
        strategy_data: SerializationStrategy | type[SerializationStrategy] | str | None = None,
        *,
        allowed_deserializer_types: Iterable[object] | None = None,
    ) -> None:
        self.code_serializer = _of_kind(strategy_code or DillCode(), for_code=True)
        self.data_serializer = _of_kind(strategy_data or DillDataBase64(), for_code=False)
        allowed = allowed_deserializer_types
        self._allowed = None if allowed is None else AllowList(allowed)

    def __repr__(self) -> str:
        return f"ComputeSerializer({self.code_serializer!r}, {self.data_serializer!r})"

    def serialize(self, data: Any) -> str:
        """Returns the buffer of one object; one that has a `source_buffer()` says itself how it travels.

        Raises:
            SerializationError: The strategy could not; names it, the object's type and the mend.
        """
        strategy = self.code_serializer if callable(data) else self.data_serializer
        own_buffer = getattr(type(data), "source_buffer", None) if strategy.for_code else None
        if own_buffer is not None:
            return str(own_buffer(data))
        try:
            buffer = strategy.serialize(data)
        except Exception as error:
            raise SerializationError(refusal.of_writing(strategy, data, error)) from error
        log.debug("%s by %s: %d characters", refusal.described(data), type(strategy).__name__, len(buffer))
        return buffer

    def serialize_from_list(self, data: Any, strategies: Sequence[object]) -> str:
        """Returns the buffer of the first of `strategies` that works.

        Raises:
            SerializationError: None did; the text has each reason.
            SerdeError: One of them is no strategy.
        """
        reasons = []
        for strategy in map(resolve, strategies):
            if strategy.for_code is not callable(data):
                reasons.append(f"{type(strategy).__name__}: not for {refusal.described(data)}")
                continue
            try:
                return strategy.serialize(data)
            except Exception as error:  # noqa: BLE001 - as in serialize
                reasons.append(f"{type(strategy).__name__}: {type(error).__name__}: {error}")
        raise SerializationError(
            f"All strategies failed. For {refusal.described(data)}: {'; '.join(reasons)}"
        )

    def deserialize(self, payload: str) -> Any:
        """Returns the object of one buffer.

        Raises:
            DeserializationError: Nobody knows its strategy, it is not allowed, or it could not read it.
        """
        self.assert_deserializer_allowed(payload)
        strategy = by_identifier(payload[:IDENTIFIER_LENGTH])
        try:
            return revived(strategy.deserialize(payload))
        except DeserializationError:
            raise
        except Exception as error:  # unpickling runs anything
            raise DeserializationError(refusal.of_reading(strategy, error)) from error

    def assert_deserializer_allowed(self, payload: str) -> None:
        """Returns if the allow-list lets this buffer be read.

        Raises:
            DeserializationError: It doesn't; lists what it lets.
        """
        if self._allowed is not None:
            self._allowed.check(payload)

    @staticmethod
    def pack_buffers(buffers: Iterable[str]) -> str:
        """Joins buffers to one text."""
        return wire.pack_buffers(buffers)

    @staticmethod
    def unpack_buffers(packed_buffer: str) -> list[str]:
        """Splits a packed text into its buffers.

        Raises:
            DeserializationError: A length is wrong or missing.
        """
        try:
            return wire.unpack_buffers(packed_buffer)
        except wire.MalformedMessage as error:
            raise DeserializationError(str(error)) from error

    def pack_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Returns the packed text of a call's arguments.

        Raises:
            SerializationError: An argument could not be written; names it, its type and the mend.
        """
        strategy = self.data_serializer
        try:
            return wire.pack_buffers((strategy.serialize(args), strategy.serialize(kwargs)))
        except Exception as error:
            named = [(f"argument {i}", value) for i, value in enumerate(args)]
            named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
            raise SerializationError(refusal.of_arguments(strategy, named, error)) from error

    def unpack_and_deserialize(self, packed_buffer: str) -> list[Any]:
        """Returns [function, args, kwargs] of a packed task.

        Raises:
            DeserializationError: These are not three buffers, or one can't be read.
        """
        buffers = self.unpack_buffers(packed_buffer)
        if len(buffers) != 3:
            raise DeserializationError(f"a task is packed as 3 buffers, not {len(buffers)}")
        return [self.deserialize(buffer) for buffer in buffers]

    def check_strategies(self, function: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Returns [function, args, kwargs] after the way there and back; runs nothing of them.

        Raises:
            SerializationError: On the way there.
            DeserializationError: On the way back.
        """
        try:
            packed = wire.pack_buffers((self.serialize(function),)) + self.pack_call(args, kwargs)
        except SerdeError as error:
            raise SerializationError(f"check_strategies failed to serialize: {error}") from error
        try:
            return self.unpack_and_deserialize(packed)
        except SerdeError as error:
            raise DeserializationError(f"check_strategies failed to deserialize: {error}") from error


def _of_kind(given: object, *, for_code: bool) -> SerializationStrategy:
    strategy = resolve(given)
    if strategy.for_code is not for_code:
        wanted = "code" if for_code else "data"
        raise SerdeError(f"{type(strategy).__name__} is not a strategy for {wanted}")
    return strategy
