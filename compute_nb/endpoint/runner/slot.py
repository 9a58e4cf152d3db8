"""This module is the worker's slot: its words of the slots file (`endpoint.slots`)."""

from __future__ import annotations

import mmap
import os
import time
from typing import Any


class Slot:
    """This worker's part of the file that tells, also after a kill, which tasks have begun."""

    def __init__(self, setup: dict[str, Any]) -> None:
        with open(setup["slots"], "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        whole = memoryview(self.map)[: len(self.map) // 8 * 8]  # a task may have written to its end
        self.words, self.doubles = whole.cast("I"), whole.cast("d")
        self.cancel, self.since = setup["cancel"], setup["begun"]
        self.records = setup["records"]
        self.log, self.log_place = os.dup(2), setup["log"]

    def begin(self, record: int, index: int) -> bool:
        """Marks a task as begun unless the engine has taken it back.

        The engine writes its limit, waits, and reads the mark; so the limit is read again after marking.
        """
        words, begun = self.words, self.records[record] + 2
        if index >= words[begun + 1]:
            return False
        self.doubles[self.since] = time.time()
        try:  # noqa: SIM105 - in the way of every task
            words[self.log_place] = os.lseek(self.log, 0, os.SEEK_END) & 0xFFFFFFFF
        except OSError:  # a task has closed it
            pass
        words[begun] = index + 1
        if index >= words[begun + 1]:
            words[begun] = index
            return False
        return True

    def move_log(self, file: int) -> None:
        """Goes on with another log, under the same descriptors; takes `file` over."""
        os.dup2(file, self.log, inheritable=False)
        os.close(file)

    def wanted_gone(self, serial: int, index: int) -> bool:
        """True if the engine has asked for exactly this task to end."""
        return (self.words[self.cancel], self.words[self.cancel + 1]) == (serial, index + 1)
