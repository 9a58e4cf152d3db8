"""This module is the home folder: where each thing of one user lies, on this host and for all hosts."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from compute_nb.errors import ComputeError

HOME_VARIABLE = "COMPUTE_NB_HOME"

# Locks and SQLite's shared memory can't be trusted there, and another host may run from the same home.
_NETWORK = re.compile(
    r"(nfs|nfs4|cifs|smb\w*|lustre|gpfs|beegfs|afs|afpfs|ceph|panfs|orangefs|glusterfs|webdav"
    r"|fuse\.(sshfs|glusterfs|ceph.*|beegfs.*|gcsfuse|s3fs|rclone))$"
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
"""What can name an endpoint, a service or a folder of one."""


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
        """The secret from which the service derives AMQP passwords and the pseudonyms of users."""
        return self.state / "service.key"

    @property
    def service_certificate(self) -> Path:
        """The certificate that the service shows, as PEM; there if it has one."""
        return self.state / "service.pem"

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
        if not NAME.match(name):
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
            if self._may_be_closed():
                self.root.chmod(0o700)
            for folder in (self.root, self.root / "hosts", self.state, self.state / "endpoints"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        if not os.access(self.state, os.W_OK | os.X_OK):
            raise self._unwritable("permission denied")
        return self

    def _may_be_closed(self) -> bool:
        """True if others may look into a folder that is there, and it is nothing but a home of ours.

        A folder with other things in it (`~`, `/tmp`) may be for others too; `hosts` in it is closed anyway.
        """
        if os.name != "posix" or not self.root.is_dir():
            return False
        about = self.root.stat()
        if about.st_uid != os.getuid() or not about.st_mode & 0o077:
            return False
        return self.config_file.exists() or self.state.is_dir() or not any(self.root.iterdir())

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
