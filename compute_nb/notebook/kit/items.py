"""This module is the items of a cell: what it printed and displayed, in order."""

from __future__ import annotations

import io
from typing import Any

TEXT_LIMIT = 1_000_000  # characters of printed text that come back; the middle is left out beyond it


class Printed(io.TextIOBase):
    """Standard output or error of a cell: keeps head and tail, in order with what is displayed."""

    def __init__(self, name: str, items: Items, behind: Any) -> None:
        super().__init__()
        self._name, self._items, self._behind = name, items, behind

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What text would be encoded to."""
        return "utf-8"

    def writable(self) -> bool:
        """Says yes."""
        return True

    def write(self, text: str) -> int:
        """Keeps the text."""
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not " + type(text).__name__)
        self._items.text(self._name, text)
        return len(text)

    def fileno(self) -> int:
        """Returns the worker's own file number, for programs that the cell starts."""
        return int(self._behind.fileno())


class Items:
    """What a cell printed and displayed, in order."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._size = 0
        self._left_out = 0

    def text(self, stream: str, text: str) -> None:
        """Adds printed text."""
        if not text:
            return
        last = self.entries[-1] if self.entries else {}
        if last.get("stream") != stream:
            self.entries.append({"stream": stream, "pieces": []})
        self.entries[-1]["pieces"].append(text)
        self._size += len(text)
        if self._size > 2 * TEXT_LIMIT:
            self._shrink()

    def _shrink(self) -> None:
        entry = max(
            (entry for entry in self.entries if "stream" in entry),
            key=lambda entry: sum(map(len, entry["pieces"])),
        )
        text = "".join(entry["pieces"])
        keep = min(len(text), TEXT_LIMIT) // 2
        self._left_out += len(text) - 2 * keep
        entry["pieces"] = [text[:keep], text[len(text) - keep :]]
        entry["cut"] = entry.get("cut", 0) + len(text) - 2 * keep
        self._size -= len(text) - 2 * keep

    def show(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Adds display data."""
        self.entries.append({"data": data, "metadata": metadata})

    def packed(self) -> list[dict[str, Any]]:
        """Returns all of it as plain data."""
        return [self._entry(entry) for entry in self.entries]

    def _entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        if "stream" not in entry:
            return entry
        pieces = entry["pieces"]
        if entry.get("cut"):
            note = "\n[... {} characters left out ...]\n".format(format(entry["cut"], ","))
            pieces = [pieces[0], note, *pieces[1:]]
        return {"stream": entry["stream"], "text": "".join(pieces)}


current: list[Items] = []  # of the cell that runs now
