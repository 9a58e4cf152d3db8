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
from compute_nb.config import write_private
from compute_nb.connection import Connection, Repeat
from compute_nb.endpoint.config import AgentConfig
from compute_nb.errors import ComputeError, ServiceUnreachable

PATIENCE_S = 5.0
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

    def register(self) -> Places:
        """Registers under the id of last time, or a new one, which it notes.

        Raises:
            ServiceUnreachable: Nobody answers now.
            ComputeError: The service refuses, or was stopped by command: an agent is of no use without it.
        """
        try:
            places = self._register(*self._service())
        except ServiceUnreachable:
            if not self._revive():
                raise
            places = self._register(*self._service())
        self._away_since = None
        if read_endpoint_id(self._id_file) != places.endpoint_id:
            write_private(self._id_file, json.dumps({"endpoint_id": str(places.endpoint_id)}))
        return places

    def _service(self) -> tuple[str, str]:
        """The service's address and our token; those of the home may have changed since."""
        info = local.find_service(self._config.home) if self._config.home else None
        return (info.url, info.token) if info else (self._config.service_url, self._config.token)

    def _register(self, url: str, token: str) -> Places:
        connection = Connection(url, token)
        fields: dict[str, Any] = {"endpoint_name": self._config.name, "metadata": dict(self._metadata)}
        allowed = self._config.settings.limits.functions
        if self._config.settings.public:
            fields["public"] = True
        if allowed:
            fields["allowed_functions"] = sorted(str(function_id) for function_id in allowed)
        known = read_endpoint_id(self._id_file)
        try:
            if known is not None:
                try:
                    body = json.dumps(fields).encode()
                    path = f"/v3/endpoints/{known}"
                    return _places(connection.send("PUT", path, body, Repeat.ALWAYS))
                except ComputeError as error:
                    if getattr(error, "http_status", None) != NOT_FOUND:
                        raise
            return _places(connection.post("/v3/endpoints", fields))
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


def _places(answer: Any) -> Places:
    try:
        return Places(
            endpoint_id=UUID(answer["endpoint_id"]),
            url=answer["task_queue_info"]["connection_url"],
            tasks=answer["task_queue_info"]["queue"],
            commands=answer["command_queue_info"]["queue"],
            results=_address(answer["result_queue_info"]),
            heartbeats=_address(answer["heartbeat_queue_info"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ComputeError(
            f"the service answered the registration without its queues: {error!r} is missing or wrong; it "
            "needs the extensions of compute_nb"
        ) from error


def _address(info: Mapping[str, Any]) -> Address:
    told = info["queue_publish_kwargs"]
    return Address(told["exchange"], told["routing_key"])
