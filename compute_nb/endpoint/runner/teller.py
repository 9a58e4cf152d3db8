"""This module is the teller of threads: what each one's task prints by itself, told to the agent meanwhile.

Text belongs to the task whose thread writes it through `sys.stdout` or `sys.stderr`. What other threads,
programs and C code write is nobody's: it stands in the log alone.
"""

from __future__ import annotations

import threading
from typing import Any

from .voice import LAST_CHARS, Voice, joined

LISTEN_S = 0.1


class Talk:
    """What one task has printed and nobody was told yet."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.start, self.parts, self.size = 0, [], 0  # type: ignore[var-annotated]

    def add(self, text: str) -> None:
        """Takes text in, and lets go of old text of which there is much."""
        self.parts.append(text)
        self.size += len(text)
        if self.size > 4 * LAST_CHARS:
            self.start, kept = joined(None, (self.start, "".join(self.parts)))
            self.parts, self.size = [kept], len(kept)

    def take(self) -> tuple[int, str]:
        """Returns what is new."""
        piece = joined(None, (self.start, "".join(self.parts)))
        self.start = piece[0] + len(piece[1])
        self.parts, self.size = [], 0
        return piece


class Teller:
    """Owns the thread `teller`, which starts with the first text; the rest is called on any thread.

    Args:
        live: Where the agent hears it, None if it does not.
    """

    def __init__(self, live: str | None) -> None:
        self.voice = Voice(live)
        self.turn = threading.RLock()
        self.talks: dict[int, Talk] = {}
        self.news = threading.Event()
        self.thread: Any = None

    def begin(self, task_id: str) -> None:
        """The calling thread begins a task."""
        with self.turn:
            self.talks[threading.get_ident()] = Talk(task_id)

    def end(self) -> None:
        """The calling thread has ended its task."""
        with self.turn:
            self.talks.pop(threading.get_ident(), None)

    def hear(self, text: str) -> bool:
        """Takes what the calling thread prints; says that it may."""
        talk = self.talks.get(threading.get_ident())
        if talk is not None and text:
            with self.turn:
                talk.add(text)
                if self.thread is None:
                    self.thread = threading.Thread(target=self.tell, name="teller", daemon=True)
                    self.thread.start()
            self.news.set()
        return True

    def tell(self) -> None:
        """Is the thread: tells now and then what is new; nothing of tasks that are short."""
        while True:
            self.news.wait()
            self.news.clear()
            threading.Event().wait(LISTEN_S)
            with self.turn:
                pieces = [(talk.task_id, talk.take()) for talk in self.talks.values() if talk.parts]
            for task_id, piece in pieces:
                self.voice.say(task_id, *piece)
