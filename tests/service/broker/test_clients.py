"""Other people's AMQP clients on the embedded broker: queues of their own, and what they do by habit."""

from __future__ import annotations

import threading

import amqp
import pika
import pytest
from pamqp import commands
from pika.exceptions import ChannelClosedByBroker

from compute_nb.service.broker.frames import END

from .conftest import PASSWORD

TIMEOUT_S = 60


@pytest.fixture
def root(connect):
    """A channel that may do anything."""
    return connect("root").channel()


def test_an_exclusive_queue_is_for_one_connection_and_ends_with_it(connect, root):
    name = root.queue_declare("", exclusive=True).method.queue
    assert name.startswith("amq.gen-")
    root.queue_declare(name, exclusive=True)
    for use in (
        lambda ch: ch.queue_declare(name, passive=True),
        lambda ch: ch.queue_declare(name, exclusive=True),
        lambda ch: ch.basic_consume(name, print),
        lambda ch: ch.basic_get(name),
        lambda ch: ch.queue_purge(name),
        lambda ch: ch.queue_bind(name, "amq.topic", "#"),
        lambda ch: ch.queue_delete(name),
    ):
        with pytest.raises(ChannelClosedByBroker, match=r"405.*RESOURCE_LOCKED"):
            use(connect("root").channel())
    connect("root").channel().basic_publish("", name, b"by its name")
    other = connect("root").channel()
    other.confirm_delivery()
    other.basic_publish("", name, b"by its name")
    assert root.basic_get(name, auto_ack=True)[2] == b"by its name"
    root.connection.close()
    with pytest.raises(ChannelClosedByBroker, match="404"):
        other.queue_declare(name, passive=True)


def test_an_auto_delete_queue_goes_with_its_last_consumer(connect, root):
    root.queue_declare("fleeting", auto_delete=True)
    other = connect("root").channel()
    one, two = root.basic_consume("fleeting", print), other.basic_consume("fleeting", print)
    root.basic_cancel(one)
    assert root.queue_declare("fleeting", passive=True).method.consumer_count == 1
    other.basic_cancel(two)
    with pytest.raises(ChannelClosedByBroker, match="404"):
        root.queue_declare("fleeting", passive=True)


@pytest.mark.parametrize(
    "other", [{"auto_delete": True}, {"exclusive": True}, {"arguments": {"x-expires": 5_000}}]
)
def test_another_kind_of_the_same_queue_is_refused(root, other):
    name = root.queue_declare("").method.queue
    with pytest.raises(ChannelClosedByBroker, match=r"406.*exists with"):
        root.queue_declare(name, **other)


@pytest.mark.parametrize("expires", [0, -1, "soon"])
def test_an_expiry_that_is_none_is_refused(root, expires):
    with pytest.raises(ChannelClosedByBroker, match=r"406.*x-expires"):
        root.queue_declare("q.bad", arguments={"x-expires": expires})


@pytest.mark.parametrize("name", ["two words", "größer", "a*b", "x" * 255, "{}[]<>|"])
def test_names_of_any_characters(root, name):
    assert root.queue_declare(name, exclusive=True).method.queue == name
    root.exchange_declare(name, "fanout")
    root.queue_bind(name, name)
    root.basic_publish(name, name, b"1")
    method, _, body = root.basic_get(name, auto_ack=True)
    assert (method.exchange, method.routing_key, body) == (name, name, b"1")
    root.exchange_delete(name)


def test_a_fanout_exchange_reaches_all(root):
    root.exchange_declare("all", "fanout")
    queues = [root.queue_declare("", exclusive=True).method.queue for _ in range(3)]
    for queue in queues:
        root.queue_bind(queue, "all", routing_key="whatever")
    root.basic_publish("all", "x", b"to all")
    assert [root.basic_get(queue, auto_ack=True)[2] for queue in queues] == [b"to all"] * 3
    with pytest.raises(ChannelClosedByBroker, match=r"406.*in use"):
        root.exchange_delete("all", if_unused=True)


def test_a_queue_that_is_not_there_may_be_deleted(root):
    assert root.queue_delete("never was").method.message_count == 0


def test_a_client_that_is_told_of_the_deletion_of_its_queue(connect, root):
    root.queue_declare("doomed")
    cancelled = threading.Event()
    root.add_on_cancel_callback(lambda _: cancelled.set())
    root.basic_consume("doomed", print)
    connect("root").channel().queue_delete("doomed")
    root.connection.process_data_events(time_limit=TIMEOUT_S)
    assert cancelled.is_set()


def test_pikas_callbacks(running):
    """`SelectConnection` asks for many things without waiting for any."""
    got, closed = [], []

    def opened(connection):
        connection.channel(on_open_callback=on_channel)

    def on_channel(channel):
        channel.confirm_delivery(lambda frame: got.append(frame.method.NAME))
        channel.add_on_return_callback(lambda _, method, __, body: got.append((method.reply_code, body)))
        channel.queue_declare(
            "", exclusive=True, callback=lambda frame: on_queue(channel, frame.method.queue)
        )

    def on_queue(channel, queue):
        channel.basic_qos(prefetch_count=1)
        channel.queue_bind(queue, "amq.topic", "a.*")
        channel.basic_consume(queue, on_message, callback=lambda _: publish(channel))

    def publish(channel):
        for key in ("a.b", "b.a", "a.c"):
            channel.basic_publish("amq.topic", key, key.encode(), mandatory=True)

    def on_message(channel, method, _, body):
        got.append(body)
        channel.basic_ack(method.delivery_tag)
        if body == b"a.c":
            channel.connection.close()

    connection = pika.SelectConnection(
        pika.URLParameters(running.url("root")),
        on_open_callback=opened,
        on_open_error_callback=lambda c, error: (closed.append(error), c.ioloop.stop()),
        on_close_callback=lambda c, reason: (closed.append(reason.reply_code), c.ioloop.stop()),
    )
    connection.ioloop.call_later(TIMEOUT_S, connection.ioloop.stop)
    connection.ioloop.start()
    connection.ioloop.close()
    assert closed == [200], got
    assert [one for one in got if isinstance(one, bytes)] == [b"a.b", b"a.c"]
    assert (312, b"b.a") in got
    assert "Basic.Ack" in got


@pytest.fixture
def pyamqp(running):
    """A connection of py-amqp, which Celery and Kombu use."""
    connection = amqp.Connection(
        host=f"127.0.0.1:{running.port}", userid="root", password=PASSWORD, login_method="PLAIN", heartbeat=60
    )
    connection.connect()
    yield connection
    if connection.connected:
        connection.close()


def test_py_amqp_publishes_and_consumes(pyamqp):
    channel, got = pyamqp.channel(), []
    channel.exchange_declare("tasks", "topic", durable=True, auto_delete=False)
    queue = channel.queue_declare("", exclusive=True, auto_delete=True).queue
    channel.queue_bind(queue, "tasks", "x.#")
    channel.basic_qos(0, 2, False)
    channel.basic_consume(queue, callback=got.append)
    for number in range(5):
        message = amqp.Message(b"%d" % number, application_headers={"n": number}, content_type="text/plain")
        channel.basic_publish_confirm(message, "tasks", f"x.{number}")
    while len(got) < 5:
        for message in got:
            if message.channel is not None:
                message.channel.basic_ack(message.delivery_tag)
                message.channel = None
        pyamqp.drain_events(timeout=TIMEOUT_S)
    assert [(message.body, message.headers["n"]) for message in got] == [(b"%d" % n, n) for n in range(5)]
    channel.queue_unbind(queue, "tasks", "x.#")
    channel.exchange_delete("tasks", if_unused=True)
    channel.close()


def test_py_amqp_gets_recovers_and_purges(pyamqp):
    channel = pyamqp.channel()
    queue = channel.queue_declare("", exclusive=True).queue
    for body in (b"a", b"b", b"c"):
        channel.basic_publish(amqp.Message(body), "", queue)
    assert channel.basic_get(queue).body == b"a"
    channel.basic_recover(requeue=True)
    again = channel.basic_get(queue)
    assert (again.body, again.delivery_info["redelivered"]) == (b"a", True)
    assert channel.queue_purge(queue) == 2
    assert channel.basic_get(queue) is None


def test_py_amqp_is_refused_transactions_and_told_why(pyamqp):
    with pytest.raises(amqp.exceptions.AMQPNotImplementedError, match=r"Tx\.Select"):
        pyamqp.channel().tx_select()


def test_py_amqp_with_a_wrong_password(running):
    connection = amqp.Connection(
        host=f"127.0.0.1:{running.port}", userid="root", password="wrong", login_method="PLAIN"
    )
    with pytest.raises(amqp.exceptions.AccessRefused, match="403"):
        connection.connect()


def test_recover_of_old_clients_works_and_has_no_answer(raw, running):
    queue, client = running.queue(), raw()
    client.ask(commands.Channel.Open())
    client.publish(queue, b"x")
    get = commands.Basic.Get(queue=queue)
    assert client.ask(get).redelivered is False
    for _ in range(2):  # header and body
        client.read()
    recover = (60).to_bytes(2, "big") + (100).to_bytes(2, "big") + b"\x01"
    client.sock.sendall(b"\x01\x00\x01" + len(recover).to_bytes(4, "big") + recover + END)
    assert client.ask(get).redelivered is True
