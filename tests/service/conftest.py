"""A real service on a temporary home, its web API, and an agent's and a watcher's side of its broker."""

import asyncio
import http.client
import json
import threading
import time
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pika
import pytest
from own_wire import Wire
from pika.exceptions import AMQPConnectionError

from compute_nb import wire
from compute_nb.home import Home
from compute_nb.service.config import ServiceConfig
from compute_nb.tasks import Hello, Report, new_ids

WAIT_S = 60

both_brokers = pytest.mark.parametrize("service", ["embedded", "rabbitmq"], indirect=True, scope="module")
"""For a module whose tests use `service`: each runs with either broker."""


class RunningService:
    """The service on a thread of its own, and requests to it."""

    def __init__(self, config: ServiceConfig) -> None:
        self.home = config.home
        self.ready = threading.Event()
        self.url = None
        self.error = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(config)))
        self._thread.start()
        assert self.ready.wait(WAIT_S)
        if self.error:
            self._thread.join(WAIT_S)
            raise self.error
        self.token = self.home.token_file.read_text().strip()
        self.broker = "embedded" if config.rabbit is None else "rabbitmq"
        address = urlsplit(self.url)
        self.host, self.port = address.hostname, address.port

    async def _run(self, config):
        from compute_nb.service.server import Service

        self._loop = asyncio.get_running_loop()
        self._service = Service(config)
        ready = self._loop.create_future()
        ready.add_done_callback(self._on_ready)
        try:
            await self._service.run(ready)
        except Exception as error:
            self.error = error
            self.ready.set()

    def _on_ready(self, ready):
        if not ready.cancelled():
            self.url = ready.result()
            self.ready.set()

    def stop(self, keep_agents=False):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._service.stop, keep_agents)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        if self.error:
            raise self.error

    def connection(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=WAIT_S)

    def call(self, method, path, body=None, *, token=None, headers=()):
        link = self.connection()
        try:
            return self.call_on(link, method, path, body, token=token, headers=headers)
        finally:
            link.close()

    def call_on(self, link, method, path, body=None, *, token=None, headers=()):
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {"Authorization": f"Bearer {self.token if token is None else token}"} | dict(headers)
        link.request(method, path, raw, {k: v for k, v in named.items() if v})
        response = link.getresponse()
        text = response.read()
        is_json = response.getheader("Content-Type") == "application/json"
        return response.status, json.loads(text) if is_json else text.decode()

    def ok(self, method, path, body=None):
        status, answer = self.call(method, path, body)
        assert status == 200, answer
        return answer

    def becomes(self, path, right):
        """Asks again and again, for a while, until the answer is right; returns it."""
        deadline = time.monotonic() + WAIT_S
        while not right(answer := self.ok("GET", path)):
            assert time.monotonic() < deadline, answer
        return answer

    @property
    def embedded(self):
        """True if its broker is, which confirms to publishers what the service has done."""
        return self.broker == "embedded"

    def function(self):
        return self.ok("POST", "/v3/functions", {"function_name": "f", "function_code": "5\n01\nxy"})[
            "function_uuid"
        ]

    def submit(self, endpoint_id, function_id, count=1, **fields):
        ids = [str(i) for i in new_ids(count)]
        body = {
            "tasks": {function_id: ["args"] * count},
            "compute_nb": {"task_ids": {function_id: ids}} | fields.pop("compute_nb", {}),
        }
        return self.call("POST", f"/v3/endpoints/{endpoint_id}/submit", body | fields)


class Peer:
    """One party on the broker, by pika; messages are waited for, never slept for."""

    def __init__(self, url: str) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.arrived = []

    def read(self, queue):
        self.channel.basic_consume(queue, self._on_message, auto_ack=True)

    def _on_message(self, _channel, _method, _properties, body):
        self.arrived.append(wire.decode(body))

    def expect(self, kind):
        """Returns the next message of that kind; others before it stay."""
        deadline = threading.Event()
        timer = self.connection.call_later(WAIT_S, deadline.set)
        while not deadline.is_set():
            for message in self.arrived:
                if isinstance(message, kind):
                    self.arrived.remove(message)
                    self.connection.remove_timeout(timer)
                    return message
            self.connection.process_data_events(time_limit=1)
        raise AssertionError(f"no {kind.__name__} came, only {self.arrived}")

    def close(self):
        with suppress(AMQPConnectionError):
            self.connection.close()


class Agent(Peer):
    """An agent of the test: registered, said hello, reading its queues."""

    def __init__(self, service, endpoint_id=None, session=None, **inventory) -> None:
        body = {"endpoint_name": "lab", "metadata": {"compute_nb": {"version": 1}}}
        if endpoint_id is None:
            info = service.ok("POST", "/v3/endpoints", body)
        else:
            info = service.ok("PUT", f"/v3/endpoints/{endpoint_id}", body)
        self.endpoint_id = UUID(info["endpoint_id"])
        self.session = session or uuid4()
        super().__init__(info["task_queue_info"]["connection_url"])
        hello = Hello(
            session=self.session,
            journal_id=UUID(int=1),
            boot_id=UUID(int=2),
            agent={"python": "3.11", "workers": 2, "pid": 1},
            **inventory,
        )
        self.publish(hello)
        self.read(info["task_queue_info"]["queue"])
        self.read(info["command_queue_info"]["queue"])

    def publish(self, message, exchange="results"):
        body = message if isinstance(message, bytes) else wire.encode(message)
        self.channel.basic_publish(exchange, f"{self.endpoint_id}.{exchange}", body)

    def report(self, **parts):
        self.publish(Report(self.session, **parts))


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home").prepare()


@contextmanager
def run_service(home, **settings):
    """Runs a service of `home` until the block ends."""
    one = RunningService(ServiceConfig(home, **settings))
    try:
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def service(tmp_path_factory, request):
    """One service for a module: its tests make their own endpoints, functions and groups.

    With `pytestmark = both_brokers` each test of the module runs with either broker.
    """
    home = Home(tmp_path_factory.mktemp("shared")).prepare()
    if getattr(request, "param", "embedded") == "embedded":
        with run_service(home) as one:
            yield one
        return
    with (
        request.getfixturevalue("rabbit").vhost() as vhost,
        run_service(home, rabbit=vhost.options) as one,
    ):
        yield one


@pytest.fixture
def agent(service):
    one = Agent(service)
    yield one
    one.close()


@pytest.fixture
def cable(postgresql):
    """A way to that server which can be cut."""
    one = Wire(postgresql.port)
    yield one
    one.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where a store of the test's own is: a file, then PostgreSQL."""
    if request.param == "sqlite":
        return tmp_path / "store.db"
    return request.getfixturevalue("postgresql").schema()
