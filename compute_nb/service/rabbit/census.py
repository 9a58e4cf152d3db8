"""This module is the census of queues: which have readers, how much the others hold, which are gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from compute_nb.service.rabbit.management import Management, ManagementFailed
from compute_nb.service.rabbit.session import Session

_log = logging.getLogger(__name__)

PERIOD_S = 1.0
WEIGH_PERIOD_S = 6.0  # RabbitMQ counts bytes every 5 s
ABSENT_COUNTS = 2


class Readers:
    """Counts the readers of queues.

    Args:
        on_consumer: Called as (queue, "", present): true at each count that finds some, false when
            `ABSENT_COUNTS` in a row have found none. Between a hello and its consumer there is none, too.
        on_missing: Called with a queue that is not there.
    """

    def __init__(
        self, on_consumer: Callable[[str, str, bool], None], on_missing: Callable[[str], None]
    ) -> None:
        self._session: Session | None = None
        self._on_consumer = on_consumer
        self._on_missing = on_missing
        self._channel: Any = None
        self._asked: asyncio.Future[Any] | None = None
        self._absent: dict[str, int] = {}

    def attend(self, session: Session) -> None:
        """Asks in that session from now on, on a channel of its own."""
        self._session, self._channel, self._asked = session, None, None

    def expect(self, queue: str) -> None:
        """A reader of a queue comes, if it is not there: else its absence is told."""
        self._absent[queue] = 0

    async def count(self, queue: str) -> None:
        """Counts the readers of one queue, and tells.

        Raises:
            ServiceUnreachable: The session is over.
        """
        assert self._session is not None
        if self._channel is None:
            self._channel = await self._session.spare_channel()
            self._channel.add_on_close_callback(self._on_closed)
        self._asked = asyncio.get_running_loop().create_future()
        self._channel.queue_declare(queue, passive=True, callback=self._on_answer)
        try:
            frame = await self._session.unless_over(self._asked)
        except ChannelClosedByBroker as error:
            _log.warning("queue %s: %s", queue, error.reply_text)
            self._tell(queue, 0)
            self._on_missing(queue)
            return
        self._tell(queue, frame.method.consumer_count)

    def _tell(self, queue: str, count: int) -> None:
        if count:
            self._absent[queue] = 0
            self._on_consumer(queue, "", True)
        elif queue in self._absent:
            self._absent[queue] += 1
            if self._absent[queue] >= ABSENT_COUNTS:
                del self._absent[queue]
                self._on_consumer(queue, "", False)

    def _on_answer(self, frame: Any) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(frame)

    def _on_closed(self, channel: Any, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(reason)


class Scales:
    """Estimates how many bytes a queue holds, never too few: what was found last, and all sent since before.

    Args:
        management: Tells it exactly, but late.
    """

    def __init__(self, management: Management) -> None:
        self._management = management
        self._found: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._since: dict[str, int] = {}

    def sent(self, queue: str, size: int) -> None:
        """A message of that size went there."""
        self._since[queue] = self._since.get(queue, 0) + size

    def held_bytes(self, queue: str) -> int:
        """Returns the estimate."""
        return sum(counts.get(queue, 0) for counts in (self._found, self._before, self._since))

    async def weigh(self) -> None:
        """Asks RabbitMQ, if anything may have become much."""
        if max([*self._found.values(), *self._since.values(), *self._before.values()], default=0):
            try:
                found = await self._management.held_bytes()
            except ManagementFailed as error:
                _log.debug("queues could not be weighed: %s", error)
                return
            self._found = {name: size for name, size in found.items() if size}
            self._before, self._since = self._since, {}
