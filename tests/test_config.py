"""What config.toml and the environment say."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from uuid import UUID

import pytest

from compute_nb.config import Settings
from compute_nb.errors import ComputeError
from compute_nb.home import Home

ENDPOINT = "4b116d3c-1703-4f8f-9f6f-39921e5864df"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


def configure(home: Home, text: str) -> Home:
    home.config_file.write_text(text)
    return home


def test_no_file_means_the_built_in_services(home):
    settings = Settings.load(home, {})
    assert list(settings.services) == ["local", "globus"]
    assert settings.default_service.url is None
    assert settings.default_endpoint == "local"
    assert settings.only is None


def test_services_and_aliases_are_read(home):
    configure(
        home,
        f"""
        default_endpoint = "gpu"
        [services.lab]
        url = "https://lab.example.org/"
        token_file = "lab.token"
        [endpoints.gpu]
        service = "lab"
        id = "{ENDPOINT}"
        """,
    )
    settings = Settings.load(home, {})
    assert list(settings.services) == ["local", "lab", "globus"]
    assert settings.service("lab").url == "https://lab.example.org"
    assert settings.service("lab").token_file == home.root / "lab.token"
    assert settings.aliases["gpu"].endpoint_id == UUID(ENDPOINT)
    assert settings.default_endpoint == "gpu"


def test_the_environment_names_the_only_service(home):
    configure(home, '[services.lab]\nurl = "https://lab.example.org"\n')
    environ = {"COMPUTE_NB_SERVICE_URL": "http://127.0.0.1:9", "COMPUTE_NB_TOKEN": "t"}
    settings = Settings.load(home, environ)
    assert [s.url for s in settings.services.values()] == ["http://127.0.0.1:9"]
    assert settings.default_service.read_token() == "t"
    assert "'t'" not in repr(settings)


def test_a_service_address_without_a_token_is_refused(home):
    with pytest.raises(ComputeError, match="COMPUTE_NB_TOKEN is not"):
        Settings.load(home, {"COMPUTE_NB_SERVICE_URL": "http://127.0.0.1:9"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = = 1", "can't be read"),
        ("[services]\nlab = 1", r"\[services.NAME\]"),
        ('[services.lab]\nurl = "ftp://x"', r"\[services.lab\] url must be"),
        ('[services.lab]\nurl = "https://x"\nauth = "magic"', "auth must be"),
        ('[services.lab]\nurl = "https://x"\ntoken_file = 3', "token_file must be a path"),
        ('[services.local]\nurl = "https://x"', "choose another name"),
        ("[endpoints.gpu]\n", "needs an id"),
        ('[endpoints.gpu]\nid = "7"', "must be a UUID"),
        ("[endpoints.gpu]\nid = 7", "must be a UUID"),
        (f'[endpoints.gpu]\nservice = "moon"\nid = "{ENDPOINT}"', "'moon' is none of"),
        ("default_endpoint = 3", "default_endpoint must be"),
        ('default_endpoint = "moon:x"', "default_endpoint: service 'moon' is none of"),
        ('[service.lab]\nurl = "https://x"', "service is no key; did you mean services?"),
        ('[services.lab]\nurl = "https://x"\ntokenfile = "t"', r"\[services.lab\] tokenfile .*token_file\?"),
        ('[services.lab]\nurl = "https://x"\nsecret = "t"', "secret is no key; there are: url, auth"),
        ('[endpoints.gpu]\nuuid = "7"', r"\[endpoints.gpu\] uuid is no key"),
        ('[services.lab]\nurl = "https://x"\nca = true', r"\[services.lab\] ca must be a path"),
        ('[services.lab]\nurl = "https://x"\ntoken_file = ""', "token_file must be a path"),
        ('[services.lab]\nurl = "http://lab.example.org"', r"\[services.lab\] url .*use https"),
        ('[services.lab]\nurl = "https://me:secret@x"', r"\[services.lab\] url must hold no user"),
        ('[services.lab]\nurl = "https://x:99999"', r"\[services.lab\] url .*out of range"),
        ('[services.lab]\nurl = "https://x?y=1"', r"\[services.lab\] url must be"),
        ("[services.lab]\n", r"\[services.lab\] url must be"),
        ('[services."a:b"]\nurl = "https://x"', r"\[services.a:b\]: a name has"),
        (f'[endpoints."{ENDPOINT}"]\nid = "{ENDPOINT}"', "is no UUID"),
        (f'[endpoints.local]\nid = "{ENDPOINT}"', "choose another name"),
        (f'[endpoints.gpu]\nservice = 3\nid = "{ENDPOINT}"', "service 3 is none of"),
        ("[services]\nlab = {}\n[services.lab]\n", "can't be read"),
    ],
)
def test_a_wrong_entry_is_named_with_its_file(home, text, said):
    with pytest.raises(ComputeError, match=said) as caught:
        Settings.load(configure(home, text), {})
    assert "config.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_an_unknown_service_lists_those_there_are(home):
    with pytest.raises(ComputeError, match="configured are: globus, local"):
        Settings.load(home, {}).service("moon")


def test_a_missing_token_is_named(home):
    configure(home, '[services.lab]\nurl = "https://x"')
    with pytest.raises(ComputeError, match="set token_file under"):
        Settings.load(home, {}).service("lab").read_token()
    with pytest.raises(ComputeError, match=r"can't be read: .*token"):
        Settings.load(home, {}).service("local").read_token()


def test_reading_settings_loads_nothing_heavy():
    code = (
        "import sys, compute_nb.config as c; from compute_nb.home import Home; from pathlib import Path\n"
        "c.Settings.load(Home(Path('/nonexistent')), {})\n"
        "assert not {'requests', 'pika', 'dill'} & set(sys.modules)\n"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


def test_tokens_that_others_may_read_are_refused(home):
    file = configure(home, '[services.lab]\nurl = "https://x"\ntoken_file = "lab.token"').root / "lab.token"
    lab = Settings.load(home, {}).service("lab")
    file.write_text("secret\n")
    for mode in (0o644, 0o640):
        file.chmod(mode)
        with pytest.raises(ComputeError, match=rf"mode {mode:o}\): `chmod 600 {file}`") as caught:
            lab.read_token()
        assert "secret" not in str(caught.value)
    file.chmod(0o400)
    assert lab.read_token() == "secret"
    file.chmod(0o600)
    for text, said in (("", "is empty"), ("\u00e4", "can't be read")):
        file.write_text(text)
        with pytest.raises(ComputeError, match=said):
            lab.read_token()


def test_globus_is_there_and_may_be_changed(home):
    globus = Settings.load(home, {}).service("globus")
    assert (globus.url, globus.auth, globus.needs_login) == ("https://compute.api.globus.org", "globus", True)
    configure(home, '[services.globus]\nca = "own.pem"\n[services.two]\nauth = "globus"\ntoken_file = "t"')
    settings = Settings.load(home, {"GLOBUS_SDK_VERIFY_SSL": "0"})
    assert settings.service("globus").ca == home.root / "own.pem"
    assert settings.service("globus").verified
    assert settings.service("two").url == "https://compute.api.globus.org"
    assert not settings.service("two").needs_login


def test_services_are_asked_in_the_order_of_the_file(home):
    configure(home, '[services.globus]\n[services.b]\nurl = "https://b"\n[services.a]\nurl = "https://a"')
    assert list(Settings.load(home, {}).services) == ["local", "globus", "b", "a"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://lab.example.org", "COMPUTE_NB_SERVICE_URL .*use https"),
        ("lab.example.org", "COMPUTE_NB_SERVICE_URL must be"),
    ],
)
def test_a_wrong_variable_is_named_and_the_file_is_not(home, url, said):
    with pytest.raises(ComputeError, match=said) as caught:
        Settings.load(home, {"COMPUTE_NB_SERVICE_URL": url, "COMPUTE_NB_TOKEN": "t"})
    assert "config.toml" not in str(caught.value)
