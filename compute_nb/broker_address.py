"""This module is the address of a broker: how to connect to it safely, its name for people, its refusals."""

from __future__ import annotations

import pika
from pika.exceptions import (
    AuthenticationError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from compute_nb import trust
from compute_nb.errors import ComputeError
from compute_nb.loopback import is_loopback

ACCESS_REFUSED = 403


def parameters(url: str, ca: trust.Authorities) -> pika.URLParameters:
    """Returns where and how to connect.

    Args:
        url: With user and password.
        ca: The authorities that count for amqps, as in `trust.context`.

    Raises:
        ComputeError: The address is none, a password would be sent in the clear, or the certificate
            authorities can't be read.
    """
    try:
        found = pika.URLParameters(url)
    except (TypeError, ValueError, OSError) as error:  # its text may hold the password
        raise ComputeError(f"the service names a broker by no URL ({type(error).__name__})") from None
    if found.ssl_options is not None:
        # Ours also where the URL brings options: who can write a URL can't turn the checks off.
        found.ssl_options = pika.SSLOptions(trust.context(ca), found.host)
    elif not is_loopback(found.host):
        raise ComputeError(
            f"the broker at {place(url)} would get the password in the clear: its service must name an "
            "amqps address"
        )
    return found


def is_refusal(error: Exception) -> bool:
    """True if a broker has said with this that it does not let this user in, or not there."""
    if isinstance(error, ChannelClosedByBroker):
        return bool(error.reply_code == ACCESS_REFUSED)
    causes = (
        error,
        *error.args,
        *(a for e in error.args if isinstance(e, Exception) for a in e.args),
    )
    kinds = (AuthenticationError, ProbableAuthenticationError, ProbableAccessDeniedError)
    return any(isinstance(cause, kinds) for cause in causes)


def place(url: str) -> str:
    """Returns host and port, for texts: no secret is in them."""
    found = pika.URLParameters(url)
    return f"{found.host}:{found.port}"
