"""The Globus login, against an Auth service of our own: tokens got, kept, renewed, ended; people asked."""

from __future__ import annotations

import builtins
import os
import pty
import sqlite3
import stat
import subprocess
import sys
import time

import globus_sdk
import pytest
from globus_sdk.globus_app import GlobusAppConfig
from jupyter_client.manager import start_new_kernel
from small_server import TOKEN, small_server
from tiny_auth import CODE, COMPUTE, SECRET, TinyAuth

from compute_nb import globus_app, login
from compute_nb.bearer import Authorizer, Token
from compute_nb.client import Client
from compute_nb.config import GLOBUS, ServiceSettings, Settings
from compute_nb.errors import AccessRefused, ComputeError, ServiceUnreachable
from compute_nb.home import Home
from compute_nb.login import Login

CLIENT_ID = "8c5a1f6e-1111-4222-8333-944455566677"


@pytest.fixture
def auth(monkeypatch):
    one = TinyAuth()
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", one.url)
    monkeypatch.setenv("GLOBUS_SDK_ENVIRONMENT", "local")
    yield one
    one.close()


@pytest.fixture
def service():
    """A service that takes Globus tokens, on loopback, where it can't prove anything."""
    with small_server() as one:
        one.answers["GET", "/v2/version"] = 200, {"compute_nb": {"version": 1}}
        one.answers["GET", "/v2/endpoints"] = 200, []
        yield one


@pytest.fixture
def home(tmp_path, monkeypatch, service):
    one = Home(tmp_path / "home").prepare()
    monkeypatch.setenv("COMPUTE_NB_HOME", str(one.root))
    for name in (login.ID_VARIABLE, login.SECRET_VARIABLE, "GLOBUS_SDK_VERIFY_SSL"):
        monkeypatch.delenv(name, raising=False)
    one.config_file.write_text(f'[services.globus]\nurl = "{service.url}"\n')
    yield one
    login._logins.close()


@pytest.fixture
def credentials(monkeypatch, home, auth):
    monkeypatch.setenv(login.ID_VARIABLE, CLIENT_ID)
    monkeypatch.setenv(login.SECRET_VARIABLE, SECRET)


@pytest.fixture
def person(monkeypatch, auth):
    """Somebody who enters the code; `asked` has what they were asked."""
    asked = []

    def answer(prompt=""):
        asked.append(prompt)
        return CODE if len(asked) > 1 else ""

    monkeypatch.setattr(builtins, "input", answer)
    return asked


def grants(auth):
    return [grant for grant, _ in auth.asked]


# -- client credentials


def test_client_credentials_get_one_token_for_all(credentials, auth, service, home):
    client = Client(service="globus")
    assert auth.asked == []
    assert client.get_endpoints() == []
    assert service.headers["Authorization"] == "Bearer access-1"
    assert client.get_endpoints() == []
    assert Client(service="globus").get_endpoints() == []
    assert auth.asked == [("client_credentials", COMPUTE)]
    assert service.proofs == 0


def test_tokens_are_kept_for_the_next_process_and_private(credentials, auth, service, home):
    Client(service="globus").get_endpoints()
    assert stat.S_IMODE(home.globus_file.stat().st_mode) == 0o600
    with sqlite3.connect(home.globus_file) as store:
        rows = store.execute("SELECT namespace, resource_server FROM token_storage").fetchall()
    store.close()
    assert rows == [(f"clientprofile/local/{CLIENT_ID}", "funcx_service")]
    login._logins.close()
    Client(service="globus").get_endpoints()
    assert len(auth.asked) == 1


def test_a_token_about_to_expire_is_renewed_before_it_is_used(credentials, auth, service):
    auth.lifetime_s = 30
    client = Client(service="globus", do_version_check=False)
    client.get_endpoints()
    auth.lifetime_s = 3600
    client.get_endpoints()
    last = service.headers["Authorization"]
    client.get_endpoints()
    assert service.headers["Authorization"] == last == f"Bearer access-{len(auth.asked)}"


def test_a_401_gets_one_new_token_and_one_more_try(credentials, auth, service):
    client = Client(service="globus", do_version_check=False)
    service.answers["GET", "/v2/endpoints"] = [(401, {"message": "gone"}), (200, [])]
    assert client.get_endpoints() == []
    assert service.headers["Authorization"] == "Bearer access-2"
    service.answers["GET", "/v2/endpoints"] = 401, {"message": "not you"}
    before = len(service.asked)
    with pytest.raises(AccessRefused, match="not you"):
        client.get_endpoints()
    assert len(service.asked) - before == 2


def test_a_post_that_got_a_401_is_sent_again_too(credentials, auth, service):
    client = Client(service="globus", do_version_check=False)
    service.answers["POST", "/v3/functions"] = [(401, {}), (200, {"function_uuid": "f"})]
    assert client.register_source_code("def f(): ...", "f") == "f"


def test_wrong_credentials_are_one_clear_line(credentials, auth, monkeypatch):
    monkeypatch.setenv(login.SECRET_VARIABLE, "wrong-one")
    with pytest.raises(AccessRefused, match="check GLOBUS_COMPUTE_CLIENT_ID and") as caught:
        Client(service="globus").get_endpoints()
    assert "invalid_client" in str(caught.value)
    assert "wrong-one" not in str(caught.value)


def test_a_secret_without_an_id_is_a_value_error(home, monkeypatch):
    monkeypatch.setenv(login.SECRET_VARIABLE, SECRET)
    with pytest.raises(ValueError, match="CLIENT_SECRET is set and GLOBUS_COMPUTE_CLIENT_ID is not"):
        Client(service="globus")


def test_an_auth_service_that_is_away_is_out_of_reach(credentials, monkeypatch):
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", "http://127.0.0.1:9/")
    monkeypatch.setattr("globus_sdk.transport.requests.time.sleep", lambda _: None)
    with pytest.raises(ServiceUnreachable, match=r"Globus Auth \(http://127.0.0.1:9/\) does not answer"):
        Login(Home.default()).header()


def test_secrets_go_over_https_only(credentials, monkeypatch):
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", "http://auth.example/")
    with pytest.raises(ComputeError, match="would get secrets in the clear"):
        Client(service="globus").get_endpoints()
    with pytest.raises(ComputeError, match="use https"):
        Client(service=ServiceSettings("g", "http://compute.example", "globus")).get_endpoints()


def test_an_environment_that_nobody_knows_is_named(credentials, monkeypatch):
    monkeypatch.delenv("GLOBUS_SDK_SERVICE_URL_AUTH")
    with pytest.raises(ComputeError, match="GLOBUS_SDK_ENVIRONMENT is 'local'"):
        Client(service="globus").get_endpoints()


# -- people


def test_a_person_is_asked_once_and_the_login_stays(home, auth, service, person, capsys):
    client = Client(service="globus")
    client.get_endpoints()
    assert person == ["Code from Globus: "] * 2  # an empty line is no code
    said = capsys.readouterr().out
    assert f"{auth.url}v2/oauth2/authorize?" in said
    assert globus_app.NATIVE_CLIENT_ID in said
    assert "offline" in said
    assert grants(auth) == ["authorization_code"]
    login._logins.close()
    Client(service="globus").get_endpoints()
    assert grants(auth) == ["authorization_code"]
    assert stat.S_IMODE(home.globus_file.stat().st_mode) == 0o600


def test_an_expired_token_is_refreshed_without_asking(home, auth, service, person):
    auth.lifetime_s = 30
    Client(service="globus", do_version_check=False).get_endpoints()
    assert grants(auth)[0] == "authorization_code"
    assert set(grants(auth)[1:]) == {"refresh_token"}
    assert len(person) == 2


def test_a_login_that_has_ended_is_said_and_then_asked_for_again(home, auth, service, person):
    client = Client(service="globus", do_version_check=False)
    client.get_endpoints()
    auth.answer = 400, {"error": "invalid_grant", "error_description": "refresh token has ended"}
    service.answers["GET", "/v2/endpoints"] = [(401, {}), (200, [])]
    with pytest.raises(AccessRefused, match=r"refresh token has ended.*%compute login"):
        client.get_endpoints()
    auth.answer = None
    client.get_endpoints()
    assert grants(auth).count("authorization_code") == 2


def test_other_threads_ask_nobody(home, auth, person):
    with pytest.raises(AccessRefused, match="nobody is logged in at Globus"):
        Login.of(home).header()
    assert person == []


@pytest.mark.parametrize("kind", ["pipe", "kernel"])
def test_where_nobody_can_answer_there_is_an_error_and_no_wait(home, auth, monkeypatch, kind):
    if kind == "kernel":  # what a kernel's input does where the front end takes no questions

        def no_front_end(prompt=""):
            raise NotImplementedError("this frontend does not support input requests")

        monkeypatch.setattr(builtins, "input", no_front_end)
    with pytest.raises(AccessRefused, match="`compute-nb login` in a terminal first, or set GLOBUS_COMPUTE"):
        Client(service="globus").get_endpoints()
    assert auth.asked == []


def test_a_wrong_code_is_told(home, auth, monkeypatch):
    monkeypatch.setattr(builtins, "input", lambda _: "wrong")
    with pytest.raises(AccessRefused, match="invalid_grant"):
        Client(service="globus").get_endpoints()


def test_somebody_else_has_to_wait_for_a_logout(home, auth, person):
    login.login()
    auth.user = CLIENT_ID
    with pytest.raises(AccessRefused, match="somebody else is logged in at Globus here: `compute-nb logout`"):
        login.login(force=True)
    login.logout()
    assert login.login().startswith("logged in")


def test_looking_for_an_endpoint_asks_nobody_who_they_are(home, auth, service, person, monkeypatch):
    from compute_nb.places import Places

    assert list(Places(home, lambda reach, question: None)._reaches(None)) == []
    monkeypatch.setenv(login.SECRET_VARIABLE, SECRET)
    assert list(Places(home, lambda reach, question: None)._reaches(None)) == []
    monkeypatch.delenv(login.SECRET_VARIABLE)
    login.login()
    assert [r.settings.name for r in Places(home, lambda r, q: None)._reaches(None)] == [GLOBUS]


def test_logout_revokes_and_forgets(home, auth, service, person):
    client = Client(service="globus")
    client.get_endpoints()
    assert Login.of(home).there
    client.logout()
    assert {"access-1", "access-2", f"refresh:{COMPUTE}"} <= set(auth.revoked)
    assert not Login.of(home).there
    assert login.logout() == "nobody was logged in at Globus"
    client.get_endpoints()
    assert len(person) == 3


def test_logout_without_a_network_forgets_all_the_same(home, auth, service, person, monkeypatch):
    login.login()

    def away(self, *args, **kwargs):
        raise globus_sdk.NetworkError("away", OSError("no route"))

    monkeypatch.setattr(globus_sdk.NativeAppAuthClient, "oauth2_revoke_token", away)
    assert login.logout().startswith("logged out here; Globus could not be told (NetworkError)")
    assert not Login.of(home).there


def test_a_spoiled_file_of_tokens_is_named(home, auth, person):
    home.globus_file.write_bytes(b"no database" * 100)
    with pytest.raises(ComputeError, match=r"globus.db can't be read or written: .*delete that file"):
        login.login()


# -- apps, authorizers, tokens


def test_an_app_of_the_caller_logs_in_its_own_way(home, auth, service, monkeypatch):
    monkeypatch.setattr(builtins, "input", lambda _: CODE)
    storage = globus_sdk.token_storage.MemoryTokenStorage()
    config = GlobusAppConfig(token_storage=storage, request_refresh_tokens=True)
    with globus_sdk.UserApp("mine", client_id=CLIENT_ID, config=config) as app:
        client = Client(app=app)
        assert client.app is app
        client.get_endpoints()
        assert service.headers["Authorization"].startswith("Bearer access-")
        assert not home.globus_file.exists()
        client.logout()
        assert auth.revoked


def test_an_authorizer_of_the_caller_is_used_as_it_is(home, service):
    client = Client(authorizer=globus_sdk.AccessTokenAuthorizer("globus-token"))
    client.get_endpoints()
    assert service.headers["Authorization"] == "Bearer globus-token"
    with pytest.warns(UserWarning, match="logout does nothing: its authorizer is the caller's own"):
        client.logout()


def test_an_authorizer_with_our_token_speaks_to_our_service(home, service):
    authorizer = globus_sdk.AccessTokenAuthorizer(TOKEN)
    assert Client(authorizer=authorizer).reach.own
    client = Client(authorizer=authorizer, service=ServiceSettings("ours", service.url))
    client.get_endpoints()
    assert service.proofs == 1
    other = globus_sdk.AccessTokenAuthorizer("globus-token")
    stranger = Client(authorizer=other, service=ServiceSettings("ours", service.url))
    with pytest.raises(AccessRefused, match="has not the form cnb_"):
        stranger.get_endpoints()


def test_a_token_in_a_file_needs_no_login(home, service):
    file = home.root / "globus.token"
    file.write_text("from-a-file\n")
    file.chmod(0o600)
    home.config_file.write_text(f'[services.globus]\nurl = "{service.url}"\ntoken_file = "globus.token"\n')
    client = Client(service="globus")
    client.get_endpoints()
    assert service.headers["Authorization"] == "Bearer from-a-file"
    with pytest.warns(UserWarning, match="takes a token"):
        client.logout()
    with pytest.raises(ComputeError, match="takes a token, not a Globus login"):
        login.login()


def test_what_an_authorizer_does_wrong_is_told():
    class Odd:
        def __init__(self, said):
            self.said = said

        def get_authorization_header(self):
            if isinstance(self.said, Exception):
                raise self.said
            return self.said

    for said in (None, "Basic abc", OSError("away")):
        with pytest.raises(AccessRefused):
            Authorizer(Odd(said)).header()
    for said in ("Bearer ", "Bearer two words", "Bearer new\nline"):
        with pytest.raises(ComputeError, match=r"empty|not one word") as caught:
            Authorizer(Odd(said)).header()
        assert "two words" not in str(caught.value)
    assert not Authorizer(Odd("Bearer x")).renew("Bearer x")


def test_a_token_is_not_shown():
    assert "secret" not in repr(Token("secret"))
    with pytest.raises(ComputeError) as caught:
        Token("sec ret", "the token of 'lab'")
    assert "sec ret" not in str(caught.value)


# -- settings of Globus


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        (None, "https://compute.api.globus.org"),
        ("production", "https://compute.api.globus.org"),
        ("local", "http://localhost:5000"),
        ("preview", "https://compute.api.preview.globus.org"),
        ("test", "https://compute.api.test.globuscs.info"),
        ("no such", "https://compute.api.globus.org"),
    ],
)
def test_the_environment_of_globus_chooses_its_address(tmp_path, environment, url):
    environ = {"GLOBUS_SDK_ENVIRONMENT": environment} if environment else {}
    assert Settings.load(Home(tmp_path), environ).service(GLOBUS).url == url


@pytest.mark.parametrize(
    ("said", "ca", "verified"),
    [
        ("1", None, True),
        ("True", None, True),
        ("no", None, False),
        ("0", None, False),
        ("/x.pem", "/x.pem", True),
    ],
)
def test_globus_sdks_variable_counts_for_globus_only(tmp_path, said, ca, verified):
    settings = Settings.load(Home(tmp_path), {"GLOBUS_SDK_VERIFY_SSL": said})
    globus = settings.service(GLOBUS)
    assert (globus.ca and str(globus.ca), globus.verified) == (ca, verified)
    assert settings.service("local").verified


# -- a notebook

CELL = """
from compute_nb.login import login
print(login())
"""


def test_in_a_cell_the_person_is_asked_and_without_one_there_is_an_error(home, auth):
    manager, client = start_new_kernel()
    said = []

    def hear(message):
        said.append(message["content"].get("text") or message["content"].get("evalue") or "")

    def answer(message):
        said.append(message["content"]["prompt"])
        client.input(CODE)

    try:
        alone = client.execute_interactive(CELL, allow_stdin=False, output_hook=hear, timeout=60)
        assert alone["content"]["ename"] == "AccessRefused"
        assert "the question for the code got no answer" in alone["content"]["evalue"]
        asked = {"allow_stdin": True, "stdin_hook": answer, "output_hook": hear, "timeout": 60}
        assert client.execute_interactive(CELL, **asked)["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    assert "Code from Globus: " in said
    assert "logged in at Globus: a user" in "".join(said)


# -- the command line


def run(*words, **others):
    command = [sys.executable, "-m", "compute_nb.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **others)


def test_login_and_logout_by_command(credentials, auth, home):
    done = run("login")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (f"logged in at Globus: client {CLIENT_ID}; tokens are in {home.globus_file}\n")
    assert run("logout").stdout == f"logged out: client {CLIENT_ID}\n"
    assert auth.revoked == ["access-1"]


def test_login_in_a_terminal_asks(home, auth):
    near, far = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "compute_nb.cli", "login"], stdin=far, stdout=far, stderr=far, close_fds=True
    )
    os.close(far)
    said = b""
    while b"Code from Globus:" not in said:
        said += os.read(near, 1000)
    os.write(near, f"{CODE}\n".encode())
    until = time.monotonic() + 30
    while b"logged in at Globus: a user" not in said and time.monotonic() < until:
        said += os.read(near, 1000)
    assert process.wait(60) == 0
    os.close(near)
    assert Login.of(home).there


def test_what_goes_wrong_by_command_is_one_line(home, auth):
    for words, environ in (
        (("login",), {}),
        (("login",), {login.SECRET_VARIABLE: SECRET}),
        (("login", "--service", "moon"), {}),
        (("login", "--service", "local"), {}),
    ):
        done = run(*words, env={**os.environ, **environ}, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert done.stderr.startswith("Error: ")


def test_without_the_extra_one_line_names_it(home, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "globus_sdk.py").write_text("raise ImportError('No module named globus_sdk')")
    done = run("login", env={**os.environ, "PYTHONPATH": str(hidden)})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "pip install 'compute-nb[globus]'" in done.stderr


def test_globus_sdk_is_imported_only_for_a_login():
    code = (
        "import sys, compute_nb.executor, compute_nb.client, compute_nb.login\n"
        "compute_nb.client.Client()\n"
        "print('globus_sdk' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
