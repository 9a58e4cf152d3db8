"""This module is the running service: its parts together on one loop, from first socket to orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
import time
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from compute_nb import wire
from compute_nb.config import write_private
from compute_nb.errors import ComputeError
from compute_nb.service import ports
from compute_nb.service.app import App
from compute_nb.service.broker import EmbeddedBroker
from compute_nb.service.collector import Collector
from compute_nb.service.config import VERSION, ServiceConfig
from compute_nb.service.endpoint_routes import GENERATIONS
from compute_nb.service.gate import Gate
from compute_nb.service.housekeeping import Housekeeping
from compute_nb.service.own_files import OwnFiles
from compute_nb.service.parts import Address, Parts
from compute_nb.service.place import place_of, remember
from compute_nb.service.publisher import Publisher
from compute_nb.service.retention import Retention
from compute_nb.service.store import Principal, Store
from compute_nb.service.supervisor import Supervisor
from compute_nb.service.tokens import BrokerKeys, MalformedToken, Token, new_token
from compute_nb.service.web import WebServer

_log = logging.getLogger(__name__)


class Service:
    """One service, on the loop that calls it.

    Args:
        config: What it was asked to be; its home is prepared and locked.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._stopping = asyncio.Event()
        self._keep_agents = False
        self._files: OwnFiles | None = None

    def stop(self, keep_agents: bool = False) -> None:
        """Ends the service; returns at once.

        Args:
            keep_agents: True leaves local agents running, for the service that follows.
        """
        self._keep_agents = keep_agents
        self._stopping.set()

    async def run(self, ready: asyncio.Future[str]) -> None:
        """Serves until it is stopped.

        Args:
            ready: Gets the URL once both ports answer.

        Raises:
            ComputeError: It can't begin: the store, a port, a file.
        """
        host = ports.check_host(self._config.host)
        place = place_of(self._config.home, self._config.store)
        store = Store.open(place, durability=self._config.durability)
        remember(self._config.home, place)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(store.close)
            await self._serve(host, store, ready, stack)

    async def _serve(
        self,
        host: str,
        store: Store,
        ready: asyncio.Future[str],
        stack: contextlib.AsyncExitStack,
    ) -> None:
        dispatches = _Dispatches()
        store.start(dispatches)
        self._config = replace(
            self._config, plain=await self._plain(store), retention=await self._retention(store)
        )
        web_socket, amqp_socket = await self._sockets(host, store)
        stack.callback(ports.close_all, (web_socket, amqp_socket))
        parts = await self._parts(host, store, web_socket, amqp_socket)
        dispatches.publisher = parts.publisher
        parts.collector.start()
        for row in await store.endpoints(parts.own_user, public=True):
            parts.collector.declare(row.endpoint_id)
        await parts.broker.start()
        stack.push_async_callback(self._end_broker, parts)
        web = WebServer(App(parts))
        assert self._files is not None
        housekeeping = Housekeeping(parts, self._files, self._stopping)
        loop = asyncio.get_running_loop()
        serving = loop.create_task(web.serve(sockets=[web_socket]))
        keeping = loop.create_task(housekeeping.run())
        await parts.supervisor.start()
        self._announce(parts, ready)
        await asyncio.wait({serving, keeping}, return_when=asyncio.FIRST_COMPLETED)
        await self._end_agents(parts)
        web.finish()
        await asyncio.gather(serving, keeping)

    async def _plain(self, store: Store) -> bool:
        """Returns whether it is plain, also when an agent or kernel has started it again after a crash."""
        if self._config.plain is None:
            return await store.get_meta("plain") == "1"
        await store.set_meta("plain", "1" if self._config.plain else "0")
        return self._config.plain

    async def _retention(self, store: Store) -> Retention:
        """Returns how long values are kept, also when an agent or kernel has started it again."""
        asked = self._config.retention
        if asked is None:
            return Retention(*json.loads(await store.get_meta("retention") or "[]"))
        await store.set_meta("retention", json.dumps([asked.fetched_s, asked.unfetched_s]))
        return asked

    async def _sockets(self, host: str, store: Store) -> tuple[socket.socket, socket.socket]:
        """Opens both ports: the ones of last time, since agents and clients know them."""
        web = ports.listen(host, await self._port(store, "port", self._config.port), "--port")
        try:
            wanted = await self._port(store, "amqp_port", self._config.amqp_port)
            amqp = ports.listen(host, wanted, "--amqp-port")
        except ComputeError:
            web.close()
            raise
        await store.set_meta("port", str(web.getsockname()[1]))
        await store.set_meta("amqp_port", str(amqp.getsockname()[1]))
        await store.synced()
        return web, amqp

    async def _port(self, store: Store, key: str, asked: int | None) -> int | None:
        if asked is not None:
            return asked or None
        kept = await store.get_meta(key)
        return int(kept) if kept else None

    async def _parts(
        self, host: str, store: Store, web_socket: socket.socket, amqp_socket: socket.socket
    ) -> Parts:
        home = self._config.home
        service_id = UUID(await store.ensure_meta("service_id", str(uuid4())))
        own_user = UUID(await store.ensure_meta("own_user", str(uuid4())))
        generations = json.loads(await store.get_meta(GENERATIONS) or "{}")
        keys = BrokerKeys(self._key(), generations)
        broker = EmbeddedBroker(keys, sock=amqp_socket)
        publisher = Publisher(broker)
        supervisor = Supervisor(home, store, lambda eid: publisher.command(eid, wire.Stop()))
        gate = Gate(store, own_user, str(home.token_file))
        gate.open(web_socket.getsockname()[1])
        await self._own_token(store, own_user)
        return Parts(
            config=self._config,
            address=Address(host, web_socket.getsockname()[1], amqp_socket.getsockname()[1]),
            service_id=service_id,
            own_user=own_user,
            store=store,
            broker=broker,
            keys=keys,
            publisher=publisher,
            collector=Collector(store, broker, publisher, supervisor.presence),
            gate=gate,
            supervisor=supervisor,
            stop=self.stop,
        )

    def _key(self) -> bytes:
        path = self._config.home.service_key
        if not path.exists():
            write_private(path, secrets.token_hex(32))
        return bytes.fromhex(path.read_text(encoding="ascii"))

    async def _own_token(self, store: Store, own_user: UUID) -> None:
        """Sees to it that the own user has a token, in a file that only he can read."""
        path = self._config.home.token_file
        try:
            token = Token.parse(path.read_text(encoding="ascii").strip())
        except (OSError, UnicodeError, MalformedToken):
            text = new_token()
            token = Token.parse(text)
            write_private(path, text + "\n")
        self._files = OwnFiles(self._config.home, path.read_text(encoding="ascii"))
        if await store.principal(token.public_id) is None:
            await store.add_principal(own_principal(token, own_user))

    def _announce(self, parts: Parts, ready: asyncio.Future[str]) -> None:
        """Writes how the service is reached, now that it listens, and tells whoever waits for it."""
        home, address = self._config.home, parts.address
        facts: dict[str, Any] = {
            "url": address.url,
            "pid": os.getpid(),
            "amqp_port": address.amqp_port,
            "broker": "embedded",
            "store": parts.store.url,
            "token_file": str(home.token_file),
            "service_id": str(parts.service_id),
            "version": VERSION,
            "plain": bool(self._config.plain),
        }
        assert self._files is not None
        self._files.announce(json.dumps(facts, indent=1) + "\n")
        home.stopped_mark.unlink(missing_ok=True)
        _log.info(
            "service %s listens at %s, broker at port %s",
            *(parts.service_id, address.url, address.amqp_port),
        )
        ready.set_result(address.url)

    async def _end_agents(self, parts: Parts) -> None:
        if self._keep_agents:
            parts.supervisor.leave_all()
        else:
            await parts.supervisor.stop_all()

    async def _end_broker(self, parts: Parts) -> None:
        """Closes the broker before the store, so that what came last is still stored."""
        await parts.broker.stop()
        await parts.collector.idle()


class _Dispatches:
    """Hands the store's dispatches on; the store is opened before the publisher can be made."""

    publisher: Publisher | None = None

    def __call__(self, dispatches: Any) -> None:
        if self.publisher is not None:
            self.publisher.dispatch(dispatches)


def own_principal(token: Token, user: UUID) -> Principal:
    """Returns the record of the own user's token."""
    return Principal(
        public_id=token.public_id,
        name="own",
        user=user,
        kind="client",
        secret_hash=token.digest,
        scope="all",
        created_at=time.time(),
    )
