"""This module is the serializer: it chooses the strategy, packs buffers and says what went wrong.

A callable is written by the code strategy, anything else by the data strategy; a buffer is read by the
strategy that its first characters name, if the allow-list has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from compute_nb import wire
from compute_nb.errors import DeserializationError, SerdeError, SerializationError
from compute_nb.serialize.code import DillCode
from compute_nb.serialize.data import DillDataBase64
from compute_nb.serialize.strategy import (
    IDENTIFIER_LENGTH,
    SerializationStrategy,
    by_identifier,
    known,
    resolve,
)
from compute_nb.shell_result import revived

_WILDCARDS = {
    f"{package}.*{kind}": kind == "Code"
    for package in ("globus_compute_sdk", "compute_nb")
    for kind in ("Code", "Data")
}


class ComputeSerializer:
    """Writes and reads what travels between caller and worker. Any thread may use it.

    Args:
        strategy_code: How callables are written; `DillCode` by default.
        strategy_data: How all else is written; `DillDataBase64` by default.
        allowed_deserializer_types: The strategies whose buffers may be read: classes, instances, import
            paths, or the wildcards `compute_nb.*Code` and `compute_nb.*Data`. None: all.

    Raises:
        SerdeError: A strategy is of the wrong kind, or the allow-list lacks one kind or mixes a wildcard
            with single strategies.
    """

    def __init__(
        self,
        strategy_code: SerializationStrategy | None = None,
        strategy_data: SerializationStrategy | None = None,
        *,
        allowed_deserializer_types: Iterable[object] | None = None,
    ) -> None:
        self.code_serializer = _of_kind(strategy_code or DillCode(), for_code=True)
        self.data_serializer = _of_kind(strategy_data or DillDataBase64(), for_code=False)
        self._allowed = _allow_list(allowed_deserializer_types)

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
            return strategy.serialize(data)
        except Exception as error:
            raise SerializationError(_refusal(strategy, data, error)) from error

    def serialize_from_list(self, data: Any, strategies: Sequence[object]) -> str:
        """Returns the buffer of the first of `strategies` that works.

        Raises:
            SerializationError: None did; the text has each reason.
            SerdeError: One of them is no strategy.
        """
        reasons = []
        for strategy in map(resolve, strategies):
            if strategy.for_code is not callable(data):
                reasons.append(f"{type(strategy).__name__}: not for {_described(data)}")
                continue
            try:
                return strategy.serialize(data)
            except Exception as error:  # noqa: BLE001 - as in serialize
                reasons.append(f"{type(strategy).__name__}: {type(error).__name__}: {error}")
        raise SerializationError(f"All strategies failed. For {_described(data)}: {'; '.join(reasons)}")

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
            raise DeserializationError(
                f"a buffer of {type(strategy).__name__} ({strategy.identifier[:2]}) can't be read here: "
                f"{type(error).__name__}: {error}; {_reading_mend(error)}"
            ) from error

    def assert_deserializer_allowed(self, payload: str) -> None:
        """Returns if the allow-list lets this buffer be read.

        Raises:
            DeserializationError: It doesn't; lists what it lets.
        """
        identifier = payload[:IDENTIFIER_LENGTH]
        if self._allowed is not None and identifier not in self._allowed:
            name = type(by_identifier(identifier)).__name__
            names = ", ".join(sorted(type(by_identifier(i)).__name__ for i in self._allowed))
            raise DeserializationError(
                f"{name} is not allowed to be read here, only: {names}; ask for another one by "
                "result_serializers, or widen allowed_deserializer_types if the sender is trusted"
            )

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
            raise SerializationError(_culprit(strategy, named, error)) from error

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


def _of_kind(strategy: SerializationStrategy, *, for_code: bool) -> SerializationStrategy:
    strategy = resolve(strategy)
    if strategy.for_code is not for_code:
        wanted = "code" if for_code else "data"
        raise SerdeError(f"{type(strategy).__name__} is not a strategy for {wanted}")
    return strategy


def _allow_list(given: Iterable[object] | None) -> frozenset[str] | None:
    if given is None:
        return None
    items = list(given)
    wild = {_WILDCARDS[item] for item in items if isinstance(item, str) and item in _WILDCARDS}
    single = [resolve(i) for i in items if not (isinstance(i, str) and i in _WILDCARDS)]
    if any(strategy.for_code in wild for strategy in single):
        raise SerdeError("allowed_deserializer_types mixes a wildcard with single strategies of its kind")
    allowed = single + [strategy for strategy in known() if strategy.for_code in wild]
    if {strategy.for_code for strategy in allowed} != {True, False}:
        raise SerdeError("allowed_deserializer_types needs at least one strategy for code and one for data")
    return frozenset(strategy.identifier for strategy in allowed)


def _described(data: Any) -> str:
    name = getattr(data, "__qualname__", "") if callable(data) else ""
    kind = f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")
    return f"{name} ({kind})" if name else f"an object of type {kind}"


def _refusal(strategy: SerializationStrategy, data: Any, error: Exception) -> str:
    mend = (
        "make what it needs inside the function, or pass it as an argument"
        if strategy.for_code
        else "send what it is made from (a path, a query, its fields) and make it on the other side"
    )
    return (
        f"{_described(data)} can't be serialized by {type(strategy).__name__} "
        f"({strategy.identifier[:2]}): {type(error).__name__}: {error}{_globals_at_fault(data)}; {mend}"
    )


def _culprit(strategy: SerializationStrategy, named: Iterable[tuple[str, Any]], error: Exception) -> str:
    for name, value in named:
        try:
            strategy.serialize(value)
        except Exception as own:  # noqa: BLE001 - as in serialize
            return f"{name}: {_refusal(strategy, value, own)}"
    return f"the arguments can't be serialized by {type(strategy).__name__}: {error}"


def _globals_at_fault(function: Any) -> str:
    """Names the globals that a function reads and that can't be written by themselves."""
    from compute_nb.serialize.dilled import names_read

    bad = []
    for name, value in names_read(function).items():
        try:
            DillDataBase64().serialize(value)
        except Exception:  # noqa: BLE001 - as in serialize
            bad.append(f"{name} ({type(value).__qualname__})")
    return f"; it reads {', '.join(bad)}" if bad else ""


def _reading_mend(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"install {error.name!r} here, or return plain data"
    if isinstance(error, AttributeError) and "__main__" in str(error):
        return "define that name here first, then ask again"
    return "the other side may run another Python or dill: return plain data or use JSONData"
