"""This module is the accounts: the users of a service, the groups that they are in, and their tokens.

One who runs the service for himself has one account and never sees it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from uuid import UUID

from compute_nb.service import registry
from compute_nb.service.rows import Conflict, NotFound, Principal, uuid_of
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import new_id

T = TypeVar("T")


class Run(Protocol):
    """Has an operation done on the store's thread, in a commit."""

    def __call__(self, operation: Callable[[Transaction], T]) -> Awaitable[T]:
        """Returns what the operation did, once it is committed."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """One user of the service.

    Attributes:
        admin: True if he may see to the accounts and the state of the service.
        groups: Ids; functions that are registered for one of them are his to use.
        removed_at: Seconds since the epoch; None while he may come in.
    """

    user: UUID
    name: str
    admin: bool
    groups: tuple[UUID, ...]
    created_at: float
    removed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token speaks for, and how far."""

    public_id: str
    user: UUID
    name: str
    admin: bool
    secret_hash: bytes
    scope: str


class Accounts:
    """The accounts in the store; each call is awaited on the loop and raises what the store raises.

    Args:
        run: The store's own.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    async def bearer(self, public_id: str) -> Bearer | None:
        """Returns whom a token speaks for; None if it is unknown or revoked, or its user was removed."""
        row = await self._run(lambda tx: tx.one("bearer", public_id))
        if row is None:
            return None
        known_id, owner, name, admin, secret_hash, scope = row
        return Bearer(known_id, uuid_of(owner), name or "", bool(admin), bytes(secret_hash), scope)

    async def ensure(self, user: UUID, name: str) -> None:
        """Makes the account of the service's own user unless it is there."""

        def make(tx: Transaction) -> None:
            if tx.one("account", user.bytes) is None:
                free = name if tx.one("account_named", name) is None else f"{name}-{user.hex[:8]}"
                tx.run("add_account", user.bytes, free, True, tx.now)

        await self._run(make)

    async def add(self, name: str, *, admin: bool, groups: Iterable[UUID]) -> Account:
        """Makes an account.

        Raises:
            Conflict: Somebody has that name.
        """
        user, wanted = new_id(), tuple(groups)

        def make(tx: Transaction) -> Account:
            try:
                tx.run("add_account", user.bytes, name, admin, tx.now)
            except tx.duplicate as error:
                raise Conflict(f"a user is called {name!r} already: choose another name") from error
            _set_groups(tx, user, wanted)
            return _account(tx, user)

        return await self._run(make)

    async def change(self, user: UUID, *, admin: bool | None, groups: Iterable[UUID] | None) -> Account:
        """Changes what is not None of an account.

        Raises:
            NotFound: There is none, or it was removed.
        """
        wanted = None if groups is None else tuple(groups)

        def change(tx: Transaction) -> Account:
            found = _account(tx, user)
            if admin is not None and admin != found.admin:
                tx.run("set_admin", admin, user.bytes)
            if wanted is not None:
                _set_groups(tx, user, wanted)
            return _account(tx, user)

        return await self._run(change)

    async def remove(self, user: UUID) -> list[Principal]:
        """Closes an account for good and revokes its tokens, which are returned.

        Raises:
            NotFound: There is none, or it was removed already.
        """

        def remove(tx: Transaction) -> list[Principal]:
            _account(tx, user)
            tokens = [one for one in registry.principals(tx, user) if one.revoked_at is None]
            for one in tokens:
                tx.run("revoke_principal", tx.now, one.public_id)
            tx.run("remove_account", tx.now, user.bytes)
            _set_groups(tx, user, ())
            return tokens

        return await self._run(remove)

    async def get(self, user: UUID) -> Account:
        """Returns an account.

        Raises:
            NotFound: There is none, or it was removed.
        """
        return await self._run(lambda tx: _account(tx, user))

    async def all(self) -> list[Account]:
        """Returns all accounts, in the order in which they were made, without those removed."""
        return await self._run(lambda tx: [_made(tx, row) for row in tx.all("accounts")])

    async def tokens(self, user: UUID | None) -> list[Principal]:
        """Returns the tokens of a user, or of all, revoked ones too."""
        if user is None:
            return await self._run(
                lambda tx: [registry.read_principal(row) for row in tx.all("all_principals")]
            )
        return await self._run(lambda tx: registry.principals(tx, user))

    async def owner_of_token(self, public_id: str) -> UUID | None:
        """Returns whose a token is that is not revoked."""
        found = await self._run(lambda tx: registry.principal(tx, public_id))
        return None if found is None else found.user

    async def endpoints_of(self, user: UUID) -> list[UUID]:
        """Returns the ids of a user's endpoints."""
        return await self._run(
            lambda tx: [row.endpoint_id for row in registry.endpoints(tx, user, False, frozenset())]
        )


def _account(tx: Transaction, user: UUID) -> Account:
    row = tx.one("account", user.bytes)
    if row is None:
        raise NotFound(f"user {user} is not known here: `compute-nb user list` shows those that are")
    return _made(tx, row)


def _made(tx: Transaction, row: Any) -> Account:
    user, name, admin, created, removed = row
    groups = tuple(uuid_of(group) for (group,) in tx.all("groups_of_account", user))
    return Account(uuid_of(user), name, bool(admin), groups, created, removed)


def _set_groups(tx: Transaction, user: UUID, groups: tuple[UUID, ...]) -> None:
    tx.run("leave_groups", user.bytes)
    tx.many("join_group", [(user.bytes, group.bytes) for group in dict.fromkeys(groups)])
