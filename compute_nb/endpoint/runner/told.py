"""This module is told text: standard streams that ask of each text whether it may be written."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Told(io.TextIOWrapper):
    """A standard stream of this process, written line by line.

    Args:
        number: Its descriptor.
        asks: Is given each text before it is written; False drops it.
    """

    def __init__(self, number: int, asks: Callable[[str], bool]) -> None:
        raw = open(number, "wb", closefd=False)  # noqa: SIM115 - it is for good
        super().__init__(raw, "utf-8", "backslashreplace", line_buffering=True)
        self.number, self.asks = number, asks

    @property
    def name(self) -> str:
        """As that of Python's own."""
        return "<stdout>" if self.number == 1 else "<stderr>"

    def write(self, text: str) -> int:
        """Writes it, or says so."""
        if not isinstance(text, str) or self.asks(text):
            return super().write(text)
        return len(text)


def streams(asks: Callable[[str], bool]) -> tuple[Told, Told]:
    """Puts such streams in the place of Python's own."""
    sys.stdout = sys.__stdout__ = out = Told(1, asks)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = err = Told(2, asks)  # type: ignore[misc]
    return out, err


def whole(stream: Any) -> Any:
    """Returns a stream with all that it held written, or a new one if it was closed."""
    try:
        stream.flush()
    except OSError:  # the disk is full, or its descriptor was closed
        return stream
    except ValueError:
        return Told(stream.number, stream.asks)
    return stream
