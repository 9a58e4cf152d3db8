"""This module is the running service: its parts together on one loop, from first socket to orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import logging
import os
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID, uuid4

from compute_nb import wire
from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.private import write_private
from compute_nb.service import address, ports
from compute_nb.service.app import App
from compute_nb.service.broker import Broker, EmbeddedBroker
from compute_nb.service.certificate import Certificate
from compute_nb.service.collector import Collector
from compute_nb.service.config import EMBEDDED, VERSION, RabbitOptions, ServiceConfig
from compute_nb.service.gate import Gate
from compute_nb.service.habits import Habits
from compute_nb.service.housekeeping import Housekeeping
from compute_nb.service.limits import UserLimits
from compute_nb.service.meter import Meter
from compute_nb.service.own_files import OwnFiles
from compute_nb.service.parts import Parts
from compute_nb.service.place import place_of, remember
from compute_nb.service.publisher import Publisher
from compute_nb.service.rabbit import secret
from compute_nb.service.rabbit.site import RabbitSite
from compute_nb.service.retention import Retention
from compute_nb.service.steward import Steward
from compute_nb.service.store import Principal, Store
from compute_nb.service.supervisor import Supervisor
from compute_nb.service.tokens import GENERATIONS, BrokerKeys, MalformedToken, Token, new_token
from compute_nb.service.web import WebServer
from compute_nb.service.writer import EXPIRY_S

_log = logging.getLogger(__name__)

OWN = "own"
"""The name of the token in the service's own file."""


class Service:
    """One service, on the loop that calls it.

    Args:
        config: What it was asked to be; its home is prepared and locked.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._stopping = asyncio.Event()
        self._keep_agents = False
        self._hurry: Callable[[], None] | None = None
        self._files: OwnFiles | None = None
        self._certificate: Certificate | None = None

    def stop(self, keep_agents: bool = False, now: bool = False) -> None:
        """Ends the service; returns at once.

        Args:
            keep_agents: True leaves local agents running, for the service that follows.
            now: True waits for no task that local agents run, also if it was told to end before.
        """
        self._keep_agents = keep_agents
        self._stopping.set()
        if now and self._hurry is not None:
            self._hurry()

    def interrupt(self) -> None:
        """Ends the service; called again it waits for nothing more."""
        self.stop(now=self._stopping.is_set())

    async def run(self, ready: asyncio.Future[str]) -> None:
        """Serves until it is stopped.

        Args:
            ready: Gets the URL once both ports answer.

        Raises:
            ComputeError: It can't begin: the store, a port, a file.
        """
        host = address.check(self._config)
        if self._config.tls_cert is not None and self._config.tls_key is not None:
            self._certificate = Certificate(self._config.tls_cert, self._config.tls_key)
        place = place_of(self._config.home, self._config.store)
        self._key = _service_key(self._config.home)
        store = Store.open(place, key=self._key, durability=self._config.durability)
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
        await self._expire(store)
        site = await self._site(store)
        web_socket, amqp_socket = await self._sockets(host, store, embedded=site is None)
        stack.callback(ports.close_all, [one for one in (web_socket, amqp_socket) if one is not None])
        parts = await self._parts(host, store, web_socket, amqp_socket, site)
        dispatches.publisher = parts.publisher
        parts.collector.start()
        for row in await store.endpoints(parts.own_user, public=True):
            parts.collector.declare(row.endpoint_id)
        await parts.steward.start()
        stack.push_async_callback(self._end_broker, parts)
        await parts.broker.start()
        web = WebServer(App(parts), tls=self._tls)
        assert self._files is not None
        housekeeping = Housekeeping(parts, self._files, self._stopping, lambda: self._renew(parts))
        loop = asyncio.get_running_loop()
        serving = loop.create_task(web.serve(sockets=[web_socket]))
        keeping = loop.create_task(housekeeping.run())
        await parts.supervisor.start()
        self._announce(parts)
        Habits.of(self._config).keep(self._config.home)
        self._config.home.stopped_mark.unlink(missing_ok=True)
        _log.info(
            "service %s listens at %s, broker %s %s",
            *(parts.service_id, parts.address.url, parts.broker_name, parts.address.amqp_port or ""),
        )
        ready.set_result(parts.address.url)
        await asyncio.wait({serving, keeping}, return_when=asyncio.FIRST_COMPLETED)
        await self._end_agents(parts)
        web.finish()
        await asyncio.gather(serving, keeping)

    @property
    def _tls(self) -> ssl.SSLContext | None:
        return None if self._certificate is None else self._certificate.context

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

    async def _expire(self, store: Store) -> None:
        """Has tasks given up after the time that was asked for, now or by whoever started it last."""
        asked = self._config.expire_s
        if asked is not None:
            await store.set_meta("expire", json.dumps(asked))
        await store.expire_after(json.loads(await store.get_meta("expire") or json.dumps(EXPIRY_S)))

    async def _site(self, store: Store) -> RabbitSite | None:
        """Returns which RabbitMQ is the broker, also of last time; None: the embedded one."""
        options = self._config.rabbit
        if options is None:
            kept = json.loads(await store.get_meta("broker") or "{}")
            options = RabbitOptions(**kept)
        await store.set_meta("broker", json.dumps(asdict(options)))
        if options.broker == EMBEDDED:
            return None
        return RabbitSite.read(
            options.broker,
            secret.password(options.password_file),
            options.admin,
            self._config.amqp_public_url,
            options.ca,
        )

    async def _sockets(
        self, host: str, store: Store, embedded: bool
    ) -> tuple[socket.socket, socket.socket | None]:
        """Opens both ports: the ones of last time, since agents and clients know them."""
        web = ports.listen(host, await self._port(store, "port", self._config.port), "--port")
        if not embedded:
            await store.set_meta("port", str(web.getsockname()[1]))
            return web, None
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
        self,
        host: str,
        store: Store,
        web_socket: socket.socket,
        amqp_socket: socket.socket | None,
        site: RabbitSite | None,
    ) -> Parts:
        home = self._config.home
        service_id = UUID(await store.ensure_meta("service_id", str(uuid4())))
        own_user = UUID(await store.ensure_meta("own_user", str(uuid4())))
        generations = json.loads(await store.get_meta(GENERATIONS) or "{}")
        keys = BrokerKeys(self._key, generations)
        broker = _broker(site, keys, amqp_socket, self._tls)
        publisher = Publisher(broker)
        supervisor = Supervisor(home, store, lambda eid: publisher.command(eid, wire.Stop()))
        self._hurry = supervisor.hurry

        async def url_of(username: str) -> str:
            return await parts.broker_url(username)

        steward = Steward(store, broker, publisher, url_of, self._config.settle_s)
        gate = Gate(store, own_user, str(home.token_file))
        reached = address.addresses(
            *(self._config, host, web_socket.getsockname()[1]),
            amqp_socket.getsockname()[1] if amqp_socket else None,
        )
        gate.open(reached.host_names)
        await store.accounts.ensure(own_user, _login_name())
        gate.own_token_id = await self._own_token(store, own_user)
        parts = Parts(
            config=self._config,
            address=reached,
            service_id=service_id,
            own_user=own_user,
            store=store,
            broker=broker,
            keys=keys,
            publisher=publisher,
            collector=Collector(store, broker, publisher, supervisor.presence, steward),
            gate=gate,
            supervisor=supervisor,
            steward=steward,
            stop=self.stop,
            limits=UserLimits(self._config.limits, store.open_of, own_user),
            meter=Meter(),
            site=site,
        )
        return parts

    async def _own_token(self, store: Store, own_user: UUID) -> str:
        """Sees to it that the own user has a token, in a file that only he can read; returns its id.

        Where the file has gone, or its token was revoked, another one is made and the old ones are void.
        """
        path = self._config.home.token_file
        try:
            token = Token.parse(path.read_text(encoding="ascii").strip())
        except (OSError, UnicodeError, MalformedToken):
            token = None
        earlier = await store.principals(own_user)
        if token is None or any(one.revoked_at and one.public_id == token.public_id for one in earlier):
            text = new_token()
            token = Token.parse(text)
            write_private(path, text + "\n")
            for one in earlier:
                if one.name == OWN and one.revoked_at is None:
                    await store.revoke(one.public_id)
        self._files = OwnFiles(self._config.home, path.read_text(encoding="ascii"))
        if await store.principal(token.public_id) is None:
            await store.add_principal(own_principal(token, own_user))
        return token.public_id

    def _renew(self, parts: Parts) -> None:
        if self._certificate is not None and self._certificate.renew():
            self._announce(parts)

    def _announce(self, parts: Parts) -> None:
        """Writes how the service is reached, now that it listens."""
        home, reached = self._config.home, parts.address
        facts: dict[str, Any] = {
            "url": reached.url,
            "pid": os.getpid(),
            "amqp_port": reached.amqp_port,
            "broker": parts.broker_name,
            "store": parts.store.url,
            "token_file": str(home.token_file),
            "service_id": str(parts.service_id),
            "version": VERSION,
            "plain": bool(self._config.plain),
        }
        if reached.local_url != reached.url or self._certificate is not None:
            facts["local_url"] = reached.local_url
            facts["tls_sha256"] = self._certificate.sha256 if self._certificate else None
        assert self._files is not None
        shown = self._certificate.pem if self._certificate else None
        self._files.announce(json.dumps(facts, indent=1) + "\n", shown)

    async def _end_agents(self, parts: Parts) -> None:
        if self._keep_agents:
            parts.supervisor.leave_all()
        else:
            await parts.supervisor.stop_all()

    async def _end_broker(self, parts: Parts) -> None:
        """Closes the broker before the store, so that what came last is still stored."""
        await parts.broker.stop()
        await parts.collector.idle()
        await parts.steward.idle()


def _broker(
    site: RabbitSite | None, keys: BrokerKeys, sock: socket.socket | None, tls: ssl.SSLContext | None
) -> Broker:
    if site is None:
        return EmbeddedBroker(keys, sock=sock, tls=tls)
    from compute_nb.service.rabbit.broker import RabbitBroker

    return RabbitBroker(site, keys)


def _service_key(home: Home) -> bytes:
    """Returns the secret from which the broker's passwords and the pseudonyms of users follow."""
    if not home.service_key.exists():
        write_private(home.service_key, secrets.token_hex(32))
    return bytes.fromhex(home.service_key.read_text(encoding="ascii"))


class _Dispatches:
    """Hands the store's dispatches on; the store is opened before the publisher can be made."""

    publisher: Publisher | None = None

    def __call__(self, dispatches: Any) -> None:
        if self.publisher is not None:
            self.publisher.dispatch(dispatches)


def _login_name() -> str:
    """The name of who runs the service, as the system knows him."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container with a user that has no name
        return f"uid-{os.getuid()}"


def own_principal(token: Token, user: UUID) -> Principal:
    """Returns the record of the own user's token."""
    return Principal(
        public_id=token.public_id,
        name=OWN,
        user=user,
        kind="client",
        secret_hash=token.digest,
        scope="all",
        created_at=time.time(),
    )
