"""The link: stays on one thread, outlives its connections, ends when it is refused for good."""

import asyncio
import queue
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from compute_nb.amqp import Incoming, Link, LinkPlan
from compute_nb.errors import AccessRefused, ComputeError, ServiceUnreachable
from compute_nb.service.broker.embedded import EmbeddedBroker

WAIT_S = 60


class OpenGuard:
    """Lets the password `good` in; the queue `secret` is nobody's."""

    def authenticate(self, username: str, password: str) -> bool:
        return password == "good"

    def allowed(self, username: str, operation: str, name: str, routing_key: str | None) -> bool:
        return name != "secret"


class BrokerThread:
    """An embedded broker on a loop of its own thread, which tests may end and start again on its port."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.port = 0
        self.start()

    def start(self) -> None:
        self.do(self._start())

    async def _start(self) -> None:
        self.broker = EmbeddedBroker(OpenGuard(), port=self.port)
        await self.broker.start()
        self.port = self.broker.port
        for name in ("inbox", "outbox", "secret"):
            self.broker.declare_queue(name)

    def do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)

    def publish(self, routing_key: str, body: bytes) -> None:
        self.loop.call_soon_threadsafe(lambda: self.broker.publish("", routing_key, body))

    def stop(self) -> None:
        self.do(self.broker.stop())

    def close(self) -> None:
        self.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(WAIT_S)
        self.loop.close()


@pytest.fixture
def broker() -> Iterator[BrokerThread]:
    thread = BrokerThread()
    yield thread
    thread.close()


class Recorder:
    """A handler that writes down all that it hears, as (hook, value, thread)."""

    def __init__(self, plan: Callable[[], LinkPlan]) -> None:
        self.heard: queue.Queue[tuple[str, Any, str]] = queue.Queue()
        self._plan = plan

    def plan(self) -> LinkPlan:
        return self._plan()

    def tell(self, hook: str, value: Any = None) -> None:
        self.heard.put((hook, value, threading.current_thread().name))

    def on_open(self, link: Link) -> None:
        self.tell("open")

    def on_ready(self, link: Link) -> None:
        self.tell("ready")

    def on_message(self, link: Link, message: Incoming) -> None:
        link.ack(message.tag)
        self.tell("message", message.body)

    def on_confirm(self, link: Link, number: int, ok: bool) -> None:
        self.tell("confirm", (number, ok))

    def on_down(self, error: Exception) -> None:
        self.tell("down", error)

    def on_end(self, error: Exception | None) -> None:
        self.tell("end", error)

    def wait_for(self, hook: str) -> Any:
        """The value of the next call of a hook; others before it are passed over."""
        while True:
            heard, value, _ = self.heard.get(timeout=WAIT_S)
            if heard == hook:
                return value


def plan_for(broker: BrokerThread, queues: tuple[str, ...] = ("inbox",), password: str = "good") -> LinkPlan:
    return LinkPlan(f"amqp://me:{password}@127.0.0.1:{broker.port}/?heartbeat=30", queues)


def test_reads_publishes_and_confirms_on_its_own_thread(broker: BrokerThread) -> None:
    recorder = Recorder(lambda: plan_for(broker))
    link = Link(recorder, "test link")
    link.start()
    recorder.wait_for("ready")
    link.call_soon(lambda: recorder.tell("number", link.publish("", "inbox", b"hello")))
    heard = dict(recorder.heard.get(timeout=WAIT_S)[:2] for _ in range(3))
    assert heard == {"number": 1, "confirm": (1, True), "message": b"hello"}
    assert link.stop()
    assert recorder.wait_for("end") is None
    link.call_soon(lambda: recorder.tell("too late"))
    assert recorder.heard.empty()


def test_every_hook_runs_on_the_thread_of_the_link(broker: BrokerThread) -> None:
    recorder = Recorder(lambda: plan_for(broker))
    link = Link(recorder, "own thread")
    link.start()
    recorder.wait_for("ready")
    broker.publish("inbox", b"1")
    recorder.wait_for("message")
    link.stop()
    assert {thread for _, _, thread in recorder.heard.queue} <= {"own thread"}


def test_reconnects_when_the_broker_comes_back(broker: BrokerThread) -> None:
    recorder = Recorder(lambda: plan_for(broker))
    link = Link(recorder, "link")
    link.start()
    recorder.wait_for("ready")
    broker.stop()
    recorder.wait_for("down")
    broker.start()
    recorder.wait_for("ready")
    broker.publish("inbox", b"after")
    assert recorder.wait_for("message") == b"after"
    assert link.stop()


def test_asks_again_while_nobody_answers(broker: BrokerThread) -> None:
    answers = iter([ServiceUnreachable("not yet"), ServiceUnreachable("not yet"), plan_for(broker)])

    def plan() -> LinkPlan:
        answer = next(answers)
        if isinstance(answer, LinkPlan):
            return answer
        raise answer

    recorder = Recorder(plan)
    link = Link(recorder, "link")
    link.start()
    assert [str(recorder.wait_for("down")) for _ in range(2)] == ["not yet", "not yet"]
    recorder.wait_for("ready")
    assert link.stop()


def test_a_link_that_waits_leaves_the_random_numbers_of_the_user_alone() -> None:
    def plan() -> LinkPlan:
        raise ServiceUnreachable("nobody there")

    random.seed(7)
    before = random.getstate()
    recorder = Recorder(plan)
    link = Link(recorder, "test")
    link.start()
    recorder.wait_for("down")
    recorder.wait_for("down")
    link.stop()
    assert random.getstate() == before


def test_a_plan_that_refuses_ends_the_link() -> None:
    def plan() -> LinkPlan:
        raise ComputeError("this token is revoked")

    recorder = Recorder(plan)
    Link(recorder, "link").run()
    assert str(recorder.wait_for("end")) == "this token is revoked"


def test_a_wrong_password_ends_the_link_with_the_mend(broker: BrokerThread) -> None:
    recorder = Recorder(lambda: plan_for(broker, password="bad"))
    Link(recorder, "link").run()
    error = recorder.wait_for("end")
    assert isinstance(error, AccessRefused)
    assert "compute-nb service status" in str(error)
    assert "bad" not in str(error).split("refused")[0]


def test_a_forbidden_queue_ends_the_link(broker: BrokerThread) -> None:
    recorder = Recorder(lambda: plan_for(broker, queues=("secret",)))
    Link(recorder, "link").run()
    assert isinstance(recorder.wait_for("end"), AccessRefused)


def test_a_missing_queue_is_asked_for_again(broker: BrokerThread) -> None:
    recorder = Recorder(lambda: plan_for(broker, queues=("later",)))
    link = Link(recorder, "link")
    link.start()
    recorder.wait_for("down")
    broker.loop.call_soon_threadsafe(lambda: broker.broker.declare_queue("later"))
    recorder.wait_for("ready")
    assert link.stop()


def test_publishing_while_down_says_so() -> None:
    class Hasty(Recorder):
        def on_down(self, error: Exception) -> None:
            with pytest.raises(ServiceUnreachable, match="was not sent"):
                link.publish("", "inbox", b"")
            link.stop()

    def plan() -> LinkPlan:
        raise ServiceUnreachable("not yet")

    link = Link(recorder := Hasty(plan), "link")
    link.run()
    assert recorder.wait_for("end") is None


def test_a_bug_in_a_hook_ends_the_link_and_is_told(broker: BrokerThread) -> None:
    class Broken(Recorder):
        def on_message(self, link: Link, message: Incoming) -> None:
            raise ZeroDivisionError("bug")

    recorder = Broken(lambda: plan_for(broker))
    link = Link(recorder, "link")
    link.start()
    recorder.wait_for("ready")
    broker.publish("inbox", b"1")
    assert isinstance(recorder.wait_for("end"), ZeroDivisionError)
    assert link.stop()


def test_timers_run_and_can_be_cancelled(broker: BrokerThread) -> None:
    recorder = Recorder(lambda: plan_for(broker))
    link = Link(recorder, "link")
    link.start()
    recorder.wait_for("ready")

    def arm() -> None:
        link.call_later(0.0, lambda: recorder.tell("cancelled")).cancel()
        link.call_later(0.01, lambda: recorder.tell("fired"))

    link.call_soon(arm)
    assert recorder.heard.get(timeout=WAIT_S)[0] == "fired"
    assert link.stop()


def test_stop_before_and_during_connecting(broker: BrokerThread) -> None:
    for moment in ("before", "during"):
        recorder = Recorder(lambda: plan_for(broker))
        link = Link(recorder, "link")
        if moment == "before":
            link.call_soon(link._stop)
        link.start()
        assert link.stop()
        assert recorder.wait_for("end") is None
