"""This module is the list of the service's parts, as the routes need them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

from compute_nb.service.address import Address
from compute_nb.service.broker import Broker
from compute_nb.service.collector import Collector
from compute_nb.service.config import ServiceConfig
from compute_nb.service.gate import Gate
from compute_nb.service.limits import UserLimits
from compute_nb.service.meter import Meter
from compute_nb.service.publisher import Publisher
from compute_nb.service.rabbit.site import RabbitSite
from compute_nb.service.refusal import Refusal
from compute_nb.service.steward import Steward
from compute_nb.service.store import Store
from compute_nb.service.supervisor import Supervisor
from compute_nb.service.tokens import GENERATIONS, BrokerKeys, agent_username, client_username


@dataclass(frozen=True, slots=True)
class Parts:
    """All that a route may use; loop thread only.

    Attributes:
        own_user: The user who runs the service.
        site: Where RabbitMQ is; None with the embedded broker.
        stop: Called as stop(keep_agents, now) to end the service; returns at once.
    """

    config: ServiceConfig
    address: Address
    service_id: UUID
    own_user: UUID
    store: Store
    broker: Broker
    keys: BrokerKeys
    publisher: Publisher
    collector: Collector
    gate: Gate
    supervisor: Supervisor
    steward: Steward
    stop: Callable[[bool, bool], None]
    limits: UserLimits
    meter: Meter
    site: RabbitSite | None = None

    async def shut_out_user(self, user: UUID, endpoints: Iterable[UUID]) -> None:
        """Makes the broker's passwords of a user and of his agents void; who may come gets others by REST."""
        await self.shut_out([client_username(user), *map(agent_username, endpoints)])

    async def shut_out(self, usernames: Iterable[str]) -> None:
        """Makes the broker's passwords of these names void, and ends their connections."""
        names = list(usernames)
        for name in names:
            generations = self.keys.revoke(name)
        await self.store.set_meta(GENERATIONS, json.dumps(dict(generations)))
        for name in names:
            self.broker.expel(name)

    @property
    def broker_name(self) -> str:
        """Which broker it is, for people."""
        return "embedded" if self.site is None else str(self.site)

    async def broker_url(self, username: str) -> str:
        """Returns the address, with user and password, under which that user reaches the broker now.

        Raises:
            Refusal: 503, the broker does not answer; the caller is to ask again.
        """
        self.broker.admit(username)
        if not await self.broker.settled():
            raise Refusal(
                503, "BROKER_AWAY", f"{self.broker_name} does not answer this service now; ask again"
            )
        if self.site is not None:
            return self.site.url(username, self.keys.password(username))
        return self.keys.url(username, self.address.amqp_url)
