"""The RabbitMQ of the tests: what others build on holds."""

from contextlib import contextmanager

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, ProbableAccessDeniedError


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
