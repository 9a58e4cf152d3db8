"""This module is the items of a cell: what it printed and displayed, in order."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import weakref
from typing import Any

from .outside import LOG

PICTURE_LIMIT = 4_000_000  # characters of one picture or text of display data
UNFIT = 1 << 62
SHOWN = 100  # displays of one task that come back
SHOWN_LIMIT = 6_000_000  # characters of all of them
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
        self._shown = self._shown_size = 0
        self._clears = False
        self.live = _live()
        _let_go(self.thread)
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
        self._clear_now()
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

    def show(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any],
        display_id: str | None = None,
        update: bool = False,
    ) -> None:
        """Adds display data.

        Args:
            data: By MIME type.
            metadata: The same.
            display_id: By which it may be updated.
            update: Whether it takes the place of all that has that id, instead.
        """
        self.outside()
        self._clear_now()
        size = sum(len(str(value)) for value in data.values())
        if update:
            for entry in self.entries:
                if "data" in entry and entry.get("id") == display_id:
                    self._replace(entry, data, metadata, size)
            return
        if self._shown >= SHOWN or self._shown_size + size > SHOWN_LIMIT:
            self._leave_out()
            return
        self._shown += 1
        self._shown_size += size
        self.entries.append({"data": data, "metadata": metadata, "id": display_id, "size": size})

    def _replace(
        self, entry: dict[str, Any], data: dict[str, Any], metadata: dict[str, Any], size: int
    ) -> None:
        more = size - entry["size"]
        if self._shown_size + more <= SHOWN_LIMIT:
            self._shown_size += more
            entry.update(data=data, metadata=metadata, size=size)

    def _leave_out(self) -> None:
        for entry in reversed(self.entries):
            if "left_out" in entry:
                entry["left_out"] += 1
                return
        self.entries.append({"left_out": 1})

    def clear(self, wait: bool) -> None:
        """Forgets all so far, or once something comes in its place."""
        self.outside()
        self._clears = True
        if not wait:
            self._clear_now()

    def _clear_now(self) -> None:
        if self._clears:
            self._clears = False
            self.entries = []
            self._size = self._shown = self._shown_size = 0
            if self.live is not None:
                self.live.write("\x1b[2J", LOG.at)

    def packed(self) -> list[dict[str, Any]]:
        """Returns all of it as plain data."""
        self.outside()
        packed: list[dict[str, Any]] = []
        for entry in self.entries:
            if "data" in entry:
                packed.append({"data": entry["data"], "metadata": entry["metadata"]})
                continue
            if "left_out" in entry:
                told = (
                    "[... {:,} more displays left out: a task can show {}, of {:,} characters in all ...]\n"
                )
                text = told.format(entry["left_out"], SHOWN, SHOWN_LIMIT)
                packed.append({"stream": "stderr", "text": text})
                continue
            text = "".join(entry["pieces"])
            if "cut" in entry:
                text = "\n[... {} characters left out ...]\n".format(format(entry["cut"], ","))
            if packed and packed[-1].get("stream") == entry["stream"]:
                packed[-1]["text"] += text
            else:
                packed.append({"stream": entry["stream"], "text": text})
        return packed


def fitting(data: dict[str, Any], thing: Any) -> dict[str, Any]:
    """Returns display data without what can't be sent; says what is too large."""
    kept = {}
    for mime, value in data.items():
        size = _size(mime, value)
        if size <= PICTURE_LIMIT:
            kept[mime] = value
        elif size < UNFIT:
            sys.stderr.write(
                f"{mime} of a `{type(thing).__name__}` has {size:,} characters and {PICTURE_LIMIT:,} can be "
                "shown: make it smaller, or write it to a file there\n"
            )
    return kept


def _size(mime: str, value: Any) -> int:
    if "javascript" in mime:
        return UNFIT
    try:
        return len(json.dumps(value))
    except (TypeError, ValueError):
        return UNFIT


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
    _let_go(threading.get_ident())


def _let_go(own: int) -> None:
    """Has all threads but one print for nobody: they are not of the cell that comes."""
    if threading.active_count() > 1:
        outlived.update(thread for thread in threading.enumerate() if thread.ident != own)
