"""This module is the properties of a message: its headers and time, between bytes and values.

The broker passes the bytes of properties on untouched, so that nothing gets lost that it doesn't know.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from pamqp import commands, header

from compute_nb.service.broker.faults import Code, Fault
from compute_nb.service.broker.frames import UNREADABLE

PERSISTENT = 2
CACHED_BYTES = 128  # of most messages the properties are few, and the same ones


class Properties(NamedTuple):
    """What the broker and the service read of a message's properties."""

    headers: Mapping[str, Any]
    timestamp_s: float | None
    user_id: str | None


def read(raw: bytes) -> Properties:
    """Decodes properties, flags first, as they stand in a content header.

    Raises:
        Fault: 502 if they can't be read.
    """
    return _read_cached(raw) if len(raw) <= CACHED_BYTES else _read(raw)


def write(
    headers: Mapping[str, Any] | None, timestamp_s: float | None, content_type: str | None = None
) -> bytes:
    """Encodes the properties of a persistent message; the time is cut to whole seconds."""
    whole_s = None if timestamp_s is None else int(timestamp_s)
    if not headers:
        return _write_plain(whole_s, content_type)
    return _properties(dict(headers), whole_s, content_type).marshal()


def _read(raw: bytes) -> Properties:
    content = header.ContentHeader()
    try:
        content.unmarshal(bytes(12) + raw)
    except UNREADABLE as error:
        raise Fault(Code.SYNTAX_ERROR, f"the properties of a message can't be read: {error}") from error
    found = content.properties
    at = found.timestamp
    return Properties(
        MappingProxyType(found.headers or {}),
        at.timestamp() if isinstance(at, datetime.datetime) else None,
        found.user_id or None,
    )


_read_cached = lru_cache(maxsize=1024)(_read)


@lru_cache(maxsize=16)
def _write_plain(whole_s: int | None, content_type: str | None) -> bytes:
    return _properties({}, whole_s, content_type).marshal()


def _properties(
    headers: dict[str, Any], whole_s: int | None, content_type: str | None
) -> commands.Basic.Properties:
    at = None if whole_s is None else datetime.datetime.fromtimestamp(whole_s, datetime.UTC)
    return commands.Basic.Properties(
        content_type=content_type, headers=headers or None, delivery_mode=PERSISTENT, timestamp=at
    )
