"""This module is RabbitMQ's management API, as the service needs it: users, permissions, connections."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote

from compute_nb import trust
from compute_nb.errors import ComputeError
from compute_nb.service.broker.contract import Grants
from compute_nb.service.rabbit.site import RabbitSite

TIMEOUT_S = 10.0
TOPIC_READ = "^$"
T = TypeVar("T")


class ManagementFailed(ComputeError):
    """The management API did not do what was asked."""


class Management:
    """Asks the management API of one site.

    Owner of the thread `rabbitmq management`, on which all requests go out, one after the other on one
    connection. Its coroutines are for the loop.
    """

    def __init__(self, site: RabbitSite) -> None:
        self._site = site
        self._vhost = quote(site.vhost, safe="")
        login = f"{site.username}:{site.password}".encode()
        self._headers = {
            "Authorization": f"Basic {base64.b64encode(login).decode()}",
            "Content-Type": "application/json",
        }
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rabbitmq management")
        self._link: http.client.HTTPConnection | None = None

    def __repr__(self) -> str:
        return f"<Management at {self._site.admin}>"

    def close(self) -> None:
        """Ends the thread; waits for a request under way."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._link is not None:
            self._link.close()

    async def own(self) -> None:
        """Makes the virtual host and the service's own permissions in it, unless they are there.

        Raises:
            ManagementFailed: The API doesn't answer, or refuses the service's login.
        """
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        user = quote(self._site.username, safe="")

        def own() -> None:
            if self._ask("GET", f"vhosts/{self._vhost}", missing=True) is None:
                self._ask("PUT", f"vhosts/{self._vhost}", {})
            self._ask("PUT", f"permissions/{self._vhost}/{user}", everything)

        await self._run(own)

    async def principals(self) -> list[str]:
        """Returns the names of all users that have permissions in the virtual host."""
        found = await self._run(lambda: self._ask("GET", f"vhosts/{self._vhost}/permissions"))
        return [row["user"] for row in found]

    async def admit(self, username: str, password: str, grants: Grants) -> None:
        """Makes a user, or gives it that password and those permissions and no others."""
        user = quote(username, safe="")

        def admit() -> None:
            self._ask("PUT", f"users/{user}", {"password": password, "tags": ""})
            self._ask(
                "PUT",
                f"permissions/{self._vhost}/{user}",
                {"configure": grants.configure, "write": grants.write, "read": grants.read},
            )
            for exchange, keys in grants.topics.items():
                self._ask(
                    "PUT",
                    f"topic-permissions/{self._vhost}/{user}",
                    {"exchange": exchange, "write": keys, "read": TOPIC_READ},
                )

        await self._run(admit)

    async def expel(self, username: str) -> None:
        """Deletes a user, which closes its connections; a missing one is no error."""
        await self._run(lambda: self._ask("DELETE", f"users/{quote(username, safe='')}", missing=True))

    async def disconnect(self, username: str) -> None:
        """Closes all connections of a user."""
        path = f"connections/username/{quote(username, safe='')}"
        await self._run(lambda: self._ask("DELETE", path, missing=True))

    async def held_bytes(self) -> dict[str, int]:
        """Returns the bytes of all bodies in each queue, as they were some seconds ago."""
        path = f"queues/{self._vhost}?columns=name,message_bytes"
        found = await self._run(lambda: self._ask("GET", path))
        return {row["name"]: row.get("message_bytes", 0) for row in found}

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _ask(self, method: str, path: str, body: object = None, missing: bool = False) -> Any:
        """Sends one request; on the thread.

        Args:
            missing: True if an answer of 404 is fine, and gives None.
        """
        raw = None if body is None else json.dumps(body).encode()
        what = f"{method} /api/{path.partition('?')[0]} at {self._site.admin}"
        for last in (False, True):
            link, fresh = self._connection()
            try:
                link.request(method, f"/api/{path}", raw, self._headers)
                answer = link.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                link.close()
                self._link = None
                if last or fresh:
                    why = trust.explain(error, str(self._site.admin), self._site.ca) or repr(error)
                    raise ManagementFailed(f"RabbitMQ's management API: {what}: {why}") from error
                continue
            break
        if answer.status == 404 and missing:
            return None
        if answer.status >= 300:
            raise ManagementFailed(f"RabbitMQ's management API: {what}: {_why(answer.status, text)}")
        return json.loads(text) if text and method == "GET" else {}

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        if self._link is not None:
            return self._link, False
        place = self._site.admin
        if place.tls:
            self._link = http.client.HTTPSConnection(
                place.host, place.port, timeout=TIMEOUT_S, context=self._site.tls()
            )
        else:
            self._link = http.client.HTTPConnection(place.host, place.port, timeout=TIMEOUT_S)
        return self._link, True


def _why(status: int, text: bytes) -> str:
    if status == 401:
        return (
            "401, the service's user or password is wrong, or lacks the tag: "
            "`rabbitmqctl set_user_tags USER administrator`"
        )
    return f"{status} {text[:300].decode(errors='replace')}"
