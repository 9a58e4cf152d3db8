"""The broker as the service uses it: sockets, timers, hooks and limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from queue import Empty, SimpleQueue

import pika
import pytest
from pamqp import commands
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, ProbableAccessDeniedError

from compute_nb.service.broker import Broker, EmbeddedBroker, Limits
from compute_nb.service.broker.frames import MIN_FRAME_BYTES, write_content, write_method

TIMEOUT_S = 60


class Publisher(threading.Thread):
    """A SelectConnection in a thread of its own that publishes, and notes its confirms."""

    def __init__(self, url: str, publishes: list[tuple[str, str, bytes]]) -> None:
        super().__init__(name="publisher")
        self.confirms: SimpleQueue[tuple[str, int, bool]] = SimpleQueue()
        self.publishes = publishes
        self.connection = pika.SelectConnection(
            pika.URLParameters(url), on_open_callback=lambda c: c.channel(on_open_callback=self.opened)
        )
        self.start()

    def opened(self, channel) -> None:
        channel.confirm_delivery(self.noted, lambda _: self.publish(channel))

    def publish(self, channel) -> None:
        for exchange, key, body in self.publishes:
            channel.basic_publish(exchange, key, body)

    def noted(self, frame) -> None:
        self.confirms.put((frame.method.NAME, frame.method.delivery_tag, frame.method.multiple))

    def run(self) -> None:
        self.connection.ioloop.start()
        self.connection.ioloop.close()

    def stop(self) -> None:
        self.connection.ioloop.add_callback_threadsafe(self.end)
        self.join(TIMEOUT_S)

    def end(self) -> None:
        self.connection.add_on_close_callback(lambda *_: self.connection.ioloop.stop())
        self.connection.close()


@pytest.fixture
def publish(running):
    publishers = []

    def start(*publishes):
        publishers.append(Publisher(running.url(), list(publishes)))
        return publishers[-1].confirms

    yield start
    for publisher in publishers:
        publisher.stop()


def test_it_is_a_broker(running):
    broker: Broker = running.broker
    assert broker.on_consumer is not None


def test_the_publisher_hears_only_when_the_service_has_acknowledged(running, publish):
    queue, deliveries = running.queue(), SimpleQueue()
    running.call(running.broker.consume, queue, deliveries.put)
    confirms = publish(("", queue, b"1"), ("", queue, b"2"), ("", queue, b"3"))
    first, second, third = (deliveries.get(timeout=TIMEOUT_S) for _ in range(3))
    assert (first.body, first.username, first.queue) == (b"1", "ada", queue)
    running.call(second.reject)
    assert confirms.get(timeout=TIMEOUT_S) == ("Basic.Nack", 2, False)
    running.call(third.ack)
    assert confirms.get(timeout=TIMEOUT_S) == ("Basic.Ack", 3, False)
    running.call(first.ack)
    running.call(first.ack)
    assert confirms.get(timeout=TIMEOUT_S) == ("Basic.Ack", 1, False)
    assert confirms.empty()


def test_acknowledged_in_one_turn_is_confirmed_in_one_frame(running, publish):
    queue, deliveries = running.queue(), SimpleQueue()
    running.call(running.broker.consume, queue, deliveries.put)
    confirms = publish(*[("", queue, b"x")] * 10)
    got = [deliveries.get(timeout=TIMEOUT_S) for _ in range(10)]
    running.call(lambda: [delivery.ack() for delivery in got])
    assert confirms.get(timeout=TIMEOUT_S) == ("Basic.Ack", 10, True)


def test_a_message_for_a_client_queue_is_confirmed_when_it_lies_there(running, publish):
    queue = running.queue()
    confirms = publish(("", queue, b"1"), ("", "nobody", b"2"))
    told = 0
    while told < 2:
        name, told, _ = confirms.get(timeout=TIMEOUT_S)
        assert name == "Basic.Ack"
    assert running.call(running.broker.purge, queue) == 1


def test_settling_after_the_publisher_has_gone_is_harmless(running, channel):
    queue, deliveries = running.queue(), SimpleQueue()
    running.call(running.broker.consume, queue, deliveries.put)
    channel.basic_publish("", queue, b"1")
    delivery = deliveries.get(timeout=TIMEOUT_S)
    channel.connection.close()
    running.call(delivery.ack)


def test_the_service_publishes_to_a_waiting_client(running, channel):
    queue, got = running.queue(), []
    channel.basic_consume(queue, lambda *message: got.append(message), auto_ack=True)
    assert running.call(running.broker.publish, "", queue, b"hi", {"a": "b"}, 1_700_000_000.5)
    assert not running.call(running.broker.publish, "amq.topic", "nobody", b"")
    while not got:
        channel.connection.process_data_events(1)
    (_, _, properties, body) = got[0]
    assert (body, properties.headers, properties.timestamp) == (b"hi", {"a": "b"}, 1_700_000_000)


def test_bindings_and_deletion_from_the_service(running, channel):
    broker, queue = running.broker, running.queue()
    running.call(broker.declare_exchange, "made.here", "direct")
    running.call(broker.bind, queue, "made.here", "key")
    channel.basic_publish("made.here", "key", b"1")
    assert channel.basic_get(queue, auto_ack=True)[2] == b"1"
    channel.queue_declare(queue, passive=True)
    running.call(broker.delete_queue, queue)
    running.call(broker.delete_queue, queue)
    with pytest.raises(ChannelClosedByBroker, match=r"404"):
        channel.basic_get(queue)


def news_of(running, queue):
    while True:
        name, username, present = running.presence.get(timeout=TIMEOUT_S)
        if name == queue:
            return username, present


def test_the_hook_tells_of_the_first_and_the_last_consumer(running, connect, raw):
    queue = running.queue()
    one, two = connect().channel(), raw()
    one.basic_consume(queue, print)
    assert news_of(running, queue) == ("ada", True)
    two.ask(commands.Channel.Open())
    two.ask(commands.Basic.Consume(queue=queue))
    one.connection.close()
    two.close()
    assert news_of(running, queue) == ("ada", False)
    with contextlib.suppress(Empty):
        while True:  # of a connection of another test the end may be told now
            assert running.presence.get_nowait()[0] != queue


def test_a_consumer_hears_that_its_queue_is_gone(running, channel):
    queue, gone = running.queue(), []
    channel.add_on_cancel_callback(gone.append)
    tag = channel.basic_consume(queue, print)
    running.call(running.broker.delete_queue, queue)
    while not gone:
        channel.connection.process_data_events(1)
    assert gone[0].method.consumer_tag == tag
    assert channel.is_open


class Records(logging.Handler):
    """Log records, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: SimpleQueue[str] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.put(record.getMessage())

    def wait_for(self, text: str) -> None:
        while text not in self.texts.get(timeout=TIMEOUT_S):
            pass


@pytest.fixture
def records():
    handler, logger = Records(), logging.getLogger("compute_nb.service.broker")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_a_queue_without_a_reader_goes_away(running, connect, records):
    consumer = connect().channel()
    read, unread = running.queue(expires_s=1), running.queue(expires_s=0.01)
    consumer.basic_consume(read, print)
    records.wait_for(f"queue {unread} had no consumer")
    consumer.connection.close()
    records.wait_for(f"queue {read} had no consumer")
    assert not running.call(running.broker.publish, "", read, b"")


def test_the_time_of_queues_comes_from_the_clock():
    now_s = [0.0]

    async def run() -> list[bool]:
        broker = EmbeddedBroker(None, clock=lambda: now_s[0])  # type: ignore[arg-type]
        broker.declare_queue("w", expires_s=600)
        await broker.start()
        found = []
        for now_s[0] in (599.9, 600.1):
            broker.declare_queue(f"{now_s[0]}", expires_s=600)
            await asyncio.sleep(0)
            found.append(broker.publish("", "w", b""))
        await broker.stop()
        return found

    assert asyncio.run(run()) == [True, False]


def test_a_silent_client_is_cut_off_after_two_heartbeats(raw, records):
    client = raw(heartbeat_s=1)
    heartbeats = 0
    while (frame := client.read()) is not None:
        assert frame.name == "Heartbeat"
        heartbeats += 1
    assert heartbeats >= 3
    records.wait_for("waited in vain for its two heartbeats")


def test_a_client_in_the_handshake_has_its_time_too(start_broker, records):
    broker = start_broker(Limits(handshake_timeout_s=0.05))
    with socket.create_connection(("127.0.0.1", broker.port), timeout=TIMEOUT_S) as sock:
        assert sock.recv(10) == b""
    records.wait_for("waited in vain for its handshake")


def test_a_client_that_does_not_answer_a_close_is_cut_off(start_broker, raw, records):
    client = raw(start_broker(Limits(close_timeout_s=0.05)))
    assert isinstance(client.ask(commands.Connection.Open("/"), channel=0), commands.Connection.Close)
    assert client.read() is None
    records.wait_for("waited in vain for its close")


def test_one_connection_too_many_of_a_user(start_broker, connect):
    broker = start_broker(Limits(max_connections_per_user=1))
    first = connect(broker=broker)
    with pytest.raises(ProbableAccessDeniedError, match=r"530.*'ada' has 1 connections"):
        connect(broker=broker)
    connect("eve", broker=broker)
    first.close()
    connect(broker=broker)


def test_one_connection_too_many_in_all(start_broker, raw, records):
    broker = start_broker(Limits(max_connections=1))
    raw(broker)
    with (
        socket.create_connection(("127.0.0.1", broker.port), timeout=TIMEOUT_S) as sock,
        contextlib.suppress(ConnectionResetError),  # an aborted connection shows as either
    ):
        assert sock.recv(10) == b""
    records.wait_for("1 AMQP connections: one more refused")


def test_disconnecting_a_user_leaves_the_others(running, connect):
    ada, eve = connect("ada").channel(), connect("eve").channel()
    running.call(running.broker.disconnect, "eve")
    running.call(running.broker.disconnect, "nobody")
    with pytest.raises(ConnectionClosedByBroker, match=r"320.*CONNECTION_FORCED"):
        eve.queue_declare("x", passive=True)
    ada.basic_qos(prefetch_count=1)


def test_stopping_tells_the_clients_and_frees_the_port(start_broker, connect):
    broker = start_broker()
    connection = connect(broker=broker)
    reader = threading.Thread(target=broker.stop)
    reader.start()
    with pytest.raises(ConnectionClosedByBroker, match=r"320.*service is stopping"):
        connection.sleep(TIMEOUT_S)
    reader.join(TIMEOUT_S)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.port))


def test_it_listens_on_a_socket_that_is_given():
    async def run() -> bool:
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        broker = EmbeddedBroker(None, sock=sock)  # type: ignore[arg-type]
        await broker.start()
        try:
            return broker.port == port
        finally:
            await broker.stop()

    assert asyncio.run(run())


def test_a_reader_that_does_not_read_gets_no_more_than_the_mark(start_broker, raw, connect):
    """The rest stays in the queue, in order, and comes when it reads again."""
    broker = start_broker(Limits(high_water_bytes=50_000))
    queue, body, count = broker.queue(), b"x" * 5_000, 4_000
    client = raw(broker)
    client.ask(commands.Channel.Open())
    client.ask(commands.Basic.Consume(queue=queue, consumer_tag="t", no_ack=True))
    running_link = next(iter(broker.broker.links))

    def publish() -> int:
        for number in range(count):
            broker.broker.publish("", queue, b"%05d" % number + body)
        return running_link.transport.get_write_buffer_size() + running_link.peer.connection.unsent_bytes

    assert broker.call(publish) < 60_000
    waiting = connect(broker=broker).channel().queue_declare(queue, passive=True).method.message_count
    assert waiting > count / 2
    numbers = []
    while len(numbers) < count:
        frame = client.read()
        if frame.name == "ContentBody":
            numbers.append(int(frame.value[:5]))
    assert numbers == list(range(count))


def test_a_client_that_leaves_too_much_unread_is_cut_off(start_broker, raw, records):
    broker = start_broker(Limits(max_unsent_bytes=100_000))
    client = raw(broker)
    client.ask(commands.Channel.Open())
    publish = write_method(1, commands.Basic.Publish(exchange="", routing_key="none", mandatory=True))
    try:
        for _ in range(200):
            client.sock.sendall(publish + write_content(1, b"\0\0", b"x" * 100_000, 131_072))
    except ConnectionError:
        pass  # cut off while it was sending
    records.wait_for("waited in vain for its reading")


def test_an_error_of_ours_closes_the_publishers_connection(running, connect, records):
    def fail(delivery):
        raise RuntimeError("no disk")

    queue = running.queue()
    running.call(running.broker.consume, queue, fail)
    channel = connect().channel()
    channel.confirm_delivery()
    with pytest.raises(ConnectionClosedByBroker, match=r"541.*INTERNAL_ERROR"):
        channel.basic_publish("", queue, b"")
    records.wait_for("the broker failed at what")


def test_small_frames_are_kept_both_ways(running, raw):
    queue, client = running.queue(), raw(frame_max=MIN_FRAME_BYTES)
    client.ask(commands.Channel.Open())
    running.call(running.broker.publish, "", queue, b"x" * 10_000)
    client.ask(commands.Basic.Get(queue=queue, no_ack=True))
    assert client.read().body_size == 10_000
    sizes = [len(client.read().value) for _ in range(3)]
    assert sizes == [4088, 4088, 1824]
