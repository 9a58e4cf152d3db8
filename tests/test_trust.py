"""TLS on real sockets: who is believed, and what is said where nobody is; proxies on the way there."""

from __future__ import annotations

import ssl
import threading
from contextlib import ExitStack
from urllib.parse import quote_plus

import certifi
import pytest
from small_server import TOKEN, small_server
from wires import Authority, connect_proxy, tls_before

from compute_nb import trust
from compute_nb.amqp import Link, LinkPlan
from compute_nb.connection import Connection
from compute_nb.errors import ComputeError, ServiceUnreachable

WAIT_S = 60


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def server():
    with small_server() as one:
        one.answers["GET", "/v2/x"] = 200, {"ok": 1}
        yield one


@pytest.fixture(autouse=True)
def _no_bundle(monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def ask(port: int, ca=None, host="localhost", **options):
    connection = Connection(f"https://{host}:{port}", TOKEN, ca=ca, **options)
    try:
        return connection.get("/v2/x")
    finally:
        connection.close()


def test_the_authority_of_the_service_is_believed(server, authority):
    with tls_before(server.server_port, authority.context("localhost")) as port:
        assert ask(port, authority.file) == {"ok": 1}
    assert server.headers["Authorization"] == f"Bearer {TOKEN}"
    assert server.proofs == 0


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_the_environment_may_name_the_authority(server, authority, monkeypatch, variable):
    monkeypatch.setenv(variable, str(authority.file))
    with tls_before(server.server_port, authority.context("localhost")) as port:
        assert ask(port) == {"ok": 1}


def test_certifi_and_the_system_are_believed_unless_a_service_has_its_own(authority):
    assert trust.context().cert_store_stats()["x509_ca"] > 50
    assert trust.context(authority.file).cert_store_stats()["x509_ca"] == 1
    for made in (trust.context(), trust.context(authority.file)):
        assert made.check_hostname
        assert made.verify_mode is ssl.CERT_REQUIRED


def refusals(authority, folder):
    return {
        "unknown": (authority.context("localhost"), None, "not signed by an authority that this machine"),
        "other": (
            authority.context("localhost"),
            Authority(folder).file,
            "not signed by the authorities in .*ca.pem",
        ),
        "name": (authority.context("lab.example"), authority.file, "for another name .*'localhost'"),
        "expired": (authority.context("localhost", expired=True), authority.file, "has expired"),
        "self": (authority.self_signed(folder), None, "signed itself: .*name that as `ca`"),
    }


KINDS = ["unknown", "other", "name", "expired", "self"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_certificate_is_one_clear_line_and_gets_no_token(server, authority, tmp_path, kind):
    context, ca, said = refusals(authority, tmp_path)[kind]
    with tls_before(server.server_port, context) as port, pytest.raises(ComputeError, match=said) as caught:
        ask(port, ca)
    assert not isinstance(caught.value, ServiceUnreachable)  # asking again would not help
    assert f"https://localhost:{port} shows a certificate" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.asked == []


def test_the_homes_own_certificate_counts_beside_the_authorities_also_once_renewed(server, tmp_path):
    own, port_of = trust.Own(tmp_path / "service.pem"), {}
    with ExitStack() as stack:
        for name in ("first", "renewed"):
            context, pem = Authority(tmp_path).with_file("localhost")
            port_of[name] = stack.enter_context(tls_before(server.server_port, context)), pem
        port, pem = port_of["first"]
        with pytest.raises(ComputeError, match="neither the one of this home's service nor"):
            ask(port, own)  # there is none yet
        own.file.write_bytes(pem)
        assert ask(port, own) == {"ok": 1}
        with pytest.raises(ComputeError, match="for another name"):
            ask(port, own, host="127.0.0.1")
        later, pem = port_of["renewed"]
        with pytest.raises(ComputeError, match="neither the one of this home's service nor"):
            ask(later, own)
        connection = Connection(f"https://localhost:{later}", TOKEN, ca=own)
        stack.callback(connection.close)
        own.file.write_bytes(pem)
        assert connection.get("/v2/x") == {"ok": 1}
        with pytest.raises(ComputeError, match="not signed by"):
            ask(later)  # nobody else believes it
    assert trust.context(own).cert_store_stats()["x509_ca"] > 50


def test_an_address_is_a_name_too(server, authority):
    context = authority.context("localhost")
    with tls_before(server.server_port, context) as port, pytest.raises(ComputeError, match="another name"):
        ask(port, authority.file, host="127.0.0.1")


def test_checks_end_only_by_name_and_not_in_silence(server, authority):
    context = authority.context("lab.example")
    with tls_before(server.server_port, context) as port, pytest.warns(match="Unverified HTTPS request"):
        assert ask(port, verified=False) == {"ok": 1}


def test_a_server_without_tls_is_told_nothing(server):
    with pytest.raises(ComputeError, match="does not speak TLS on that port"):
        ask(server.server_port)
    assert server.asked == []


def test_a_file_of_no_authorities_is_named(tmp_path):
    with pytest.raises(ComputeError, match=r"in .*/none.pem can't be read: No such file"):
        trust.context(tmp_path / "none.pem")
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(ComputeError, match=r"text.pem can't be read: .*must be a PEM file"):
        trust.context(tmp_path / "text.pem")


# -- proxies


def test_another_host_is_reached_through_the_proxy(server, authority, monkeypatch):
    context = authority.context("compute.example")
    with tls_before(server.server_port, context) as port, connect_proxy(port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:pass@127.0.0.1:{proxy.port}")
        assert ask(443, authority.file, host="compute.example") == {"ok": 1}
        (asked,) = proxy.asked
    assert asked.startswith("CONNECT compute.example:443 ")
    assert "Proxy-Authorization: Basic" in asked
    assert TOKEN not in asked
    assert "Proxy-Authorization" not in server.headers


def test_the_certificate_counts_behind_a_proxy_too(server, authority, monkeypatch):
    with (
        tls_before(server.server_port, authority.context("compute.example")) as port,
        connect_proxy(port) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(ComputeError, match="is not signed by"):
            ask(443, host="compute.example")
        with pytest.raises(ComputeError, match="for another name"):
            ask(443, authority.file, host="other.example")
    assert server.asked == []


def test_loopback_never_goes_through_a_proxy(server, authority, monkeypatch):
    with tls_before(server.server_port, authority.context("localhost")) as port, connect_proxy(port) as proxy:
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert ask(port, authority.file) == {"ok": 1}
        plain = Connection(server.url, TOKEN)
        assert plain.get("/v2/x") == {"ok": 1}
        plain.close()
    assert proxy.asked == []


def test_no_proxy_names_hosts_that_are_reached_directly(server, authority, monkeypatch):
    with tls_before(server.server_port, authority.context("localhost")) as port, connect_proxy(port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "compute.invalid")
        with pytest.raises(ServiceUnreachable, match="did not answer"):
            ask(443, authority.file, host="compute.invalid")
    assert proxy.asked == []


def test_a_proxy_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pass@127.0.0.1:9")
    with pytest.raises(ServiceUnreachable, match="through the proxy of HTTPS_PROXY") as caught:
        ask(443, host="compute.example")
    assert "pass" not in str(caught.value)


# -- brokers


class Owner:
    """A handler that waits for the end."""

    def __init__(self, plan: LinkPlan) -> None:
        self._plan = plan
        self.ended = threading.Event()
        self.error: Exception | None = None

    def plan(self) -> LinkPlan:
        return self._plan

    def on_end(self, error: Exception | None) -> None:
        self.error = error
        self.ended.set()

    def on_open(self, link) -> None: ...
    def on_ready(self, link) -> None: ...
    def on_message(self, link, message) -> None: ...
    def on_confirm(self, link, number, ok) -> None: ...
    def on_down(self, error) -> None: ...


def end_of(plan: LinkPlan) -> Exception | None:
    owner = Owner(plan)
    link = Link(owner, "test")
    link.start()
    assert owner.ended.wait(WAIT_S)
    link.stop()
    return owner.error


@pytest.mark.parametrize("kind", KINDS)
def test_a_broker_of_a_wrong_certificate_gets_no_password(server, authority, tmp_path, kind):
    context, ca, said = refusals(authority, tmp_path)[kind]
    with tls_before(server.server_port, context) as port:
        # Options in the URL, which the service writes, change nothing.
        options = quote_plus(repr({"verify_mode": 0, "cafile": certifi.where()}))
        url = f"amqps://me:word@localhost:{port}/%2F?ssl_options={options}"
        error = end_of(LinkPlan(url, (), ca=ca))
    with pytest.raises(ComputeError, match=said) as caught:
        raise error
    assert f"the broker at localhost:{port} shows a certificate" in str(caught.value)
    assert "word" not in str(caught.value)


def test_an_address_of_no_broker_is_told_without_its_password():
    assert str(end_of(LinkPlan("amqps://me:word@x/%2F?ssl_options=None", ()))) == (
        "the service names a broker by no URL (ValueError)"
    )


def test_a_broker_elsewhere_without_tls_gets_no_password():
    error = end_of(LinkPlan("amqp://me:word@broker.example/%2F", ()))
    assert "broker.example:5672 would get the password in the clear" in str(error)
