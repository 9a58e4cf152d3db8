"""This module is the list of the service's parts, as the routes need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from compute_nb.service.broker import Broker
from compute_nb.service.collector import Collector
from compute_nb.service.config import ServiceConfig
from compute_nb.service.gate import Gate
from compute_nb.service.publisher import Publisher
from compute_nb.service.rabbit.site import RabbitSite
from compute_nb.service.refusal import Refusal
from compute_nb.service.steward import Steward
from compute_nb.service.store import Store
from compute_nb.service.supervisor import Supervisor
from compute_nb.service.tokens import BrokerKeys


@dataclass(frozen=True, slots=True)
class Address:
    """Where the service is reached."""

    host: str
    port: int
    amqp_port: int | None

    @property
    def url(self) -> str:
        """The base address of the web API."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Parts:
    """All that a route may use; loop thread only.

    Attributes:
        own_user: The user who runs the service.
        site: Where RabbitMQ is; None with the embedded broker.
        stop: Called as stop(keep_agents) to end the service; returns at once.
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
    stop: Callable[[bool], None]
    site: RabbitSite | None = None

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
        assert self.address.amqp_port is not None
        return self.keys.url(username, self.address.host, self.address.amqp_port)
