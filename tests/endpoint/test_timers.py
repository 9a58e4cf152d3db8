"""The timers of the engine's loop."""

from __future__ import annotations

import selectors
import socket

from compute_nb.endpoint.timers import Timers


def test_a_moment_too_far_for_the_system_is_waited_for_in_parts():
    timers = Timers()
    timers.later(1e12, lambda: None)
    reading, writing = socket.socketpair()
    with selectors.DefaultSelector() as selector, reading, writing:
        selector.register(reading, selectors.EVENT_READ)
        writing.send(b"x")
        assert selector.select(timers.timeout_s())
