"""This module is buffers: an object as text, by one of the strategies that its first characters name."""

from __future__ import annotations

import binascii
import json
import pickle
from typing import TYPE_CHECKING, Any

from .pickles import ATOMS, Unfit, dill, dumps, loads, mime
from .source import SourceCode, combined_parts, dill_source, inspected, named_source

if TYPE_CHECKING:
    from collections.abc import Callable


def pack(buffers: list[str]) -> str:
    """Joins buffers: for each its length, a newline, the buffer."""
    return "".join([f"{len(buffer)}\n{buffer}" for buffer in buffers])


def unpack(packed: str) -> list[str]:
    """Splits a packed text into its buffers."""
    buffers, start = [], 0
    while start < len(packed):
        newline = packed.index("\n", start)
        end = newline + 1 + int(packed[start:newline])
        if not newline < end <= len(packed):
            raise Unfit(f"a packed text of {len(packed)} characters is cut off")
        buffers.append(packed[newline + 1 : end])
        start = end
    return buffers


def first_readable(buffers: list[str]) -> Any:
    """Returns what the first readable one of several spellings of one object gives."""
    reasons = []
    for buffer in buffers:
        try:
            return load(buffer)
        except Exception as error:
            reasons.append(f"{buffer[:2]}: {type(error).__name__}: {error}")
    raise Unfit("none of the spellings could be read: " + "; ".join(reasons))


def from_source(name: str, source: str) -> Callable[..., Any]:
    """Runs a source in a namespace of its own and returns what it calls `name`."""
    return SourceCode(name, source).make()


def load(buffer: str) -> Any:
    """Returns the object in a buffer, by the strategy that its first characters name."""
    header, body = buffer[:3], buffer[3:]
    if header in ("00\n", "01\n", "02\n"):
        return loads(binascii.a2b_base64(body))
    if header == "11\n":
        return json.loads(body)
    if header in ("st\n", "sd\n"):
        return from_source(*named_source(body))
    if header in ("03\n", "04\n"):
        return from_source(*loads(binascii.a2b_base64(body)))
    if header in ("12\n", "13\n"):
        return first_readable(unpack(body))
    if header == "10\n":
        return first_readable(list(combined_parts(body)))
    raise Unfit(f"Invalid header: {header!r} names no serialization strategy")


def source_buffer(header: str, get: Callable[[Any], str]) -> Callable[[Any], str]:
    """Returns a writer of plain source: `<name>:<source>`."""
    return lambda obj: f"{header}{obj.__name__}:{get(obj)}"


def coded_source_buffer(header: str, get: Callable[[Any], str]) -> Callable[[Any], str]:
    """Returns a writer of source inside a pickle."""
    return lambda obj: header + mime(pickle.dumps((obj.__name__, get(obj)), 4))


def all_of(header: str, names: tuple[str, ...]) -> Callable[[Any], str]:
    """Returns a writer of several spellings in one buffer."""

    def write(obj: Any) -> str:
        buffers = []
        for name in names:
            try:
                buffers.append(WRITERS[name][1](obj))
            except Exception:
                continue
        if not buffers:
            raise Unfit("no strategy could write it")
        if header == "10\n":
            return header + ":".join(f"{b[:3]}:{b[3:]}" for b in buffers)
        return header + pack(buffers)

    return write


COMBINED = ("DillCodeSource", "DillCode", "DillCodeTextInspect", "PureSourceDill", "PureSourceTextInspect")
# name: (is for callables, writer)
WRITERS: dict[str, tuple[bool, Callable[[Any], str]]] = {
    "DillDataBase64": (False, lambda obj: "00\n" + mime(dumps(obj))),
    "JSONData": (False, lambda obj: "11\n" + json.dumps(obj)),
    "AllDataStrategies": (False, all_of("13\n", ("JSONData", "DillDataBase64"))),
    "DillCode": (True, lambda obj: "01\n" + mime(dill().dumps(obj))),
    "DillCodeTextInspect": (True, coded_source_buffer("03\n", inspected)),
    "DillCodeSource": (True, coded_source_buffer("04\n", dill_source)),
    "PureSourceTextInspect": (True, source_buffer("st\n", inspected)),
    "PureSourceDill": (True, source_buffer("sd\n", dill_source)),
    "CombinedCode": (True, all_of("10\n", COMBINED)),
    "AllCodeStrategies": (
        True,
        all_of("12\n", ("PureSourceTextInspect", "PureSourceDill", "DillCode")),
    ),
}


def dump(value: Any, wanted: list[str]) -> str:
    """Returns the buffer of a result by the first strategy that works.

    Args:
        value: What the function returned.
        wanted: Import paths of strategies; empty for the usual ones.

    Raises:
        Unfit: None works; the text names the type and what to do.
    """
    if type(value) in ATOMS and not wanted:
        return "00\n" + mime(pickle.dumps(value, 4))
    is_code = callable(value)
    reasons = []
    for path in wanted or ("DillCode" if is_code else "DillDataBase64",):
        for_code, write = WRITERS.get(path.rsplit(".", 1)[-1], (None, None))
        if write is None:
            reasons.append(f"{path}: this worker knows no such strategy")
        elif for_code is not is_code:
            reasons.append(f"{path}: not for {'code' if is_code else 'data'}")
        else:
            try:
                return write(value)
            except Exception as error:
                reasons.append(f"{path.rsplit('.', 1)[-1]}: {type(error).__name__}: {error}")
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise Unfit(
        f"the function returned {kind}, which can't be sent back ({'; '.join(reasons)}). "
        "Return plain data (numbers, text, lists, arrays, data frames), or write it to a file and return "
        "the path"
    )
