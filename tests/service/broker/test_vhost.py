from __future__ import annotations

import pytest

from compute_nb.service.broker.faults import Fault
from compute_nb.service.broker.queues import Message
from compute_nb.service.broker.vhost import Mismatch, Vhost


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def vhost(clock):
    return Vhost(clock, lambda: None)


def message(exchange: str, key: str) -> Message:
    return Message(exchange, key, b"\0\0", b"body", None)


def test_the_default_exchange_leads_to_the_queue_of_that_name(vhost):
    queue = vhost.declare_queue("q", None, None)
    assert vhost.publish(message("", "q"))
    assert not vhost.publish(message("", "other"))
    assert queue.ready_count == 1


def test_bindings_lead_to_queues_until_these_are_deleted(vhost):
    vhost.declare_exchange("results", "topic")
    vhost.exchange("results").bind("*.results", vhost.declare_queue("results", None, None))
    assert vhost.publish(message("results", "1.results"))
    assert vhost.delete_queue("results") == 1
    assert not vhost.publish(message("results", "1.results"))
    assert vhost.delete_queue("results") == 0


def test_a_declaration_may_be_repeated_but_not_changed(vhost):
    assert vhost.declare_queue("q", 5, "ada") is vhost.declare_queue("q", 5, "ada")
    vhost.declare_exchange("x", "topic")
    vhost.declare_exchange("x", "topic")
    with pytest.raises(Mismatch, match=r"'q' exists with expires_s=5, owner=ada"):
        vhost.declare_queue("q", 5, "eve")
    with pytest.raises(Mismatch, match=r"exists with kind 'topic'"):
        vhost.declare_exchange("x", "direct")
    with pytest.raises(Mismatch, match=r"'headers' is none of direct, topic"):
        vhost.declare_exchange("y", "headers")


def test_what_is_missing_is_not_found(vhost):
    for ask in (vhost.queue, vhost.exchange):
        with pytest.raises(Fault, match=r"NOT_FOUND - no .* 'gone'"):
            ask("gone")
    with pytest.raises(Fault, match=r"NOT_FOUND - no exchange 'gone'"):
        vhost.publish(message("gone", ""))


def test_queues_nobody_reads_go_away_in_their_time(vhost, clock):
    vhost.declare_queue("short", 10, None)
    vhost.declare_queue("long", 30, None)
    vhost.declare_queue("ever", None, None)
    assert vhost.expire() == 10
    clock.now_s = 9.9
    assert vhost.expire() == 10
    clock.now_s = 10
    assert vhost.expire() == 30
    clock.now_s = 31
    assert vhost.expire() is None
    assert vhost.queue("ever")
    for name in ("short", "long"):
        with pytest.raises(Fault):
            vhost.queue(name)


def test_using_a_queue_gives_it_more_time(vhost, clock):
    queue = vhost.declare_queue("q", 10, None)
    clock.now_s = 8
    queue.touch()
    assert vhost.expire() == 18


def test_the_owner_of_the_timer_hears_when_a_queue_begins_to_wait(clock):
    heard = []
    vhost = Vhost(clock, lambda: heard.append(1))
    vhost.declare_queue("ever", None, None)
    assert heard == []
    vhost.declare_queue("q", 10, None)
    assert heard == [1]
