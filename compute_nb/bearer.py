"""This module is the bearer of a token: who gives requests their Authorization header.

A token that never changes, an authorizer of the caller's own, or a Globus login (`compute_nb.login`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Hashable, Mapping
from typing import Any, Protocol

from compute_nb.errors import AccessRefused, ComputeError

_SCHEME = "Bearer "
_SENDABLE = re.compile(r"[!-~]+", re.ASCII)


class Bearer(Protocol):
    """Gives requests their Authorization header. For any thread; each method may block."""

    @property
    def key(self) -> Hashable:
        """Equal for two bearers that speak for the same user."""

    def sign_in(self) -> None:
        """Makes sure that there is a token; called on the thread of who asks, so it may ask the person.

        Raises:
            AccessRefused: There is none and nobody to ask.
        """

    def header(self) -> str:
        """Returns `Bearer <token>`, renewed if it was about to expire; asks no person.

        Raises:
            AccessRefused: There is no token any more.
            ServiceUnreachable: Who gives tokens does not answer.
        """

    def renew(self, refused: str) -> bool:
        """True if another header can be had for one that got a 401."""

    def meet(self, refusal: Mapping[str, Any]) -> bool:
        """True if a new header meets what a service asks of the login; asks no person.

        Args:
            refusal: The body of its answer, which has `authorization_parameters`.

        Raises:
            LoginWanted: Only the person can: the next `sign_in` asks.
        """


class Token:
    """A token that never changes.

    Args:
        text: The token.
        of: Named in errors, since the token is not.

    Raises:
        ComputeError: The text can't stand in a header.
    """

    def __init__(self, text: str, of: str = "the token") -> None:
        self._header = _SCHEME + checked(text, of)

    def __repr__(self) -> str:
        return "Token<…>"

    @property
    def key(self) -> Hashable:
        """The token itself."""
        return self._header

    def sign_in(self) -> None:
        """Nothing: it is there."""

    def header(self) -> str:
        """Returns the header."""
        return self._header

    def renew(self, refused: str) -> bool:
        """False: there is no other one."""
        return False

    def meet(self, refusal: Mapping[str, Any]) -> bool:
        """False: it is as it is."""
        return False


class Authorizer:
    """An authorizer as globus-sdk has them, given by the caller.

    Args:
        given: Has `get_authorization_header` and `handle_missing_authorization`.

    Raises:
        TypeError: It has not.
    """

    def __init__(self, given: Any) -> None:
        if not callable(getattr(given, "get_authorization_header", None)):
            raise TypeError(
                f"authorizer must be one of globus_sdk's, such as AccessTokenAuthorizer, not {given!r}"
            )
        self._given = given
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Authorizer<{type(self._given).__name__}>"

    @property
    def key(self) -> Hashable:
        """The authorizer: two objects may be two users."""
        return "authorizer", id(self._given)

    def sign_in(self) -> None:
        """Nothing: whoever made it has signed in."""

    def header(self) -> str:
        """Returns what the authorizer says now."""
        with self._lock:
            try:
                said = self._given.get_authorization_header()
            except ComputeError:
                raise
            except Exception as error:
                raise AccessRefused(
                    f"the authorizer gives no token: {type(error).__name__}: {error}"
                ) from error
        if not isinstance(said, str) or not said.startswith(_SCHEME):
            raise AccessRefused(f"{type(self._given).__name__} gives no bearer token")
        return _SCHEME + checked(token_of(said), "the authorizer's token")

    def renew(self, refused: str) -> bool:
        """True if the authorizer has another token, or can get one."""
        with self._lock:
            handle = getattr(self._given, "handle_missing_authorization", None)
            return bool(handle and handle())

    def meet(self, refusal: Mapping[str, Any]) -> bool:
        """False: whoever made it logs in."""
        return False


def token_of(header: str) -> str:
    """Returns the token in a header."""
    return header.removeprefix(_SCHEME)


def checked(token: str, of: str) -> str:
    """Returns a token that can stand in a header; http.client would show another one in its error.

    Raises:
        ComputeError: It is empty, or has spaces, line ends or other letters in it.
    """
    if not _SENDABLE.fullmatch(token):
        raise ComputeError(f"{of} is {'not one word of ASCII' if token else 'empty'}: copy it again")
    return token
