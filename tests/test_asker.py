"""A client's asker: what it asks of itself before a question, and which answers it takes."""

import pytest
from small_server import TOKEN, small_server

from compute_nb.asker import Asker
from compute_nb.config import ServiceSettings
from compute_nb.errors import ComputeError, VersionMismatch
from compute_nb.reach import Reach


@pytest.fixture
def server():
    with small_server() as one:
        one.answers["GET", "/v2/version"] = 200, {"compute_nb": {"version": 1}}
        one.answers["GET", "/v2/endpoints"] = 200, []
        yield one


def asker(server, *, check_first=True):
    settings = ServiceSettings("test", server.url, token=TOKEN)
    return Asker(Reach.chosen(settings, None, None), check_first=check_first)


def paths(server):
    return [path.partition("?")[0] for _, path, _ in server.asked]


@pytest.mark.parametrize(("check_first", "before"), [(True, ["/v2/version"]), (False, [])])
def test_the_version_is_asked_before_the_first_question_only(server, check_first, before):
    one = asker(server, check_first=check_first)
    for _ in range(2):
        assert one.ask(lambda c: c.get("/v2/endpoints")) == []
    assert paths(server) == [*before, "/v2/endpoints", "/v2/endpoints"]


def test_a_question_is_not_asked_where_the_version_is_another_until_it_is_ours(server):
    one = asker(server)
    server.answers["GET", "/v2/version"] = 200, {"compute_nb": {"version": 2}}
    for _ in range(2):
        with pytest.raises(VersionMismatch):
            one.ask(lambda c: c.get("/v2/endpoints"))
    assert set(paths(server)) == {"/v2/version"}
    server.answers["GET", "/v2/version"] = 200, {"compute_nb": {"version": 1}}
    assert one.ask(lambda c: c.get("/v2/endpoints")) == []


def test_only_an_object_is_an_object(server):
    with pytest.raises(ComputeError, match="answered with list, not an object"):
        asker(server).object(lambda c: c.get("/v2/endpoints"))


def test_whether_it_is_extended_is_asked_once_and_answers_for_the_check_too(server):
    one = asker(server)
    assert one.is_extended()
    assert one.is_extended()
    assert one.ask(lambda c: c.get("/v2/endpoints")) == []
    assert paths(server) == ["/v2/version", "/v2/endpoints"]
