"""This module is the reader of queues beside those of a link's plan, each on a channel of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker

from compute_nb.errors import ComputeError

OnMissing = Callable[[str, Exception], None]
"""Hears of a queue that is not there, or was deleted, with the broker's reason."""


class SideReader:
    """Reads queues while a connection lasts; a queue that fails touches no other. On the link's thread only.

    Args:
        deliver_from: Makes what takes the messages of a queue, as `basic_consume` calls it.
        hook: Calls what belongs to somebody else.
    """

    def __init__(self, deliver_from: Callable[[str], Callable[..., None]], hook: Callable[..., None]) -> None:
        self._deliver_from, self._hook = deliver_from, hook
        self._channels: dict[str, Any] = {}

    def read(self, connection: pika.SelectConnection, queue: str, on_missing: OnMissing) -> None:
        """Reads one more queue; nothing happens if it is read already."""
        if queue in self._channels:
            return
        self._channels[queue] = None

        def closed(channel: Any, reason: Exception) -> None:
            if self._channels.get(queue) is channel:
                del self._channels[queue]
                if isinstance(reason, ChannelClosedByBroker):
                    self._hook(on_missing, queue, reason)

        def cancelled(_frame: Any) -> None:
            channel = self._channels.pop(queue, None)
            if channel is not None and channel.is_open:
                channel.close()
                self._hook(on_missing, queue, ComputeError(f"the broker has deleted queue {queue}"))

        def opened(channel: Any) -> None:
            self._channels[queue] = channel
            channel.add_on_close_callback(closed)
            channel.add_on_cancel_callback(cancelled)
            channel.basic_consume(queue, self._deliver_from(queue))

        connection.channel(on_open_callback=opened)

    def leave(self, queue: str) -> None:
        """Reads a queue no more; what is not acknowledged goes back to it."""
        channel = self._channels.pop(queue, None)
        if channel is not None and channel.is_open:
            channel.close()

    def forget(self) -> None:
        """Forgets all channels: their connection is gone."""
        self._channels.clear()
