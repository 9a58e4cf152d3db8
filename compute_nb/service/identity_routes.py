"""This module is the routes by which published programs learn who they are, and get a token for a pair.

An issued pair is a token in two parts: its id in the form of a UUID, and its secret. So the token that a pair
gets is the one that was issued with it, and what was revoked gets none.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from starlette.requests import Request

from compute_nb.service import body
from compute_nb.service.gate import Caller
from compute_nb.service.parts import Parts
from compute_nb.service.refusal import Refusal, bad_request
from compute_nb.service.tokens import MalformedToken, Token

EXPIRES_S = 172_800
"""As Globus says of its own; the token lives on until it is revoked."""

AUTH_SCOPES = ("openid", "email", "profile", "urn:globus:auth:")
MAX_FORM_BYTES = 10_000


class IdentityRoutes:
    """What Globus Auth answers elsewhere; loop thread only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def userinfo(self, _: Request, caller: Caller) -> dict[str, Any]:
        """Answers who the caller is."""
        user, name = str(caller.user), caller.name
        identity = {"sub": user, "username": name, "name": name}
        return {**identity, "preferred_username": name, "identity_set": [{**identity, "id": user}]}

    async def token(self, request: Request) -> dict[str, Any]:
        """Answers with the token of an issued pair."""
        fields = parse_qs((await body.read_bytes(request, MAX_FORM_BYTES)).decode("utf-8", "replace"))
        grant = fields.get("grant_type", [""])[0]
        if grant != "client_credentials":
            raise bad_request(f"grant_type must be client_credentials, not {grant[:40]!r}")
        scope = " ".join(dict.fromkeys(" ".join(fields.get("scope", [])).split()))
        client_id, secret = _pair(request.headers.get("authorization", ""))
        text = token_of_pair(client_id, secret)
        if text is None or not await self._issued(text):
            raise _not_issued()
        asked_auth = bool(scope) and all(word.startswith(AUTH_SCOPES) for word in scope.split())
        return {
            "access_token": text,
            "resource_server": "auth.globus.org" if asked_auth else "funcx_service",
            "scope": scope,
            "expires_in": EXPIRES_S,
            "token_type": "Bearer",
            "other_tokens": [],
        }

    async def _issued(self, text: str) -> bool:
        token = Token.parse(text)
        bearer = await self._parts.gate.bearer(token.public_id)
        return bearer is not None and hmac.compare_digest(bearer.secret_hash, token.digest)


def client_pair(token: str) -> tuple[UUID, str]:
    """Returns a token as client id and secret, for programs that ask for these."""
    _, public_id, secret = token.split("_")
    return UUID(hex=public_id.rjust(32, "0")), secret


def token_of_pair(client_id: str, secret: str) -> str | None:
    """Returns the token behind a pair; None if it is of another form."""
    try:
        text = f"cnb_{UUID(client_id).int:016x}_{secret}"
        Token.parse(text)
    except (ValueError, MalformedToken):
        return None
    return text


def _pair(header: str) -> tuple[str, str]:
    scheme, _, text = header.partition(" ")
    try:
        known, _, secret = base64.b64decode(text.strip(), validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeError, ValueError):
        known, secret = "", ""
    if scheme.lower() != "basic" or not secret:
        raise Refusal(401, "invalid_client", "show client id and secret by HTTP Basic")
    return known, secret


def _not_issued() -> Refusal:
    return Refusal(
        401,
        "invalid_client",
        "this client id and secret were not issued here, or were revoked: `compute-nb token create` "
        "issues a pair",
    )
