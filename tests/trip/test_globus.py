"""Whole trips through each Globus login: tokens by `tiny_auth`, tasks by a plain service of ours."""

from __future__ import annotations

import builtins
import concurrent.futures
import logging
import time
from collections.abc import Iterator

import globus_sdk
import pytest
from globus_sdk.globus_app import GlobusAppConfig
from globus_sdk.token_storage import MemoryTokenStorage
from own_home import lab
from tiny_auth import CODE, COMPUTE, SECRET, TinyAuth
from tiny_compute import TinyCompute, tiny_compute

from compute_nb import Client, Executor, login
from compute_nb.errors import AccessRefused, SubmitRefused
from compute_nb.home import Home
from compute_nb.local import find_service
from compute_nb.serialize import ComputeSerializer, PureSourceTextInspect

CLIENT_ID = "8c5a1f6e-1111-4222-8333-944455566677"
SOURCE = ComputeSerializer(PureSourceTextInspect())
WAIT_S = 60


def double(x):
    return x * 2


def triple(x):
    return x * 3


def fail(reason):
    raise ValueError(reason)


@pytest.fixture(scope="module")
def theirs() -> Iterator[Home]:
    with lab(plain=True) as one:
        yield one


@pytest.fixture
def auth(monkeypatch) -> Iterator[TinyAuth]:
    one = TinyAuth()
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", one.url)
    monkeypatch.setenv("GLOBUS_SDK_ENVIRONMENT", "local")
    yield one
    one.close()


@pytest.fixture
def globus(theirs, auth, tmp_path, monkeypatch) -> Iterator[TinyCompute]:
    """Globus, as a home that knows no other service sees it."""
    info = find_service(theirs)
    home = Home(tmp_path / "home").prepare()
    monkeypatch.setenv("COMPUTE_NB_HOME", str(home.root))
    for name in (login.ID_VARIABLE, login.SECRET_VARIABLE, "GLOBUS_SDK_VERIFY_SSL"):
        monkeypatch.delenv(name, raising=False)
    with tiny_compute(info.url, info.token, auth) as front:
        home.config_file.write_text(f'[services.globus]\nurl = "{front.url}"\n')
        yield front
    login._logins.close()


@pytest.fixture
def person(monkeypatch) -> list[str]:
    """Somebody who enters the code; the list has what they were asked."""
    asked: list[str] = []

    def answer(prompt=""):
        asked.append(prompt)
        return CODE

    monkeypatch.setattr(builtins, "input", answer)
    return asked


def make_the_trip(executor: Executor, client: Client) -> None:
    """Takes tasks there and back in every way that a user has."""
    with executor:
        assert executor.submit(double, 21).result(WAIT_S) == 42
        assert isinstance(executor.submit(fail, "no").exception(WAIT_S), ValueError)
        assert list(executor.map(double, range(20), timeout=WAIT_S)) == [2 * n for n in range(20)]
        found = Executor(client=client).reload_tasks(executor.task_group_id)
        assert sum(f.exception() is None for f in found) == 21
    function_id = client.register_source_code("def f(x):\n    return x + 1\n", "f")
    batch = client.create_batch()  # its group has no queue
    for n in range(5):
        batch.add(function_id, (n,))
    answer = client.batch_run("lab", batch)
    with Executor(client=client, task_group_id=answer["task_group_id"]) as again:
        futures = again.reload_tasks()
        done = {f.result() for f in concurrent.futures.as_completed(futures, WAIT_S)}
    assert done == set(range(1, 6))


def trip(client: Client | None = None) -> None:
    asker = client or Client(service="globus")
    # All requests count as large: what is tried is the way, not the pace.
    where = "globus:lab" if client is None else "lab"
    make_the_trip(Executor(where, client, api_burst_limit=1, serializer=SOURCE), asker)


def test_a_person_logs_in_and_tasks_go_there_and_back(globus, auth, person):
    trip()
    assert [grant for grant, _ in auth.asked] == ["authorization_code"]
    assert len(person) == 1
    assert set(globus.askers) <= set(auth.good)


def test_client_credentials_take_tasks_there_and_back(globus, auth, monkeypatch):
    monkeypatch.setenv(login.ID_VARIABLE, CLIENT_ID)
    monkeypatch.setenv(login.SECRET_VARIABLE, SECRET)
    trip()
    assert auth.asked == [("client_credentials", COMPUTE)]


def test_an_authorizer_takes_tasks_there_and_back(globus, auth):
    token = auth.tokens(CLIENT_ID, "client_credentials", {"scope": COMPUTE})["access_token"]
    trip(Client(authorizer=globus_sdk.AccessTokenAuthorizer(token)))
    assert set(globus.askers) == {token}


def test_an_app_takes_tasks_there_and_back(globus, auth):
    config = GlobusAppConfig(token_storage=MemoryTokenStorage())
    with globus_sdk.ClientApp("mine", client_id=CLIENT_ID, client_secret=SECRET, config=config) as app:
        trip(Client(app=app))
    assert {grant for grant, _ in auth.asked} == {"client_credentials"}


def test_a_token_that_was_taken_back_amid_the_trip_is_renewed(globus, auth, person):
    with Executor("globus:lab", api_burst_limit=1, serializer=SOURCE) as executor:
        assert executor.submit(double, 1).result(WAIT_S) == 2
        auth.good.clear()
        assert executor.submit(double, 2).result(WAIT_S) == 4
    assert [grant for grant, _ in auth.asked] == ["authorization_code", "refresh_token"]
    assert len(person) == 1


def test_without_a_good_token_nothing_is_accepted(globus, auth):
    client = Client(authorizer=globus_sdk.AccessTokenAuthorizer("made-up"))
    with pytest.raises(AccessRefused, match="'made-up' is no token for Compute"):
        Executor("lab", client).submit(double, 1)
    assert globus.askers == []


# -- another login, as the service wants it


def test_a_service_that_wants_another_login_gets_it(globus, auth, person, capsys):
    client = Client(service="globus")
    assert client.get_endpoint_status("lab")["status"] == "online"
    globus.want(session_message="Use your account of the lab", session_required_single_domain=["lab.example"])
    capsys.readouterr()
    assert client.get_endpoint_status("lab")["status"] == "online"
    said = capsys.readouterr().out
    assert "session_required_single_domain=lab.example" in said
    assert "Use+your+account+of+the+lab" in said
    assert [grant for grant, _ in auth.asked] == ["authorization_code"] * 2
    assert len(person) == 2


def test_an_executor_asks_before_it_submits(globus, auth, person):
    with Executor("globus:lab", api_burst_limit=1, serializer=SOURCE) as executor:
        assert executor.submit(double, 1).result(WAIT_S) == 2
        globus.want(session_required_mfa=True)
        assert executor.submit(triple, 4).result(WAIT_S) == 12  # a function that is to be registered
        globus.want(session_required_mfa=True)
        with pytest.raises(SubmitRefused, match=r"none was accepted: .* asks for another login"):
            executor.submit(double, 3).result(WAIT_S)  # no thread of ours asks a person
        assert len(person) == 2
        assert executor.submit(double, 4).result(WAIT_S) == 8
        assert len(person) == 3


def test_client_credentials_are_shown_again_without_a_person(globus, auth, monkeypatch):
    monkeypatch.setenv(login.ID_VARIABLE, CLIENT_ID)
    monkeypatch.setenv(login.SECRET_VARIABLE, SECRET)
    with Executor("globus:lab", api_burst_limit=1, serializer=SOURCE) as executor:
        assert executor.submit(double, 1).result(WAIT_S) == 2
        globus.want(required_scopes=[COMPUTE])
        assert executor.submit(double, 2).result(WAIT_S) == 4
    assert [grant for grant, _ in auth.asked] == ["client_credentials"] * 2


def test_an_authorizer_is_left_as_it_is(globus, auth):
    token = auth.tokens(CLIENT_ID, "client_credentials", {"scope": COMPUTE})["access_token"]
    client = Client(authorizer=globus_sdk.AccessTokenAuthorizer(token))
    client.get_endpoints()
    globus.want(session_required_mfa=True)
    with pytest.raises(AccessRefused, match="log in again"):
        client.get_endpoints()


def test_a_service_that_is_never_content_is_asked_twice(globus, auth, person):
    client = Client(service="globus")
    client.get_endpoints()
    globus.want(session_required_mfa=True)
    globus._too_old = 10**6
    with pytest.raises(AccessRefused, match="asks for another login at Globus"):
        client.get_endpoints()
    assert len(person) == 2


# -- the pace


def test_small_requests_of_client_and_executor_keep_one_pace(globus, auth, monkeypatch, caplog):
    monkeypatch.setenv(login.ID_VARIABLE, CLIENT_ID)
    monkeypatch.setenv(login.SECRET_VARIABLE, SECRET)
    caplog.set_level(logging.INFO, "compute_nb")
    client = Client(service="globus")
    function_id = client.register_source_code("def f(x):\n    return x + 1\n", "f")
    settings = {"api_burst_limit": 4, "api_burst_window_s": 4, "serializer": SOURCE}
    pace, began = client.reach.pace, time.monotonic()
    pace._clock = lambda: began  # however long the four take
    with Executor("globus:lab", **settings) as executor:
        for n in range(3):
            assert executor.submit(double, n).result(WAIT_S) == 2 * n
        client.run(1, endpoint_id="lab", function_id=function_id)
        assert "limits small requests" not in caplog.text
        fourth_at = time.monotonic()
        assert executor.submit(double, 5).result(WAIT_S) == 10
        assert time.monotonic() - fourth_at > 1.0
        assert "limits small requests" in caplog.text


def test_the_client_waits_its_turn_too(globus, auth, monkeypatch):
    monkeypatch.setenv(login.ID_VARIABLE, CLIENT_ID)
    monkeypatch.setenv(login.SECRET_VARIABLE, SECRET)
    client = Client(service="globus")
    function_id = client.register_source_code("def f(x):\n    return x + 1\n", "f")
    pace = client.reach.pace
    pace._clock = lambda: time.monotonic() - 3.8
    last_at = time.monotonic() - 3.8
    assert [pace.take_turn(1) for _ in range(4)] == [0] * 4
    pace._clock = time.monotonic
    client.run(1, endpoint_id="lab", function_id=function_id)
    assert time.monotonic() - last_at > 4.0
    assert Client(service="local").reach.pace is None
