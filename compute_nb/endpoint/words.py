"""This module is a file of words that survive a kill: mapped, under a header that tells whose they are.

A power cut may lose them, and the boot id tells (`endpoint.journal_file`).

    file    header | entry | entry | ...
    header  magic (8 bytes), journal id (16), entries (8), 32 bytes free
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from uuid import UUID

HEADER_BYTES = 64

_HEADER = struct.Struct("=8s16sQ")


def make_words(path: Path, magic: bytes, journal_id: UUID, entries: int, entry_bytes: int) -> mmap.mmap:
    """Makes a file of empty entries, in the place of an old one, and maps it.

    Args:
        path: The file.
        magic: Eight bytes that say which kind it is.
        journal_id: The journal whose numbers stand in it.
        entries: How many it has.
        entry_bytes: How large each is.

    Raises:
        OSError: There is no room for it.
    """
    fresh = path.with_suffix(".new")
    size = HEADER_BYTES + entries * entry_bytes
    with fresh.open("w+b") as file:
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):  # a full disk is told now, not by a SIGBUS later
            os.posix_fallocate(file.fileno(), 0, size)
        mapped = mmap.mmap(file.fileno(), size)
    _HEADER.pack_into(mapped, 0, magic, journal_id.bytes, entries)
    fresh.replace(path)
    return mapped


def read_words(path: Path, magic: bytes, journal_id: UUID, entry_bytes: int) -> memoryview | None:
    """Returns the bytes of a file, header included; None if it is not there, damaged or another journal's."""
    try:
        data = path.read_bytes()
        kind, journal, entries = _HEADER.unpack_from(data)
    except (OSError, struct.error):
        return None
    whole = len(data) == HEADER_BYTES + entries * entry_bytes
    return memoryview(data) if kind == magic and journal == journal_id.bytes and whole else None
