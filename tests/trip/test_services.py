"""Whole trips to a service of somebody else: behind TLS, by each way to name it, as a group's service is."""

from __future__ import annotations

from calendar import isleap
from urllib.parse import urlsplit

import globus_sdk
import pytest
from own_home import own_home
from wires import Authority, tls_before, tls_front

from compute_nb import Client, Executor
from compute_nb.config import ServiceSettings
from compute_nb.errors import AccessRefused, ComputeError, EndpointNotFound, ServiceUnreachable
from compute_nb.home import Home

WAIT_S = 60


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def theirs():
    """The service of somebody else, with an endpoint."""
    with own_home() as home:
        client = Client()
        yield home, client, Executor("local", client).endpoint_id


@pytest.fixture(scope="module")
def broker_port(theirs):
    return urlsplit(theirs[1].get_result_amqp_url()["connection_url"]).port


@pytest.fixture(scope="module")
def tls_port(broker_port, authority):
    with tls_before(broker_port, authority.context("localhost")) as port:
        yield port


@pytest.fixture(scope="module")
def front(theirs, authority, tls_port):
    with tls_front(theirs[1].web_service_address, authority.context("localhost"), tls_port) as one:
        yield one


@pytest.fixture
def home(theirs, front, authority, tmp_path, monkeypatch):
    """A home that knows that service as `lab`, and the endpoint as `gpu`."""
    their_home, _, endpoint_id = theirs
    one = Home(tmp_path / "home").prepare()
    monkeypatch.setenv("COMPUTE_NB_HOME", str(one.root))
    one.config_file.write_text(
        f"""
        [services.lab]
        url = "{front.url}"
        token_file = "{their_home.token_file}"
        ca = "{authority.file}"
        [endpoints.gpu]
        service = "lab"
        id = "{endpoint_id}"
        """
    )
    return one


@pytest.mark.parametrize("name", ["gpu", "lab:gpu", "{id}", "lab:{id}", "lab:{name}"])
def test_each_name_finds_the_endpoint_behind_tls(home, theirs, front, name):
    _, client, endpoint_id = theirs
    own_name = client.get_endpoint_metadata(endpoint_id)["name"]
    with Executor(name.format(id=endpoint_id, name=own_name)) as executor:
        assert executor.submit(isleap, 2028).result(WAIT_S)
        assert executor.endpoint_id == endpoint_id
    assert f"/v3/endpoints/{endpoint_id}/submit" in front.paths
    assert not home.service_file.exists()


def test_the_port_of_the_broker_can_be_another(home, theirs, front, tls_port, monkeypatch):
    monkeypatch.setattr(front, "broker", "localhost:9")
    with Executor("gpu", amqp_port=tls_port) as executor:
        assert executor.submit(isleap, 2028).result(WAIT_S)


def test_a_broker_that_shows_another_certificate_ends_the_wait(
    home, theirs, front, authority, broker_port, monkeypatch
):
    with tls_before(broker_port, authority.context("lab.example")) as port:
        monkeypatch.setattr(front, "broker", f"localhost:{port}")
        with Executor("gpu", amqp_port=port) as executor:
            future = executor.submit(isleap, 2028)
            with pytest.raises(ComputeError, match=r"the broker at localhost:\d+ .* for another name"):
                future.result(WAIT_S)


def test_a_service_that_is_not_believed_is_sent_nothing(home, front):
    home.config_file.write_text(home.config_file.read_text().replace("ca = ", "# ca = "))
    front.paths.clear()
    with pytest.raises(ComputeError, match="is not signed by an authority"):
        Executor("gpu").submit(isleap, 2028)
    assert front.paths == []


def test_an_authorizer_makes_the_whole_trip(theirs, front, authority):
    their_home, client, endpoint_id = theirs
    authorizer = globus_sdk.AccessTokenAuthorizer(their_home.token_file.read_text().strip())
    plain = ServiceSettings("plain", client.web_service_address)
    behind = ServiceSettings("behind", front.url, ca=authority.file)
    for service in (plain, behind, "local"):
        with Executor(endpoint_id, Client(authorizer=authorizer, service=service)) as executor:
            assert executor.submit(isleap, 2028).result(WAIT_S)


def test_a_service_that_is_away_hides_no_other(home, theirs, tmp_path):
    token = tmp_path / "token"
    token.write_text("t")
    token.chmod(0o600)
    text = home.config_file.read_text()
    away = f'[services.away]\nurl = "https://127.0.0.1:9"\ntoken_file = "{token}"\n'
    home.config_file.write_text(away + text)
    with Executor(theirs[2]) as executor:
        assert executor.submit(isleap, 2028).result(WAIT_S)
    with pytest.raises(ServiceUnreachable, match=r"is not known where one could ask, but: .*127.0.0.1:9"):
        Executor("no-such-name").submit(isleap, 2028)
    with pytest.raises(ServiceUnreachable):
        Executor("away:no-such-name").submit(isleap, 2028)
    with pytest.raises(EndpointNotFound, match="did you mean 'gpu'"):
        Executor("lab:gpuu").submit(isleap, 2028)
    with pytest.raises(ComputeError, match="no service is called 'moon'"):
        Executor("moon:gpu").submit(isleap, 2028)


def test_globus_is_not_asked_before_somebody_logs_in(home, monkeypatch):
    for name in ("GLOBUS_COMPUTE_CLIENT_ID", "GLOBUS_COMPUTE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EndpointNotFound):
        Executor("no-such-name").submit(isleap, 2028)
    with pytest.raises(AccessRefused, match="nobody can answer here"):
        Executor("globus:4b116d3c-1703-4f8f-9f6f-39921e5864df").submit(isleap, 2028)
