"""This module is the home folder, and the services and endpoint aliases that its config.toml names.

docs/services.md has the keys and the variables. This module reads files and environment variables, makes
folders, and never touches the network. What a name means at a service is asked by `compute_nb.places`.
"""

from __future__ import annotations

import difflib
import os
import re
import secrets
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from compute_nb.errors import ComputeError
from compute_nb.loopback import is_loopback
from compute_nb.proof import Prove

LOCAL = "local"
GLOBUS = "globus"
GLOBUS_URL = "https://compute.api.globus.org"
GLOBUS_LOCAL_URL = "http://localhost:5000"

HOME_VARIABLE = "COMPUTE_NB_HOME"
URL_VARIABLE = "COMPUTE_NB_SERVICE_URL"
TOKEN_VARIABLE = "COMPUTE_NB_TOKEN"
ENVIRONMENT_VARIABLE = "GLOBUS_SDK_ENVIRONMENT"
VERIFY_VARIABLE = "GLOBUS_SDK_VERIFY_SSL"

# Locks and SQLite's shared memory can't be trusted there, and another host may run from the same home.
_NETWORK = re.compile(
    r"(nfs|nfs4|cifs|smb\w*|lustre|gpfs|beegfs|afs|afpfs|ceph|panfs|orangefs|glusterfs|webdav"
    r"|fuse\.(sshfs|glusterfs|ceph.*|beegfs.*|gcsfuse|s3fs|rclone))$"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")

_TOP_KEYS = ("default_endpoint", "endpoints", "services")
_SERVICE_KEYS = ("url", "auth", "token_file", "ca", "prove")
_ENDPOINT_KEYS = ("id", "service")
_YES, _NO = ("y", "yes", "t", "true", "on", "1"), ("n", "no", "f", "false", "off", "0")


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
    def globus_file(self) -> Path:
        """The tokens of Globus logins, kept by globus-sdk; the same for all hosts of the user."""
        return self.root / "globus.db"

    @property
    def store_file(self) -> Path:
        """The service's SQLite file."""
        return self.state / "store.db"

    @property
    def store_mark(self) -> Path:
        """The URL of the database that the service keeps its state in, if it is not `store_file`."""
        return self.state / "store.url"

    @property
    def habits_file(self) -> Path:
        """What the service was told when it was started last."""
        return self.state / "habits.json"

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


def read_private(path: Path, what: str) -> str:
    """Returns the text of a file that only this user may read, without the white space around it.

    Args:
        what: What it holds, for errors.

    Raises:
        ComputeError: It can't be read, is empty, or others may read it.
    """
    try:
        with path.open(encoding="ascii") as file:
            about = os.fstat(file.fileno())
            text = file.read().strip()
    except (OSError, UnicodeError) as error:
        raise ComputeError(f"{what} can't be read: {error}") from error
    # What belongs to somebody else (a mounted secret, say) can't be mended by this user.
    if os.name == "posix" and about.st_uid == os.getuid() and about.st_mode & 0o077:
        raise ComputeError(
            f"{what} is in {path}, which others may read (mode {about.st_mode & 0o777:o}): "
            f"`chmod 600 {path}`, and take a new token if somebody may have seen it"
        )
    if not text:
        raise ComputeError(f"{what} can't be read: {path} is empty")
    return text


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
        if not _NAME.match(name) or _is_uuid(name):
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
