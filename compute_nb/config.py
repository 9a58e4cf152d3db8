"""This module is the services and endpoint aliases that config.toml and the environment name.

docs/services.md has the keys and the variables. This module never touches the network: what a name
means at a service is asked by `compute_nb.places`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from compute_nb.errors import ComputeError
from compute_nb.home import NAME, Home
from compute_nb.loopback import is_loopback
from compute_nb.private import read_private
from compute_nb.proof import Prove

LOCAL = "local"
GLOBUS = "globus"
GLOBUS_URL = "https://compute.api.globus.org"
GLOBUS_LOCAL_URL = "http://localhost:5000"

URL_VARIABLE = "COMPUTE_NB_SERVICE_URL"
TOKEN_VARIABLE = "COMPUTE_NB_TOKEN"
ENVIRONMENT_VARIABLE = "GLOBUS_SDK_ENVIRONMENT"
VERIFY_VARIABLE = "GLOBUS_SDK_VERIFY_SSL"

_TOP_KEYS = ("default_endpoint", "endpoints", "services")
_SERVICE_KEYS = ("url", "auth", "token_file", "ca", "prove")
_ENDPOINT_KEYS = ("id", "service")
_YES, _NO = ("y", "yes", "t", "true", "on", "1"), ("n", "no", "f", "false", "off", "0")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """One service that may be asked.

    Attributes:
        url: None for the service of the home itself, which says where it listens.
        auth: "globus": by a Globus login, unless there is a token.
        token: Given outright (by the environment), else it is read from `token_file`.
        prove: False for one on plain http (loopback) that can't prove itself and gets the token all the same.
        ca: File or folder of the certificate authorities that alone count for it.
        verified: False: no certificate is asked for.
    """

    name: str
    url: str | None = None
    auth: Literal["token", "globus"] = "token"
    token_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    prove: bool = True
    ca: Path | None = None
    verified: bool = True

    @property
    def needs_login(self) -> bool:
        """True if the token comes from a Globus login."""
        return self.auth == "globus" and self.token_file is None and not self.token

    @property
    def proving(self) -> Prove:
        """When it has to prove on plain http that it knows the token; nobody can for one of Globus."""
        if not self.prove:
            return Prove.NEVER
        return Prove.WHERE_POSSIBLE if self.auth == "globus" else Prove.ALWAYS

    def read_token(self) -> str:
        """Returns the token.

        Raises:
            ComputeError: There is none, its file can't be read, or others may read that.
        """
        if self.token:
            return self.token
        if self.token_file is None:
            raise ComputeError(
                f"service {self.name!r} has no token: set token_file under [services.{self.name}]"
            )
        return read_private(self.token_file, f"the token of service {self.name!r}")


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for an endpoint at a service."""

    service: str
    endpoint_id: UUID


@dataclass(frozen=True, slots=True)
class Settings:
    """What config.toml and the environment say.

    Attributes:
        services: By name, in the order in which they are asked for an id.
        aliases: By name.
        default_endpoint: Where tasks go that name no endpoint.
        only: The service that the environment names; it is the only one asked then.
    """

    services: Mapping[str, ServiceSettings]
    aliases: Mapping[str, Alias]
    default_endpoint: str = LOCAL
    only: ServiceSettings | None = None

    @classmethod
    def load(cls, home: Home, environ: Mapping[str, str] | None = None) -> Settings:
        """Reads the settings of `home`; no file means the built-in services and no alias.

        Raises:
            ComputeError: The file is no TOML, or an entry is not what it should be; names file and key.
        """
        table = _read_toml(home.config_file)
        environ = os.environ if environ is None else environ
        try:
            read = _settings(table, home, environ)
        except ValueError as error:
            raise ComputeError(f"{home.config_file}: {error}") from error
        only = _from_environment(environ)
        return read if only is None else replace(read, services={only.name: only}, only=only)

    def service(self, name: str) -> ServiceSettings:
        """Returns the service of this name.

        Raises:
            ComputeError: None is called so; the text lists those there are.
        """
        found = self.services.get(name)
        if found is None:
            known = ", ".join(sorted(self.services))
            raise ComputeError(f"no service is called {name!r}; configured are: {known}")
        return found

    @property
    def default_service(self) -> ServiceSettings:
        """The service that is meant where none is named."""
        return self.only or self.services[LOCAL]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ComputeError(f"{path} can't be read: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> ServiceSettings | None:
    """Returns the service that the environment names."""
    url = environ.get(URL_VARIABLE)
    if not url:
        return None
    token = environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise ComputeError(f"{URL_VARIABLE} is set and {TOKEN_VARIABLE} is not: set both or none")
    try:
        return ServiceSettings("environment", _url(URL_VARIABLE, url), token=token)
    except ValueError as error:
        raise ComputeError(str(error)) from error


def _settings(table: dict[str, Any], home: Home, environ: Mapping[str, str]) -> Settings:
    _check_keys("", table, _TOP_KEYS)
    services = {LOCAL: ServiceSettings(LOCAL, token_file=home.token_file)}
    for name, entry in _tables(table, "services"):
        services[name] = _service(name, entry, home, environ)
    if GLOBUS not in services:
        services[GLOBUS] = _service(GLOBUS, {}, home, environ)
    aliases = {name: _alias(name, entry, services) for name, entry in _tables(table, "endpoints")}
    default = table.get("default_endpoint", LOCAL)
    if not isinstance(default, str) or not default:
        raise ValueError("default_endpoint must be the name of an endpoint")
    service, colon, _ = default.partition(":")
    if colon and service not in services:
        raise ValueError(f"default_endpoint: service {service!r} is none of: {', '.join(sorted(services))}")
    return Settings(services, aliases, default)


def _check_keys(where: str, entry: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            raise ValueError(f"{where}{key} is no key; {hint}")


def _tables(table: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    entries = table.get(key, {})
    if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
        raise ValueError(f"[{key}] must hold tables: [{key}.NAME]")
    for name in entries:
        if not NAME.match(name) or _is_uuid(name):
            raise ValueError(
                f"[{key}.{name}]: a name has up to 128 letters, digits, '_', '-' and '.', starts with a "
                "letter or digit and is no UUID"
            )
    return list(entries.items())


def _service(name: str, entry: dict[str, Any], home: Home, environ: Mapping[str, str]) -> ServiceSettings:
    where = f"[services.{name}] "
    if name == LOCAL:
        raise ValueError(f"{where}{LOCAL!r} is the service of this home; choose another name")
    _check_keys(where, entry, _SERVICE_KEYS)
    auth = entry.get("auth", "globus" if name == GLOBUS else "token")
    if auth not in ("token", "globus"):
        raise ValueError(f'{where}auth must be "token" or "globus", not {auth!r}')
    url = _url(f"{where}url", entry.get("url", _globus_url(environ) if auth == "globus" else None))
    token_file = _path(f"{where}token_file", entry.get("token_file"), home)
    ca, verified = _path(f"{where}ca", entry.get("ca"), home), True
    if ca is None and auth == "globus":
        ca, verified = _globus_trust(environ)
    prove = entry.get("prove", True)
    if not isinstance(prove, bool):
        raise ValueError(f"{where}prove must be true or false, not {prove!r}")  # noqa: TRY004 - wrong text
    return ServiceSettings(name, url, auth, token_file, prove=prove, ca=ca, verified=verified)


def _globus_url(environ: Mapping[str, str]) -> str:
    """Returns the address of Globus Compute in an environment of Globus; an unknown one counts as none."""
    environment = environ.get(ENVIRONMENT_VARIABLE, "")
    if environment == "local":
        return GLOBUS_LOCAL_URL
    if environment == "preview":
        return "https://compute.api.preview.globus.org"
    if environment in ("sandbox", "integration", "test", "staging"):
        return f"https://compute.api.{environment}.globuscs.info"
    return GLOBUS_URL


def _globus_trust(environ: Mapping[str, str]) -> tuple[Path | None, bool]:
    """Returns the authorities that globus-sdk was told to believe, and whether it is to ask for any."""
    said = environ.get(VERIFY_VARIABLE, "1")
    if said.lower() in _YES + _NO:
        return None, said.lower() in _YES
    return Path(said).expanduser(), True


def _path(what: str, text: object, home: Home) -> Path | None:
    if text is None:
        return None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(f"{what} must be a path, not {text!r}")
    return home.root / Path(text).expanduser()


def _url(what: str, url: object) -> str:
    if not isinstance(url, str) or not re.match(r"https?://[^/\s?#]+[^\s?#]*\Z", url):
        raise ValueError(f"{what} must be an http or https address, not {url!r}")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(f"{what} must hold no user and no password; the token goes into token_file")
    try:
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"{what} {url!r}: {error}") from error
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"{what} {url!r}: the token would be sent in the clear; use https")
    return url.rstrip("/")


def _alias(name: str, entry: dict[str, Any], services: Mapping[str, ServiceSettings]) -> Alias:
    where = f"[endpoints.{name}] "
    if name == LOCAL:
        raise ValueError(f"{where}{LOCAL!r} is the endpoint of this interpreter; choose another name")
    _check_keys(where, entry, _ENDPOINT_KEYS)
    service = entry.get("service", LOCAL)
    if not isinstance(service, str) or service not in services:
        raise ValueError(f"{where}service {service!r} is none of: {', '.join(sorted(services))}")
    try:
        return Alias(service, UUID(entry["id"]))
    except KeyError:
        raise ValueError(f"{where}needs an id") from None
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"{where}id must be a UUID, not {entry['id']!r}") from None


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
