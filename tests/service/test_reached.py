"""Where the service is reached: TLS of its own, a proxy with TLS in front of it, and under which names."""

import http.client
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pika
import pytest
import trustme
from filelock import FileLock

from compute_nb.cli import control
from compute_nb.connection import Connection
from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.service import ports
from compute_nb.service.address import addresses, check
from compute_nb.service.config import ServiceConfig
from tests.reverse_proxy import reverse_proxy
from tests.service.conftest import run_service

VERSION = "/v2/version?service=all"
WAIT_S = 60


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def write(authority, folder, name="server", hosts=("localhost", "127.0.0.1")):
    """A certificate with its key as PEM files, and the authority's."""
    made = authority.issue_cert(*hosts)
    cert, key, ca = folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(ca))
    return cert, key, ca


def free_port():
    sock = ports.listen("127.0.0.1", None, "--port")
    with sock:
        return sock.getsockname()[1]


def served_certificate(port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    with context.wrap_socket(sock) as link:
        return link.getpeercert(binary_form=True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"host": "0.0.0.0"}, "--tls-cert"),
        ({"host": "192.0.2.1"}, "--tls-cert"),
        ({"host": "0.0.0.0", "public_url": "https://lab.example"}, "--tls-cert"),
        ({"tls_cert": Path("c.pem")}, "go together"),
        ({"tls_key": Path("k.pem")}, "go together"),
        ({"host": "0.0.0.0", "tls_cert": Path("c"), "tls_key": Path("k")}, "--public-url"),
        ({"public_url": "http://lab.example"}, "in the clear"),
        ({"public_url": "https://lab.example"}, "--amqp-public-url"),
        ({"public_url": "https://lab.example", "amqp_public_url": "amqp://lab.example:5672"}, "in the clear"),
        ({"public_url": "https://lab.example/path"}, "nothing more"),
        ({"public_url": "https://me:secret@lab.example"}, "nothing more"),
        ({"public_url": "lab.example"}, "--public-url must be"),
        ({"public_url": "https://[x"}, "--public-url must be"),
        ({"public_url": "https://lab.example:99999"}, "--public-url must be"),
        ({"amqp_public_url": "https://lab.example"}, "--amqp-public-url must be"),
    ],
)
def test_what_would_be_unsafe_or_useless_is_refused_in_one_line(home, settings, says):
    with pytest.raises(ComputeError, match=says) as raised:
        check(ServiceConfig(home, **settings))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "url", "amqp", "names"),
    [
        ({}, "http://127.0.0.1:8000", "amqp://127.0.0.1:5000", {"127.0.0.1:8000", "localhost:8000"}),
        ({"host": "::1"}, "http://[::1]:8000", "amqp://[::1]:5000", {"[::1]:8000"}),
        (
            {"public_url": "https://lab.example/", "amqp_public_url": "amqps://mq.lab.example"},
            *("https://lab.example", "amqps://mq.lab.example:5671", {"lab.example", "lab.example:443"}),
        ),
        (
            {
                "host": "0.0.0.0",
                "tls_cert": Path("c"),
                "tls_key": Path("k"),
                "public_url": "https://lab.example:8000",
            },
            *("https://lab.example:8000", "amqps://lab.example:5000", {"lab.example:8000", "127.0.0.1:8000"}),
        ),
        (
            {"host": "192.0.2.1", "tls_cert": Path("c"), "tls_key": Path("k")},
            *("https://192.0.2.1:8000", "amqps://192.0.2.1:5000", {"192.0.2.1:8000"}),
        ),
    ],
)
def test_what_clients_are_told(home, settings, url, amqp, names):
    config = ServiceConfig(home, **settings)
    reached = addresses(config, check(config), 8000, 5000)
    assert (reached.url, reached.amqp_url) == (url, amqp)
    assert names <= set(reached.host_names)
    assert "lab.example:8000" in names or "lab.example:8000" not in reached.host_names


@pytest.mark.parametrize("mischief", ["missing", "garbage", "other key", "password"])
def test_a_certificate_that_can_not_be_used_says_why(home, authority, tmp_path, mischief):
    cert, key, _ = write(authority, tmp_path)
    if mischief == "missing":
        key.unlink()
    elif mischief == "garbage":
        cert.write_text("x")
    elif mischief == "other key":
        key.write_bytes(authority.issue_cert("localhost").private_key_pem.bytes())
    else:
        command = [
            "openssl",
            "rsa",
            "-aes128",
            "-passout",
            "pass:x",
            "-in",
            str(key),
            "-out",
            str(tmp_path / "e.key"),
        ]
        if subprocess.run(["openssl", "ec", *command[2:]], capture_output=True, check=False).returncode:
            subprocess.run(command, capture_output=True, check=True)
        key = tmp_path / "e.key"
    with pytest.raises(ComputeError, match="--tls-cert"), run_service(home, tls_cert=cert, tls_key=key):
        pass


def test_off_loopback_everything_goes_by_tls_and_a_renewed_certificate_is_taken(authority, tmp_path, heard):
    home = Home(tmp_path / "home").prepare()
    cert, key, ca = write(authority, tmp_path)
    port = free_port()
    settings = {"host": "0.0.0.0", "port": port, "public_url": f"https://localhost:{port}", "idle_s": 0.4}
    with held(home), run_service(home, tls_cert=cert, tls_key=key, **settings) as service:
        assert service.url == f"https://localhost:{port}"
        connection = Connection(service.url, service.token, ca=ca)
        assert "compute_nb" in connection.get(VERSION)
        told = connection.get("/v2/get_amqp_result_connection_url")["connection_url"]
        connection.close()
        with pytest.raises(ComputeError, match="certificate"):
            Connection(service.url, service.token).get(VERSION)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            service.call("GET", "/v2/version")
        assert urlsplit(told).scheme == "amqps"
        assert urlsplit(told).hostname == "localhost"
        amqp = pika.URLParameters(told)
        amqp.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=str(ca)), "localhost")
        pika.BlockingConnection(amqp).close()
        plain = pika.URLParameters(told.replace("amqps://", "amqp://"))
        plain.stack_timeout = plain.socket_timeout = 3
        with pytest.raises(pika.exceptions.AMQPError):
            pika.BlockingConnection(plain)
        assert control.ask(home, "GET", "/v3/compute_nb/status")["url"] == service.url
        status = command_line(home, "service", "status", "--json")
        assert json.loads(status.stdout)["url"] == service.url

        before = served_certificate(port)
        (tmp_path / "half.pem").write_text(cert.read_text()[:500])
        os.replace(tmp_path / "half.pem", cert)
        heard.wait_for("is not taken")
        assert served_certificate(port) == before
        renewed, its_key, _ = write(authority, tmp_path, "renewed")
        os.replace(its_key, key)
        os.replace(renewed, cert)
        heard.wait_for("was renewed")
        assert served_certificate(port) != before
        assert control.ask(home, "GET", "/v3/compute_nb/status")["url"] == service.url
        other = Home(tmp_path / "other").prepare()
        facts = json.loads(home.service_file.read_text())
        other.service_file.write_text(json.dumps({**facts, "tls_sha256": "0" * 64}))
        other.token_file.write_text(service.token)
        with held(other), pytest.raises(ComputeError, match="another certificate"):
            control.ask(other, "GET", "/v3/compute_nb/status")


def held(home):
    """The lock that a service's process holds, by which others see that it runs."""
    return FileLock(home.service_lock, mode=0o600)


class Heard(logging.Handler):
    """Waits for a line of the log."""

    def __init__(self):
        super().__init__()
        self._lines, self._news = [], threading.Condition()

    def emit(self, record):
        with self._news:
            self._lines.append(record.getMessage())
            self._news.notify()

    def wait_for(self, words):
        with self._news:
            assert self._news.wait_for(lambda: any(words in line for line in self._lines), WAIT_S)


@pytest.fixture
def heard(caplog):
    handler = Heard()
    logger = logging.getLogger("compute_nb.service.certificate")
    logger.addHandler(handler)
    caplog.set_level(logging.INFO, logger.name)
    yield handler
    logger.removeHandler(handler)


def command_line(home, *words):
    environ = {**os.environ, "COMPUTE_NB_HOME": str(home.root)}
    command = [sys.executable, "-m", "compute_nb.cli", *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_behind_a_proxy_its_public_name_counts_and_what_the_proxy_says_of_clients_does_not(
    authority, tmp_path
):
    home = Home(tmp_path / "home").prepare()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cert, key, ca = write(authority, tmp_path)
    context.load_cert_chain(cert, key)
    with reverse_proxy(context) as proxy:
        amqp = "amqps://mq.lab.example:5671"
        public = {"public_url": proxy.url, "amqp_public_url": amqp}
        with held(home), run_service(home, port=free_port(), **public) as service:
            assert service.url == proxy.url
            facts = json.loads(home.service_file.read_text())
            proxy.behind = (urlsplit(facts["local_url"]).hostname, urlsplit(facts["local_url"]).port)
            for keeps_host in (True, False):
                proxy.keeps_host = keeps_host
                connection = Connection(proxy.url, service.token, ca=ca)
                assert "compute_nb" in connection.get(VERSION)
                fields = {"function_name": "f", "function_code": "5\n01\nxy"}
                assert connection.post("/v3/functions", fields)["function_uuid"]
                told = connection.get("/v2/get_amqp_result_connection_url")["connection_url"]
                assert told.rpartition("@")[2].startswith("mq.lab.example:5671/")
                with pytest.raises(ComputeError, match="own host"):
                    connection.get("/v3/compute_nb/status")
                connection.close()
            proxy.keeps_host = True
            for headers in (
                {"Host": "evil.example"},
                {"Host": "evil.example", "X-Forwarded-Host": "localhost"},
            ):
                assert through(proxy, ca, headers, service.token) == 421
            spoofed = {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "evil.example"}
            assert through(proxy, ca, spoofed, service.token) == 200
            assert through(proxy, ca, spoofed, service.token, "/v3/compute_nb/status") == 403
            assert control.ask(home, "GET", "/v3/compute_nb/status")["url"] == proxy.url


def through(proxy, ca, headers, token, path="/v2/version"):
    context = ssl.create_default_context(cafile=str(ca))
    link = http.client.HTTPSConnection("localhost", proxy.server_port, timeout=WAIT_S, context=context)
    link.request("GET", path, headers={"Authorization": f"Bearer {token}", **headers})
    status = link.getresponse().status
    link.close()
    return status


def test_the_command_line_refuses_before_it_listens(tmp_path):
    home = Home(tmp_path / "home")
    done = command_line(home, "service", "start", "--host", "0.0.0.0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: the service does not listen on '0.0.0.0' in the clear")
    assert done.stderr.count("\n") == 1
