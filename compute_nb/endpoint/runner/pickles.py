"""This module is pickles: written and read by the standard library wherever dill would do the same."""

from __future__ import annotations

import base64
import binascii
import importlib
import pickle
import signal
import sys
import types
from typing import Any


class Unfit(Exception):
    """An object, a buffer or an option that this worker can't handle; the text says what to do."""


def dill() -> Any:
    """Imports dill late: plain data and source code do without. A cancel waits until it is imported."""
    if "dill" in sys.modules:
        return sys.modules["dill"]
    # A half imported dill would stay so: its parts are kept and don't become attributes of the second one.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return importlib.import_module("dill")
    except ImportError as error:
        raise Unfit(
            f"this task needs dill, which {sys.executable} can't import ({error}): "
            f"run `{sys.executable} -m pip install dill` on the endpoint"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


class PlainPickler(pickle.Pickler):
    """The C pickler, which stops at whatever dill would send by value."""

    def reducer_override(self, obj: Any) -> Any:
        """Lets through what another process finds by its name."""
        if isinstance(obj, (type, types.FunctionType)) and not importable(obj):
            raise Unfit("by value")
        return NotImplemented


def importable(obj: Any) -> bool:
    """True if the module of a class or function gives the same object by its name."""
    if obj.__module__ in (None, "__main__"):
        return False
    found: Any = sys.modules.get(obj.__module__)
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


class _Sink:
    """What a pickler writes to: the parts, joined once."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.write = self.parts.append


ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


def dumps(obj: Any) -> bytes:
    """Pickles by the C pickler where dill would write the same, by dill where it would not."""
    if type(obj) in ATOMS:
        return pickle.dumps(obj, 4)
    sink = _Sink()
    try:
        PlainPickler(sink, 4).dump(obj)
    except Exception:
        return dill().dumps(obj)  # type: ignore[no-any-return]
    return b"".join([bytes(part) for part in sink.parts])


def loads(raw: bytes) -> Any:
    """Unpickles; dill takes part only where its names occur."""
    if b"dill" in raw or b"__main__" in raw:
        return dill().loads(raw)
    return pickle.loads(raw)


def mime(raw: bytes) -> str:
    """Returns base64 in lines of 76 characters, as the protocol wants it."""
    if len(raw) <= 57:
        return binascii.b2a_base64(raw).decode("ascii")
    return base64.encodebytes(raw).decode("ascii")
