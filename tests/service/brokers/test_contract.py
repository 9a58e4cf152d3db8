"""What the service may ask of a broker, and what clients find there: the same with both."""

import threading
import time

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, UnroutableError

from compute_nb.service.tokens import agent_username, client_username

TIMEOUT_S = 60


@pytest.fixture
def lab(under_test):
    return under_test.agent()


@pytest.fixture
def channel(under_test, connect, lab):
    """The channel of that endpoint's agent, with confirms."""
    channel = connect(under_test.url(agent_username(lab))).channel()
    channel.confirm_delivery()
    return channel


@pytest.fixture(scope="module")
def results(under_test):
    return under_test.read("results")


def wait_for(channel, right):
    """Lets the connection work until something is right."""
    deadline = time.monotonic() + TIMEOUT_S
    while not right():
        assert time.monotonic() < deadline
        channel.connection.process_data_events(time_limit=0.05)


def read(channel, queue, **options):
    got = []
    channel.basic_consume(queue, lambda _, method, props, body: got.append((method, props, body)), **options)
    return got


def publish(under_test, queue, *bodies, **options):
    for body in bodies:
        assert under_test.call(under_test.broker.publish, "", queue, body, **options)


def test_what_the_service_sends_arrives_in_order_with_headers_and_time(under_test, channel, lab):
    queue = f"{lab}.tasks"
    headers = {"task_uuid": "x", "result_serializers": ["a", "b"]}
    publish(under_test, queue, b"0", headers=headers, timestamp_s=1_700_000_000.9)
    publish(under_test, queue, b"", *(b"%d" % n for n in range(1, 300)))
    got = read(channel, queue, auto_ack=True)
    wait_for(channel, lambda: len(got) == 301)
    assert [body for _, _, body in got] == [b"0", b"", *(b"%d" % n for n in range(1, 300))]
    properties = got[0][1]
    assert (properties.headers, properties.timestamp) == (headers, 1_700_000_000)
    assert properties.delivery_mode == 2


def test_a_message_of_ten_megabytes_each_way(under_test, channel, results, lab):
    body = bytes(range(256)) * 40_960
    publish(under_test, f"{lab}.tasks", body)
    got = read(channel, f"{lab}.tasks", auto_ack=True)
    wait_for(channel, lambda: got)
    assert got[0][2] == body
    publisher = in_thread(channel, lambda: channel.basic_publish("results", f"{lab}.results", body))
    delivery = results.next()
    assert delivery.body == body
    under_test.settle(delivery, "ack")
    publisher()


def in_thread(channel, work):
    """Begins something that may wait for the service; returns what waits for it and raises what it raised."""
    failed = []

    def run():
        try:
            work()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def join():
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
        if failed:
            raise failed[0]

    return join


def test_what_an_agent_publishes_comes_with_its_key_and_is_confirmed(under_test, channel, results, lab):
    properties = pika.BasicProperties(headers={"a": 1}, timestamp=1_700_000_000)
    publisher = in_thread(
        channel, lambda: channel.basic_publish("results", f"{lab}.results", b"r", properties, mandatory=True)
    )
    delivery = results.next()
    assert (delivery.queue, delivery.exchange) == ("results", "results")
    assert (delivery.routing_key, delivery.body) == (f"{lab}.results", b"r")
    assert dict(delivery.headers) == {"a": 1}
    assert delivery.timestamp_s == 1_700_000_000
    under_test.settle(delivery, "ack")
    under_test.settle(delivery, "reject")  # too late, harmless
    publisher()


def test_what_is_rejected_does_not_come_again(under_test, channel, results, lab):
    for body in (b"bad", b"good"):
        publisher = in_thread(channel, lambda b=body: channel.basic_publish("results", f"{lab}.results", b))
        delivery = results.next()
        assert delivery.body == body
        under_test.settle(delivery, "ack" if body == b"good" else "reject")
        try:
            publisher()
        except pika.exceptions.NackError:
            assert (under_test.kind, body) == ("embedded", b"bad")


def test_what_is_given_back_comes_again_by_the_broker_or_the_publisher(under_test, channel, results, lab):
    publisher = in_thread(channel, lambda: channel.basic_publish("results", f"{lab}.results", b"later"))
    under_test.settle(results.next(), "give_back")
    try:
        publisher()
    except pika.exceptions.NackError:
        assert under_test.kind == "embedded"
        publisher = in_thread(channel, lambda: channel.basic_publish("results", f"{lab}.results", b"later"))
    again = results.next()
    assert again.body == b"later"
    under_test.settle(again, "ack")
    publisher()


def test_an_unroutable_message_is_returned(under_test, channel, lab):
    under_test.call(under_test.broker.declare_exchange, "lonely")
    with pytest.raises(ChannelClosedByBroker, match="403"):  # nobody may write there
        channel.basic_publish("lonely", "x", b"", mandatory=True)
    again = channel.connection.channel()
    again.confirm_delivery()
    under_test.call(under_test.broker.delete_queue, "heartbeats")
    with pytest.raises(UnroutableError) as error:
        again.basic_publish("heartbeats", f"{lab}.heartbeats", b"gone?", mandatory=True)
    assert error.value.messages[0].method.reply_code == 312
    assert error.value.messages[0].body == b"gone?"
    under_test.call(under_test.broker.declare_queue, "heartbeats")
    under_test.call(under_test.broker.bind, "heartbeats", "heartbeats", "*.heartbeats")
    again.basic_publish("heartbeats", f"{lab}.heartbeats", b"back", mandatory=True)
    under_test.call(under_test.broker.purge, "heartbeats")


def test_what_was_not_acknowledged_comes_again_marked_and_in_its_place(under_test, channel, connect, lab):
    queue = f"{lab}.tasks"
    publish(under_test, queue, *(b"%d" % n for n in range(5)))
    got = read(channel, queue)
    wait_for(channel, lambda: len(got) == 5)
    channel.basic_ack(got[1][0].delivery_tag, multiple=True)
    channel.connection.close()
    other = connect(under_test.url(agent_username(lab))).channel()
    again = read(other, queue)
    wait_for(other, lambda: len(again) == 3)
    assert [(method.redelivered, body) for method, _, body in again] == [(True, b"%d" % n) for n in (2, 3, 4)]


def test_nack_reject_and_recover(under_test, channel, lab):
    queue = f"{lab}.tasks"
    publish(under_test, queue, *(b"%d" % n for n in range(6)))
    for _ in range(6):
        last = channel.basic_get(queue)[0].delivery_tag
    channel.basic_nack(2, multiple=True, requeue=False)  # 0 and 1 are gone
    channel.basic_reject(3, requeue=True)
    assert channel.basic_get(queue)[2] == b"2"
    channel.basic_recover(requeue=True)
    again = [channel.basic_get(queue) for _ in range(4)]
    assert [(method.redelivered, body) for method, _, body in again] == [
        (True, b"%d" % n) for n in (2, 3, 4, 5)
    ]
    channel.basic_ack(last)
    with pytest.raises(ChannelClosedByBroker, match="406"):
        channel.basic_get(queue)


def test_prefetch_bounds_what_is_out(under_test, channel, lab):
    queue = f"{lab}.tasks"
    channel.basic_qos(prefetch_count=2)
    publish(under_test, queue, *(b"%d" % n for n in range(5)))
    got = read(channel, queue)
    wait_for(channel, lambda: len(got) == 2)
    assert channel.queue_declare(queue, passive=True).method.message_count == 3
    channel.basic_ack(got[-1][0].delivery_tag, multiple=True)
    wait_for(channel, lambda: len(got) == 4)


def test_an_exclusive_consumer_has_the_queue_for_itself(under_test, channel, connect, lab):
    read(channel, f"{lab}.tasks", exclusive=True)
    other = connect(under_test.url(agent_username(lab))).channel()
    with pytest.raises(ChannelClosedByBroker, match="403"):
        read(other, f"{lab}.tasks")
    channel.connection.close()
    read(connect(under_test.url(agent_username(lab))).channel(), f"{lab}.tasks", exclusive=True)


def test_readers_of_a_deleted_queue_are_told(under_test, channel, lab):
    cancelled = []
    channel.add_on_cancel_callback(cancelled.append)
    read(channel, f"{lab}.commands")
    under_test.call(under_test.broker.delete_queue, f"{lab}.commands")
    under_test.call(under_test.broker.delete_queue, f"{lab}.commands")  # it is no error that it is gone
    wait_for(channel, lambda: cancelled)
    assert under_test.call(under_test.broker.publish, "", f"{lab}.commands", b"") is False


def test_a_queue_that_nobody_reads_goes_and_then_takes_nothing(under_test, connect):
    user = under_test.client()
    queue = f"w.{user.hex}.x"
    under_test.call(under_test.broker.declare_queue, queue, expires_s=0.3)
    under_test.call(under_test.broker.publish, "", queue, b"unread")
    channel = connect(under_test.url(client_username(user))).channel()
    deadline = time.monotonic() + TIMEOUT_S
    while under_test.call(under_test.broker.publish, "", queue, b"unread"):
        channel.connection.process_data_events(time_limit=0.05)
        assert time.monotonic() < deadline
    with pytest.raises(ChannelClosedByBroker, match="404"):
        channel.queue_declare(queue, passive=True)


def test_purge_and_the_bytes_that_are_held(under_test, channel, lab):
    queue = f"{lab}.tasks"
    publish(under_test, queue, b"x" * 1_000, b"y" * 500)
    assert under_test.call(under_test.broker.held_bytes, queue) >= 1_500
    assert under_test.call(under_test.broker.held_bytes, "nobody knows") == 0
    under_test.call(under_test.broker.purge, queue)
    assert channel.queue_declare(queue, passive=True).method.message_count == 0


def test_presence_is_told_both_ways(under_test, connect, lab):
    queue, username = f"{lab}.tasks", agent_username(lab)

    def told(present):
        while True:
            name, _, now = under_test.presence.get(timeout=TIMEOUT_S)
            if (name, now) == (queue, present):
                return

    connection = connect(under_test.url(username))
    read(connection.channel(), queue)
    told(True)
    connection.close()
    told(False)
    if under_test.kind == "rabbitmq":
        # Announced, and never seen: it must come again, since it was told to be gone.
        idle = connect(under_test.url(username))
        under_test.call(under_test.broker.announce, queue, username)
        told(True)
        told(False)
        with pytest.raises(ConnectionClosedByBroker, match="320"):
            wait_for(idle.channel(), lambda: False)


def test_whoever_is_disconnected_may_come_again(under_test, connect, channel, lab):
    under_test.call(under_test.broker.disconnect, agent_username(lab))
    with pytest.raises(ConnectionClosedByBroker, match="320"):
        channel.queue_declare(f"{lab}.tasks", passive=True)
    connect(under_test.url(agent_username(lab)))


def test_declaring_again_changes_nothing(under_test, channel, lab):
    publish(under_test, f"{lab}.tasks", b"kept")
    under_test.call(under_test.broker.declare_queue, f"{lab}.tasks")
    under_test.call(under_test.broker.admit, agent_username(lab))
    assert channel.basic_get(f"{lab}.tasks", auto_ack=True)[2] == b"kept"


def test_the_estimate_of_what_is_held_falls_once_it_was_read(under_test, channel, lab):
    queue = f"{lab}.tasks"
    publish(under_test, queue, b"x" * 1_000_000)
    got = read(channel, queue, auto_ack=True)
    wait_for(channel, lambda: got)
    deadline = time.monotonic() + TIMEOUT_S
    while under_test.call(under_test.broker.held_bytes, queue):
        if under_test.kind == "rabbitmq":
            under_test.wait(under_test.broker._scales.weigh())
        assert time.monotonic() < deadline


def test_what_clients_acknowledge_is_told_where_the_broker_knows_it(under_test, channel, lab):
    queue, taken = f"{lab}.tasks", []
    tells = under_test.call(under_test.broker.tell_taken, queue, lambda headers: taken.extend(headers))
    assert tells is (under_test.kind == "embedded")
    for name in ("a", "b", "c"):
        publish(under_test, queue, b"", headers={"task_uuid": name})
    got = read(channel, queue)
    wait_for(channel, lambda: len(got) == 3)
    assert taken == []
    channel.basic_ack(got[1][0].delivery_tag, multiple=True)
    if tells:
        wait_for(channel, lambda: len(taken) == 2)
        assert [headers["task_uuid"] for headers in taken] == ["a", "b"]


def test_a_message_says_of_what_kind_it_is(under_test, channel, lab):
    publish(under_test, f"{lab}.commands", b"{}", content_type="application/json", timestamp_s=1_700_000_000)
    got = read(channel, f"{lab}.commands", auto_ack=True)
    wait_for(channel, lambda: got)
    assert (got[0][1].content_type, got[0][1].timestamp) == ("application/json", 1_700_000_000)
