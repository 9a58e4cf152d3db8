"""This module is the door of the web API: it checks the host asked for, and finds whose token it is."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import HTTPConnection

from compute_nb.service.accounts import Bearer
from compute_nb.service.refusal import Refusal, bad_request
from compute_nb.service.scopes import ALL
from compute_nb.service.store import Store
from compute_nb.service.tokens import MalformedToken, Token, proof

_PUBLIC_ID = re.compile("[0-9a-f]{16}", re.ASCII)
_NONCE = re.compile("[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        public_id: Of the token that it carries.
        scope: Of that token.
        admin: True if he sees to the accounts and the state of the service.
    """

    user: UUID
    public_id: str
    name: str = ""
    scope: str = ALL
    admin: bool = False


class Gate:
    """Lets requests in; loop thread only. Tokens that were seen are kept in memory.

    Args:
        store: Knows the tokens.
        own_user: The user whose service this is.
        token_file: Named in errors, so that people know where the right token is.
    """

    def __init__(self, store: Store, own_user: UUID, token_file: str) -> None:
        self._store = store
        self._own_user = own_user
        self._token_file = token_file
        self._names: frozenset[str] = frozenset()
        self._bearers: dict[str, Bearer] = {}
        self.own_token_id = ""
        self.last_used_at = time.monotonic()

    def open(self, names: Iterable[str]) -> None:
        """Says under which names, as in a `Host` header, the service is reached."""
        self._names = frozenset(name.lower() for name in names)

    def check_host(self, request: HTTPConnection) -> str:
        """Returns the `Host` header.

        Raises:
            Refusal: 421, for a page of elsewhere whose name was bent to loopback.
        """
        host = request.headers.get("host", "")
        if host.lower() not in self._names:
            raise Refusal(421, "WRONG_HOST", f"{host[:100]!r} is not a name of this service")
        return host

    async def caller(self, request: HTTPConnection) -> Caller:
        """Returns whose token a request carries.

        Raises:
            Refusal: 401, no token or a wrong one.
        """
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise self._refused("the request carries no token")
        try:
            token = Token.parse(text.strip())
        except MalformedToken as error:
            raise self._refused(str(error)) from None
        bearer = await self.bearer(token.public_id)
        if bearer is None or not hmac.compare_digest(bearer.secret_hash, token.digest):
            raise self._refused(f"token cnb_{token.public_id} is wrong or was revoked")
        self.last_used_at = time.monotonic()
        admin = bearer.admin or bearer.user == self._own_user
        return Caller(bearer.user, token.public_id, bearer.name, bearer.scope, admin)

    def permit(self, caller: Caller, scopes: frozenset[str], *, admin: bool) -> None:
        """Lets only tokens of these scopes pass, or of "all"; and of administrators only, if `admin`.

        A token that is for this call alone needs no administrator behind it.

        Raises:
            Refusal: 403.
        """
        if caller.scope != ALL and caller.scope not in scopes:
            raise Refusal(
                403,
                "FORBIDDEN",
                f"token cnb_{caller.public_id} is for {caller.scope!r} only: this call needs one of scope "
                f"{', '.join(sorted(scopes | {ALL}))}",
            )
        if admin and not caller.admin and caller.scope not in scopes:
            raise Refusal(403, "FORBIDDEN", "only an administrator of this service may do this")

    def own(self, caller: Caller, what: str) -> None:
        """Lets only the service's own user pass.

        Raises:
            Refusal: 403.
        """
        if caller.user != self._own_user:
            raise Refusal(403, "FORBIDDEN", f"only the user who runs this service may {what}")

    async def prove(self, request: HTTPConnection) -> str:
        """Returns the proof that this service knows the token asked about.

        Raises:
            Refusal: 400 for another nonce, 404 for an unknown token.
        """
        public_id = request.query_params.get("token_id", "")
        nonce = request.query_params.get("nonce", "")
        if not _NONCE.fullmatch(nonce):
            raise bad_request("'nonce' must be 32 hex digits")
        bearer = await self.bearer(public_id)
        if bearer is None:
            raise Refusal(404, "TOKEN_NOT_FOUND", f"token {public_id[:16]!r} is not of this service")
        return proof(bearer.secret_hash, nonce, self.check_host(request))

    def forget(self, public_id: str) -> None:
        """Asks the store again for a token at its next use; called when it was revoked."""
        self._bearers.pop(public_id, None)

    def forget_all(self) -> None:
        """The same for all tokens; called when a user has changed."""
        self._bearers.clear()

    async def bearer(self, public_id: str) -> Bearer | None:
        """Returns whom a token speaks for; None if it is not known or void."""
        known = self._bearers.get(public_id)
        if known is None and _PUBLIC_ID.fullmatch(public_id):
            known = await self._store.accounts.bearer(public_id)
            if known is not None:
                self._bearers[public_id] = known
        return known

    def _refused(self, why: str) -> Refusal:
        return Refusal(
            401,
            "TOKEN_REFUSED",
            f"{why}; the token of this service is in {self._token_file} on the host where it runs",
        )
