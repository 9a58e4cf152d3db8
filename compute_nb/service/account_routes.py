"""This module is the routes of accounts: users and tokens."""

from __future__ import annotations

import re
import time
from typing import Any
from uuid import UUID

from starlette.requests import Request

from compute_nb.service import body, scopes
from compute_nb.service.accounts import Account
from compute_nb.service.body import Body
from compute_nb.service.gate import Caller
from compute_nb.service.identity_routes import client_pair
from compute_nb.service.parts import Parts
from compute_nb.service.refusal import Refusal, bad_request, not_found
from compute_nb.service.rows import Principal
from compute_nb.service.tokens import Token, new_token

MAX_GROUPS = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}", re.ASCII)
_TOKEN_ID = re.compile("[0-9a-f]{16}", re.ASCII)


class AccountRoutes:
    """What `/v3/compute_nb/users` and `/v3/compute_nb/tokens` answer; loop thread only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._accounts = parts.store.accounts

    async def users(self, _: Request, __: Caller) -> dict[str, Any]:
        """Answers with all users."""
        return {"users": [_user(account) for account in await self._accounts.all()]}

    async def add_user(self, request: Request, _: Caller) -> dict[str, Any]:
        """Makes an account; it has no token yet."""
        fields = await body.read(request)
        account = await self._accounts.add(
            _name(fields.take("name", str), "a user"),
            admin=fields.take("admin", bool, False),
            groups=_groups(fields) or (),
        )
        return _user(account)

    async def change_user(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Changes whether a user is an administrator, or his groups."""
        user, fields = _user_id(request), await body.read(request)
        admin = fields.take("admin", bool, False) if "admin" in fields else None
        if user == self._parts.own_user and admin is False:
            raise Refusal(409, "CONFLICT", "who runs the service stays an administrator of it")
        account = await self._accounts.change(user, admin=admin, groups=_groups(fields))
        self._parts.gate.forget_all()
        return _user(account)

    async def remove_user(self, request: Request, _: Caller) -> dict[str, Any]:
        """Closes an account: nothing that it was given is good any more. What it submitted stays."""
        user = _user_id(request)
        if user == self._parts.own_user:
            raise Refusal(409, "CONFLICT", "who runs the service can't be removed from it")
        revoked = await self._accounts.remove(user)
        self._parts.gate.forget_all()
        await self._parts.shut_out_user(user, await self._accounts.endpoints_of(user))
        await self._parts.store.synced()
        return {"revoked": len(revoked)}

    async def tokens(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers with tokens, without their secrets: the caller's, or to an administrator anybody's."""
        asked = request.query_params.get("user")
        user = None if asked is None else body.as_uuid(asked, "'user'")
        if not caller.admin:
            _own(user or caller.user, caller)
            user = caller.user
        found = await self._accounts.tokens(user)
        return {"tokens": [{**_token(one), "revoked_at": one.revoked_at} for one in found]}

    async def add_token(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Makes a token and tells it, this once; the pair is the same in the form of published programs."""
        fields = await body.read(request)
        user = fields.uuid_or_none("user") or caller.user
        _own(user, caller)
        if user != self._parts.own_user:
            await self._accounts.get(user)
        scope = fields.take("scope", str, scopes.ALL)
        if scope not in scopes.SCOPES:
            known = ", ".join(scopes.SCOPES)
            raise bad_request(f"a token has one of the scopes {known}, not {scope[:40]!r}")
        text = new_token()
        token = Token.parse(text)
        made = Principal(
            public_id=token.public_id,
            name=_name(fields.take("name", str, "token"), "a token"),
            user=user,
            kind="client",
            secret_hash=token.digest,
            scope=scope,
            created_at=time.time(),
        )
        await self._parts.store.add_principal(made)
        await self._parts.store.synced()
        client_id, secret = client_pair(text)
        return {**_token(made), "token": text, "client_id": str(client_id), "client_secret": secret}

    async def revoke_token(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Makes a token void, and with it every password of the broker that its user was told."""
        public_id = request.path_params["token_id"]
        user = await self._accounts.owner_of_token(public_id) if _TOKEN_ID.fullmatch(public_id) else None
        if user is None or (user != caller.user and not caller.admin):
            raise not_found("token", public_id[:16])
        if public_id == self._parts.gate.own_token_id:
            raise Refusal(
                409,
                "CONFLICT",
                "by this token the service is stopped and looked at. To have another one: stop the service, "
                f"delete {self._parts.config.home.token_file}, and start it again",
            )
        await self._parts.store.revoke(public_id)
        self._parts.gate.forget(public_id)
        await self._parts.shut_out_user(user, await self._accounts.endpoints_of(user))
        await self._parts.store.synced()
        return {"revoked": 1}


def _own(user: UUID, caller: Caller) -> None:
    if user != caller.user and not caller.admin:
        raise Refusal(403, "FORBIDDEN", "only an administrator sees to tokens of others")


def _name(text: str, what: str) -> str:
    if not _NAME.fullmatch(text):
        raise bad_request(
            f"{text[:70]!r} can't name {what}: use up to 64 letters, digits and . _ @ + -, "
            "a letter or digit first"
        )
    return text


def _groups(fields: Body) -> list[UUID] | None:
    return fields.uuids("groups", MAX_GROUPS) if "groups" in fields else None


def _user_id(request: Request) -> UUID:
    return body.as_uuid(request.path_params["user_id"], "the user")


def _user(account: Account) -> dict[str, Any]:
    return {
        "id": str(account.user),
        "name": account.name,
        "admin": account.admin,
        "groups": [str(group) for group in account.groups],
        "created_at": account.created_at,
    }


def _token(one: Principal) -> dict[str, Any]:
    return {
        "token_id": one.public_id,
        "name": one.name,
        "user": str(one.user),
        "scope": one.scope,
        "created_at": one.created_at,
    }
