"""This module is the state of a worker's process: what a task may leave changed that no other should meet.

Signals and alarms, descriptors and streams, the mask of files, the locale, what the interpreter has set.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import signal
import sys
from typing import Any

_SIGNAL: Any = importlib.import_module("_signal")  # `signal` wraps all in enums
_LOCALE: Any = importlib.import_module("_locale")
TIMERS = signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF


class State:
    """The process as it was; taken once the worker is up, on its main thread.

    Args:
        log: A descriptor of what 1 and 2 are, kept.
        main_thread: Whether tasks run on it; elsewhere none can change how signals are taken.
    """

    def __init__(self, log: int, main_thread: bool = True) -> None:
        self.main_thread = main_thread
        self.log = log
        self.null = os.open(os.devnull, os.O_RDONLY)
        self.umask = os.umask(0o77)
        os.umask(self.umask)
        self.numbers = [
            number for number in range(1, 32) if number not in (2, 9, 19)
        ]  # 2 is the worker's own
        self.handlers = [_SIGNAL.getsignal(number) for number in self.numbers]
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.recursion = sys.getrecursionlimit()
        self.locale = _LOCALE.setlocale(_LOCALE.LC_ALL, None)
        self.table = sys.modules
        self.modules = dict(sys.modules)

    @property
    def is_torn(self) -> bool:
        """True if modules are missing that the worker itself needs."""
        return sys.modules is not self.table or len(self.table) < len(self.modules)

    def stitch(self) -> None:
        """Gives the worker the modules back that it needs to tell how a task has ended."""
        sys.modules = self.table
        self.table.update(self.modules)

    def put_back(self) -> bool:
        """Undoes what a task has done; False if this process can't be trusted any more."""
        self.put_back_signals()
        for number, own in ((0, self.null), (1, self.log), (2, self.log)):
            os.dup2(own, number)
        os.umask(self.umask)
        if sys.getrecursionlimit() != self.recursion:
            sys.setrecursionlimit(self.recursion)
        if _LOCALE.setlocale(_LOCALE.LC_ALL, None) != self.locale:
            _LOCALE.setlocale(_LOCALE.LC_ALL, self.locale)
        gc.enable()
        sys.settrace(None)
        sys.setprofile(None)
        get = self.table.get
        if all(get(name) is module for name, module in self.modules.items() if name != "__main__"):
            return True
        self.stitch()
        return False

    def put_back_thread(self, has_folder: bool) -> None:
        """Undoes what a task has done to its thread alone: with a folder of its own its mask of files too."""
        sys.settrace(None)
        sys.setprofile(None)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        if has_folder:
            os.umask(self.umask)

    def put_back_signals(self) -> None:
        """Undoes what was done to signals and alarms."""
        for timer in TIMERS:
            signal.setitimer(timer, 0)
        found = [_SIGNAL.getsignal(number) for number in self.numbers]
        if self.main_thread and found != self.handlers:
            for number, now, then in zip(self.numbers, found, self.handlers):
                if now != then:
                    _SIGNAL.signal(number, signal.SIG_DFL if then is None else then)
            faulthandler.disable()
        if signal.pthread_sigmask(signal.SIG_BLOCK, ()) != self.mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        if not faulthandler.is_enabled():
            faulthandler.enable(2)
