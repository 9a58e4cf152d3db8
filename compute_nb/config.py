"""This module is the home folder, and the services and endpoint aliases that its config.toml names.

It reads files and environment variables, makes folders, and never touches the network. What a name
such as `local` or `lab:gpu` means at a service is asked by `compute_nb.session`.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from compute_nb.errors import ComputeError

LOCAL = "local"
GLOBUS = "globus"
GLOBUS_URL = "https://compute.api.globus.org"

HOME_VARIABLE = "COMPUTE_NB_HOME"
URL_VARIABLE = "COMPUTE_NB_SERVICE_URL"
TOKEN_VARIABLE = "COMPUTE_NB_TOKEN"

# Locks and SQLite's shared memory can't be trusted there, and another host may run from the same home.
_NETWORK = re.compile(
    r"(nfs|nfs4|cifs|smb\w*|lustre|gpfs|beegfs|afs|afpfs|ceph|panfs|orangefs|glusterfs|webdav"
    r"|fuse\.(sshfs|glusterfs|ceph.*|beegfs.*|gcsfuse|s3fs|rclone))$"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds everything of one user: configuration, keys, the store, endpoints.

    What belongs to one host stands in `state`, so that a home on a network file system can serve several.
    """

    root: Path

    @classmethod
    def default(cls) -> Home:
        """The folder named by `COMPUTE_NB_HOME`, else the platform's user data folder."""
        named = os.environ.get(HOME_VARIABLE)
        if named:
            return cls(Path(named).expanduser().absolute())
        import platformdirs

        return cls(Path(platformdirs.user_data_dir("compute_nb", appauthor=False)))

    @property
    def config_file(self) -> Path:
        """The user's own settings."""
        return self.root / "config.toml"

    @property
    def state(self) -> Path:
        """What belongs to this host: `hosts/local`, or `hosts/<hostname>` on a network file system."""
        return self.root / "hosts" / _host_folder(self.root)

    @property
    def service_lock(self) -> Path:
        """Locked for the life of the service: the lock is the truth, not a process id."""
        return self.state / "service.lock"

    @property
    def start_lock(self) -> Path:
        """Locked by whoever is starting the service."""
        return self.state / "start.lock"

    @property
    def service_file(self) -> Path:
        """How the running service is reached; written by it once it listens."""
        return self.state / "service.json"

    @property
    def token_file(self) -> Path:
        """The owner's REST token for the service of this home."""
        return self.state / "token"

    @property
    def store_file(self) -> Path:
        """The service's SQLite file."""
        return self.state / "store.db"

    @property
    def service_key(self) -> Path:
        """The secret from which the service derives AMQP passwords."""
        return self.state / "service.key"

    @property
    def stopped_mark(self) -> Path:
        """There after `service stop`: only a submit or `service start` may start the service again."""
        return self.state / "stopped"

    @property
    def service_log(self) -> Path:
        """What the service writes to its standard output and error."""
        return self.state / "service.log"

    def endpoint_dir(self, name: str) -> Path:
        """The folder of the endpoint `name` on this host.

        Raises:
            ComputeError: The name can't be that of a folder.
        """
        if not _NAME.match(name):
            raise ComputeError(
                f"{name!r} can't name an endpoint: use up to 128 letters, digits, '_', '-' and '.', "
                "starting with a letter or digit"
            )
        return self.state / "endpoints" / name

    def prepare(self) -> Home:
        """Makes the folders, for this user only, and returns self.

        Raises:
            ComputeError: A folder can't be made or written.
        """
        try:
            for folder in (self.root, self.root / "hosts", self.state, self.state / "endpoints"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        if not os.access(self.state, os.W_OK | os.X_OK):
            raise self._unwritable("permission denied")
        return self

    def _unwritable(self, why: object) -> ComputeError:
        return ComputeError(
            f"home folder {self.root} can't be written: {why}; set {HOME_VARIABLE} to a folder that can"
        )


@cache
def _host_folder(root: Path) -> str:
    if not _NETWORK.match(_file_system(root)):
        return "local"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", socket.gethostname()) or "host"


def _file_system(path: Path) -> str:
    """The kind of file system that holds `path`, or will when it is made."""
    kinds = _mounts()
    resolved = path.resolve()
    return next((kinds[str(p)] for p in (resolved, *resolved.parents) if str(p) in kinds), "")


def _mounts() -> dict[str, str]:
    """Mount point -> kind of file system."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:  # no Linux
        import psutil

        return {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    fields = (line.split(" ", 3) for line in lines)
    return {mount.replace("\\040", " "): kind for _, mount, kind, _ in fields}


def write_private(path: Path, text: str) -> None:
    """Writes a file that only this user can read, at once or not at all.

    Raises:
        OSError: The folder is missing, full or can't be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """One service that may be asked.

    Attributes:
        url: None for the service of the home itself, which says where it listens.
        token: Given outright (by the environment), else it is read from `token_file`.
        prove: False for one on plain http (loopback) that can't prove itself and gets the token all the same.
    """

    name: str
    url: str | None = None
    auth: Literal["token", "globus"] = "token"
    token_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    prove: bool = True

    def read_token(self) -> str:
        """Returns the token.

        Raises:
            ComputeError: There is none, or its file can't be read.
        """
        if self.token:
            return self.token
        if self.token_file is None:
            raise ComputeError(
                f"service {self.name!r} has no token: set token_file under [services.{self.name}]"
            )
        try:
            return self.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ComputeError(f"the token of service {self.name!r} can't be read: {error}") from error


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
        try:
            return _settings(table, home, os.environ if environ is None else environ)
        except ValueError as error:
            raise ComputeError(f"{home.config_file}: {error}") from error

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


def _settings(table: dict[str, Any], home: Home, environ: Mapping[str, str]) -> Settings:
    services = {LOCAL: ServiceSettings(LOCAL, token_file=home.token_file)}
    for name, entry in _tables(table, "services"):
        services[name] = _service(name, entry, home)
    services.setdefault(GLOBUS, ServiceSettings(GLOBUS, GLOBUS_URL, "globus"))
    aliases = {name: _alias(name, entry, services) for name, entry in _tables(table, "endpoints")}
    default = table.get("default_endpoint", LOCAL)
    if not isinstance(default, str) or not default:
        raise ValueError("default_endpoint must be the name of an endpoint")
    url = environ.get(URL_VARIABLE)
    if not url:
        return Settings(services, aliases, default)
    only = ServiceSettings("environment", _url(URL_VARIABLE, url), token=_token(environ))
    return Settings({only.name: only}, aliases, default, only)


def _token(environ: Mapping[str, str]) -> str:
    token = environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise ValueError(f"{URL_VARIABLE} is set and {TOKEN_VARIABLE} is not: set both or none")
    return token


def _tables(table: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    entries = table.get(key, {})
    if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
        raise ValueError(f"[{key}] must hold tables: [{key}.NAME]")
    return list(entries.items())


def _service(name: str, entry: dict[str, Any], home: Home) -> ServiceSettings:
    where = f"[services.{name}]"
    if name == LOCAL:
        raise ValueError(f"{where}: {LOCAL!r} is the service of this home; choose another name")
    auth = entry.get("auth", "token")
    if auth not in ("token", "globus"):
        raise ValueError(f'{where} auth must be "token" or "globus", not {auth!r}')
    url = _url(f"{where} url", entry.get("url", GLOBUS_URL if auth == "globus" else None))
    prove = entry.get("prove", True)
    if not isinstance(prove, bool):
        raise ValueError(f"{where} prove must be true or false, not {prove!r}")  # noqa: TRY004 - as below
    file = entry.get("token_file")
    if file is None:
        return ServiceSettings(name, url, auth, prove=prove)
    if not isinstance(file, str):
        raise ValueError(f"{where} token_file must be a path")  # noqa: TRY004 - wrong text in a file
    return ServiceSettings(name, url, auth, home.root / Path(file).expanduser(), prove=prove)


def _url(what: str, url: object) -> str:
    if not isinstance(url, str) or not re.match(r"https?://[^/]+", url):
        raise ValueError(f"{what} must be an http or https address, not {url!r}")
    return url.rstrip("/")


def _alias(name: str, entry: dict[str, Any], services: Mapping[str, ServiceSettings]) -> Alias:
    where = f"[endpoints.{name}]"
    service = entry.get("service", LOCAL)
    if service not in services:
        raise ValueError(f"{where} service {service!r} is none of: {', '.join(sorted(services))}")
    try:
        return Alias(service, UUID(entry["id"]))
    except KeyError:
        raise ValueError(f"{where} needs an id") from None
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"{where} id must be a UUID, not {entry['id']!r}") from None
