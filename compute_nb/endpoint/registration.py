"""This module is the registration of an endpoint with its service, by REST, before each connection."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from compute_nb import local
from compute_nb.connection import Connection, Repeat
from compute_nb.endpoint.config import AgentConfig
from compute_nb.errors import ComputeError, ServiceUnreachable
from compute_nb.private import write_private

PATIENCE_S = 5.0
OURS = "compute_nb"
NOT_FOUND, OWN_FAULT = 404, 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where messages of one kind are published."""

    exchange: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where a registered agent reads and writes; the URL holds its password."""

    endpoint_id: UUID
    url: str
    tasks: str
    commands: str
    results: Address
    heartbeats: Address


class OtherDialect(ComputeError):
    """The service speaks otherwise than it did: with our extensions, or without them."""


class Registration:
    """Registers the endpoint of one folder; each call blocks.

    Args:
        config: Names the endpoint and the service.
        metadata: What the service is to know of the endpoint.
        patience_s: How long the home's own service may be away before it is started again.
    """

    def __init__(
        self, config: AgentConfig, metadata: Mapping[str, Any], patience_s: float = PATIENCE_S
    ) -> None:
        self._config, self._metadata, self._patience_s = config, metadata, patience_s
        self._id_file = config.directory / "endpoint.json"
        self._away_since: float | None = None

    def plain(self) -> bool:
        """Returns whether the service lacks our extensions; False while nobody answers."""
        url, token = self._service()
        connection = self._connection(url, token)
        try:
            return _is_plain(connection)
        except ComputeError:  # `register` tells it
            return False
        finally:
            connection.close()

    def register(self, plain: bool = False) -> Places:
        """Registers under the id of last time, or a new one, which it notes.

        Args:
            plain: As a core endpoint, with a service that lacks our extensions.

        Raises:
            ServiceUnreachable: Nobody answers now.
            OtherDialect: The service has our extensions, or lacks them, against `plain`.
            ComputeError: The service refuses, or was stopped by command: an agent is of no use without it.
        """
        try:
            places = self._register(*self._service(), plain)
        except ServiceUnreachable:
            if not self._revive():
                raise
            places = self._register(*self._service(), plain)
        self._away_since = None
        if read_endpoint_id(self._id_file) != places.endpoint_id:
            write_private(self._id_file, json.dumps({"endpoint_id": str(places.endpoint_id)}))
        return places

    def _service(self) -> tuple[str, str]:
        """The service's address and our token; those of the home may have changed since."""
        info = local.find_service(self._config.home) if self._config.home else None
        return (info.url, info.token) if info else (self._config.service_url, self._config.token)

    def _connection(self, url: str, token: str) -> Connection:
        return Connection(url, token, ca=self._config.ca, prove=self._config.prove)

    def _register(self, url: str, token: str, plain: bool) -> Places:
        connection = self._connection(url, token)
        metadata = {key: value for key, value in self._metadata.items() if not (plain and key == OURS)}
        fields: dict[str, Any] = {"endpoint_name": self._config.name, "metadata": metadata}
        if plain:
            fields |= {"public": False, "high_assurance": False}
        allowed = self._config.settings.limits.functions
        if self._config.settings.public:
            fields["public"] = True
        if allowed:
            fields["allowed_functions"] = sorted(str(function_id) for function_id in allowed)
        known = read_endpoint_id(self._id_file)
        try:
            if _is_plain(connection) is not plain:
                raise OtherDialect(f"the service {'lacks' if not plain else 'has'} our extensions now")
            if known is not None:
                try:
                    body = json.dumps(fields).encode()
                    path = f"/v3/endpoints/{known}"
                    return places_of(connection.send("PUT", path, body, Repeat.ALWAYS))
                except ComputeError as error:
                    if getattr(error, "http_status", None) != NOT_FOUND:
                        raise
            return places_of(connection.post("/v3/endpoints", fields))
        except ComputeError as error:
            if (error.http_status or 0) >= OWN_FAULT:  # its disk is full, say
                raise ServiceUnreachable(str(error)) from error
            raise
        finally:
            connection.close()

    def _revive(self) -> bool:
        """Starts the home's own service, at once if its process has ended and after a while if that does not
        answer, unless it was stopped by command; True if it listens.
        """
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        home = self._config.home
        if home is None:
            return False
        ended = local.ended(home)
        if ended and home.stopped_mark.exists():
            raise ComputeError("the service was stopped by command; what is held begins when both are back")
        if now - self._away_since < self._patience_s and not ended:
            return False
        _log.info("the service has been away for %.0f s: starting it", now - self._away_since)
        try:
            local.ensure_service(home, asked=False)
        except (ComputeError, OSError) as error:  # a full disk, say
            _log.warning("%s", error)
            self._away_since = time.monotonic()
            return False
        self._away_since = None
        return True


def read_endpoint_id(path: Path) -> UUID | None:
    """Returns the id that was noted at the last registration."""
    try:
        return UUID(json.loads(path.read_text(encoding="utf-8"))["endpoint_id"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_plain(connection: Connection) -> bool:
    """Returns whether a service lacks our extensions."""
    try:
        version = connection.get("/v2/version?service=all")
    except ComputeError as error:
        if error.http_status != NOT_FOUND:
            raise
        return True
    return not isinstance(version, Mapping) or OURS not in version


def places_of(answer: Any) -> Places:
    """Returns where an agent reads and writes, as a registration or a start command says it.

    A core endpoint is told of no tasks, and a user endpoint of no commands.

    Raises:
        ComputeError: That is missing or wrong.
    """
    try:
        tasks, commands = answer.get("task_queue_info"), answer.get("command_queue_info")
        results = answer.get("result_queue_info")
        return Places(
            endpoint_id=UUID(answer["endpoint_id"]),
            url=(tasks or commands)["connection_url"],
            tasks=tasks["queue"] if tasks else "",
            commands=commands["queue"] if commands else "",
            results=_address(results) if results else Address("", ""),
            heartbeats=_address(answer["heartbeat_queue_info"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ComputeError(
            f"the service answered the registration without its queues: {error!r} is missing or wrong"
        ) from error


def _address(info: Mapping[str, Any]) -> Address:
    told = info["queue_publish_kwargs"]
    return Address(told["exchange"], told["routing_key"])
