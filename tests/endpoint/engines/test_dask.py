"""The engine on a Dask scheduler that somebody else has started."""

import http.client
import pickle

import distributed
import pytest

from compute_nb.endpoint.engines.dask import _plugins
from compute_nb.tasks import Outcome

ONCE = (
    "def die(path):\n    import os, time\n    with open(path, 'a') as file:\n        file.write('x')\n"
    "    os.kill(os.getppid(), 9)\n    time.sleep(60)\n"
)


@pytest.fixture
def scheduler(tmp_path):
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        local_directory=str(tmp_path / "theirs"),
    ) as cluster:
        yield cluster


def test_an_address_is_used_and_left_running(fresh, scheduler, tmp_path):
    rig = fresh("dask", dask_address=scheduler.scheduler_address)
    assert rig.values(rig.submit("def double(x):\n    return 2 * x\n", *range(20))) == [*range(0, 40, 2)]
    assert scheduler.scheduler.allowed_failures == 3  # as it was: only tasks of ours have one life
    path = tmp_path / "begun"
    assert rig.failure(ONCE, str(path)).outcome is Outcome.DIED
    assert path.read_text() == "x"
    rig.engine.stop()
    rig.stop = lambda: None
    assert scheduler.scheduler.status is distributed.Status.running


def test_what_a_lost_worker_had_not_begun_begins_elsewhere(fresh, tmp_path):
    source = (
        "def mark(path, dies):\n    import os, time\n    with open(path, 'a') as file:\n"
        "        file.write('x')\n    if dies:\n        os.kill(os.getppid(), 9)\n        time.sleep(60)\n"
    )
    rig = fresh("dask")
    learnt = [((str(tmp_path / f"learnt{n}"), False), {}) for n in range(40)]
    rig.values(rig.submit(source, *learnt))  # that they are short: they go in chunks now
    paths = [tmp_path / f"task{n}" for n in range(40)]
    results = rig.results(rig.submit(source, *[((str(path), path is paths[0]), {}) for path in paths]))
    assert [one.outcome for one in results] == [Outcome.DIED, *[Outcome.SUCCESS] * 39]
    assert {path.read_text() for path in paths} == {"x"}


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_who_has_no_key_can_not_use_the_cluster_of_an_endpoint(fresh, scheme):
    rig = fresh("dask")
    assert rig.call("def f():\n    return 1\n") == 1
    address = rig.engine._pool._cluster.scheduler_address
    with pytest.raises((OSError, TypeError, RuntimeError)):
        distributed.Client(address.replace("tls", scheme), timeout=2)
    assert pages(rig) == {"scheduler": [], "worker": []}


PAGES = ("/health", "/status", "/metrics", "/info/main/workers.html", "/json/identity.json")


def pages(rig):
    """The web pages that scheduler and a worker of an endpoint's own cluster show."""
    cluster = rig.engine._pool._cluster
    (worker, *_) = cluster.scheduler_info["workers"].values()
    ports = {"scheduler": cluster.scheduler.http_server.port, "worker": worker["services"]["dashboard"]}
    return {who: [page for page in PAGES if answer(port, page) != 404] for who, port in ports.items()}


def test_web_pages_of_the_cluster_are_there_if_its_owner_wants_them(fresh):
    rig = fresh("dask", dask_dashboard=True)
    assert rig.call("def f():\n    return 1\n") == 1
    assert all("/health" in shown for shown in pages(rig).values())


def answer(port, page):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    link.request("GET", page)
    status = link.getresponse().status
    link.close()
    return status


def test_a_scheduler_that_is_not_there_fails_tasks_with_its_address(fresh, monkeypatch):
    monkeypatch.setattr("compute_nb.endpoint.engines.dask.CONNECT_S", 0.3)
    rig = fresh("dask", dask_address="tcp://127.0.0.1:9")
    result = rig.failure("def f():\n    return 1\n")
    assert result.outcome is Outcome.ERROR
    assert "tcp://127.0.0.1:9" in result.data
    assert "has not begun" in result.data


def test_what_is_sent_to_a_scheduler_is_text():
    """A pickled class would hold the bytecode of this Python, which another one can't run."""
    for plugin in _plugins():
        again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(plugin))))
        assert again.name == plugin.name
