"""RabbitMQ restarts, forgets, is full, loses queues: the service finds itself and its agents back."""

import dataclasses
import threading
import time
from contextlib import suppress

import pika
import pytest
from pika.exceptions import AMQPError, ChannelClosedByBroker

from compute_nb.errors import ComputeError
from compute_nb.service.tokens import agent_username

from .conftest import start_rabbit

TIMEOUT_S = 60


@pytest.fixture
def ours(vhost):
    one = start_rabbit(vhost.options)
    yield one
    one.stop()


class Reader:
    """An agent that comes again as long as it is let in: what it reads, and acknowledges."""

    def __init__(self, ours, lab):
        self.ours, self.lab, self.bodies = ours, lab, []

    def read_until(self, right):
        deadline = time.monotonic() + TIMEOUT_S
        while not right(self.bodies):
            assert time.monotonic() < deadline, self.bodies
            with suppress(AMQPError):
                connection = pika.BlockingConnection(
                    pika.URLParameters(self.ours.url(agent_username(self.lab)))
                )
                try:
                    channel = connection.channel()
                    channel.basic_consume(f"{self.lab}.tasks", self._take)
                    while not right(self.bodies) and time.monotonic() < deadline:
                        connection.process_data_events(time_limit=0.05)
                finally:
                    with suppress(AMQPError):
                        connection.close()

    def _take(self, channel, method, _, body):
        self.bodies.append(body)
        channel.basic_ack(method.delivery_tag)


def publish(ours, lab, body):
    assert ours.call(ours.broker.publish, "", f"{lab}.tasks", body, settle=False)


def eventually(right):
    deadline = time.monotonic() + TIMEOUT_S
    while not right():
        assert time.monotonic() < deadline


@pytest.mark.parametrize("wiped", [False, True], ids=["killed", "killed and wiped"])
def test_what_was_sent_before_while_and_after_it_was_away_arrives(rabbit, ours, wiped):
    lab = ours.agent()
    forgotten = threading.Event()
    ours.broker.on_forgotten = forgotten.set
    publish(ours, lab, b"before")
    assert ours.wait(ours.broker.settled())
    rabbit.kill()
    if wiped:
        rabbit.wipe()
    publish(ours, lab, b"while")
    assert ours.wait(ours.broker.settled(0.2)) is False
    rabbit.start()
    publish(ours, lab, b"after")
    wanted = {b"while", b"after"} | (set() if wiped else {b"before"})
    Reader(ours, lab).read_until(lambda bodies: wanted <= set(bodies))
    assert forgotten.is_set() == wiped


def test_its_own_queue_is_read_again_after_somebody_has_deleted_it(rabbit, vhost, ours):
    inbox, lab = ours.read("results"), ours.agent()
    rabbit.call("DELETE", f"queues/{vhost.name}/results")

    def arrives():
        with suppress(AMQPError):
            connection = pika.BlockingConnection(pika.URLParameters(ours.url(agent_username(lab))))
            try:
                channel = connection.channel()
                channel.confirm_delivery()
                channel.basic_publish("results", f"{lab}.results", b"x", mandatory=True)
                return True
            finally:
                with suppress(AMQPError):
                    connection.close()
        return False

    eventually(arrives)
    delivery = inbox.next()
    assert delivery.body == b"x"
    ours.settle(delivery, "ack")


def test_queues_and_exchanges_of_agents_are_made_again(rabbit, vhost, ours):
    lab = ours.agent()
    rabbit.call("DELETE", f"queues/{vhost.name}/{lab}.tasks")
    rabbit.call("DELETE", f"exchanges/{vhost.name}/heartbeats")
    connection = pika.BlockingConnection(pika.URLParameters(vhost.broker))

    def back():
        channel = connection.channel()
        try:
            channel.exchange_declare("heartbeats", passive=True)
            channel.queue_declare(f"{lab}.tasks", passive=True)
        except ChannelClosedByBroker:
            return False
        return True

    eventually(back)
    connection.close()
    rabbit.call("DELETE", f"queues/{vhost.name}/{lab}.commands")
    publish(ours, lab, b"x")
    Reader(ours, lab).read_until(lambda bodies: bodies == [b"x"])


@pytest.fixture
def impatient(rabbit):
    """RabbitMQ gives up consumers after 1 s and not after 30 minutes; for channels that are opened now."""
    put = "application:set_env(rabbit, {}, {})"
    setting = f"{put.format('consumer_timeout', '{}')}, {put.format('channel_tick_interval', '{}')}."
    rabbit.control("eval", setting.format(1_000, 200))
    yield
    rabbit.control("eval", setting.format(1_800_000, 60_000))


def test_what_an_agent_keeps_for_too_long_goes_to_the_next_one(impatient, ours):
    lab = ours.agent()
    publish(ours, lab, b"x")
    assert ours.wait(ours.broker.settled())
    connection = pika.BlockingConnection(pika.URLParameters(ours.url(agent_username(lab))))
    kept = []
    channel = connection.channel()
    channel.basic_consume(f"{lab}.tasks", lambda *message: kept.append(message))
    with pytest.raises(ChannelClosedByBroker, match="timed out"):
        channel.start_consuming()
    assert [message[-1] for message in kept] == [b"x"]
    connection.close()
    Reader(ours, lab).read_until(lambda bodies: bodies == [b"x"])


def test_what_the_service_keeps_for_too_long_comes_again(impatient, ours):
    inbox, lab = ours.read("results"), ours.agent()
    connection = pika.BlockingConnection(pika.URLParameters(ours.url(agent_username(lab))))
    connection.channel().basic_publish("results", f"{lab}.results", b"x")
    late, again = inbox.next(), inbox.next()
    assert (late.body, again.body) == (b"x", b"x")
    ours.settle(late, "ack")  # of the session before: it settles nothing
    ours.settle(again, "ack")
    with suppress(AMQPError):
        connection.close()
    publish(ours, lab, b"and on it goes")
    Reader(ours, lab).read_until(lambda bodies: bodies == [b"and on it goes"])
    assert inbox.deliveries.empty()


def test_while_it_is_full_messages_wait_here(rabbit, ours):
    lab = ours.agent()
    rabbit.control("set_vm_memory_high_watermark", "0.0000001")
    try:
        publish(ours, lab, b"first")  # it tells that it is full when something is published
        eventually(lambda: ours.broker._session.blocked)
        for number in range(50):
            publish(ours, lab, b"%d" % number)
        assert ours.wait(ours.broker.settled(0.2)) is False
    finally:
        rabbit.control("set_vm_memory_high_watermark", "absolute", "1GB")
    Reader(ours, lab).read_until(lambda bodies: bodies == [b"first", *(b"%d" % n for n in range(50))])


def test_a_session_begins_with_everybody_disconnected(vhost, ours):
    """So an agent that has outlived the service says hello to the next one."""
    lab = ours.agent()
    connection = pika.BlockingConnection(pika.URLParameters(ours.url(agent_username(lab))))
    ours.stop_only()
    connection.process_data_events()
    again = start_rabbit(vhost.options)
    with pytest.raises(AMQPError, match="320"):
        connection.channel()
    again.stop()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda o, r: {"broker": o.broker.replace(f":{r.amqp_port}", ":1")}, "does not answer"),
        (lambda o, r: {"admin": "http://127.0.0.1:1"}, "management API"),
        (lambda o, r: {"broker": o.broker.replace("tests@", "nobody@")}, "rabbitmqctl set_user_tags"),
        (lambda o, r: {"broker": "amqp://u:secret@h/x"}, "must not stand in the address"),
        (lambda o, r: {"broker": "amqp://u@example.org/x"}, "in clear"),
        (lambda o, r: {"admin": "http://example.org"}, "in clear"),
        (lambda o, r: {"broker": "amqp://127.0.0.1/x"}, "names no user"),
        (lambda o, r: {"broker": "redis://u@127.0.0.1"}, "is no address"),
        (lambda o, r: {"broker": "amqp://u@127.0.0.1:99999"}, "--broker"),
    ],
)
def test_what_cannot_be_is_one_clear_error(rabbit, vhost, change, why):
    options = dataclasses.replace(vhost.options, **change(vhost.options, rabbit))
    with pytest.raises(ComputeError, match=why) as error:
        start_rabbit(options)
    assert "secret" not in str(error.value)
    assert rabbit.password not in str(error.value)
