"""This module is the registry: functions, endpoints, task groups and principals, and whose they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from compute_nb.service.rows import (
    EndpointRow,
    Forbidden,
    FunctionRow,
    GroupRow,
    NotFound,
    Principal,
    uuid_of,
)
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import new_id


def add_function(
    tx: Transaction,
    owner: UUID,
    name: str,
    code: str,
    meta: Mapping[str, Any],
    *,
    description: str | None,
    public: bool,
    group: UUID | None = None,
) -> UUID:
    """Stores a function and returns its id."""
    function_id = new_id()
    text = json.dumps(dict(meta))
    grp = None if group is None else group.bytes
    tx.run("add_function", function_id.bytes, owner.bytes, name, code, text, description, public, tx.now, grp)
    return function_id


def may_use(tx: Transaction, user: UUID, owner: bytes, public: object, group: bytes | None) -> bool:
    """True if a function is a user's to run: his own, public, or for a group that he is in."""
    if owner == user.bytes or public:
        return True
    return group is not None and tx.one("is_member", user.bytes, group) is not None


def function(tx: Transaction, owner: UUID, function_id: UUID) -> FunctionRow:
    """Returns a function that is the owner's, public, or for a group of his."""
    row = tx.one("function", function_id.bytes)
    if row is None:
        raise NotFound(f"function {function_id} is not known here: register it again")
    _, row_owner, name, code, meta, description, public, created, group = row
    if not may_use(tx, owner, row_owner, public, group):
        raise Forbidden(f"function {function_id} is somebody else's, neither public nor for a group of yours")
    return FunctionRow(
        function_id, uuid_of(row_owner), name, code, json.loads(meta), description, bool(public), created
    )


def delete_function(tx: Transaction, owner: UUID, function_id: UUID) -> None:
    """Removes a function from sight; accepted tasks still run."""
    if function(tx, owner, function_id).owner != owner:
        raise Forbidden(f"function {function_id} is somebody else's: only its owner can delete it")
    tx.run("delete_function", tx.now, function_id.bytes)


def register_endpoint(
    tx: Transaction,
    owner: UUID,
    name: str,
    metadata: Mapping[str, Any],
    endpoint_id: UUID | None,
    *,
    display_name: str | None,
    public: bool,
) -> UUID:
    """Stores an endpoint, or what is new of it, and returns its id."""
    kind = "compute_nb" if "compute_nb" in metadata else "published"
    text = json.dumps(dict(metadata))
    known = None if endpoint_id is None else tx.one("endpoint_owner", endpoint_id.bytes)
    if endpoint_id is not None and known is not None:
        if known[1] != owner.bytes:
            raise Forbidden(f"endpoint {endpoint_id} is somebody else's: register without an id")
        tx.run("update_endpoint", name, display_name, kind, public, text, tx.now, endpoint_id.bytes)
        return endpoint_id
    # An unknown id is kept: an agent may outlive the store of its service.
    fresh = endpoint_id or new_id()
    tx.run("add_endpoint", fresh.bytes, owner.bytes, name, display_name, kind, public, text, tx.now)
    return fresh


def endpoint(
    tx: Transaction, owner: UUID | None, endpoint_id: UUID, connected: frozenset[UUID]
) -> EndpointRow:
    """Returns an endpoint that the owner manages, or a public one; `owner` None is the service itself."""
    row = tx.one("endpoint", endpoint_id.bytes)
    if row is None:
        raise NotFound(f"endpoint {endpoint_id} is not known here")
    found = _endpoint_row(row, connected)
    if owner is not None and not found.public and not found.managed_by(owner):
        raise Forbidden(f"endpoint {endpoint_id} is somebody else's and not public")
    return found


def endpoints(tx: Transaction, owner: UUID, public: bool, connected: frozenset[UUID]) -> list[EndpointRow]:
    """Returns the owner's endpoints and, if asked for, the public ones."""
    rows = tx.named("endpoints", owner=owner.bytes, public=public)
    return [_endpoint_row(row, connected) for row in rows]


def _endpoint_row(row: Any, connected: frozenset[UUID]) -> EndpointRow:
    blob, owner, name, display_name, kind, public, metadata, agent, last_seen, registered = row
    endpoint_id = uuid_of(blob)
    return EndpointRow(
        endpoint_id,
        uuid_of(owner),
        name,
        display_name,
        kind,
        bool(public),
        json.loads(metadata),
        None if agent is None else json.loads(agent),
        last_seen,
        registered,
        endpoint_id in connected,
    )


def managed_endpoint(tx: Transaction, user: UUID, endpoint_id: UUID) -> int:
    """Returns the number of an endpoint that a user may stop and delete."""
    if not endpoint(tx, None, endpoint_id, frozenset()).managed_by(user):
        raise Forbidden(f"endpoint {endpoint_id} is somebody else's")
    return int(tx.one("endpoint_access", endpoint_id.bytes)[0])


def owned_group(tx: Transaction, owner: UUID, group_id: UUID) -> int:
    """Returns the number of a task group that is the owner's."""
    row = tx.one("group_access", group_id.bytes)
    if row is None:
        raise NotFound(f"task group {group_id} is not known here")
    if row[1] != owner.bytes:
        raise Forbidden(f"task group {group_id} is somebody else's")
    return int(row[0])


def group(tx: Transaction, owner: UUID, group_id: UUID) -> GroupRow:
    """Returns a task group that is the owner's."""
    owned_group(tx, owner, group_id)
    return groups(tx, owner, [group_id])[0]


def groups(tx: Transaction, owner: UUID, group_ids: list[UUID]) -> list[GroupRow]:
    """Returns those of the task groups that are known and the owner's."""
    rows = tx.by_ids("groups", [group_id.bytes for group_id in group_ids], owner.bytes)
    return [GroupRow(uuid_of(i), owner, uuid_of(e), created) for i, e, created in rows]


def environments(tx: Transaction, endpoint_ids: list[UUID]) -> dict[UUID, Mapping[str, Any]]:
    """Returns what the agents of these endpoints told of themselves, where they did."""
    rows = tx.by_ids("environments", [endpoint_id.bytes for endpoint_id in endpoint_ids])
    return {uuid_of(endpoint_id): json.loads(agent) for endpoint_id, agent in rows}


def principal(tx: Transaction, public_id: str) -> Principal | None:
    """Returns a principal that is not revoked."""
    row = tx.one("principal", public_id)
    return None if row is None else read_principal(row)


def principals(tx: Transaction, user: UUID) -> list[Principal]:
    """Returns all principals of a user."""
    return [read_principal(row) for row in tx.all("principals", user.bytes)]


def add_principal(tx: Transaction, new: Principal) -> None:
    """Stores a principal."""
    tx.run(
        "add_principal",
        new.public_id,
        new.name,
        new.user.bytes,
        new.kind,
        new.secret_hash,
        new.generation,
        new.scope,
        new.created_at,
    )


def read_principal(row: Any) -> Principal:
    """Returns the principal in a row of the store."""
    public_id, name, user, kind, secret_hash, generation, scope, created, revoked = row
    return Principal(public_id, name, uuid_of(user), kind, secret_hash, scope, created, generation, revoked)
