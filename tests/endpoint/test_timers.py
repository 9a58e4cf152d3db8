"""The timers of the engine's loop."""

from __future__ import annotations

import selectors
import socket
import weakref

from compute_nb.endpoint.timers import MANY, Timers


def test_a_moment_too_far_for_the_system_is_waited_for_in_parts():
    timers = Timers()
    timers.later(1e12, lambda: None)
    reading, writing = socket.socketpair()
    with selectors.DefaultSelector() as selector, reading, writing:
        selector.register(reading, selectors.EVENT_READ)
        writing.send(b"x")
        assert selector.select(timers.timeout_s())


class Load:
    """What a call may hold."""


def test_cancelled_timers_hold_nothing_and_do_not_gather():
    timers, made = Timers(), []
    kept = timers.later(3600, lambda: None)
    for _ in range(10 * MANY):
        load = Load()
        made.append(weakref.ref(load))
        timers.later(3600, lambda load=load: None).cancel()
        del load
    assert not any(one() for one in made)
    assert len(timers) <= MANY + 2
    assert kept.call is not None


def test_what_is_due_runs_in_order_and_what_was_cancelled_does_not():
    timers, ran = Timers(), []
    timers.later(-2, lambda: ran.append(1))
    cancelled = timers.later(-1.5, lambda: ran.append(2))
    timers.later(-1, lambda: ran.append(3))
    cancelled.cancel()
    cancelled.cancel()
    timers.run_due()
    assert ran == [1, 3]
    assert timers.timeout_s() is None
