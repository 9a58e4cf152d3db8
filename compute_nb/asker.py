"""This module is the asker of a client: who signs in, checks the service's version once, and asks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from compute_nb import routes
from compute_nb.connection import Connection
from compute_nb.errors import ComputeError, LoginWanted, VersionMismatch
from compute_nb.reach import Reach

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Asker:
    """Asks one service. Any thread may use it; all methods block, and raise as `Reach.call` does.

    Args:
        reach: The way to the service.
        check_first: True: the first question is asked once the service is known to speak our version.
    """

    def __init__(self, reach: Reach, *, check_first: bool) -> None:
        self._reach = reach
        self._unchecked = check_first
        self._extended: bool | None = None

    def ask(self, question: Callable[[Connection], T], *, once: bool = False) -> T:
        """Returns the answer to a question.

        Args:
            question: Asked on the connection; again after another login, if the service wants one.
            once: True: it is not asked again where it may have arrived.

        Raises:
            VersionMismatch: The service speaks another version than ours.
        """
        self._reach.sign_in()
        return self._again(lambda: self._asked(question, once))

    def object(self, question: Callable[[Connection], Any], *, once: bool = False) -> dict[str, Any]:
        """Returns an answer that is an object, as `ask`.

        Raises:
            ComputeError: It is none.
        """
        answer = self.ask(question, once=once)
        if not isinstance(answer, dict):
            raise ComputeError(f"{self._reach} answered with {type(answer).__name__}, not an object")
        return answer

    def check_version(self) -> None:
        """Returns if the service speaks our version.

        Raises:
            VersionMismatch: It speaks another one.
        """
        self._again(self._check_version)

    def is_extended(self) -> bool:
        """True if the service has our extensions; it is asked once, whether its version is checked or not."""
        if self._extended is None:
            self._reach.sign_in()
            try:
                self.check_version()
            except VersionMismatch:
                if self._unchecked:
                    raise
                self._extended = True
            self._unchecked = False
        return bool(self._extended)

    def keep_pace(self, tasks: int) -> None:
        """Sleeps until so many tasks may be sent in a request, where the service limits that."""
        pause_s = self._reach.pace.take_turn(tasks) if self._reach.pace else 0.0
        if pause_s:
            _log.info("the service limits small requests: this one waits %.1f s", pause_s)
            time.sleep(pause_s)

    def _asked(self, question: Callable[[Connection], T], once: bool) -> T:
        if self._unchecked:
            self._check_version()
            self._unchecked = False
        return self._reach.call(question, once=once)

    def _again(self, ask: Callable[[], T]) -> T:
        """Returns `ask()`; once more after another login, if the service wants one."""
        try:
            return ask()
        except LoginWanted:
            self._reach.sign_in()
            return ask()

    def _check_version(self) -> None:
        self._extended = self._reach.call(routes.extensions) is not None
