"""This module is the reader of cell results: what a future's raw text says, opened as far as is asked."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from compute_nb.errors import DeserializationError
from compute_nb.failure import split_tail
from compute_nb.future import ComputeFuture
from compute_nb.notebook.cargo.payload import CellResult, is_cell_envelope, read_envelope
from compute_nb.notebook.kit.home import Home
from compute_nb.serialize import JSONData, PureSourceTextInspect, SerializationStrategy
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.syntax import beside_others
from compute_nb.tasks import TaskState

_PLAIN = ComputeSerializer()
_CHARTS = tuple(f"application/vnd.{kind}" for kind in ("vega.", "vegalite.", "plotly.", "dataresource+json"))
_WHOLE = '"value_error": null, "output_errors": {}'  # as most have it: a result need not be opened for it
# Frames of what brings a cell to a worker, where faulthandler lists all as Python dies.
_DUMP = "Fatal Python error:"
_OURS = re.compile(
    r'(?:^  File "(?:<_compute_nb_[^"]*|<compute_cell>|'
    r'[^"\n]*[/\\](?:compute_nb[/\\]endpoint[/\\]|compute_nb_\d+_)runner[^"\n]*)".*(?:\n|\Z))+',
    re.MULTILINE,
)
_NO_PICKLE = (JSONData, PureSourceTextInspect)


class CellSerializer(ComputeSerializer):
    """Reads results of cells as the value of their last expression, all others as they are.

    Args:
        home: The notebook in which values are rebuilt.
        inputs: How the tasks' own values are written.
        plain: Whether results are read as JSON only, and nothing is unpickled.

    Attributes:
        on_read: Called before a value is read for whoever asked for it, on that thread.
    """

    def __init__(
        self, home: Home, inputs: SerializationStrategy | None = None, *, plain: bool = False
    ) -> None:
        super().__init__(strategy_data=inputs, allowed_deserializer_types=_NO_PICKLE if plain else None)
        self.home = home
        self.on_read: Callable[[], None] = lambda: None
        self._plain = plain
        self._opened: dict[str, dict[str, Any]] = {}

    def deserialize(self, payload: str) -> Any:
        """Returns the value in one buffer.

        Raises:
            SerializationError: The value could not leave the worker; the task itself succeeded.
            DeserializationError: It can't be read here.
        """
        self.on_read()
        data = super().deserialize(payload)
        return self._read(payload, data).value(self.home) if is_cell_envelope(data) else data

    def result(self, payload: str) -> CellResult:
        """Returns the result in one buffer, its values still closed, or kept from an earlier reading.

        Raises:
            DeserializationError: It is no result of a cell.
        """
        return self._read(payload, super().deserialize(payload))

    def _read(self, payload: str, data: Any) -> CellResult:
        return read_envelope(data, self._opened.setdefault(payload, {}), plain=self._plain)


def cell_result(future: ComputeFuture) -> CellResult | None:
    """Returns what a task of a cell gave, its values still closed; None if it has given nothing yet."""
    if future.raw is None or future.state is not TaskState.SUCCEEDED:
        return None
    if not future.raw.startswith("11\n"):
        return None
    serializer = None if future.terms is None else future.terms.serializer
    try:
        if isinstance(serializer, CellSerializer):
            return serializer.result(future.raw)
        return read_envelope(_PLAIN.deserialize(future.raw))
    except DeserializationError:
        return None


def losses(future: ComputeFuture) -> tuple[str, ...]:
    """Returns what a task that SUCCEEDED could not send back, a line each; fetches nothing."""
    if future.state is not TaskState.SUCCEEDED or not future.fetched:
        return ()
    raw = future.raw
    if raw is None or _WHOLE in raw:
        return ()
    result = cell_result(future)
    return () if result is None else result.losses


def when_read(futures: Sequence[ComputeFuture], told: Callable[[], None]) -> None:
    """Has `told` called whenever a value of these tasks, sent together, is about to be read."""
    terms = futures[0].terms if futures else None
    if terms is not None and isinstance(terms.serializer, CellSerializer):
        terms.serializer.on_read = told


def facts(future: ComputeFuture) -> Mapping[str, Any]:
    """Returns the plain facts of a task that has ended: `items`, `swept`, `traceback`; {} if it left none."""
    result = cell_result(future)
    if result is not None:
        return _sendable({"items": result.items, "swept": result.swept, "display": result.display})  # type: ignore[no-any-return]
    if future.raw is None or future.state is TaskState.SUCCEEDED:
        return {}
    text, tail = split_tail(future.raw)
    tail = _sendable(tail or {})
    swept, items = tail.get("swept"), tail.get("outputs")
    return {
        "items": items if isinstance(items, list) else [],
        "swept": swept if isinstance(swept, dict) else {},
        "traceback": tail.get("traceback") or text,
        "trace": tail.get("trace"),
    }


def _sendable(data: Any) -> Any:
    """Returns plain data with lone surrogates spelled out: one stops a whole message to a front end."""
    if isinstance(data, str):
        return data if data.isascii() else data.encode("utf-8", "backslashreplace").decode()
    if isinstance(data, dict):
        return {_sendable(key): _sendable(value) for key, value in data.items()}
    return [_sendable(value) for value in data] if isinstance(data, list | tuple) else data


def own_values(future: ComputeFuture) -> dict[str, Any]:
    """Returns a task's own values by name as far as it has brought them back; text where only that came."""
    swept = facts(future).get("swept") or {}
    result = cell_result(future)
    serializer = None if future.terms is None else future.terms.serializer
    if result is not None and swept and isinstance(serializer, CellSerializer):
        return result.parameters(serializer.home)
    return {name: _literal(text) for name, text in swept.items()}


def _literal(text: str) -> Any:
    try:
        return beside_others(ast.literal_eval, text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def printed(items: list[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yields stream and text of what a task printed, in order."""
    for item in items:
        if item.get("stream") in ("stdout", "stderr"):
            yield str(item["stream"]), str(item.get("text", ""))


def said(future: ComputeFuture) -> str:
    """Returns what a task has printed: all of it once that came with its end, else what was heard so far."""
    if not future.done():
        return future.live_text
    text = "".join(text for _, text in printed(list(facts(future).get("items") or ())))
    return text or without_ours(future.live_text)


def without_ours(text: str) -> str:
    """Returns what a dying Python wrote last, with frames of this package folded."""
    begin = text.rfind(_DUMP)
    return text if begin < 0 else text[:begin] + _OURS.sub(_folded, text[begin:])


def _folded(found: re.Match[str]) -> str:
    count = found[0].count('  File "')
    return f"  [... {count} frame{'s' * (count != 1)} of compute_nb]\n"


def displayed(items: list[Mapping[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yields data and metadata of what a task displayed, in order, without what could run here."""
    for item in items:
        data, metadata = item.get("data"), item.get("metadata")
        if isinstance(data, dict):
            yield harmless(data), metadata if isinstance(metadata, dict) else {}


def harmless(data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns display data without JavaScript, and of vendors' types only charts, which are data."""
    return {
        mime: value
        for mime, value in data.items()
        if "javascript" not in mime and (not mime.startswith("application/vnd.") or mime.startswith(_CHARTS))
    }
