"""This module is the body of a request: read within its limit, taken as a JSON object, field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

from starlette.requests import Request

from compute_nb.service.config import MAX_REQUEST_BYTES
from compute_nb.service.refusal import Refusal, bad_request, too_large

T = TypeVar("T")


def as_uuid(value: object, what: str) -> UUID:
    """Returns the UUID that a text spells.

    Raises:
        Refusal: It spells none.
    """
    try:
        if isinstance(value, str):
            return UUID(value)
    except ValueError:
        pass
    raise bad_request(f"{what} must be a UUID, not {str(value)[:60]!r}")


async def read(request: Request) -> Body:
    """Returns the JSON object that a request carries.

    Raises:
        Refusal: Too many bytes, no JSON, or no object.
    """
    return parse(await read_bytes(request))


async def read_bytes(request: Request, most: int | None = None) -> bytes:
    """Returns the bytes that a request carries.

    Args:
        most: How many it may be; None for what the service was set to.

    Raises:
        Refusal: Too many; the rest is not waited for.
    """
    most = most or request.scope.get("max_bytes", MAX_REQUEST_BYTES)
    declared = request.headers.get("content-length", "")
    if is_count(declared) and int(declared) > most:
        raise _too_many_bytes(int(declared), most)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_many_bytes(size, most)
        chunks.append(chunk)
    return b"".join(chunks)


def parse(raw: bytes) -> Body:
    """Returns the JSON object in `raw`.

    Raises:
        Refusal: No JSON, or no object.
    """
    try:
        value = json.loads(raw or b"{}")
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is no JSON: {error}") from error
    if b"\\ud" in raw or b"\\uD" in raw:
        _refuse_surrogates(value)
    if b"\\u0000" in raw and _has_nul(value):
        raise bad_request("the body has a text with a NUL character, which PostgreSQL can't store")
    if not isinstance(value, dict):
        raise bad_request(f"the body must be a JSON object, not {type(value).__name__}")
    return Body(value)


def is_count(text: str) -> bool:
    """True if a text spells a number that is not absurdly large."""
    return text.isascii() and text.isdigit() and len(text) < 20


def _refuse_surrogates(value: object) -> None:
    """Half a character can be written in JSON and stored nowhere."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        raise bad_request("the body has a text with half a surrogate pair, which is no character") from None


def _has_nul(value: object) -> bool:
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            if "\0" in one:
                return True
        elif isinstance(one, list):
            rest += one
        elif isinstance(one, dict):
            rest += [*one, *one.values()]
    return False


def _too_many_bytes(size: int, most: int) -> Refusal:
    return too_large(
        f"the request has at least {size / 1e6:.1f} MB and {most / 1e6:.1f} MB are allowed: "
        "send fewer tasks at a time, or write large inputs to a file and send its path"
    )


class Body:
    """A JSON object whose fields are taken by type.

    Args:
        fields: As parsed.
        where: What stands before a field's name in an error.
    """

    def __init__(self, fields: Mapping[str, Any], where: str = "") -> None:
        self._fields = fields
        self._where = where

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def take(self, name: str, kind: type[T], default: T | None = None) -> T:
        """Returns a field of that type; null counts as absent.

        Raises:
            Refusal: Another type, or absent and no default.
        """
        value = self._fields.get(name)
        if value is None:
            if default is None:
                raise bad_request(f"the body lacks {self._where}{name!r}")
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise bad_request(f"{self._where}{name!r} must be {kind.__name__}, not {type(value).__name__}")
        return value

    def given(self, *names: str) -> dict[str, Any]:
        """Returns those fields that are there and neither null nor empty, unchecked."""
        return {name: self._fields[name] for name in names if self._fields.get(name)}

    def inner(self, name: str) -> Body:
        """Returns an object inside; an absent one is empty."""
        return Body(self.take(name, dict, {}), f"{self._where}{name}.")

    def uuid(self, name: str) -> UUID:
        """Returns a field that spells a UUID."""
        return as_uuid(self.take(name, str), f"{self._where}{name!r}")

    def uuid_or_none(self, name: str) -> UUID | None:
        """Returns a field that spells a UUID, or None if it is absent."""
        return self.uuid(name) if name in self else None

    def uuids(self, name: str, limit: int) -> list[UUID]:
        """Returns a list of UUIDs.

        Raises:
            Refusal: No list, one that is no UUID, or more than `limit`.
        """
        values = self.take(name, list)
        if len(values) > limit:
            raise too_large(f"{len(values):,} ids in {name!r}, {limit:,} are allowed: ask in parts")
        return [as_uuid(value, f"each of {name!r}") for value in values]
