"""This module is the store's catalogue: calls about functions, endpoints, groups, principals and settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from compute_nb.service import registry
from compute_nb.service.calls import Calls
from compute_nb.service.rows import EndpointRow, FunctionRow, GroupRow, Principal
from compute_nb.service.transaction import Transaction


class Catalogue(Calls):
    """The part of `Store` that knows who and what there is."""

    async def register_function(
        self,
        owner: UUID,
        name: str,
        code: str,
        *,
        meta: Mapping[str, Any] | None = None,
        description: str | None = None,
        public: bool = False,
        group: UUID | None = None,
    ) -> UUID:
        """Stores a function and returns its id; `code` is a packed buffer."""
        return await self._run(
            lambda tx: registry.add_function(
                tx, owner, name, code, meta or {}, description=description, public=public, group=group
            )
        )

    async def function(self, owner: UUID, function_id: UUID) -> FunctionRow:
        """Returns a function that is the owner's, or public.

        Raises:
            NotFound, Forbidden: As they say.
        """
        return await self._run(lambda tx: registry.function(tx, owner, function_id))

    async def delete_function(self, owner: UUID, function_id: UUID) -> None:
        """Removes a function from sight; accepted tasks still run.

        Raises:
            NotFound, Forbidden: As they say.
        """
        await self._run(lambda tx: registry.delete_function(tx, owner, function_id))

    async def register_endpoint(
        self,
        owner: UUID,
        name: str,
        metadata: Mapping[str, Any],
        endpoint_id: UUID | None = None,
        *,
        display_name: str | None = None,
        public: bool = False,
    ) -> UUID:
        """Stores an endpoint, or what is new of a known one, and returns its id.

        Raises:
            Forbidden: The id is somebody else's.
        """
        return await self._run(
            lambda tx: registry.register_endpoint(
                tx, owner, name, metadata, endpoint_id, display_name=display_name, public=public
            )
        )

    async def endpoint(self, owner: UUID | None, endpoint_id: UUID) -> EndpointRow:
        """Returns an endpoint that is the owner's, or public; None asks for the service itself.

        Raises:
            NotFound, Forbidden: As they say.
        """
        connected = self._dispatcher.connected
        return await self._run(lambda tx: registry.endpoint(tx, owner, endpoint_id, connected()))

    async def endpoints(self, owner: UUID, *, public: bool = False) -> list[EndpointRow]:
        """Returns the owner's endpoints and, if asked for, the public ones of others."""
        connected = self._dispatcher.connected
        return await self._run(lambda tx: registry.endpoints(tx, owner, public, connected()))

    async def environments(self, endpoint_ids: Iterable[UUID]) -> dict[UUID, Mapping[str, Any]]:
        """Returns what the agents of these endpoints told of themselves, where they did."""
        ids = list(endpoint_ids)
        return await self._run(lambda tx: registry.environments(tx, ids))

    async def group(self, owner: UUID, task_group_id: UUID) -> GroupRow:
        """Returns a task group that is the owner's.

        Raises:
            NotFound, Forbidden: As they say.
        """
        return await self._run(lambda tx: registry.group(tx, owner, task_group_id))

    async def groups_of(self, owner: UUID, task_group_ids: Iterable[UUID]) -> list[GroupRow]:
        """Returns those of the task groups that are known and the owner's."""
        ids = list(task_group_ids)
        return await self._run(lambda tx: registry.groups(tx, owner, ids))

    async def add_principal(self, principal: Principal) -> None:
        """Stores somebody who may speak to the service."""
        await self._run(lambda tx: registry.add_principal(tx, principal))

    async def principal(self, public_id: str) -> Principal | None:
        """Returns a principal that is not revoked."""
        return await self._run(lambda tx: registry.principal(tx, public_id))

    async def principals(self, user: UUID) -> list[Principal]:
        """Returns all principals of a user, revoked ones too."""
        return await self._run(lambda tx: registry.principals(tx, user))

    async def revoke(self, public_id: str) -> bool:
        """Makes a principal void for good; False if there is none that is not."""
        return await self._run(lambda tx: tx.run("revoke_principal", tx.now, public_id) == 1)

    async def get_meta(self, key: str) -> str | None:
        """Returns a setting, None if there is none."""
        row = await self._run(lambda tx: tx.one("meta", key))
        return None if row is None else str(row[0])

    async def set_meta(self, key: str, value: str) -> None:
        """Stores a setting."""
        await self._run(lambda tx: tx.run("set_meta", key, value))

    async def ensure_meta(self, key: str, value: str) -> str:
        """Stores a setting if there is none, and returns what there is."""

        def ensure(tx: Transaction) -> str:
            row = tx.one("meta", key)
            if row is not None:
                return str(row[0])
            tx.run("set_meta", key, value)
            return value

        return await self._run(ensure)
