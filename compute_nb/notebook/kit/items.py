"""This module is the items of a cell: what it printed and displayed, in order."""

from __future__ import annotations

import io
import os
import sys
import threading
import weakref
from typing import Any

from .outside import LOG

TEXT_LIMIT = 1_000_000  # characters of printed text that come back; the middle is left out beyond it


class Printed(io.TextIOBase):
    """Standard output or error of all cells of this process.

    One object for as long as the process lives: handlers of `logging` and the like, made by the first cell
    that imports a module, go on writing to it.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def close(self) -> None:
        """Stays open."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What text would be encoded to."""
        return "utf-8"

    def writable(self) -> bool:
        """Says yes."""
        return True

    def write(self, text: str) -> int:
        """Keeps the text for the cell that runs now."""
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not " + type(text).__name__)
        items = items_of_cell()
        if items is not None and items.process_id != os.getpid():
            os.write(self.fileno(), text.encode("utf-8", "replace"))  # a child: its memory is lost
        elif items is not None:
            items.outside()
            items.text(self._name, text)
            if items.live is not None and text:
                items.live.write(text, LOG.at)
        return len(text)

    def fileno(self) -> int:
        """Returns the worker's own file number, for programs that the cell starts."""
        return 1 if self._name == "stdout" else 2


class Items:
    """What a cell printed and displayed, in order."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.thread, self.process_id = threading.get_ident(), os.getpid()
        self._size = 0
        self.live = _live()
        LOG.begin()

    def outside(self) -> None:
        """Adds what programs that the cell started have printed by now."""
        while True:
            text = LOG.news()
            if not text:
                return
            self.text("stdout", text)

    def text(self, stream: str, text: str) -> None:
        """Adds printed text."""
        if not text:
            return
        last = self.entries[-1] if self.entries else {}
        if last.get("stream") != stream or "cut" in last:
            self.entries.append({"stream": stream, "pieces": []})
        self.entries[-1]["pieces"].append(text)
        self._size += len(text)
        if self._size > 2 * TEXT_LIMIT:
            self._shrink()

    def _shrink(self) -> None:
        """Leaves out the middle of all that was printed, over however many entries it goes."""
        half = TEXT_LIMIT // 2
        head_end, tail_start, at = half, self._size - half, 0
        entries: list[dict[str, Any]] = []
        note: dict[str, Any] = {"pieces": [], "cut": self._size - 2 * half}
        for entry in self.entries:
            if "stream" not in entry:
                entries.append(entry)
                continue
            note["cut"] += entry.get("cut", 0)
            text = "".join(entry["pieces"])
            head, tail = text[: max(0, head_end - at)], text[max(0, tail_start - at) :]
            at += len(text)
            if head:
                entries.append({"stream": entry["stream"], "pieces": [head]})
            if at > head_end and "stream" not in note:
                note["stream"] = entry["stream"]
                entries.append(note)
            if tail:
                entries.append({"stream": entry["stream"], "pieces": [tail]})
        self.entries, self._size = entries, 2 * half

    def show(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Adds display data."""
        self.outside()
        self.entries.append({"data": data, "metadata": metadata})

    def packed(self) -> list[dict[str, Any]]:
        """Returns all of it as plain data."""
        self.outside()
        packed: list[dict[str, Any]] = []
        for entry in self.entries:
            if "stream" not in entry:
                packed.append(entry)
                continue
            text = "".join(entry["pieces"])
            if "cut" in entry:
                text = "\n[... {} characters left out ...]\n".format(format(entry["cut"], ","))
            if packed and packed[-1].get("stream") == entry["stream"]:
                packed[-1]["text"] += text
            else:
                packed.append({"stream": entry["stream"], "text": text})
        return packed


def _live() -> Any:
    """Returns what shows text to people while the cell runs; only a worker of ours has it."""
    found = getattr(sys.modules.get("_compute_nb_runner.live"), "LIVE", None)
    return found[0] if found else None


current: list[Items] = []  # of the cell that runs now
outlived: weakref.WeakSet[threading.Thread] = weakref.WeakSet()  # threads of cells that have ended
STREAMS = Printed("stdout"), Printed("stderr")


def items_of_cell() -> Items | None:
    """Returns the items of the cell that this thread works for, None if that cell has ended."""
    if not current:
        return None
    items = current[-1]
    if outlived and threading.get_ident() != items.thread and threading.current_thread() in outlived:
        return None
    return items


def end_cell() -> None:
    """Ends the cell that runs now; what its threads go on to write is nobody's."""
    current.pop()
    if threading.active_count() > 1:
        own = threading.current_thread()
        outlived.update(thread for thread in threading.enumerate() if thread is not own)
