"""The RabbitMQ of the tests: what others build on holds."""

from contextlib import contextmanager

import pika
import pytest
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, ProbableAccessDeniedError


@contextmanager
def channel_of(url):
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


def test_virtual_hosts_see_nothing_of_each_other_and_go(rabbit):
    with rabbit.vhost() as one, rabbit.vhost() as other:
        with channel_of(one.broker) as channel:
            channel.queue_declare("q", durable=True)
        with channel_of(other.broker) as channel, pytest.raises(ChannelClosedByBroker, match="404"):
            channel.queue_declare("q", passive=True)
    with pytest.raises(ProbableAccessDeniedError), channel_of(one.broker):
        pass


def test_a_kill_keeps_what_is_durable_and_a_wipe_does_not(rabbit, vhost):
    with channel_of(vhost.broker) as channel:
        channel.confirm_delivery()
        channel.queue_declare("q", durable=True)
        channel.basic_publish("", "q", b"kept", pika.BasicProperties(delivery_mode=2))
        rabbit.kill()
        with pytest.raises(AMQPConnectionError):
            channel.queue_declare("q", passive=True)
    rabbit.start()
    with channel_of(vhost.broker) as channel:
        assert channel.basic_get("q", auto_ack=True)[2] == b"kept"
    rabbit.kill()
    rabbit.wipe()
    rabbit.start()
    assert [row["name"] for row in rabbit.call("GET", "vhosts")] == ["/"]
    rabbit.make_vhost(vhost.name)
