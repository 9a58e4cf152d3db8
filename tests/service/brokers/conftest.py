"""Both brokers, each on a loop thread, with the service's own table of who may do what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from uuid import UUID, uuid4

import pika
import pytest
from pika.exceptions import AMQPError

from compute_nb.service.broker import Broker, Delivery, EmbeddedBroker
from compute_nb.service.rabbit import secret
from compute_nb.service.rabbit.broker import RabbitBroker
from compute_nb.service.rabbit.site import RabbitSite
from compute_nb.service.tokens import BrokerKeys, agent_username, client_username

TIMEOUT_S = 60


class Inbox:
    """What the service itself gets from a queue, for a test to settle."""

    def __init__(self) -> None:
        self.deliveries: SimpleQueue[Delivery] = SimpleQueue()

    def next(self) -> Delivery:
        return self.deliveries.get(timeout=TIMEOUT_S)


class BrokerUnderTest:
    """One broker whose loop runs in a thread of its own; its calls go there."""

    def __init__(
        self, kind: str, make: Callable[[BrokerKeys], Broker], url: Callable[[str, str], str]
    ) -> None:
        self.kind = kind
        self.keys = BrokerKeys(b"key", {})
        self.presence: SimpleQueue[tuple[str, str, bool]] = SimpleQueue()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name=f"{kind} loop")
        self.thread.start()
        self._make, self._url = make, url
        self.stopped = False
        try:
            self.broker = self.wait(self._start())
        except BaseException:
            self._end_loop()
            raise

    async def _start(self) -> Broker:
        broker = self._make(self.keys)
        for name in ("results", "heartbeats"):
            broker.declare_exchange(name)
            broker.declare_queue(name)
            broker.bind(name, name, f"*.{name}")
        broker.on_consumer = lambda *news: self.presence.put(news)
        await broker.start()
        return broker

    def wait(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TIMEOUT_S)

    def call(self, function, *args, settle=True, **kwargs):
        """Calls on the loop's thread, and waits until it has taken effect."""

        async def run():
            answer = function(*args, **kwargs)
            assert not settle or await self.broker.settled()
            return answer

        return self.wait(run())

    def read(self, queue: str) -> Inbox:
        """Has the service read a queue."""
        inbox = Inbox()
        self.call(self.broker.consume, queue, inbox.deliveries.put)
        return inbox

    def settle(self, delivery: Delivery, how: str) -> None:
        self.call(getattr(delivery, how), settle=False)

    def agent(self) -> UUID:
        """An endpoint's id; its queues are there and its agent may come."""
        endpoint_id = uuid4()
        for queue in (f"{endpoint_id}.tasks", f"{endpoint_id}.commands"):
            self.call(self.broker.declare_queue, queue)
        self.call(self.broker.admit, agent_username(endpoint_id))
        return endpoint_id

    def client(self) -> UUID:
        """A user who may come."""
        user = uuid4()
        self.call(self.broker.admit, client_username(user))
        return user

    def url(self, username: str, password: str | None = None) -> str:
        return self._url(username, password or self.keys.password(username))

    def absent(self, queue: str) -> None:
        """Waits until the broker has told that nobody reads the queue."""
        while self.presence.get(timeout=TIMEOUT_S) != (queue, "", False):
            pass

    def stop_only(self) -> None:
        """Ends the broker and leaves the loop; `stop` may follow."""
        if not self.stopped:
            self.stopped = True
            self.wait(self.broker.stop())

    def stop(self) -> None:
        self.stop_only()
        self._end_loop()

    def _end_loop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(TIMEOUT_S)
        self.loop.close()


def start_embedded() -> BrokerUnderTest:
    made: list[EmbeddedBroker] = []

    def make(keys: BrokerKeys) -> Broker:
        made.append(EmbeddedBroker(keys))
        return made[0]

    return BrokerUnderTest(
        "embedded", make, lambda user, password: f"amqp://{user}:{password}@127.0.0.1:{made[0].port}/%2F"
    )


def start_rabbit(options) -> BrokerUnderTest:
    password = secret.password(options.password_file)
    site = RabbitSite.read(options.broker, password, options.admin, ca=options.ca)
    return BrokerUnderTest("rabbitmq", lambda keys: RabbitBroker(site, keys), site.url)


@pytest.fixture(scope="module", params=["embedded", "rabbitmq"])
def under_test(request) -> Iterator[BrokerUnderTest]:
    if request.param == "embedded":
        one = start_embedded()
        yield one
        one.stop()
        return
    with request.getfixturevalue("rabbit").vhost() as vhost:
        one = start_rabbit(vhost.options)
        yield one
        one.stop()


@pytest.fixture
def connect(request) -> Iterator[Callable[..., pika.BlockingConnection]]:
    """Opens blocking connections of pika by address and closes them afterwards."""
    opened: list[pika.BlockingConnection] = []

    def open_(url: str) -> pika.BlockingConnection:
        opened.append(pika.BlockingConnection(pika.URLParameters(url)))
        return opened[-1]

    yield open_
    for connection in opened:
        with suppress(AMQPError):
            connection.close()
