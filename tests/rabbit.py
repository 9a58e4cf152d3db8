"""A RabbitMQ of the tests' own: its node, ports, folders and users; nothing of the machine's is touched."""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import trustme
from own_ports import free_ports

from compute_nb.service.config import RabbitOptions

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_S = 300
# The kernel ends what is started so together with this process, also after a kill -9 of the tests.
WITH_US = ("setpriv", "--pdeathsig", "KILL")

CONFIG = """
listeners.tcp.1 = 127.0.0.1:{amqp}
listeners.ssl.1 = 127.0.0.1:{amqps}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/cert.pem
ssl_options.keyfile = {folder}/key.pem
management.tcp.ip = 127.0.0.1
management.tcp.port = {admin}
management.ssl.ip = 127.0.0.1
management.ssl.port = {admins}
management.ssl.cacertfile = {folder}/ca.pem
management.ssl.certfile = {folder}/cert.pem
management.ssl.keyfile = {folder}/key.pem
default_user = {user}
default_pass = {password}
default_user_tags.administrator = true
loopback_users = none
log.file = {folder}/rabbit.log
log.console = false
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
"""


def missing() -> str | None:
    """Says why there is no RabbitMQ; None if there is one."""
    if not SERVER.exists() or shutil.which("epmd") is None:
        return f"no {SERVER}: install Debian's rabbitmq-server (make system)"
    return None


@dataclass(frozen=True)
class Vhost:
    """A virtual host of its own for one test, and the user that owns it.

    Attributes:
        broker: AMQP address with user and password.
        admin: Management address with user and password.
        options: What a service is told, to have it as its broker.
    """

    name: str
    broker: str
    admin: str
    options: RabbitOptions


class RabbitMQ:
    """One node, made by `start`; ended by `stop`, or with this process.

    Attributes:
        amqp_port: Where it listens, also after a restart.
        admin_port: Of the management API.
        amqps_port: With TLS, by a certificate for `localhost`.
        admins_port: Likewise.
        ca: The authority of that certificate.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = free_ports(6)
        self.amqp_port, self.amqps_port, self.admin_port, self.admins_port = ports[:4]
        self._dist_port, self._epmd_port = ports[4:]
        self.ca = folder / "ca.pem"
        self.user, self.password = "tests", secrets.token_hex(8)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it, also again; returns once both ports answer."""
        (self.folder / "home").mkdir(exist_ok=True)
        (self.folder / "plugins").write_text("[rabbitmq_management].\n")
        (self.folder / "rabbitmq.conf").write_text(
            CONFIG.format(
                amqp=self.amqp_port,
                amqps=self.amqps_port,
                admin=self.admin_port,
                admins=self.admins_port,
                user=self.user,
                password=self.password,
                folder=self.folder,
            )
        )
        if not self.ca.exists():
            self._certify()
        environment = os.environ | self.environment
        if self._epmd is None:
            command = [*WITH_US, "epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port)]
            self._epmd = subprocess.Popen(command, env=environment)
        self._node = subprocess.Popen(
            [*WITH_US, str(SERVER)],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._await_started(self._node)

    def stop(self) -> None:
        """Ends it in order: what is durable is there after the next `start`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it by -9."""
        self._end(signal.SIGKILL)

    def wipe(self) -> None:
        """Forgets all that it ever held, users and virtual hosts too; it must be ended."""
        shutil.rmtree(self.folder / "mnesia", ignore_errors=True)

    def close(self) -> None:
        """Ends it with all that was started for it; its folder is of no more use."""
        self._end(signal.SIGKILL)
        if self._epmd is not None:
            self._epmd.terminate()
            self._epmd.wait(START_S)
            self._epmd = None

    def control(self, *words: str) -> str:
        """Runs `rabbitmqctl` with these words, for what the management API can't do."""
        done = subprocess.run(
            [str(SERVER.with_name("rabbitmqctl")), *words],
            env=os.environ | self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def pid(self) -> int:
        """Of the node that runs."""
        assert self._node is not None
        return self._node.pid

    @property
    def admin(self) -> str:
        """The management address of the administrator, with user and password."""
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.admin_port}"

    def url(self, vhost: str = "/", user: str | None = None, password: str | None = None) -> str:
        """An AMQP address, of the administrator unless told otherwise."""
        who = f"{user or self.user}:{quote(password or self.password, safe='')}"
        return f"amqp://{who}@127.0.0.1:{self.amqp_port}/{quote(vhost, safe='')}"

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Asks the management API as administrator; `path` is what follows `/api/`."""
        link = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=START_S)
        try:
            login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
            link.request(method, f"/api/{path}", None if body is None else json.dumps(body), headers)
            answer = link.getresponse()
            text = answer.read()
        finally:
            link.close()
        assert answer.status < 300, f"{method} {path}: {answer.status} {text[:500]!r}"
        return json.loads(text) if text else None

    @contextmanager
    def vhost(self) -> Iterator[Vhost]:
        """An empty virtual host until the block ends: tests share the node and see nothing of each other."""
        name = f"v{secrets.token_hex(6)}"
        self.make_vhost(name)
        try:
            yield Vhost(name, self.url(name), self.admin, self._options(name))
        finally:
            self.call("DELETE", f"vhosts/{name}")

    def _options(self, vhost: str) -> RabbitOptions:
        password = self.folder / "password"
        password.write_text(f"{self.password}\n")
        return RabbitOptions(
            f"amqp://{self.user}@127.0.0.1:{self.amqp_port}/{vhost}",
            f"http://127.0.0.1:{self.admin_port}",
            password_file=str(password),
        )

    def make_vhost(self, name: str) -> None:
        """Makes a virtual host, unless it is there, and lets the administrator in."""
        self.call("PUT", f"vhosts/{name}", {})
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.call("PUT", f"permissions/{name}/{self.user}", everything)

    def _certify(self) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        authority.cert_pem.write_to_path(self.ca)
        certificate.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")
        certificate.private_key_pem.write_to_path(self.folder / "key.pem")

    @property
    def environment(self) -> dict[str, str]:
        folder = self.folder
        return {
            "HOME": str(folder / "home"),
            "RABBITMQ_NODENAME": f"cnb{self.amqp_port}@localhost",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # The script then becomes the node, instead of standing beside it: signals reach the right one.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _await_started(self, node: subprocess.Popen[str]) -> None:
        """Reads what it says until it says that it is up, or ends."""
        guard = threading.Timer(START_S, node.kill)
        guard.start()
        try:
            said = list[str]()
            for line in _lines(node.stdout):
                said.append(line)
                if "completed with" in line:
                    return
            raise AssertionError(f"RabbitMQ did not start: {''.join(said)[-2000:]}")
        finally:
            guard.cancel()

    def _end(self, number: signal.Signals) -> None:
        node, self._node = self._node, None
        if node is not None:
            node.send_signal(number)
            node.wait(START_S)
            if node.stdout is not None:
                node.stdout.close()


def _lines(stream: IO[str] | None) -> Iterator[str]:
    assert stream is not None
    yield from stream
