"""This module is the strategies that write one object in several ways, so that some reader can do with one.

Allowing one of them to be read allows its parts inside it.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from compute_nb import wire
from compute_nb.errors import DeserializationError, SerializationError
from compute_nb.serialize.code import DillCode
from compute_nb.serialize.data import DillDataBase64, JSONData
from compute_nb.serialize.source import (
    DillCodeSource,
    DillCodeTextInspect,
    PureSourceDill,
    PureSourceTextInspect,
)
from compute_nb.serialize.strategy import IDENTIFIER_LENGTH, SerializationStrategy, by_identifier
from compute_nb.syntax import parse


class ComboSerializationStrategy(SerializationStrategy):
    """Writes by each of `strategies` that can, reads by the first that can.

    Attributes:
        strategies: In the order of writing, and so of reading.
    """

    strategies: ClassVar[Sequence[type[SerializationStrategy]]]

    def serialize(self, data: Any) -> str:
        """Returns the buffers of all parts that worked.

        Raises:
            SerializationError: None did; the text has each reason.
        """
        buffers, reasons = [], []
        for kind in self.strategies:
            try:
                buffers.append(kind().serialize(data))
            except Exception as error:  # noqa: BLE001 - pickling runs anything
                reasons.append(f"{kind.__name__}: {type(error).__name__}: {error}")
        if not buffers:
            raise SerializationError(f"none of its parts could write it: {'; '.join(reasons)}")
        return self.identifier + self._join(buffers)

    def deserialize(self, payload: str) -> Any:
        """Returns the object of the first part that can be read.

        Raises:
            DeserializationError: None can; the text has each reason.
        """
        reasons = []
        for buffer in self._split(self.chomp(payload)):
            try:
                return by_identifier(buffer[:IDENTIFIER_LENGTH]).deserialize(buffer)
            except Exception as error:  # noqa: BLE001 - unpickling runs anything
                reasons.append(f"{buffer[:2]}: {type(error).__name__}: {error}")
        raise DeserializationError(
            f"none of the parts of {type(self).__name__} could be read: {'; '.join(reasons) or 'it has none'}"
        )

    @abstractmethod
    def _join(self, buffers: Sequence[str]) -> str:
        """Returns the text of several buffers."""

    @abstractmethod
    def _split(self, text: str) -> Iterable[str]:
        """Returns the buffers of a text."""


class _Packed(ComboSerializationStrategy):
    def _join(self, buffers: Sequence[str]) -> str:
        return wire.pack_buffers(buffers)

    def _split(self, text: str) -> Iterable[str]:
        try:
            return wire.unpack_buffers(text)
        except wire.MalformedMessage as error:
            raise DeserializationError(str(error)) from error


class AllDataStrategies(_Packed):
    """Data as JSON where that can hold it, and as a pickle: read as JSON first."""

    identifier = "13\n"
    for_code = False
    strategies = (JSONData, DillDataBase64)


class AllCodeStrategies(_Packed):
    """A function as source where that is enough for it, and as a pickle: source is tried first."""

    identifier = "12\n"
    for_code = True
    strategies = (PureSourceTextInspect, PureSourceDill, DillCode)


class CombinedCode(ComboSerializationStrategy):
    """As AllCodeStrategies in an older form; deprecated by the published package.

    Its parts are joined by colons, and a published reader splits at those of the source text too: it comes
    no further than the parts in base64, which are first. Here the source parts are read as well.
    """

    identifier = "10\n"
    for_code = True
    strategies = (DillCodeSource, DillCode, DillCodeTextInspect, PureSourceDill, PureSourceTextInspect)

    def _join(self, buffers: Sequence[str]) -> str:
        return ":".join(f"{b[:IDENTIFIER_LENGTH]}:{b[IDENTIFIER_LENGTH:]}" for b in buffers)

    def _split(self, text: str) -> Iterator[str]:
        while text:
            identifier, rest = text[:IDENTIFIER_LENGTH], text[IDENTIFIER_LENGTH + 1 :]
            end = _end_of_source(rest) if identifier[:1] == "s" else rest.find(":")
            end = len(rest) if end < 0 else end
            yield identifier + rest[:end]
            text = rest[end + 1 :]


def _end_of_source(text: str) -> int:
    """Returns where the source at the start of `text` ends and the next part begins; -1 if it is the last."""
    ends = [found.start() for found in re.finditer(r":s[a-z]\n:", text)]
    return next((end for end in ends if _parses(text[:end].partition(":")[2])), -1)


def _parses(source: str) -> bool:
    try:
        parse(source)
    except (SyntaxError, ValueError):
        return False
    return True
