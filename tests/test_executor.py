"""The Executor's contract, over a real service and a small agent; scripts where a process ends."""

from __future__ import annotations

import concurrent.futures
import contextlib
import inspect
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
import warnings
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from own_home import own_home
from tiny_agent import TinyAgent

from compute_nb import ComputeFuture, Executor
from compute_nb.client import Client
from compute_nb.context import folder
from compute_nb.errors import (
    ComputeError,
    EndpointNotFound,
    SerializationError,
    SubmitRefused,
    TaskExecutionFailed,
)
from compute_nb.parcel import MAX_TASKS
from compute_nb.serialize import ComputeSerializer, JSONData, PureSourceTextInspect
from compute_nb.tasks import TaskResult, TaskState, new_id, new_ids

WAIT_S = 60
SERIALIZER = ComputeSerializer()


def double(x):
    return x * 2


def add(x, y=0, *, z=0):
    return x + y + z


@pytest.fixture(scope="module")
def home():
    with own_home() as one:
        yield one


@pytest.fixture(scope="module")
def client(home):
    return Client()


@pytest.fixture(scope="module")
def agent(client):
    one = TinyAgent(client, "tiny")
    yield one
    one.stop()


@pytest.fixture
def executor(agent, client):
    with Executor(agent.endpoint_id, client) as one:
        yield one
        agent.release()


def run(code: str, *arguments: object, status: int = 0) -> str:
    """Runs a script in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


# -- before the first submit


def test_making_one_asks_nothing_and_starts_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPUTE_NB_HOME", str(tmp_path / "nowhere"))
    before = set(threading.enumerate())
    with Executor("no such place", label="mine") as one:
        assert isinstance(one.task_group_id, UUID)
        assert one.task_count_submitted == 0
        assert repr(one).startswith("Executor<'mine' endpoint no such place")
    assert set(threading.enumerate()) <= before  # one of another test may end meanwhile
    assert not (tmp_path / "nowhere").exists()


def test_each_has_a_group_of_its_own():
    assert Executor().task_group_id != Executor().task_group_id


def test_the_published_arguments_are_taken_in_order(client):
    group = str(new_id())
    one = Executor(None, client, group, {"a": 1}, {"b": 2}, "l", 7, 1, 99, 0, None, [JSONData])
    assert str(one.task_group_id) == group
    assert (one.resource_specification, one.user_endpoint_config) == ({"a": 1}, {"b": 2})
    assert (one.label, one.batch_size, one.amqp_port) == ("l", 7, 1)
    assert (one.api_burst_limit, one.api_burst_window_s) == (8, 1)
    assert one.result_serializers == ["globus_compute_sdk.serialize.concretes.JSONData"]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"task_group_id": "7"}, ValueError),
        ({"resource_specification": {"a": {1}}}, TypeError),
        ({"user_endpoint_config": [1]}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"retries": -1}, ValueError),
        ({"retries": "1"}, ValueError),
        ({"walltime": 0}, ValueError),
        ({"moon": 1}, TypeError),
    ],
)
def test_wrong_arguments_are_refused(given, kind):
    with pytest.raises(kind):
        Executor(**given)


# -- submitting


def test_a_value_comes_back(executor):
    assert executor.submit(add, 1, y=2, z=3).result(WAIT_S) == 6


def test_ids_are_known_at_once(executor):
    future = executor.submit(double, 1)
    assert UUID(future.task_id).version == 7
    assert future.task_group_id == str(executor.task_group_id)


def test_a_function_is_registered_once(executor, agent):
    before = len(agent._functions)
    for n in range(5):
        assert executor.submit(double, n).result(WAIT_S) == 2 * n
    assert len(agent._functions) == before + 1


def test_accepted_tasks_are_counted(executor):
    for n in range(7):
        executor.submit(double, n)
    executor.wait_accepted(WAIT_S)
    assert executor.task_count_submitted == 7


def test_errors_are_raised(executor):
    future = executor.submit(double)
    with pytest.raises(TaskExecutionFailed, match="missing 1 required positional"):
        future.result(WAIT_S)


def test_options_travel(agent, client):
    specification = {"num_nodes": 2}
    with Executor(
        agent.endpoint_id, client, None, specification, result_serializers=[JSONData], walltime=7
    ) as one:
        one.submit(double, 1).result(WAIT_S)
        assert agent.batches[-1].options == {
            "resource_specification": specification,
            "result_serializers": ["globus_compute_sdk.serialize.concretes.JSONData"],
            "walltime_s": 7,
        }
        one.walltime = None
        one.resource_specification = None
        one.submit(double, 1).result(WAIT_S)
        assert list(agent.batches[-1].options) == ["result_serializers"]


def test_a_new_group_or_serializer_counts_from_then_on(executor, agent):
    first = executor.submit(double, 1)
    executor.task_group_id = group = new_id()
    executor.serializer = ComputeSerializer(strategy_code=PureSourceTextInspect(), strategy_data=JSONData())
    second = executor.submit(double, 2)
    assert (first.result(WAIT_S), second.result(WAIT_S)) == (2, 4)
    assert second.task_group_id == str(group) != first.task_group_id
    assert agent._functions[agent.batches[-1].function_id].partition("\n")[2].startswith("st\ndouble:")


def test_what_cannot_travel_is_told_at_once(executor):
    with pytest.raises(SerializationError, match="argument 0: an object of type generator"):
        executor.submit(double, (i for i in ()))
    assert executor.submit(double, 1).result(WAIT_S) == 2


def test_a_function_of_main_is_sent_again_when_what_it_reads_has_changed(agent):
    code = """
import sys
from compute_nb import Executor
scale = 2
def scaled(x): return x * scale
with Executor(sys.argv[1]) as executor:
    print(executor.submit(scaled, 10).result(60), end=" ")
    scale = 3
    print(executor.submit(scaled, 10).result(60), executor.submit(lambda: scale).result(60))
"""
    assert run(code, agent.endpoint_id) == "20 30 3\n"


def test_registered_functions(executor):
    function_id = executor.register_function(add)
    assert executor.submit_to_registered_function(function_id, (1,), {"z": 2}).result(WAIT_S) == 3
    with pytest.raises(ValueError, match="registered as"):
        executor.register_function(add)
    with pytest.raises(ValueError, match="registered as"):
        executor.register_function(add, new_id())
    with pytest.warns(UserWarning, match="registered already"):
        assert executor.register_function(add, function_id) == function_id


def test_a_known_id_is_used_without_a_call(executor):
    other = executor.register_function(lambda x: x + 100)
    executor.register_function(double, other)
    assert executor.submit(double, 1).result(WAIT_S) == 101


def test_source_is_registered_once(executor):
    function_id = executor.register_source_code("def f(x):\n    return x + 1\n", "f")
    assert executor.register_source_code("def f(x):\n    return x + 1\n", "f") == function_id
    assert executor.submit_to_registered_function(function_id, [41]).result(WAIT_S) == 42


def test_submit_from_many_threads(executor):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = list(pool.map(lambda n: executor.submit(double, n), range(200)))
    assert [f.result(WAIT_S) for f in futures] == [2 * n for n in range(200)]


# -- many


def test_map_keeps_the_order(executor):
    assert list(executor.map(add, [1, 2, 3], [10, 20, 30], timeout=WAIT_S)) == [11, 22, 33]
    assert list(executor.map(double, [])) == []


@pytest.mark.parametrize("chunksize", [2, 3, 7, 100])
def test_map_in_chunks(executor, chunksize):
    found = executor.map(add, range(7), range(9), timeout=WAIT_S, chunksize=chunksize)
    assert list(found) == [2 * n for n in range(7)]
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(double, [1], chunksize=0)


def test_map_stops_waiting_in_time_and_cancels(executor, agent):
    agent.holding = True
    found = executor.map(double, range(3), timeout=0.05)
    with pytest.raises(TimeoutError):
        next(found)
    agent.release()


def test_map_raises_at_its_place(executor):
    found = executor.map(double, [1, None, 3], timeout=WAIT_S)
    assert next(found) == 2
    with pytest.raises(TaskExecutionFailed):
        next(found)


def test_a_whole_group_is_accepted(executor):
    function_id = executor.register_function(add)
    calls = [((n,), {"z": 1}) for n in range(2500)]
    futures = executor.submit_many(function_id, calls)
    executor.wait_accepted(WAIT_S)
    assert executor.task_count_submitted == 2500
    assert [f.result(WAIT_S) for f in futures] == [n + 1 for n in range(2500)]
    loose = executor.submit_many(function_id, calls[:3], hold_until_complete=False)
    assert [f.result(WAIT_S) for f in loose] == [1, 2, 3]
    assert executor.submit_many(function_id, []) == []


def test_a_group_that_cannot_be_written_is_not_sent(executor):
    function_id = executor.register_function(double)
    with pytest.raises(SerializationError):
        executor.submit_many(
            function_id, [*[((1,), {}), ((i for i in ()), {})][:1], (((i for i in ()),), {})]
        )
    executor.wait_accepted(0)
    assert executor.task_count_submitted == 0


def test_a_refused_group_is_refused_whole(executor):
    unknown = new_id()
    futures = executor.submit_many(unknown, [((n,), {}) for n in range(3)])
    with pytest.raises(SubmitRefused, match="none was accepted") as caught:
        executor.wait_accepted(WAIT_S)
    assert {f.exception(WAIT_S) for f in futures} == {caught.value}
    executor.wait_accepted(0)
    assert executor.submit(double, 1).result(WAIT_S) == 2


def test_a_task_that_is_too_large_is_refused_alone(executor):
    with pytest.raises(SubmitRefused, match=r"is 24.7 MB .* may have 16.8 MB; nothing was sent") as caught:
        executor.submit(len, "x" * 18_000_000)
    assert caught.value.code == "TASK_PAYLOAD_TOO_LARGE"
    with pytest.raises(SubmitRefused):
        executor.submit_many(executor.register_function(bytes), [((b"x",), {}), ((b"x" * 18_000_000,), {})])
    executor.wait_accepted(0)
    assert executor.submit(double, 1).result(WAIT_S) == 2


def test_news_is_told(executor):
    heard, ended = [], threading.Event()
    executor.add_update_callback(heard.extend)
    executor.add_update_callback(lambda futures: ended.set() if futures[-1].done() else None)
    future = executor.submit(double, 1)
    assert ended.wait(WAIT_S)
    assert set(heard) == {future}


# -- cancelling and ending


def test_cancel_ends_at_once_and_the_task_too(executor, agent):
    agent.holding = True
    agent.was_told.clear()
    future = executor.submit(double, 1)
    executor.wait_accepted(WAIT_S)
    assert agent.arrived.acquire(timeout=WAIT_S)
    assert future.cancel()
    assert future.state is TaskState.CANCELLED
    assert concurrent.futures.wait([future], timeout=0).not_done == set()
    assert agent.was_told.wait(WAIT_S)


def test_cancel_all_ends_what_is_open(executor, agent):
    agent.holding = True
    futures = [executor.submit(double, n) for n in range(5)]
    executor.cancel_all()
    assert all(future.cancelled() for future in futures)
    executor.cancel_all()
    Executor().cancel_all()


def test_leaving_the_block_waits(agent, client):
    with Executor(agent.endpoint_id, client) as one:
        futures = [one.submit(double, n) for n in range(20)]
        cancelled = one.submit(double, 1)
        cancelled.cancel()
    assert all(future.done() for future in [*futures, cancelled])
    with pytest.raises(RuntimeError, match="after shutdown"):
        one.submit(double, 1)
    with pytest.raises(RuntimeError):
        one.map(double, [1])
    one.shutdown()


def test_shutdown_without_waiting_and_with_cancelling(agent, client):
    agent.holding = True
    one = Executor(agent.endpoint_id, client)
    future = one.submit(double, 1)
    one.shutdown(wait=False)
    assert not future.done()
    one.shutdown(cancel_futures=True)
    assert future.cancelled()
    agent.release()


# -- reloading


def test_a_group_is_loaded_again(executor, agent, client):
    values = [executor.submit(double, n) for n in range(3)]
    failing = executor.submit(double)
    concurrent.futures.wait([*values, failing], timeout=WAIT_S)
    futures = Executor(client=client).reload_tasks(str(executor.task_group_id))
    assert [f.task_id for f in futures] == [f.task_id for f in [*values, failing]]
    assert all(f.done() for f in futures)
    assert [f.result() for f in futures[:3]] == [0, 2, 4]
    with pytest.raises(TaskExecutionFailed):
        futures[3].result()
    assert {f.task_group_id for f in futures} == {str(executor.task_group_id)}
    assert futures[0].submitted_at is not None
    assert futures[0].environment["hostname"] == "here"


def test_what_is_waited_for_here_keeps_its_future(executor, agent):
    done = executor.submit(double, 1)
    assert done.result(WAIT_S) == 2
    agent.holding = True
    waited, cancelled = executor.submit(double, 2), executor.submit(double, 3)
    executor.wait_accepted(WAIT_S)
    cancelled.withdraw()
    again = executor.reload_tasks()
    assert again[1] is waited
    assert again[2] is not cancelled
    assert [one.done() for one in again] == [True, False, False]
    agent.release()
    assert [one.result(WAIT_S) for one in again] == [2, 4, 6]


def test_an_unknown_group_is_told(executor):
    with pytest.raises(ComputeError, match=str(group := new_id())):
        executor.reload_tasks(group)


RELOAD = """
import sys
from compute_nb import Executor
with Executor(task_group_id=sys.argv[1]) as executor:
    futures = executor.reload_tasks()
    print([f.done() for f in futures], flush=True)
    sys.stdin.readline()
    print([f.result(60) for f in futures], flush=True)
    print([f.result(60) for f in executor.reload_tasks()])
"""


def test_open_tasks_are_watched_from_another_process(executor, agent):
    done = executor.submit(double, 1)
    assert done.result(WAIT_S) == 2
    agent.holding = True
    while agent.arrived.acquire(blocking=False):
        pass
    executor.submit(double, 2)
    executor.wait_accepted(WAIT_S)
    assert agent.arrived.acquire(timeout=WAIT_S)
    command = [sys.executable, "-W", "error", "-c", RELOAD, str(executor.task_group_id)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "[True, False]\n"
        other.stdin.write("\n")
        other.stdin.flush()
        agent.release()
        assert other.stdout.readline() == "[2, 4]\n"
        assert other.stdout.readline() == "[2, 4]\n"
        assert other.wait(WAIT_S) == 0


# -- the process


def test_what_is_queued_at_exit_is_sent(agent, client):
    code = """
import sys
from compute_nb import Executor
executor = Executor(sys.argv[1])
print(executor.task_group_id)
for n in range(300):
    executor.submit(abs, -n)
"""
    group = run(code, agent.endpoint_id).strip()
    futures = Executor(client=client).reload_tasks(group)
    assert [f.result(WAIT_S) for f in futures] == list(range(300))


def test_a_process_with_open_futures_ends(agent):
    agent.holding = True
    code = """
import sys
from compute_nb import Executor
executor = Executor(sys.argv[1])
future = executor.submit(abs, -1)
executor.wait_accepted(30)
print(future.done())
"""
    assert run(code, agent.endpoint_id) == "False\n"
    agent.release()


def test_a_forked_child_is_told_and_can_make_its_own(agent):
    code = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tried here
from compute_nb import Executor
from compute_nb.errors import ComputeError
executor = Executor(sys.argv[1])
assert executor.submit(abs, -1).result(60) == 1
child = os.fork()
if child == 0:
    try:
        executor.submit(abs, -1)
    except ComputeError as error:
        assert "make a new Executor" in str(error)
    else:
        os._exit(1)
    executor.shutdown()
    with Executor(sys.argv[1]) as own:
        os._exit(own.submit(abs, -7).result(60))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), executor.submit(abs, -2).result(60))
"""
    assert run(code, agent.endpoint_id) == "7 2\n"


def test_an_interrupt_leaves_the_task(agent):
    agent.holding = True
    while agent.arrived.acquire(blocking=False):
        pass
    code = """
import sys
from compute_nb import Executor
executor = Executor(sys.argv[1])
future = executor.submit(abs, -5)
executor.wait_accepted(30)
try:
    print("waiting", flush=True)
    future.result()
except KeyboardInterrupt:
    print(future.done(), flush=True)
print(future.result(60))
"""
    command = [sys.executable, "-W", "error", "-c", code, str(agent.endpoint_id)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "waiting\n"
        other.send_signal(signal.SIGINT)
        said = other.stdout.readline()
        agent.release()
        assert said == "False\n"
        assert other.stdout.readline() == "5\n"
        assert other.wait(WAIT_S) == 0


def test_importing_costs_little_and_starts_nothing():
    code = """
import sys, threading, time
began = time.process_time()
import compute_nb
spent = time.process_time() - began
assert threading.active_count() == 1
assert not {"requests", "pika", "dill"} & set(sys.modules)
compute_nb.Executor, compute_nb.Client
assert threading.active_count() == 1
assert "Executor" in dir(compute_nb)
print(spent < 0.05 or spent)
"""
    assert run(code) == "True\n"


# -- places


def test_an_endpoint_is_found_by_its_own_name_and_id(agent, home):
    for name in ("tiny", "local:tiny", str(agent.endpoint_id), f"local:{agent.endpoint_id}"):
        assert Executor(name).endpoint_id == agent.endpoint_id
    assert Executor("tiny", service="local").endpoint_id == agent.endpoint_id
    assert Executor(agent.endpoint_id, service="local").endpoint_id == agent.endpoint_id


def test_an_alias_is_followed(agent, client, home):
    home.config_file.write_text(f'[endpoints.gpu]\nid = "{agent.endpoint_id}"\n')
    try:
        assert Executor("gpu").endpoint_id == agent.endpoint_id
        assert Executor("local:gpu").endpoint_id == agent.endpoint_id
        with pytest.raises(EndpointNotFound, match="did you mean 'gpu'"):
            Executor("gqu").submit(double, 1)
        home.config_file.write_text(f'[endpoints.gpu]\nservice = "globus"\nid = "{new_id()}"\n')
        with pytest.raises(
            EndpointNotFound, match="'gpu' is an endpoint of service 'globus', and 'local' was"
        ):
            Executor("gpu", client).submit(double, 1)
    finally:
        home.config_file.unlink()


def test_an_unknown_endpoint_lists_what_is_known(agent):
    with pytest.raises(EndpointNotFound, match=r"'tinny'; did you mean 'tiny'\? Known are: local, .*tiny"):
        Executor("tinny").submit(double, 1)
    with pytest.raises(EndpointNotFound, match=str(unknown := new_id())):
        Executor(unknown).submit(double, 1)
    with pytest.raises(ComputeError, match="no service is called 'moon'"):
        Executor("moon:tiny").submit(double, 1)


def test_the_environment_names_the_only_service(agent, client, monkeypatch, tmp_path):
    connection = client.reach.connection
    monkeypatch.setenv("COMPUTE_NB_HOME", str(tmp_path))
    monkeypatch.setenv("COMPUTE_NB_SERVICE_URL", connection.url)
    monkeypatch.setenv("COMPUTE_NB_TOKEN", client.reach.home.token_file.read_text().strip())
    with Executor("tiny") as one:
        assert one.submit(double, 4).result(WAIT_S) == 8
    assert os.listdir(tmp_path) == []


def test_a_wrong_token_is_told_in_one_line(agent, client, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPUTE_NB_HOME", str(tmp_path))
    monkeypatch.setenv("COMPUTE_NB_SERVICE_URL", client.reach.connection.url)
    monkeypatch.setenv("COMPUTE_NB_TOKEN", f"cnb_{'0' * 16}_{'0' * 64}")
    with pytest.raises(ComputeError, match="does not know token cnb_0000000000000000"):
        Executor("tiny").submit(double, 1)


@pytest.mark.parametrize("walltime", [0, -1, float("nan"), float("inf")])
def test_a_walltime_must_end(walltime):
    with pytest.raises(ValueError, match="finite number of seconds above 0"):
        Executor("local", walltime=walltime)


def test_a_folder_that_cannot_be_told_is_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ComputeError, match="was deleted"):
        folder()
    odd = os.fsencode(tmp_path / "caf") + b"\xe9"
    os.mkdir(odd)
    os.chdir(odd)
    with pytest.raises(ComputeError, match="no UTF-8 text"):
        folder()
    monkeypatch.chdir(tmp_path)
    assert folder() == str(tmp_path)


# -- another Python over there


@contextlib.contextmanager
def strange(client, name, **about):
    agent = TinyAgent(client, name, **about)
    try:
        yield agent
    finally:
        agent.stop()


def warnings_of(act):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    return [str(one.message) for one in caught if one.category is UserWarning]


def test_another_python_is_told_once_before_functions_go_there(client):
    with strange(client, "newer", python="3.99.1") as agent:
        first, second = Executor(agent.endpoint_id, client), Executor(agent.endpoint_id, client)
        with first, second:
            (said,) = warnings_of(lambda: first.submit(double, 1))
            assert said.startswith(
                f"endpoint {agent.endpoint_id} runs tasks by Python 3.99.1, and here is Python"
            )
            assert "wrong value" in said
            assert warnings_of(lambda: first.submit(add, 1).result(WAIT_S)) == []
            assert warnings_of(lambda: second.submit(double, 1).result(WAIT_S)) == []


def test_the_warning_points_at_the_caller(client):
    with strange(client, "pointed", python="3.99.1") as agent, Executor(agent.endpoint_id, client) as one:
        with pytest.warns(UserWarning, match=r"3\.99\.1") as caught:
            one.submit(double, 1)
        assert caught[0].filename == __file__


def test_source_may_go_anywhere(client):
    serializer = ComputeSerializer(strategy_code=PureSourceTextInspect())
    with strange(client, "sourced", python="3.99.1") as agent:
        one = Executor(agent.endpoint_id, client, serializer=serializer)
        with one:
            assert warnings_of(lambda: one.submit(double, 1).result(WAIT_S)) == []
            one.register_source_code("def g(): return 7", "g")
            assert warnings_of(lambda: one.submit(double, 2).result(WAIT_S)) == []


def test_the_failure_of_what_went_as_bytecode_says_that_another_python_ran_it(client):
    with strange(client, "failing", python="3.99.1") as agent, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        source = ComputeSerializer(strategy_code=PureSourceTextInspect())
        told = []
        for serializer in (None, source):
            with Executor(agent.endpoint_id, client, serializer=serializer) as one:
                error = one.submit(double, None).exception(WAIT_S)
                told.append(getattr(error, "__notes__", []))
                assert "TypeError" in str(error)
    ((note,), none) = told
    assert "ran by Python 3.99.1" in note
    assert none == []


def test_an_endpoint_that_is_not_known_yet_is_compared_with_its_first_answer(client):
    answer = client.register_endpoint("later", metadata={"compute_nb": {"version": 1}})
    with Executor(answer["endpoint_id"], client) as one:
        future = one.submit(double, 4)
        one.wait_accepted(WAIT_S)
        session = one._destination.session
        session._watcher.environments[UUID(answer["endpoint_id"])] = {"python": "3.99.1"}
        values = SERIALIZER.serialize(8)
        session._watcher._take((), [_ended(future, values)])
        (said,) = warnings_of(lambda: future.result(WAIT_S))
        assert "3.99.1" in said
        assert future.result() == 8


# -- settings, many, large


def test_a_request_has_as_many_tasks_as_wanted(executor, agent):
    executor.batch_size = 7
    function_id = executor.register_function(double)
    before = len(agent.calls)
    futures = executor.submit_many(function_id, [((n,), {}) for n in range(30)])
    assert [f.result(WAIT_S) for f in futures] == [2 * n for n in range(30)]
    assert len(agent.calls) == before + 30
    with pytest.raises(ValueError, match="batch_size"):
        executor.batch_size = 0


def test_the_published_batch_size_stands_for_as_many_as_there_may_be(agent, client):
    one = Executor(agent.endpoint_id, client)
    assert one.batch_size == inspect.signature(Executor).parameters["batch_size"].default == 128
    assert one._current_terms().batch_size == MAX_TASKS
    one.batch_size = 127
    assert one._current_terms().batch_size == 127


def test_a_failed_registration_leaves_the_executor(executor):
    with pytest.raises(SerializationError):
        executor.submit((i for i in ()).__next__)
    with pytest.raises(ValueError, match="badly formed"):
        executor.submit_to_registered_function("7")
    with pytest.raises(ComputeError, match="'description' must be str"):
        executor.register_function(add, description=7)
    with pytest.raises(TypeError, match="moon"):
        executor.register_function(add, moon=1)
    assert executor.submit(double, 1).result(WAIT_S) == 2


def test_another_service_or_port_leaves_what_is_open(agent, client):
    agent.holding = True
    with Executor(agent.endpoint_id, client) as one:
        first = one.submit(double, 1)
        one.wait_accepted(WAIT_S)
        port = urlsplit(client.get_result_amqp_url()["connection_url"]).port
        one.amqp_port = port
        assert one.amqp_port == port
        second = one.submit(double, 2)
        one.wait_accepted(WAIT_S)
        agent.release()
    assert (first.done(), second.done()) == (True, True)
    assert (first.result(), second.result()) == (2, 4)


def test_twenty_executors_at_once(agent, client):
    def work(n):
        with Executor(agent.endpoint_id, client) as one:
            return [f.result(WAIT_S) for f in [one.submit(add, n, k) for k in range(20)]]

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert list(pool.map(work, range(20))) == [[n + k for k in range(20)] for n in range(20)]


def test_an_open_future_is_small(client):
    from compute_nb.terms import Terms

    terms = Terms(new_id(), new_id())
    ids = new_ids(50_000)
    tracemalloc.start()
    try:
        futures = [ComputeFuture(task_id, terms, None) for task_id in ids]
        size = tracemalloc.get_traced_memory()[0] / len(futures)
    finally:
        tracemalloc.stop()
    assert size < 400, f"{size:.0f} bytes"


def test_map_yields_also_after_shutdown(agent, client):
    with Executor(agent.endpoint_id, client) as one:
        found = one.map(double, range(5), chunksize=2)
    assert list(found) == [0, 2, 4, 6, 8]


def test_a_large_argument_comes_back(executor):
    data = os.urandom(8_000_000)
    assert executor.submit(bytes, data).result(WAIT_S) == data


def test_a_batch_of_the_client_is_loaded_by_an_executor(agent, client):
    """As blocks 7 and 8 of the published Executor guide have it."""
    function_id = client.register_function(double)
    batch = client.create_batch()
    for n in range(10):
        batch.add(function_id, str(agent.endpoint_id), args=(n,))
    client.batch_run(batch)
    with Executor(agent.endpoint_id, client, task_group_id=client.session_task_group_id) as one:
        futures = one.reload_tasks()
        found = {f.result() for f in concurrent.futures.as_completed(futures, WAIT_S)}
    assert found == {2 * n for n in range(10)}


def test_a_batch_that_no_request_of_ours_would_have_is_taken_whole(agent, client):
    """The published protocol limits a request's bytes, not its tasks."""
    function_id = client.register_function(double)
    batch = client.create_batch(task_group_id=new_id())
    for n in range(2_500):
        batch.add(function_id, (n,))
    answer = client.batch_run(agent.endpoint_id, batch)
    assert len(answer["tasks"][function_id]) == len(batch) == 2_500
    with Executor(agent.endpoint_id, client, task_group_id=answer["task_group_id"]) as one:
        futures = one.reload_tasks()
        assert [future.task_id for future in futures] == answer["tasks"][function_id]
        assert sum(future.result(WAIT_S) for future in futures) == sum(range(2_500)) * 2


def test_metadata_has_the_published_names(executor, agent):
    future = executor.submit(double, 1)
    assert future._metadata["endpoint_uuid"] == str(agent.endpoint_id)
    assert future._metadata["task_group_uuid"] == str(executor.task_group_id)
    assert ComputeFuture()._metadata == {}


def _ended(future, data):
    return TaskResult(
        *(future.id, future.terms.task_group_id, TaskState.SUCCEEDED, data, None, 0), *(1.0, 2.0, 3.0)
    )
