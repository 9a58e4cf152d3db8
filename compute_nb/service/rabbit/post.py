"""This module is the post to RabbitMQ: letters in order, one session after the other, until it has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pika

from compute_nb.errors import ComputeError
from compute_nb.service.rabbit.outbox import Letter, Outbox
from compute_nb.service.rabbit.session import Session

_log = logging.getLogger(__name__)

REFUSED_PAUSE_S = 1.0
PERSISTENT = 2
NEXT_CONFIRM = 0  # no message has this number


class Post:
    """Sends what the service publishes; loop thread only.

    Args:
        on_sent: Called as (queue, bytes) for each message that goes straight to a queue.
    """

    def __init__(self, on_sent: Callable[[str, int], None]) -> None:
        self._on_sent = on_sent
        self._outbox = Outbox()
        self._session: Session | None = None
        self._published = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._outbox)

    def attend(self, session: Session) -> None:
        """Sends in that session from now on; what was not confirmed in the one before goes first."""
        session.out.confirm_delivery(self._on_confirm)
        self._published = 0
        self._session = session

    def lose(self) -> None:
        """The session is gone."""
        self._session = None
        self._outbox.lost()
        self._waiting.clear()

    def send(self, letter: Letter) -> None:
        """Sends one, now or when it can be."""
        self._outbox.add(letter)
        self.flush()

    def flush(self) -> None:
        """Sends what may be sent."""
        session = self._session
        if session is None or session.blocked or not session.out.is_open:
            return
        while (letter := self._outbox.next()) is not None:
            self._outbox.sent(self._publish(session, letter, mandatory=True), letter)
            if not letter.exchange:
                self._on_sent(letter.routing_key, len(letter.body))

    async def settled(self) -> bool:
        """Waits until RabbitMQ has what was sent and done what the channel was told so far.

        It does in order what comes on a channel: a message that it confirms stands behind all before.

        Returns:
            False if the session is over before.
        """
        session, last = self._session, self._outbox.last_place
        if session is None:
            return False
        try:
            while self._outbox.holds(last):
                await session.unless_over(self._confirm_of(NEXT_CONFIRM))
            if not session.out.is_open:
                return False
            number = self._publish(session, Letter("", "", b"", None, None), mandatory=False)
            await session.unless_over(self._confirm_of(number))
        except ComputeError:
            return False
        return True

    def _confirm_of(self, number: int) -> asyncio.Future[None]:
        return self._waiting.setdefault(number, asyncio.get_running_loop().create_future())

    def _publish(self, session: Session, letter: Letter, mandatory: bool) -> int:
        properties = pika.BasicProperties(
            delivery_mode=PERSISTENT,
            headers=dict(letter.headers) if letter.headers else None,
            timestamp=letter.timestamp_s,
            content_type=letter.content_type,
        )
        session.out.basic_publish(letter.exchange, letter.routing_key, letter.body, properties, mandatory)
        self._published += 1
        return self._published

    def _on_confirm(self, frame: Any) -> None:
        number, multiple = frame.method.delivery_tag, frame.method.multiple
        ok = isinstance(frame.method, pika.spec.Basic.Ack)
        self._outbox.confirmed(number, multiple, ok)
        for one in [n for n in self._waiting if n == number or (multiple and n <= number)]:
            self._pass(one)
        self._pass(NEXT_CONFIRM)
        if ok:
            self.flush()
        else:
            _log.warning("RabbitMQ refused message %s; it is sent again", number)
            asyncio.get_running_loop().call_later(REFUSED_PAUSE_S, self.flush)

    def _pass(self, number: int) -> None:
        future = self._waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(None)
