"""Whole trips to a service that speaks the published protocol only: ours, without its extensions."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator

import psutil
import pytest
from others import other_endpoint
from own_home import lab as running_lab

from compute_nb import Executor
from compute_nb.client import Client
from compute_nb.errors import ComputeError, EndpointNotFound, NotOffered, TaskExecutionFailed, WorkerDied
from compute_nb.future import ComputeFuture
from compute_nb.home import Home
from compute_nb.local import find_service
from compute_nb.serialize import ComputeSerializer, PureSourceTextInspect
from compute_nb.spool import spool_of
from compute_nb.tasks import new_id

RunScript = Callable[..., str]
SOURCE = ComputeSerializer(PureSourceTextInspect())
WAIT_S = 60


def double(x):
    return x * 2


def text(value):
    return str(value)


def fail(reason):
    raise ValueError(reason)


def die():
    import os

    os._exit(3)


def wait_for(path):
    """Runs until somebody writes to a pipe."""
    with open(path) as pipe:
        return pipe.read()


def lab(**settings) -> Executor:
    """An Executor whose functions travel as source: the worker has no tests."""
    return Executor("lab", serializer=SOURCE, **settings)


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with running_lab(plain=True) as one:
        yield one


@pytest.fixture
def executor(home: Home) -> Iterator[Executor]:
    with lab() as one:
        yield one
        one.cancel_all()


@pytest.fixture
def gate(tmp_path) -> Iterator[str]:
    """A pipe whose reader is held until somebody writes."""
    path = str(tmp_path / "gate")
    os.mkfifo(path)
    yield path
    handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    os.close(handle)


def open_gate(path: str) -> None:
    with open(path, "w") as pipe:
        pipe.write("open")


def test_the_service_has_no_extension_for_clients(home: Home, executor: Executor) -> None:
    connection = executor.client.reach.connection
    assert "compute_nb" not in connection.get("/v2/version?service=all")
    for path in ("watch", "cancel", "local"):
        with pytest.raises(ComputeError) as refused:
            connection.post(f"/v3/compute_nb/{path}", {})
        assert refused.value.http_status == 404
    with pytest.raises(ComputeError) as refused:
        connection.get(f"/v3/compute_nb/taskgroup/{new_id()}")
    assert refused.value.http_status == 404
    future = executor.submit(double, 2)
    assert future.result(WAIT_S) == 4
    (stand,) = connection.post("/v2/batch_status", {"task_ids": [future.task_id]})["results"].values()
    assert set(stand) == {"task_id", "status", "completion_t", "result"}
    details = connection.get(f"/v2/endpoints/{executor.endpoint_id}/status")["details"]
    assert "compute_nb" not in details


def test_extension_keys_are_passed_over(executor: Executor) -> None:
    client = executor.client
    function_id = executor.register_function(double)
    mine = str(new_id())
    body = {
        "tasks": {function_id: [client.fx_serializer.pack_call((3,), {})]},
        "compute_nb": {"task_ids": {function_id: [mine]}, "hold": True, "retries": -5},
    }
    answer = client.reach.connection.post(f"/v3/endpoints/{executor.endpoint_id}/submit", body)
    (task_id,) = answer["tasks"][function_id]
    assert task_id != mine


def test_tasks_have_their_id_from_the_service(executor: Executor) -> None:
    future = executor.submit(double, 21)
    assert future.result(WAIT_S) == 42
    executor.wait_accepted(WAIT_S)
    assert future.task_group_id == str(executor.task_group_id)
    found = executor.client.get_task(future.task_id)
    assert found["result"] == 42
    assert executor.task_count_submitted == 1


def test_many_tasks_in_order_and_as_they_end(executor: Executor) -> None:
    assert list(executor.map(double, range(1_500), timeout=WAIT_S)) == [2 * n for n in range(1_500)]
    futures = [executor.submit(double, n) for n in range(50)]
    done = {future.result() for future in concurrent.futures.as_completed(futures, timeout=WAIT_S)}
    assert done == {2 * n for n in range(50)}
    assert len({future.task_id for future in futures}) == 50


def test_a_group_of_more_than_a_request(executor: Executor) -> None:
    function_id = executor.register_function(double)
    futures = executor.submit_many(function_id, [((n,), {}) for n in range(2_100)])
    assert [future.result(WAIT_S) for future in futures] == [2 * n for n in range(2_100)]


def test_several_groups_share_the_connection(home: Home, executor: Executor) -> None:
    assert executor.submit(double, 7).result(WAIT_S) == 14
    before = watchers()
    others = [lab() for _ in range(5)]
    futures = [one.submit(double, n) for n, one in enumerate(others)]
    assert [future.result(WAIT_S) for future in futures] == [0, 2, 4, 6, 8]
    assert len({future.task_group_id for future in futures}) == 5
    assert watchers() <= before  # one of another test may end meanwhile


def watchers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "compute_nb watcher"}


def test_failures_end_their_own_future(executor: Executor) -> None:
    bad, dead, good = executor.submit(fail, "no"), executor.submit(die), executor.submit(double, 1)
    error = bad.exception(WAIT_S)
    assert isinstance(error, ValueError)
    assert isinstance(error, TaskExecutionFailed)
    assert type(dead.exception(WAIT_S)) is WorkerDied
    assert good.result(WAIT_S) == 2


def test_cancel_ends_the_future_here_and_says_so(executor: Executor, gate: str) -> None:
    future = executor.submit(wait_for, gate)
    executor.wait_accepted(WAIT_S)
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError, match="it may still run"):
        future.result()
    open_gate(gate)  # it does
    assert executor.submit(double, 3).result(WAIT_S) == 6
    assert future.cancelled()
    (again,) = [one for one in executor.reload_tasks() if one.task_id == future.task_id]
    assert again.result(WAIT_S) == "open"


def test_what_the_service_lacks_is_said_once(home: Home) -> None:
    with lab(retries=2, walltime=60) as executor:
        with pytest.warns(UserWarning, match="retries and walltime ignored") as said:
            executor.submit(double, 1)
        assert said[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert executor.submit(double, 2).result(WAIT_S) == 4


def test_an_unknown_group_is_a_clear_error(executor: Executor) -> None:
    unknown = new_id()
    with pytest.raises(ComputeError, match=f"knows no task group {unknown}"):
        executor.reload_tasks(unknown)


def test_local_is_an_endpoint_of_that_name(home: Home) -> None:
    with pytest.raises(EndpointNotFound, match="endpoint run"):
        Executor("local").submit(double, 1)


RELOAD = """
import sys
from compute_nb import Executor

with Executor("lab", task_group_id=sys.argv[1]) as executor:
    futures = executor.reload_tasks()
    print(len(futures), flush=True)
    print(sorted(future.result(timeout=60) for future in futures))
"""


def test_a_group_is_reloaded_by_another_process(executor: Executor, gate: str, run_script: RunScript) -> None:
    done = [executor.submit(text, n) for n in range(3)]
    assert [future.result(WAIT_S) for future in done] == ["0", "1", "2"]
    held = executor.submit(wait_for, gate)
    executor.wait_accepted(WAIT_S)
    opener = threading.Timer(1.0, open_gate, [gate])
    opener.start()
    printed = run_script(RELOAD, str(executor.task_group_id)).splitlines()
    assert printed == ["4", "['0', '1', '2', 'open']"]
    # The queue is shared: if the other process had the result, this one has to ask for it.
    executor._destination.session._watcher.ask_about([held.id])
    assert held.result(WAIT_S) == "open"


OTHER = """
import sys, warnings
from compute_nb import Executor

warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught, Executor("other") as executor:
    first = executor.submit(abs, -1)
    executor.wait_accepted(60)
    before = len(caught)
    print(first.result(60), executor.submit(abs, -2).result(60), before, len(caught), caught[0].message)
"""


def test_another_python_is_told_with_the_first_answer(
    home: Home, run_script: RunScript, other_python: str
) -> None:
    version = subprocess.run([other_python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    with other_endpoint("other", other_python):
        told = run_script(OTHER)
    assert told.startswith("1 2 0 1 endpoint ")
    assert f"runs tasks by {version}" in told


KILLED = """
import os, signal, sys
from compute_nb import Executor

with Executor("lab") as executor:
    print(executor.task_group_id, flush=True)
    for number in range(5):
        executor.submit(str, number)
    executor.wait_accepted(timeout=60)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_script_finds_its_tasks_again(home: Home, run_script: RunScript) -> None:
    group = run_script(KILLED, status=-signal.SIGKILL).strip()
    assert run_script(RELOAD, group).splitlines() == ["5", "['0', '1', '2', '3', '4']"]


def test_a_group_without_a_queue_is_asked_for(executor: Executor, gate: str) -> None:
    client = executor.client
    function_id = executor.register_function(wait_for)
    batch = client.create_batch(task_group_id=new_id(), create_websocket_queue=False)
    batch.add(function_id, (gate,))
    body = batch.prepare()
    connection = client.reach.connection
    answer = connection.post(f"/v3/endpoints/{executor.endpoint_id}/submit", body)
    session = executor._destination.session
    (task_id,) = answer["tasks"][function_id]
    future = _named(executor, task_id, answer["task_group_id"])
    session.ask(lambda c: session._watcher.follow(c, future.terms.task_group_id))
    open_gate(gate)
    assert future.result(WAIT_S) == "open"


def _named(executor: Executor, task_id: str, group: str) -> ComputeFuture:
    """Has the session wait for a task of a group whose queue nobody has made."""
    from dataclasses import replace
    from uuid import UUID

    terms = replace(executor._current_terms(), task_group_id=UUID(group))
    future = ComputeFuture(UUID(task_id), terms, executor._destination.session)
    future.sent = True
    executor._destination.session._watcher.add(future)
    return future


def test_a_killed_service_loses_nothing_and_stays_plain(home: Home, executor: Executor, gate: str) -> None:
    done = [executor.submit(double, n) for n in range(20)]
    held = executor.submit(wait_for, gate)
    executor.wait_accepted(WAIT_S)
    killed = psutil.Process(find_service(home).pid)
    killed.kill()
    killed.wait(WAIT_S)  # a request that it has half read is not repeated
    opener = threading.Thread(target=open_gate, args=[gate])
    opener.start()
    more = [executor.submit(double, n) for n in range(20, 40)]
    assert [f.result(WAIT_S) for f in done + more] == [2 * n for n in range(40)]
    assert held.result(WAIT_S) == "open"
    opener.join()
    assert "compute_nb" not in Client().reach.connection.get("/v2/version?service=all")


def test_a_retry_is_refused_and_says_what_to_do(home: Home, executor: Executor) -> None:
    failed = executor.submit(fail, "once")
    assert isinstance(failed.exception(WAIT_S), ValueError)
    with pytest.raises(NotOffered, match="speaks the published protocol only and runs nothing again: submit"):
        executor.retry_tasks([failed])


NOTEBOOK = """
import sys
from IPython.core.interactiveshell import InteractiveShell

ip = InteractiveShell.instance()
ip.user_ns["folder"] = sys.argv[1]

def cell(source):
    ip.run_cell(source).raise_error()

cell("%load_ext compute_nb")
cell('''%%compute lab -m k=[0,1] -n g
import pathlib
tries = pathlib.Path(folder, f"tries {k}")
tries.touch()
tries.write_text(tries.read_text() + "x")
assert len(tries.read_text()) > k
k''')
group = ip.user_ns["g"]
before = [one.task_id for one in group if group.result(60, return_exceptions=True)]
cell("%compute retry g")
print(group.result(60))
print([now.task_id == then for now, then in zip(group, before)])
"""


def test_a_notebook_sends_again_what_it_still_has(home: Home, run_script: RunScript, tmp_path) -> None:
    lines = run_script(NOTEBOOK, str(tmp_path)).splitlines()
    assert lines[-2:] == ["[0, 1]", "[True, False]"]


def test_what_the_service_has_forgotten_is_reloaded_from_the_home_folder(
    home: Home, executor: Executor
) -> None:
    futures = [executor.submit(double, n) for n in (1, 2)]
    assert [future.result(WAIT_S) for future in futures] == [2, 4]
    spool, on_disk = spool_of(home), threading.Event()
    spool.afterwards(on_disk.set)
    assert on_disk.wait(WAIT_S)
    kept = spool.of(executor.task_group_id)
    assert [kept[future.id].data for future in futures] == [future.raw for future in futures]
    forgotten = new_id()
    with pytest.raises(ComputeError, match="knows no task group"):
        executor.reload_tasks(forgotten)
    for one in kept.values():
        spool.put(one._replace(task_group_id=forgotten, task_id=new_id()))
    spool.close(WAIT_S)
    assert sorted(future.result(0) for future in executor.reload_tasks(forgotten)) == [2, 4]
