"""One broker on a loop thread for all tests that speak to it over a socket."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import ClassVar
from uuid import uuid4

import pika
import pytest
from pamqp import base, commands, frame

from compute_nb.service.broker import EmbeddedBroker, Limits, Operation
from compute_nb.service.broker.frames import END, PROTOCOL_HEADER, Splitter, write_content, write_method

PASSWORD = "s3cret"
TIMEOUT_S = 60


class RuleGuard:
    """`ada` may do anything; `eve` what mechanics.md lets an agent do; nobody may declare."""

    READ = re.compile(r"^eve\.(tasks|commands)$")
    KEYS: ClassVar = {"results": "eve.results", "heartbeats": "eve.heartbeats"}

    def authenticate(self, username: str, password: str) -> bool:
        return username in {"ada", "eve", "root"} and password == PASSWORD

    def allowed(self, username: str, operation: Operation, name: str, routing_key: str | None) -> bool:
        if username == "root" or (username == "ada" and operation != "configure"):
            return True
        if operation == "read":
            return self.READ.match(name) is not None
        return operation == "write" and name in self.KEYS and self.KEYS[name] == routing_key


class RunningBroker:
    """A broker whose loop runs in a thread of its own."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.presence: SimpleQueue[tuple[str, str, bool]] = SimpleQueue()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="broker loop")
        self.thread.start()
        self.broker = self.wait(self._start(limits))
        self.port = self.broker.port

    async def _start(self, limits: Limits | None) -> EmbeddedBroker:
        broker = EmbeddedBroker(RuleGuard(), limits=limits)
        broker.on_consumer = lambda *news: self.presence.put(news)
        await broker.start()
        return broker

    def wait(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TIMEOUT_S)

    def call(self, function: Callable, *args, **kwargs):
        """Calls on the loop's thread, as the service does."""

        async def run():
            return function(*args, **kwargs)

        return self.wait(run())

    def queue(self, **kwargs) -> str:
        name = f"q.{uuid4().hex}"
        self.call(self.broker.declare_queue, name, **kwargs)
        return name

    def url(self, username: str = "ada", password: str = PASSWORD, **options) -> str:
        query = "&".join(f"{key}={value}" for key, value in options.items())
        return f"amqp://{username}:{password}@127.0.0.1:{self.port}/%2F?{query}"

    def stop(self) -> None:
        if self.thread.is_alive():
            self.wait(self.broker.stop())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(TIMEOUT_S)
            self.loop.close()


class RawClient:
    """A socket that speaks frames, for what pika would never do."""

    def __init__(self, port: int, heartbeat_s: int = 60, frame_max: int = 131_072) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.splitter = Splitter(131_072)
        self.frames: deque[tuple[int, int, bytes]] = deque()
        self.sock.sendall(PROTOCOL_HEADER)
        assert isinstance(self.read(), commands.Connection.Start)
        self.call(commands.Connection.StartOk({}, "PLAIN", f"\0ada\0{PASSWORD}", "en_US"), channel=0)
        assert isinstance(self.read(), commands.Connection.Tune)
        self.call(commands.Connection.TuneOk(10, frame_max, heartbeat_s), channel=0)
        self.call(commands.Connection.Open("/"), channel=0)
        assert isinstance(self.read(), commands.Connection.OpenOk)

    def call(self, method: base.Frame, channel: int = 1) -> None:
        self.sock.sendall(write_method(channel, method))

    def ask(self, method: base.Frame, channel: int = 1) -> base.Frame:
        self.call(method, channel)
        return self.read()

    def publish(self, queue: str, body: bytes, channel: int = 1) -> None:
        method = write_method(channel, commands.Basic.Publish(exchange="", routing_key=queue))
        self.sock.sendall(method + write_content(channel, b"\0\0", body, 131_072))

    def read(self):
        """The next frame, or None at the end of the stream."""
        while not self.frames:
            data = self.sock.recv(65_536)
            if not data:
                return None
            self.frames.extend(self.splitter.split(data))
        kind, channel, payload = self.frames.popleft()
        return frame.unmarshal(struct.pack(">BHI", kind, channel, len(payload)) + payload + END)[2]

    def close(self) -> None:
        self.sock.close()


@pytest.fixture(scope="session")
def running() -> Iterator[RunningBroker]:
    broker = RunningBroker()
    yield broker
    broker.stop()


@pytest.fixture
def start_broker() -> Iterator[Callable[..., RunningBroker]]:
    """Starts brokers with limits of their own."""
    brokers: list[RunningBroker] = []

    def start(limits: Limits | None = None) -> RunningBroker:
        brokers.append(RunningBroker(limits))
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.stop()


@pytest.fixture
def connect(running) -> Iterator[Callable[..., pika.BlockingConnection]]:
    """Opens blocking connections of pika and closes them afterwards."""
    opened: list[pika.BlockingConnection] = []

    def open_(username: str = "ada", broker: RunningBroker = running, **options):
        opened.append(pika.BlockingConnection(pika.URLParameters(broker.url(username, **options))))
        return opened[-1]

    yield open_
    for connection in opened:
        if connection.is_open:
            connection.close()


@pytest.fixture
def channel(connect):
    return connect().channel()


@pytest.fixture
def raw(running) -> Iterator[Callable[..., RawClient]]:
    opened: list[RawClient] = []

    def open_(broker: RunningBroker = running, **options) -> RawClient:
        opened.append(RawClient(broker.port, **options))
        return opened[-1]

    yield open_
    for client in opened:
        client.close()
