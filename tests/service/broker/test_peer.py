"""What the guard is asked for each method, and what its no does; over a socket with the real client."""

from __future__ import annotations

import pika
import pytest
from pika.exceptions import (
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from compute_nb.service.broker.faults import Fault
from compute_nb.service.broker.hub import Hub
from compute_nb.service.broker.limits import Limits
from compute_nb.service.broker.peer import Peer
from compute_nb.service.broker.vhost import Vhost


@pytest.fixture(scope="module", autouse=True)
def _names(running):
    broker = running.broker
    for exchange in ("results", "heartbeats", "private"):
        running.call(broker.declare_exchange, exchange)
    for queue in ("eve.tasks", "adas", "results"):
        running.call(broker.declare_queue, queue)


def test_a_wrong_password_is_an_authentication_error(running):
    with pytest.raises(ProbableAuthenticationError, match=r"403.*ACCESS_REFUSED"):
        pika.BlockingConnection(pika.URLParameters(running.url(password="wrong")))


def test_another_vhost_is_not_allowed(running):
    url = running.url().replace("%2F", "other")
    with pytest.raises(ProbableAccessDeniedError, match=r"530.*'other' not found"):
        pika.BlockingConnection(pika.URLParameters(url))


ALLOWED = {
    "consume own": lambda ch: ch.basic_consume("eve.tasks", print),
    "get own": lambda ch: ch.basic_get("eve.tasks"),
    "purge own": lambda ch: ch.queue_purge("eve.tasks"),
    "publish own key": lambda ch: ch.basic_publish("results", "eve.results", b""),
    "passive exchange": lambda ch: ch.exchange_declare("private", passive=True),
    "passive queue": lambda ch: ch.queue_declare("adas", passive=True),
}
REFUSED = {
    "declare queue": lambda ch: ch.queue_declare("new", durable=True),
    "declare existing queue": lambda ch: ch.queue_declare("eve.tasks", durable=True),
    "declare nameless queue": lambda ch: ch.queue_declare(""),
    "declare exchange": lambda ch: ch.exchange_declare("new"),
    "delete queue": lambda ch: ch.queue_delete("eve.tasks"),
    "delete exchange": lambda ch: ch.exchange_delete("results"),
    "bind": lambda ch: ch.queue_bind("eve.tasks", "results", "#"),
    "unbind": lambda ch: ch.queue_unbind("results", "results", "*.results"),
    "consume other's": lambda ch: ch.basic_consume("adas", print),
    "get other's": lambda ch: ch.basic_get("adas"),
    "purge other's": lambda ch: ch.queue_purge("adas"),
    "get missing": lambda ch: ch.basic_get("nobody.knows"),
    "publish other's key": lambda ch: ch.basic_publish("results", "ada.results", b""),
    "publish to other exchange": lambda ch: ch.basic_publish("private", "eve.results", b""),
    "publish to default exchange": lambda ch: ch.basic_publish("", "eve.tasks", b""),
    "publish to missing exchange": lambda ch: ch.basic_publish("gone", "x", b""),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_an_agent_may_do(connect, name):
    channel = connect("eve").channel()
    channel.confirm_delivery()
    ALLOWED[name](channel)
    assert channel.is_open


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_agent_may_not_do(connect, name):
    channel = connect("eve").channel()
    channel.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker) as error:
        REFUSED[name](channel)
    assert error.value.reply_code == 403
    assert "ACCESS_REFUSED" in error.value.reply_text
    assert channel.connection.channel().is_open


def test_a_queue_of_an_owner_is_read_by_nobody_else(running, connect):
    queue = running.queue(owner="eve")
    with pytest.raises(ChannelClosedByBroker, match=r"belongs to another user"):
        connect("ada").channel().basic_consume(queue, print)


class Counting:
    """A guard that counts the questions."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    def authenticate(self, username, password):
        return True

    def allowed(self, *question):
        self.asked.append(question)
        return question[2] != "no"


def test_a_yes_is_remembered_and_a_no_asked_again():
    guard = Counting()
    peer = Peer(Hub(guard, Limits(), Vhost(lambda: 0.0, lambda: None)), lambda: None)
    for _ in range(2):
        peer.require("write", "exchange", "yes", "key")
        with pytest.raises(Fault, match=r"ACCESS_REFUSED"):
            peer.require("read", "queue", "no")
    assert len(guard.asked) == 3
    for n in range(1_001):
        peer.require("write", "exchange", "yes", str(n))
    peer.require("write", "exchange", "yes", "key")
    assert len(guard.asked) == 1_005
