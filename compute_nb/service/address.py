"""This module is the addresses of the service: where it listens, and under which names clients reach it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from compute_nb.errors import ComputeError
from compute_nb.loopback import is_loopback
from compute_nb.service.config import EMBEDDED, ServiceConfig

ANY = ("0.0.0.0", "::")
_PORTS = {"http": 80, "https": 443, "amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the service is reached.

    Attributes:
        local_url: Of the web API, on this host; where the own command line asks.
        url: Of the web API, as clients are told it.
        amqp_url: Of the embedded broker, as clients are told it, without user and password.
        amqp_port: Where that listens; None with another broker.
        host_names: What a `Host` header may say.
    """

    local_url: str
    url: str
    amqp_url: str
    amqp_port: int | None
    host_names: tuple[str, ...]


def check(config: ServiceConfig) -> str:
    """Returns the address to listen on.

    Raises:
        ComputeError: Secrets would travel in the clear, or no client could know where to ask.
    """
    host = "127.0.0.1" if config.host == "localhost" else config.host
    if (config.tls_cert is None) != (config.tls_key is None):
        raise ComputeError("--tls-cert and --tls-key go together: give both, or none")
    if not is_loopback(host) and config.tls_cert is None:
        raise ComputeError(
            f"the service does not listen on {host!r} in the clear, where others can read tokens and "
            "results: give --tls-cert and --tls-key. Without TLS it listens on 127.0.0.1, behind a proxy "
            "that has it or reached from afar by `ssh -L`"
        )
    if host in ANY and config.public_url is None:
        raise ComputeError(
            f"{host} is no name by which clients reach the service: say it by --public-url https://NAME[:PORT]"
        )
    _check_public(config)
    return host


def _check_public(config: ServiceConfig) -> None:
    web = _parse(config.public_url, "--public-url", "https")
    if config.rabbit is not None and config.rabbit.broker != EMBEDDED:
        return  # it has an address of its own
    amqp = _parse(config.amqp_public_url, "--amqp-public-url", "amqps")
    if web is not None and amqp is None and config.tls_cert is None and not is_loopback(web.hostname or ""):
        raise ComputeError(
            f"clients of {config.public_url} can't reach a broker that listens in the clear on "
            f"{config.host}: say where a proxy with TLS in front of it listens, by --amqp-public-url "
            "amqps://NAME:PORT, or give --tls-cert and --tls-key"
        )


def _parse(url: str | None, option: str, scheme: str) -> SplitResult | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        wrong = (
            not parts.hostname or parts.port == 0 or parts.path.strip("/") or parts.query or parts.username
        )
    except ValueError:
        raise _no_url(url, option, scheme) from None
    if wrong or parts.scheme not in (scheme, scheme.removesuffix("s")):
        raise _no_url(url, option, scheme)
    if parts.scheme != scheme and not is_loopback(parts.hostname or ""):
        raise ComputeError(
            f"{option} {url}: secrets would travel in the clear; put TLS in front and say {scheme}://"
        )
    return parts


def _no_url(url: str, option: str, scheme: str) -> ComputeError:
    return ComputeError(f"{option} must be {scheme}://NAME[:PORT] and nothing more, not {url[:200]!r}")


def addresses(config: ServiceConfig, host: str, web_port: int, amqp_port: int | None) -> Address:
    """Returns where the service is reached that listens at these ports; `config` was checked."""
    secure = "s" if config.tls_cert is not None else ""
    here = _bracketed(_here(host))
    local_url = f"http{secure}://{here}:{web_port}"
    url = (config.public_url or local_url).rstrip("/")
    public = urlsplit(url)
    there = _bracketed(public.hostname or "") if secure else here
    amqp_url = config.amqp_public_url or f"amqp{secure}://{there}:{amqp_port}"
    names = [f"{name}:{web_port}" for name in ("127.0.0.1", "localhost", here)]
    port = public.port or _PORTS[public.scheme]
    names.append(f"{_bracketed(public.hostname or '')}:{port}")
    if port == _PORTS[public.scheme]:
        names.append(_bracketed(public.hostname or ""))
    if amqp_port is None:
        return Address(local_url, url, "", None, tuple(dict.fromkeys(names)))
    amqp = urlsplit(amqp_url)
    place = f"{_bracketed(amqp.hostname or '')}:{amqp.port or _PORTS[amqp.scheme]}"
    return Address(local_url, url, f"{amqp.scheme}://{place}", amqp_port, tuple(dict.fromkeys(names)))


def _here(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
