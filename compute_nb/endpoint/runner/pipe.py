"""This module is the pipe to the engine: frames in, frames out."""

from __future__ import annotations

import json
import os
import select
import struct
import time
from typing import Any

LENGTH = struct.Struct("!I")
quoted = json.encoder.encode_basestring_ascii


class Pipe:
    """The two descriptors that carry frames, away from 0, 1 and 2 where user code can't hit them."""

    def __init__(self) -> None:
        self.source, self.sink = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)

    def receive(self) -> dict[str, Any] | None:
        """Waits for a frame; None when the engine has closed its end."""
        head = self.read(4)
        body = self.read(LENGTH.unpack(head)[0]) if head else b""
        return json.loads(body) if body else None

    def read(self, size: int) -> bytes:
        """Reads exactly `size` bytes, or nothing at the end."""
        parts: list[bytes] = []
        while size:
            part = os.read(self.source, min(size, 1 << 20))
            if not part:
                return b""
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, frame: list[Any]) -> None:
        """Writes a frame."""
        self.write(json.dumps(frame))

    def send_result(self, serial: int, index: int, end: tuple[bool, str, str | None], started: float) -> None:
        """Writes the frame of a result; by hand, since the encoder spends its time on setting up."""
        ok, data, code = end
        self.write(
            f"[{serial},{index},{'true' if ok else 'false'},{quoted(data)},"
            f"{'null' if code is None else quoted(code)},{started!r},{time.time()!r}]"
        )

    def write(self, text: str) -> None:
        """Writes the bytes of a frame."""
        body = text.encode()
        rest = memoryview(LENGTH.pack(len(body)) + body)
        while rest:
            rest = rest[os.write(self.sink, rest) :]

    def quiet(self, seconds: float = 0) -> bool:
        """True if no frame comes for so long."""
        return not select.select([self.source], [], [], seconds)[0]
