"""The watcher over a real service and broker: every future ends, once, whatever arrives and however often."""

from __future__ import annotations

import queue
import sys
import threading
import time
from uuid import UUID

import pytest
from ended import kill
from own_home import own_home, service
from small_server import TOKEN, small_server
from tiny_agent import TinyAgent

from compute_nb import Executor, wire
from compute_nb.amqp import Incoming, LinkPlan
from compute_nb.client import Client
from compute_nb.config import ServiceSettings
from compute_nb.errors import ComputeError, ServiceUnreachable, TaskCancelled, TaskLost
from compute_nb.future import ComputeFuture
from compute_nb.live import KEPT_ENDED
from compute_nb.local import find_service
from compute_nb.reach import Reach
from compute_nb.routes import Status
from compute_nb.submitter import Submitter
from compute_nb.tasks import (
    Events,
    Move,
    Outcome,
    Printed,
    Run,
    RunResult,
    TaskResult,
    TaskState,
    new_id,
)
from compute_nb.terms import Terms
from compute_nb.watcher import ResultWatcher

WAIT_S = 60


def double(x):
    return x * 2


@pytest.fixture(scope="module")
def home():
    with own_home() as one:
        yield one


@pytest.fixture
def client(home):
    return Client()


@pytest.fixture
def agent(client):
    one = TinyAgent(client)
    yield one
    one.stop()


@pytest.fixture
def executor(agent, client):
    with Executor(agent.endpoint_id, client) as one:
        yield one
        one.cancel_all()


def good(data="00\ngARLKi4=\n"):
    return lambda run: RunResult(run, Outcome.SUCCESS, data, None, 1.0, 2.0)


def test_a_result_ends_its_future(executor, agent):
    future = executor.submit(double, 21)
    assert future.result(WAIT_S) == 42
    assert (future.started_at, future.ended_at) == (1.0, 2.0)
    assert future.environment["hostname"] == "here"


def test_moves_are_heard(executor, agent):
    agent.holding = True
    running = threading.Event()
    executor.add_update_callback(lambda fs: any(f.running() for f in fs) and running.set())
    future = executor.submit(double, 1)
    assert agent.arrived.acquire(timeout=WAIT_S)
    agent.start(agent.calls[-1])
    assert running.wait(WAIT_S)
    assert future.state is TaskState.RUNNING
    agent.release()
    assert future.result(WAIT_S) == 2


def test_a_double_result_is_dropped(executor, agent):
    agent.holding = True
    future = executor.submit(double, 1)
    assert agent.arrived.acquire(timeout=WAIT_S)
    run = agent.calls[-1]
    agent.send(good()(run), good("00\nother")(run))
    assert future.result(WAIT_S) == 42
    agent.send(good("00\nother")(run))
    agent.holding = False
    assert executor.submit(double, 2).result(WAIT_S) == 4
    assert future.result() == 42


def test_results_out_of_order_find_their_futures(executor, agent):
    agent.holding = True
    futures = [executor.submit(double, n) for n in range(20)]
    for _ in futures:
        assert agent.arrived.acquire(timeout=WAIT_S)
    agent._held.reverse()
    agent.release()
    assert [future.result(WAIT_S) for future in futures] == [2 * n for n in range(20)]


def test_a_malformed_report_hurts_nobody(executor, agent):
    agent.send_raw(b"\x01 no message")
    agent.send_raw(b"")
    assert executor.submit(double, 3).result(WAIT_S) == 6


def test_a_result_after_a_cancel_is_dropped(executor, agent):
    agent.holding = True
    future = executor.submit(double, 1)
    assert agent.arrived.acquire(timeout=WAIT_S)
    assert future.cancel()
    assert agent.was_told.wait(WAIT_S)
    assert agent.cancelled == [Run(future.id, 0)]
    agent.send(good()(Run(future.id, 0)))
    agent.holding = False
    assert executor.submit(double, 2).result(WAIT_S) == 4
    assert future.cancelled()


def test_a_task_cancelled_by_somebody_else(executor, agent, client):
    agent.holding = True
    future = executor.submit(double, 1)
    assert agent.arrived.acquire(timeout=WAIT_S)
    other = Client().reach.connection
    other.post("/v3/compute_nb/cancel", {"task_ids": [future.task_id]})
    assert type(future.exception(WAIT_S)) is TaskCancelled


def test_two_executors_of_one_group_hear_both(agent, client):
    agent.holding = True
    with Executor(agent.endpoint_id, client) as first:
        future = first.submit(double, 1)
        assert agent.arrived.acquire(timeout=WAIT_S)
        with Executor(agent.endpoint_id, client, first.task_group_id) as second:
            (same,) = second.reload_tasks()
            assert same is future
        agent.release()
        assert future.result(WAIT_S) == 2


def test_a_killed_service_loses_nothing(home, executor, agent):
    agent.holding = True
    futures = [executor.submit(double, n) for n in range(50)]
    executor.wait_accepted(WAIT_S)
    for _ in futures:
        assert agent.arrived.acquire(timeout=WAIT_S)
    kill(find_service(home).pid)
    more = [executor.submit(double, n) for n in range(50, 100)]
    agent.release()
    assert [f.result(60) for f in futures + more] == [2 * n for n in range(100)]
    assert len(set(agent.calls)) == len(set(futures + more))


def test_results_that_came_while_nobody_listened_are_asked_for(home, executor, agent):
    agent.holding = True
    future = executor.submit(double, 4)
    executor.wait_accepted(WAIT_S)
    assert agent.arrived.acquire(timeout=WAIT_S)
    run = agent.calls[-1]
    service(home, "restart")
    agent.send(good()(run))
    assert future.result(60) == 42


# -- by hand, without a connection


class FakeLink:
    """Notes what is acknowledged."""

    def __init__(self):
        self.done = []
        self.later = []

    def call_soon(self, call):
        call()

    def call_later(self, seconds, call):
        self.later.append(call)

    def ack(self, tag, multiple=False):
        self.done.append(("ack", tag))

    def reject(self, tag):
        self.done.append(("reject", tag))


@pytest.fixture
def watcher(home):
    return ResultWatcher(Client().reach)


def open_future(watcher, **changes) -> ComputeFuture:
    future = ComputeFuture(new_id(), Terms(new_id(), new_id(), **changes))
    watcher.add(future)
    return future


def ended(future, state=TaskState.SUCCEEDED, data="11\n42"):
    group = future.terms.task_group_id
    return TaskResult(future.id, group, state, data, None, 0, 1.0, 2.0, 3.0)


def message(events, tag=1):
    return Incoming("w", events if isinstance(events, bytes) else wire.encode(events), tag)


def test_futures_are_set_before_the_message_is_acknowledged(watcher):
    future, link, order = open_future(watcher), FakeLink(), []
    future.add_done_callback(lambda _: order.append(list(link.done)))
    watcher.on_message(link, message(Events(results=(ended(future),))))
    assert order == [[]]
    assert link.done == [("ack", 1)]
    assert future.result() == 42


def test_one_message_is_told_once_and_each_executor_its_own(watcher):
    mine, other = open_future(watcher), open_future(watcher)
    heard = []
    mine.terms.ledger.listeners.append(heard.append)
    moved = Move(mine.id, mine.terms.task_group_id, TaskState.DELIVERED, 0, 1.0)
    events = Events((moved,), (ended(other), ended(ComputeFuture(new_id(), mine.terms))))
    watcher.on_message(FakeLink(), message(events))
    assert heard == [[mine]]
    assert mine.state is TaskState.DELIVERED
    assert other.done()


def test_what_a_task_prints_is_told_and_kept_until_its_end(watcher):
    future, heard = open_future(watcher), []
    future.terms.ledger.listeners.append(lambda futures: heard.append([f.live_text for f in futures]))
    group, link = future.terms.task_group_id, FakeLink()

    def hear(attempt, start, text):
        printed = (Printed(Run(future.id, attempt), group, start, text),)
        watcher.on_message(link, message(Events(printed=printed)))

    hear(0, 0, "one ")
    hear(0, 0, "one ")  # a double is no news
    hear(0, 4, "two")
    hear(1, 0, "again")
    hear(0, 7, "late")
    assert heard == [["one "], ["one two"], ["again"]]
    watcher.on_message(link, message(Events((Move(future.id, group, TaskState.WAITING, 2, 1.0),))))
    assert future.live_text == ""
    hear(2, 0, "third")
    watcher.on_message(link, message(Events(results=(ended(future),))))
    hear(2, 5, "after its end")
    assert future.live_text == ""


def test_the_last_words_of_a_task_whose_worker_died_stay(watcher):
    future, link = open_future(watcher), FakeLink()
    group = future.terms.task_group_id
    words = (Printed(Run(future.id, 0), group, 0, "x" * 50_000 + "allocating"),)
    watcher.on_message(link, message(Events(printed=words)))
    died = ended(future, TaskState.FAILED, "WorkerDied: killed")._replace(error_code="WorkerDied")
    watcher.on_message(link, message(Events(results=(died,))))
    assert future.live_text.endswith("allocating")
    assert future.live_text.startswith("x")
    assert len(future.live_text) < 2 * KEPT_ENDED + 100


@pytest.mark.parametrize("failing", [lambda _: 1 / 0, lambda _: sys.exit(3)])
def test_a_failing_callback_stops_nothing(watcher, caplog, failing):
    future = open_future(watcher)
    future.terms.ledger.listeners.append(failing)
    future.add_done_callback(failing)
    watcher.on_message(FakeLink(), message(Events(results=(ended(future),))))
    assert future.done()
    assert "an update callback failed" in caplog.text
    assert f"a callback of task {future.task_id} failed" in caplog.text


def test_a_callback_that_exits_leaves_the_thread_of_all_futures(executor):
    first = executor.submit(double, 1)
    first.add_done_callback(lambda _: sys.exit(3))
    assert first.result(WAIT_S) == 2
    assert executor.submit(double, 2).result(WAIT_S) == 4


def test_a_killed_service_is_started_again_at_the_first_look(home, watcher):
    submitter = Submitter(watcher._reach, watcher)
    watcher.use(submitter)
    open_future(watcher)
    kill(find_service(home).pid)
    watcher.on_down(ConnectionError("gone"))
    assert watcher.plan().queues
    assert submitter.close(WAIT_S)


@pytest.mark.parametrize("body", [b"", b"junk", b"\x01{}", b'\x01{"message_type":"x","data":{}}'])
def test_a_malformed_message_is_set_aside(watcher, caplog, body):
    link = FakeLink()
    watcher.on_message(link, message(body, 7))
    assert link.done == [("reject", 7)]
    assert "set aside" in caplog.text


def test_the_end_of_the_link_ends_the_futures(watcher):
    refused, stopped = open_future(watcher), open_future(watcher)
    watcher.discard([stopped])
    watcher.on_end(ComputeError("password refused"))
    with pytest.raises(ComputeError, match="password refused"):
        refused.result(0)
    watcher.add(stopped)
    watcher.on_end(None)
    with pytest.raises(ComputeError, match="reload_tasks"):
        stopped.result(0)


class Forgetful:
    """A service that knows nothing any more."""

    url = "http://gone"

    def post(self, path, fields, repeat):
        return {"results": {}}


def test_what_the_service_has_forgotten_is_lost(watcher):
    accepted, unsure, unsent = (open_future(watcher) for _ in range(3))
    accepted.sent = unsure.sent = True
    accepted.submitted_at = 1.0
    watcher._ask(Forgetful())
    with pytest.raises(TaskLost, match=r"http://gone accepted task .* does not know it any more"):
        accepted.result(0)
    assert not unsure.done()
    assert not unsent.done()


def test_another_amqp_port_is_used(home):
    watcher = ResultWatcher(Client().reach, amqp_port=1234)
    plan = watcher._by_our_rules(LinkPlan("amqp://u:p@127.0.0.1:5672/%2F?heartbeat=30", ("w",)))
    assert plan.url == "amqp://u:p@127.0.0.1:1234/%2F?heartbeat=30"


def test_news_of_unknown_tasks_is_dropped(watcher):
    stranger = ComputeFuture(new_id(), Terms(new_id(), new_id()))
    watcher.absorb(Status([], [ended(stranger)], {}))
    assert not stranger.done()
    assert watcher.find(UUID(int=1)) is None
    assert "0 open" in repr(watcher)


def test_nothing_runs_before_it_is_used(home):
    before = set(threading.enumerate())
    ResultWatcher(Reach(Client().reach.settings, home)).stop(1)
    assert set(threading.enumerate()) <= before  # one of another test may end meanwhile


def test_an_idle_kernel_leaves_a_stopped_service_alone_and_submits_again_later():
    with own_home() as one:
        before = set(threading.enumerate())
        executor = Executor("local")
        assert executor.submit(double, 1).result(WAIT_S) == 2
        (watcher,) = [t for t in threading.enumerate() if t not in before and t.name.endswith("watcher")]
        service(one, "stop")
        watcher.join(WAIT_S)
        assert not watcher.is_alive()
        assert find_service(one) is None or "no service" in service(one, "status")
        assert executor.submit(double, 2).result(WAIT_S) == 4
        executor.shutdown()


def test_results_that_were_left_out_are_fetched(executor, agent, watcher):
    """A second watcher stands for one that read too slowly."""
    future = executor.submit(double, 21)
    assert future.result(WAIT_S) == 42
    submitter = Submitter(watcher._reach, watcher)
    watcher.use(submitter)
    late = ComputeFuture(future.id, future.terms)
    watcher.add(late)
    watcher.on_message(FakeLink(), message(Events(fetch=(late.id, new_id()))))
    assert late.result(WAIT_S) == 42
    assert submitter.close(WAIT_S)


def test_results_that_could_not_be_fetched_are_asked_for_again(executor, watcher):
    future = executor.submit(double, 4)
    assert future.result(WAIT_S) == 8
    submitter = Submitter(watcher._reach, watcher)
    watcher.use(submitter)
    link, late = FakeLink(), ComputeFuture(future.id, future.terms)
    watcher.add(late)
    watcher._fetching = True
    watcher._fetched(link, [late.id], ServiceUnreachable("away"))
    (again,) = link.later
    again()
    assert late.result(WAIT_S) == 8
    assert submitter.close(WAIT_S)


def test_an_endpoint_that_goes_and_comes_is_told(executor, agent, client):
    agent.holding = True
    changed = queue.SimpleQueue()
    executor.add_update_callback(lambda futures: changed.put(futures[0].endpoint_online))
    future = executor.submit(double, 1)
    assert agent.arrived.acquire(timeout=WAIT_S)
    agent.start(agent.calls[-1])

    def until(online):
        while changed.get(timeout=WAIT_S) is not online:
            pass

    until(True)
    agent.stop()
    until(False)
    assert future.endpoint_online is False
    assert not future.done()


def test_an_outage_is_told_when_it_begins_and_when_it_ends():
    with own_home() as one:
        executor = Executor("local", retries=1)  # it may have begun by the stop, and be lost
        heard = queue.SimpleQueue()
        executor.add_update_callback(lambda _: heard.put(executor.outage))
        assert executor.outage is None
        future = executor.submit(time.sleep, 3600)
        executor.wait_accepted(WAIT_S)
        assert executor.outage is None
        service(one, "stop")

        def until(text, *others):
            while (said := heard.get(timeout=WAIT_S)) != text:
                assert said is None or said.startswith(others)

        stopped = "the service was stopped by command"
        until(f"{stopped}; `compute-nb service start` or a submit starts it", stopped)
        assert future.endpoint_online is None
        service(one, "start")
        until(None, stopped, "no connection to the local service")  # it may take its time to start
        future.cancel()
        executor.shutdown()


def test_an_outage_says_for_how_long(home, watcher):
    watcher._link = FakeLink()
    watcher._down_since = time.monotonic() - 1
    assert watcher.outage is None
    watcher._down_since -= 11
    assert watcher.outage == "no connection to the local service for 12 s, trying again"
    watcher._link = None
    assert watcher.outage is None


def test_a_service_whose_disk_is_full_ends_no_future(home):
    with small_server() as server:
        server.answers["POST", "/v3/compute_nb/watch"] = (507, {"code": "STORE_FULL", "message": "full"})
        watcher = ResultWatcher(Reach(ServiceSettings("far", server.url, token=TOKEN), home))
        submitter = Submitter(watcher._reach, watcher)
        watcher.use(submitter)
        open_future(watcher)
        with pytest.raises(ServiceUnreachable, match="STORE_FULL"):
            watcher.plan()
        assert submitter.close(WAIT_S)
