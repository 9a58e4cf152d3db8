"""Each rule of the channel methods, with the real client over a socket."""

from __future__ import annotations

from uuid import uuid4

import pika
import pytest
from pamqp import commands
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    DuplicateConsumerTag,
    NackError,
    UnroutableError,
)


def fill(channel, queue, *bodies):
    for body in bodies:
        channel.basic_publish("", queue, body)


def take(channel, queue, **options):
    method, _, body = channel.basic_get(queue, **options)
    return method, body


def bodies_of(channel, count, queue, ack=True):
    """Consumes exactly `count` messages."""
    found = []
    for method, _, body in channel.consume(queue, inactivity_timeout=5):
        assert method is not None, f"{len(found)} of {count} came"
        found.append((method.redelivered, body))
        if ack:
            channel.basic_ack(method.delivery_tag)
        if len(found) == count:
            break
    channel.cancel()
    return found


def test_declaring_passively(running, channel):
    queue = running.queue()
    fill(channel, queue, b"1", b"2")
    answer = channel.queue_declare(queue, passive=True).method
    assert (answer.queue, answer.message_count, answer.consumer_count) == (queue, 2, 0)
    channel.exchange_declare("amq.topic", passive=True)


@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_declaring_what_is_missing(channel, kind):
    with pytest.raises(ChannelClosedByBroker, match=f"404.*no {kind} 'gone' in vhost"):
        getattr(channel, f"{kind}_declare")("gone", passive=True)


def test_a_user_who_may_configure_makes_queues_and_exchanges(connect):
    channel, name = connect("root").channel(), uuid4().hex
    channel.exchange_declare(name, "topic")
    queue = channel.queue_declare("", arguments={"x-expires": 60_000}).method.queue
    channel.queue_bind(queue, name, "a.*")
    channel.basic_publish(name, "a.b", b"1")
    channel.queue_unbind(queue, name, "a.*")
    channel.basic_publish(name, "a.b", b"2")
    assert channel.queue_delete(queue).method.message_count == 1
    channel.exchange_delete(name)
    with pytest.raises(ChannelClosedByBroker, match=r"404"):
        channel.exchange_declare(name, passive=True)


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda ch, q: ch.queue_declare(q, arguments={"x-expires": 5}), "406.*exists with expires_s=None"),
        (lambda ch, q: ch.queue_delete(q, if_empty=True), "406.*in use or not empty"),
        (lambda ch, q: ch.exchange_declare("amq.mine"), "403.*reserved"),
        (lambda ch, q: ch.exchange_declare("x", "headers"), "406.*none of direct, topic"),
    ],
)
def test_bad_declarations(running, connect, ask, text):
    channel, queue = connect("root").channel(), running.queue()
    channel.basic_publish("", queue, b"1")
    with pytest.raises(ChannelClosedByBroker, match=text):
        ask(channel, queue)


@pytest.mark.parametrize("kind", [{"internal": True}, {"auto_delete": True}])
def test_kinds_of_exchanges_that_are_not_known(connect, kind):
    with pytest.raises(ConnectionClosedByBroker, match=r"540"):
        connect("root").channel().exchange_declare("x.odd", "topic", **kind)


def test_properties_come_through_untouched(running, channel):
    queue = running.queue()
    headers = {"task_uuid": "1", "result_serializers": ["a", "b"], "n": -5, "none": None}
    sent = pika.BasicProperties(
        headers=headers,
        content_type="application/json",
        timestamp=1_700_000_000,
        delivery_mode=2,
        correlation_id="c",
        priority=3,
        app_id="app",
    )
    channel.basic_publish("", queue, b"body", sent)
    _, found, body = channel.basic_get(queue, auto_ack=True)
    assert (found, body) == (sent, b"body")


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 3_000_000])
def test_bodies_of_all_sizes(running, channel, size):
    queue, body = running.queue(), bytes(size % 251 for _ in range(size))
    fill(channel, queue, body)
    assert bodies_of(channel, 1, queue) == [(False, body)]


def test_topic_routing(running, channel):
    one, two = running.queue(), running.queue()
    channel.queue_bind(one, "amq.topic", "*.results.t1")
    channel.queue_bind(two, "amq.topic", "a.#")
    for key in ("a.results.t1", "b.results.t1", "a"):
        channel.basic_publish("amq.topic", key, key.encode())
    assert [body for _, body in bodies_of(channel, 2, one)] == [b"a.results.t1", b"b.results.t1"]
    assert [body for _, body in bodies_of(channel, 2, two)] == [b"a.results.t1", b"a"]


def test_get_and_purge(running, channel):
    queue = running.queue()
    assert channel.basic_get(queue) == (None, None, None)
    fill(channel, queue, b"1", b"2", b"3")
    method, body = take(channel, queue, auto_ack=True)
    assert (method.message_count, method.redelivered, method.routing_key, body) == (2, False, queue, b"1")
    assert channel.queue_purge(queue).method.message_count == 2


def test_prefetch_of_a_consumer(running, connect, channel):
    queue, got = running.queue(), []
    reader = connect().channel()
    reader.basic_qos(prefetch_count=2)
    reader.basic_consume(queue, lambda *message: got.append(message))
    fill(channel, queue, b"1", b"2", b"3", b"4")
    assert channel.queue_declare(queue, passive=True).method.message_count == 2
    while len(got) < 2:
        reader.connection.process_data_events(1)
    reader.basic_ack(got[0][1].delivery_tag)
    while len(got) < 3:
        reader.connection.process_data_events(1)
    assert [body for *_, body in got] == [b"1", b"2", b"3"]
    assert channel.queue_declare(queue, passive=True).method.message_count == 1


def test_prefetch_of_a_channel_counts_all_its_consumers(running, connect, channel):
    one, two, got = running.queue(), running.queue(), []
    reader = connect().channel()
    reader.basic_qos(prefetch_count=2, global_qos=True)
    for queue in (one, two):
        reader.basic_consume(queue, lambda *message: got.append(message))
    fill(channel, one, b"1", b"2")
    fill(channel, two, b"3")
    assert channel.queue_declare(two, passive=True).method.message_count == 1
    while len(got) < 2:
        reader.connection.process_data_events(1)
    reader.basic_ack(got[1][1].delivery_tag, multiple=True)
    while len(got) < 3:
        reader.connection.process_data_events(1)
    assert [body for *_, body in got] == [b"1", b"2", b"3"]


def test_an_exclusive_consumer_is_alone(running, connect):
    queue = running.queue()
    first = connect().channel()
    first.basic_consume(queue, print, exclusive=True)
    with pytest.raises(ChannelClosedByBroker, match=r"403.*in exclusive use"):
        connect().channel().basic_consume(queue, print)
    first.connection.close()
    connect().channel().basic_consume(queue, print, exclusive=True)


def test_exclusive_is_refused_beside_others(running, connect):
    queue = running.queue()
    connect().channel().basic_consume(queue, print)
    with pytest.raises(ChannelClosedByBroker, match=r"403.*in exclusive use"):
        connect().channel().basic_consume(queue, print, exclusive=True)


def test_nobody_reads_beside_the_service(running, channel):
    queue = running.queue()
    running.call(running.broker.consume, queue, lambda delivery: None)
    with pytest.raises(ChannelClosedByBroker, match=r"403.*in exclusive use"):
        channel.basic_consume(queue, print)


def test_a_consumer_tag_is_used_once(running, channel, raw):
    queue = running.queue()
    channel.basic_consume(queue, print, consumer_tag="t")
    with pytest.raises(DuplicateConsumerTag):
        channel.basic_consume(queue, print, consumer_tag="t")
    client = raw()
    client.ask(commands.Channel.Open())
    client.ask(commands.Basic.Consume(queue=queue, consumer_tag="t"))
    close = client.ask(commands.Basic.Consume(queue=queue, consumer_tag="t"))
    assert (type(close), close.reply_code) == (commands.Connection.Close, 530)


def test_a_cancelled_consumer_keeps_what_it_holds(running, channel, connect):
    queue, got = running.queue(), []
    tag = channel.basic_consume(queue, lambda *message: got.append(message))
    fill(channel, queue, b"1")
    while not got:
        channel.connection.process_data_events(1)
    channel.basic_cancel(tag)
    fill(channel, queue, b"2")
    assert connect().channel().queue_declare(queue, passive=True).method.message_count == 1
    channel.basic_ack(got[0][1].delivery_tag)
    assert bodies_of(channel, 1, queue) == [(False, b"2")]


def test_multiple_acks_and_unknown_tags(running, channel):
    queue = running.queue()
    fill(channel, queue, b"1", b"2", b"3", b"4")
    tags = [take(channel, queue)[0].delivery_tag for _ in range(4)]
    channel.basic_ack(tags[1], multiple=True)
    channel.basic_ack(tags[3])
    channel.basic_ack(0, multiple=True)
    channel.basic_ack(tags[0])
    with pytest.raises(ChannelClosedByBroker, match=f"406.*unknown delivery tag {tags[0]}"):
        channel.queue_declare(queue, passive=True)


def test_nack_drops_or_requeues_one_or_many(running, channel):
    queue = running.queue()
    fill(channel, queue, b"1", b"2", b"3", b"4")
    tags = [take(channel, queue)[0].delivery_tag for _ in range(4)]
    channel.basic_nack(tags[1], multiple=True, requeue=True)
    channel.basic_reject(tags[2], requeue=False)
    channel.basic_reject(tags[3], requeue=True)
    assert bodies_of(channel, 3, queue) == [(True, b"1"), (True, b"2"), (True, b"4")]


@pytest.mark.parametrize("how", ["channel", "connection", "recover"])
def test_what_is_not_acknowledged_returns_to_the_front_in_order(running, channel, connect, how):
    queue = running.queue()
    fill(channel, queue, *(b"%d" % n for n in range(6)))
    holder = connect().channel()
    tags = [take(holder, queue)[0].delivery_tag for _ in range(4)]
    holder.basic_ack(tags[1])
    if how == "recover":
        holder.basic_recover(requeue=True)
    elif how == "channel":
        holder.close()
    else:
        holder.connection.close()
    expected = [(True, b"0"), (True, b"2"), (True, b"3"), (False, b"4"), (False, b"5")]
    assert bodies_of(channel, 5, queue) == expected


def test_what_a_lost_connection_held_returns_too(running, raw, channel):
    queue, lost = running.queue(), raw()
    fill(channel, queue, b"1", b"2")
    lost.ask(commands.Channel.Open())
    lost.ask(commands.Basic.Get(queue=queue))
    lost.close()
    got = []
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, lambda *message: got.append(message))
    while len(got) < 2:
        channel.connection.process_data_events(1)
        channel.basic_ack(0, multiple=True)
    assert sorted((method.redelivered, body) for _, method, _, body in got) == [(False, b"2"), (True, b"1")]


def test_a_mandatory_message_without_a_queue_is_returned(channel):
    channel.confirm_delivery()
    channel.basic_publish("", "nobody", b"")
    with pytest.raises(UnroutableError) as error:
        channel.basic_publish("amq.topic", "nobody", b"body", mandatory=True)
    (returned,) = error.value.messages
    assert (returned.method.reply_code, returned.method.routing_key, returned.body) == (
        312,
        "nobody",
        b"body",
    )


def test_publishing_to_a_missing_exchange(channel):
    channel.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker, match=r"404.*no exchange 'gone'"):
        channel.basic_publish("gone", "", b"")


def test_a_publisher_may_not_give_another_name(running, channel):
    channel.confirm_delivery()
    own = pika.BasicProperties(user_id="ada")
    channel.basic_publish("", running.queue(), b"", own)
    with pytest.raises(ChannelClosedByBroker, match=r"406.*user_id property set to 'eve'"):
        channel.basic_publish("", "", b"", pika.BasicProperties(user_id="eve"))


def test_a_reject_of_the_service_is_a_nack(running, channel):
    queue = running.queue()
    running.call(running.broker.consume, queue, lambda delivery: delivery.reject())
    channel.confirm_delivery()
    with pytest.raises(NackError):
        channel.basic_publish("", queue, b"")


def test_transactions_are_not_implemented(channel):
    with pytest.raises(ConnectionClosedByBroker, match=r"540.*NOT_IMPLEMENTED.*Tx.Select"):
        channel.tx_select()
