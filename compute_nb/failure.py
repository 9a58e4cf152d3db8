"""This module is the exception of a task without a value: its class, its text, the error's own type too.

The error of a task is raised as `TaskExecutionFailed` and, where its own type exists here, as that type too,
so that `except ValueError` works. What the other side says is text: it is looked up among the modules that
are loaded already and never imports one, since a program that names a type in an `except` has loaded it.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from compute_nb.errors import (
    SerdeError,
    TaskCancelled,
    TaskExecutionFailed,
    TaskExpired,
    TaskLost,
    WorkerDied,
)
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.tasks import ErrorCode, TaskState

TAIL = "compute_nb:1:"
MAX_TAIL_BYTES = 64 * 1024 * 1024

_BY_CODE: Mapping[str | None, type[TaskExecutionFailed]] = {
    ErrorCode.WORKER_DIED: WorkerDied,
    ErrorCode.LOST: TaskLost,
    ErrorCode.EXPIRED: TaskExpired,
    ErrorCode.CANCELLED: TaskCancelled,
}
_BY_STATE: Mapping[TaskState, type[TaskExecutionFailed]] = {
    TaskState.LOST: TaskLost,
    TaskState.CANCELLED: TaskCancelled,
}
# These mean something to the caller's machinery: a TimeoutError of result() says that you stopped waiting.
_NEVER_JOINED = (
    StopIteration,
    StopAsyncIteration,
    TimeoutError,
    concurrent.futures.CancelledError,
)


def failure(
    text: str,
    serializer: ComputeSerializer,
    *,
    state: TaskState = TaskState.FAILED,
    code: str | None = None,
    ended_at: float | None = None,
) -> TaskExecutionFailed:
    """Returns the exception of a task.

    Args:
        text: The traceback or reason, with or without a tail.
        serializer: Reads the error's own arguments and attributes, if its allow-list lets it.
        state: FAILED, LOST or CANCELLED.
        code: One of `ErrorCode`, if known.
        ended_at: Seconds since the epoch.
    """
    shown, tail = split_tail(text)
    completion_t = "0" if ended_at is None else str(ended_at)
    kind = _BY_STATE.get(state) or _BY_CODE.get(code, TaskExecutionFailed)
    own = None if tail is None or kind is not TaskExecutionFailed else _own_type(tail)
    if tail is None or own is None:
        return kind(shown, completion_t)
    return _joined(own, shown, completion_t, *_contents(tail, serializer))


def split_tail(text: str) -> tuple[str, Mapping[str, Any] | None]:
    """Returns the text for people and what its last line gives to programs, None if it gives nothing."""
    shown, _, last = text.rstrip("\n").rpartition("\n")
    if not last.startswith(TAIL):
        return text, None
    try:
        reader = zlib.decompressobj()
        raw = reader.decompress(base64.b64decode(last[len(TAIL) :], validate=True), MAX_TAIL_BYTES)
        tail = json.loads(raw) if not reader.unconsumed_tail else None
    except (ValueError, zlib.error, RecursionError):
        return shown, None
    return shown, tail if isinstance(tail, dict) else None


def _own_type(tail: Mapping[str, Any]) -> type[Exception] | None:
    """Returns the type that a tail names, if it exists here and may be joined."""
    module, name = tail.get("module"), tail.get("type")
    if not (isinstance(module, str) and isinstance(name, str)):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        # By vars, not getattr: a module may import another one when it is asked for a name.
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    if not (isinstance(found, type) and issubclass(found, Exception)):
        return None
    return None if issubclass(found, _NEVER_JOINED) else found


def _contents(
    tail: Mapping[str, Any], serializer: ComputeSerializer
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the arguments and attributes of the error, as far as they can be read here."""
    message, buffer = tail.get("message"), tail.get("exception")
    told = (message,) if message else ()
    if not isinstance(buffer, str):
        return told, {}
    try:
        error = serializer.deserialize(buffer)
    except SerdeError:
        return told, {}
    if not isinstance(error, BaseException):
        return told, {}
    return error.args, dict(_attributes(error))


def _attributes(error: BaseException) -> Iterator[tuple[str, Any]]:
    for kind in type(error).__mro__:
        for name, field in vars(kind).items():
            if isinstance(field, GetSetDescriptorType | MemberDescriptorType) and name[0] != "_":
                with contextlib.suppress(AttributeError):
                    yield name, getattr(error, name)
    yield from vars(error).items()


def _joined(
    own: type[Exception],
    text: str,
    completion_t: str,
    args: tuple[Any, ...],
    attributes: Mapping[str, Any],
) -> TaskExecutionFailed:
    """Returns an error that is both; `__init__` of the own type is not called, it may want anything."""
    try:
        kind = _joined_type(own)  # type: ignore[arg-type] # a class is hashable
        error = kind.__new__(kind)
    except TypeError:  # the two can't be parents of one class, or it can't be made empty
        return TaskExecutionFailed(text, completion_t)
    for name, value in attributes.items():
        with contextlib.suppress(AttributeError, TypeError):
            setattr(error, name, value)
    for name, value in _built_in_fields(own, args):
        if value and not getattr(error, name, None):
            setattr(error, name, value)
    error.args, error.remote_data, error.completion_t = args, text, completion_t
    return error


def _built_in_fields(own: type[Exception], args: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Yields what the built-in parent of a type (OSError, UnicodeError, ...) makes of the arguments."""
    parent = next(kind for kind in own.__mro__ if kind.__module__ == "builtins")
    try:
        yield from _attributes(parent(*args))
    except Exception:  # noqa: BLE001 - a subclass may have arguments that its parent can't take
        return


@lru_cache(maxsize=256)
def _joined_type(own: type[Exception]) -> type[TaskExecutionFailed]:
    def reduce(self: TaskExecutionFailed) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _joined, (own, self.remote_data, self.completion_t, self.args, dict(_attributes(self)))

    names = {"__module__": own.__module__, "__qualname__": own.__qualname__, "__doc__": own.__doc__}
    return type(own.__name__, (TaskExecutionFailed, own), {**names, "__reduce__": reduce})
