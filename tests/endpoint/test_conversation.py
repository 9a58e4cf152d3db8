"""An agent with a real journal and real workers; the link is a fake at the process boundary."""

from __future__ import annotations

import heapq
import os
import queue
import sys
import time
from uuid import UUID, uuid4

import pytest

from compute_nb import wire
from compute_nb.amqp import Incoming
from compute_nb.endpoint.agent import begun_in, settle_past
from compute_nb.endpoint.conversation import Conversation
from compute_nb.endpoint.engines.processes import ProcessEngine
from compute_nb.endpoint.engines.worker import WorkerPlan
from compute_nb.endpoint.folder import Farewell
from compute_nb.endpoint.journal import open_journal
from compute_nb.endpoint.modules import Modules
from compute_nb.endpoint.registration import Address, Places
from compute_nb.errors import ServiceUnreachable
from compute_nb.published_messages import StatusReport
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.tasks import Dispatch, Hello, Outcome, Report, Run, TaskBatch, TaskCall, new_id
from compute_nb.wire import pack_buffers

BOOT = uuid4()
ENDPOINT = uuid4()
FUNCTION = uuid4()
PLACES = Places(
    ENDPOINT,
    "amqp://",
    f"{ENDPOINT}.tasks",
    f"{ENDPOINT}.commands",
    Address("results", f"{ENDPOINT}.results"),
    Address("heartbeats", f"{ENDPOINT}.heartbeats"),
)
SERIALIZER = ComputeSerializer()
CODE = pack_buffers(
    [
        "st\nwork:def work(x):\n    import os, time\n"
        "    while isinstance(x, str) and not os.path.exists(x):\n        time.sleep(0.002)\n    return x\n"
    ]
)
WAIT_S = 60


class FakeLink:
    """What a link is to an agent: it notes what is published, and runs calls when it is pumped."""

    def __init__(self):
        self.is_open = False
        self.confirms = True
        self.published: list[tuple[int, str, object]] = []
        self.acked: list[int] = []
        self.rejected: list[int] = []
        self.stopped = False
        self._soon = queue.SimpleQueue()
        self._later: list[tuple[float, int, object]] = []
        self._count = 0

    def publish(self, exchange, routing_key, body, headers=None):
        if not self.is_open:
            raise ServiceUnreachable("down")
        assert routing_key == f"{ENDPOINT}.{exchange}"
        self._count += 1
        self.published.append((self._count, exchange, wire.decode(body)))
        return self._count

    def ack(self, tag, multiple=False):
        self.acked.append(tag)

    def reject(self, tag):
        self.rejected.append(tag)

    def call_soon(self, call):
        self._soon.put(call)

    def call_later(self, seconds, call):
        self._count += 1
        heapq.heappush(self._later, (time.monotonic() + seconds, self._count, call))

    def stop(self, timeout_s=None):
        self.stopped = True

    def run_one(self, limit):
        """Runs the next call that is due, waiting for it no longer than `limit`."""
        due = min(limit, self._later[0][0]) if self._later else limit
        try:
            self._soon.get(timeout=max(0.0, due - time.monotonic()))()
        except queue.Empty:
            assert time.monotonic() < limit, "nothing happens"
            heapq.heappop(self._later)[2]()


class Life:
    """One life of an agent, from its start to its end or kill, and the service's side of its link."""

    def __init__(self, folder, boot_id=BOOT, workers=2, stop_s=0.0):
        self.folder = folder
        journal = open_journal(folder / "journal.db", boot_id)
        settle_past(journal, folder)
        plan = WorkerPlan(sys.executable, folder, folder, None, dict(os.environ))
        self.journal = journal
        self.engine = ProcessEngine(plan, folder / "slots", journal.journal_id, workers)
        self.importable = folder / "importable"
        self.importable.mkdir(exist_ok=True)
        modules = Modules({"path": [str(self.importable)], "builtin": ["sys"], "hooks": []})
        facts = {"pid": os.getpid(), "modules": modules.text()}
        self.agent = Conversation(
            lambda: PLACES,
            journal,
            self.engine,
            boot_id,
            facts,
            modules=modules,
            stop_s=stop_s,
            begun=lambda: begun_in(folder, journal.journal_id),
        )
        self.link = FakeLink()
        self.agent.start(self.link, self.link.stop)
        self.tags = 0
        self.confirmed = 0

    def connect(self) -> Hello:
        plan = self.agent.plan()
        assert plan.queues == (PLACES.tasks, PLACES.commands)
        self.link.is_open = True
        start = len(self.link.published)
        self.agent.on_open(self.link)
        self.hello = self.link.published[start][2]
        assert isinstance(self.hello, Hello)
        self.agent.on_ready(self.link)
        return self.hello

    def meet(self, *drop: Run) -> Hello:
        """Connects and welcomes the agent."""
        hello = self.connect()
        self.send(wire.Welcome(hello.session, drop))
        return hello

    def send(self, message, queue_name=PLACES.commands) -> int:
        self.tags += 1
        body = message if isinstance(message, bytes) else wire.encode(message)
        self.agent.on_message(self.link, Incoming(queue_name, body, self.tags))
        return self.tags

    def tasks(self, *values, session=None, functions=None, **options) -> list[Run]:
        """Sends tasks that return these values; a text is a file to wait for."""
        runs = [Run(new_id(), 0) for _ in values]
        calls = tuple(
            TaskCall(run, SERIALIZER.pack_call((value,), {})) for run, value in zip(runs, values, strict=True)
        )
        self.dispatch(calls, session, functions, options)
        return runs

    def dispatch(self, calls, session=None, functions=None, options=None):
        functions = {FUNCTION: CODE} if functions is None else functions
        batch = TaskBatch(uuid4(), FUNCTION, options or {}, tuple(calls))
        self.send(Dispatch(session or self.hello.session, functions, (batch,)), PLACES.tasks)

    def reports(self):
        return [message for _, _, message in self.link.published if isinstance(message, Report)]

    def results(self):
        return [result for report in self.reports() for result in report.results]

    def ends(self) -> dict[Run, Outcome]:
        return {result.run: result.outcome for result in self.results()}

    def marks(self, name) -> set[Run]:
        found = [mark for report in self.reports() for mark in getattr(report, name)]
        return {mark if isinstance(mark, Run) else mark.run for mark in found}

    def pump(self, until):
        limit = time.monotonic() + WAIT_S
        while not until():
            if self.link.confirms:
                for number, exchange, _ in self.link.published[self.confirmed :]:
                    if exchange == "results":
                        self.agent.on_confirm(self.link, number, True)
                self.confirmed = len(self.link.published)
                if until():
                    return
            self.link.run_one(limit)

    def pump_ends(self, runs):
        self.pump(lambda: set(runs) <= set(self.ends()))
        return [self.ends()[run] for run in runs]

    def drop_line(self):
        self.link.is_open = False
        self.agent.on_down(ConnectionError("gone"))

    def end(self):
        if self.agent is not None:
            self.agent.on_end(None)
            self.agent = None


@pytest.fixture
def lives(tmp_path):
    made = []

    def begin(**options):
        for life in made:
            life.end()
        made.append(Life(tmp_path, **options))
        return made[-1]

    yield begin
    for life in made:
        life.end()


def test_tasks_are_run_acknowledged_and_forgotten_when_stored(lives):
    life = lives()
    hello = life.meet()
    assert (hello.held, hello.running, hello.done, hello.broken) == ((), (), (), ())
    assert hello.agent["pid"] == os.getpid()
    runs = life.tasks(1, 2, 3)
    assert life.link.acked[-1] == life.tags
    assert life.pump_ends(runs) == [Outcome.SUCCESS] * 3
    assert {SERIALIZER.deserialize(result.data) for result in life.results()} == {1, 2, 3}
    assert life.journal.done() == runs
    life.send(wire.Stored(tuple(runs)))
    assert life.journal.done() == []


def test_the_first_message_is_hello_and_heartbeats_follow(lives):
    life = lives()
    life.meet()
    (_, exchange, heartbeat) = life.link.published[-1]
    assert exchange == "heartbeats"
    assert heartbeat.endpoint_id == ENDPOINT
    assert heartbeat.global_state["total_workers"] == 2
    assert heartbeat.global_state["heartbeat_period"] == 30


def test_a_module_that_came_later_is_told_by_a_heartbeat(lives):
    life = lives()
    assert life.meet().agent["modules"] == "sys"
    assert "compute_nb_modules" not in life.link.published[-1][2].global_state
    (life.importable / "late.py").touch()
    life.meet()
    assert life.link.published[-1][2].global_state["compute_nb_modules"] == "late sys"


def test_tasks_of_another_session_are_acknowledged_and_ignored(lives):
    life = lives()
    life.meet()
    (run,) = life.tasks(1, session=uuid4())
    assert life.link.acked[-1] == life.tags
    assert life.journal.number(run) is None


def test_a_run_that_comes_twice_is_begun_once(lives, tmp_path):
    life = lives()
    life.meet()
    call = TaskCall(Run(new_id(), 0), SERIALIZER.pack_call((1,), {}))
    life.dispatch([call])
    life.dispatch([call])
    life.pump_ends([call.run])
    life.dispatch([call])
    other = life.tasks(2)
    life.pump_ends(other)
    assert [result.run for result in life.results()].count(call.run) == 1


def test_code_is_remembered_for_a_session(lives):
    life = lives()
    life.meet()
    life.pump_ends(life.tasks(1))
    assert life.pump_ends(life.tasks(2, functions={})) == [Outcome.SUCCESS]


def test_a_task_without_its_code_fails_with_the_function_named(lives):
    life = lives()
    life.meet()
    runs = life.tasks(1, functions={})
    assert life.pump_ends(runs) == [Outcome.ERROR]
    assert str(FUNCTION) in life.results()[0].data


def test_marks_are_of_open_runs_only(lives, tmp_path):
    life = lives(workers=1)
    life.meet()
    release = str(tmp_path / "release")
    life.pump_ends(life.tasks(1))
    running, waiting = life.tasks(release, 2)
    life.pump(lambda: running in life.marks("running") and waiting in life.marks("held"))
    open(release, "w").close()
    life.pump_ends([running, waiting])
    ended: set[Run] = set()
    for report in life.reports():
        marked = {*report.held, *(mark.run for mark in report.running)}
        ended.update(result.run for result in report.results)
        assert not marked & ended


def test_results_gather_while_two_reports_are_unconfirmed(lives):
    life = lives()
    life.meet()
    life.link.confirms = False
    while set(life.journal.done()) <= set(life.ends()):
        life.tasks(1)
        life.pump(lambda: not life.journal.held())
    before = len(life.reports())
    runs = life.tasks(*range(50))
    life.pump(lambda: not life.journal.held())
    assert len(life.reports()) == before
    unsent = set(life.journal.done()) - set(life.ends())
    assert unsent > set(runs)
    numbers = [number for number, exchange, _ in life.link.published if exchange == "results"]
    life.agent.on_confirm(life.link, numbers[-1], True)
    assert len(life.reports()) == before + 1
    assert {result.run for result in life.reports()[-1].results} == unsent


def test_what_is_not_stored_goes_again_after_a_reconnect(lives):
    life = lives()
    life.meet()
    runs = life.tasks(1, 2)
    life.pump_ends(runs)
    life.send(wire.Stored((runs[0],)))
    life.drop_line()
    hello = life.meet()
    assert hello.done == (runs[1],)
    assert [result.run for result in life.reports()[-1].results] == [runs[1]]


def test_tasks_go_on_while_the_service_is_away(lives, tmp_path):
    life = lives()
    life.meet()
    release = str(tmp_path / "release")
    runs = life.tasks(release)
    life.drop_line()
    open(release, "w").close()
    life.pump(lambda: life.journal.done() == runs)
    assert life.results() == []
    assert life.meet().done == tuple(runs)
    assert [result.run for result in life.results()] == runs


def test_a_refused_report_goes_again(lives):
    life = lives()
    life.meet()
    life.link.confirms = False
    runs = life.tasks(1)
    life.pump_ends(runs)
    number = next(n for n, exchange, m in life.link.published if isinstance(m, Report))
    life.agent.on_confirm(life.link, number, False)
    life.pump(lambda: len(life.results()) == 2)
    assert {result.run for result in life.results()} == set(runs)


def test_cancel_ends_waiting_and_running_tasks(lives):
    life = lives(workers=1)
    life.meet()
    running, waiting, other = life.tasks("/never/there", 1, 2)
    life.pump(lambda: running in life.marks("running"))
    life.send(wire.Cancel((running, waiting)))
    outcomes = life.pump_ends([running, waiting, other])
    assert outcomes == [Outcome.CANCELLED, Outcome.CANCELLED, Outcome.SUCCESS]


def test_a_cancel_that_overtakes_its_task_counts(lives):
    life = lives()
    life.meet()
    call = TaskCall(Run(new_id(), 0), SERIALIZER.pack_call(("/never/there",), {}))
    life.send(wire.Cancel((call.run,)))
    life.dispatch([call])
    assert life.pump_ends([call.run]) == [Outcome.CANCELLED]


def test_what_is_dropped_is_killed_and_not_reported(lives):
    life = lives(workers=1)
    life.meet()
    (running,) = life.tasks("/never/there")
    life.pump(lambda: running in life.marks("running"))
    life.drop_line()
    assert life.connect().running == (running,)
    life.send(wire.Welcome(life.hello.session, (running,)))
    assert life.pump_ends(life.tasks(5)) == [Outcome.SUCCESS]
    assert running not in life.ends()
    assert life.journal.held() == []


def test_a_malformed_message_is_rejected(lives):
    life = lives()
    life.meet()
    tags = [life.send(b"\x01{}"), life.send(StatusReport(uuid4(), {}))]
    assert life.link.rejected == tags


def test_stop_stops(lives):
    life = lives()
    life.meet()
    life.send(wire.Stop())
    life.pump(lambda: life.link.stopped)


def test_an_agent_that_leaves_sends_what_ran_and_keeps_what_did_not(lives, tmp_path):
    life = lives(workers=1, stop_s=WAIT_S)
    life.meet()
    gate = tmp_path / "gate"
    running, waiting = life.tasks(str(gate), 7)
    life.pump(lambda: running in life.marks("running"))
    life.agent.leave()
    gate.touch()
    assert life.pump_ends([running]) == [Outcome.SUCCESS]
    assert not life.link.stopped  # until the service has it
    life.pump(lambda: life.journal.done() == [running])
    life.send(wire.Stored((running,)))
    life.pump(lambda: life.link.stopped)
    agent = life.agent
    life.end()
    assert agent.farewell == Farewell(ended=1, kept=1)

    life = lives(workers=1)
    assert life.meet().held == (waiting,)
    assert life.pump_ends([waiting]) == [Outcome.SUCCESS]


def test_an_agent_that_leaves_tells_what_it_has_killed(lives):
    life = lives(workers=1)
    life.meet()
    running, waiting = life.tasks("/never/there", 7)
    life.pump(lambda: running in life.marks("running"))
    life.agent.leave()
    hellos = [message for _, _, message in life.link.published if isinstance(message, Hello)]
    life.pump(lambda: isinstance(life.link.published[-1][2], Hello) and life.link.published[-1][2].broken)
    hello = life.link.published[-1][2]
    assert hello.session == hellos[0].session
    assert hello.held == (waiting,)
    assert [broken.run for broken in hello.broken] == [running]
    assert "stop_s" in hello.broken[0].reason
    life.send(wire.Welcome(hello.session, (running,)))
    life.pump(lambda: life.link.stopped)
    agent = life.agent
    life.end()
    assert agent.farewell == Farewell(killed=1, kept=1)


def test_an_agent_leaves_without_its_service(lives):
    life = lives(workers=1)
    life.meet()
    life.drop_line()
    life.agent.leave()
    life.pump(lambda: life.link.stopped)


def test_an_orderly_end_breaks_what_ran_and_keeps_the_rest(lives, tmp_path):
    life = lives(workers=1)
    life.meet()
    done = life.tasks(1)
    life.pump_ends(done)
    running, waiting = life.tasks("/never/there", 7)
    life.pump(lambda: running in life.marks("running"))
    life.end()

    life = lives(workers=1)
    hello = life.connect()
    assert (hello.held, hello.done) == ((waiting,), tuple(done))
    assert [broken.run for broken in hello.broken] == [running]
    assert "killed or stopped" in hello.broken[0].reason
    assert [result.run for result in life.results()] == done
    life.send(wire.Welcome(hello.session, (running,)))
    assert life.pump_ends([waiting]) == [Outcome.SUCCESS]


def test_what_an_earlier_agent_held_does_not_begin_before_the_welcome(lives):
    life = lives(workers=1)
    life.meet()
    running, unwanted, wanted = life.tasks("/never/there", 1, 2)
    life.pump(lambda: running in life.marks("running"))
    life.end()
    life = lives(workers=1)
    assert set(life.connect().held) == {unwanted, wanted}
    life.pump_ends(life.tasks(3))
    assert not {unwanted, wanted} & set(life.ends())
    life.send(wire.Welcome(life.hello.session, (running, unwanted)))
    assert life.pump_ends([wanted]) == [Outcome.SUCCESS]
    assert unwanted not in life.ends()


def test_after_another_boot_all_that_was_held_is_broken(lives):
    life = lives(workers=1)
    journal_id = life.meet().journal_id
    runs = life.tasks("/never/there", 1)
    life.end()
    hello = lives(boot_id=uuid4()).connect()
    assert hello.journal_id != journal_id
    assert {broken.run for broken in hello.broken} == set(runs)
    assert "restarted" in hello.broken[0].reason


def test_without_the_slots_all_that_was_held_is_broken(lives, tmp_path):
    life = lives(workers=1)
    life.meet()
    runs = life.tasks("/never/there", 1)
    life.end()
    (tmp_path / "slots").unlink()
    assert {broken.run for broken in lives().connect().broken} == set(runs)


def test_a_task_id_is_spelled_as_everywhere(lives):
    life = lives()
    life.meet()
    source = "st\nname:def name(x):\n    import os\n    return os.environ['GC_TASK_UUID']\n"
    (run,) = life.tasks(1, functions={FUNCTION: pack_buffers([source])})
    life.pump_ends([run])
    assert UUID(SERIALIZER.deserialize(life.results()[0].data)) == run.task_id


class FullDisk:
    """Lets the journal's file grow no more."""

    def __init__(self, journal):
        self._db = journal._file.db
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        self._limit(pages)

    def _limit(self, pages):
        self._db.execute(f"PRAGMA max_page_count={pages}").fetchone()

    def free(self):
        self._limit(1_000_000)


BIG = b"x" * 200_000
BIG_CODE = pack_buffers(["st\nwork:def work(x):\n    return bytes(200_000)\n"])


def test_results_wait_in_memory_while_the_disk_is_full(lives, caplog):
    life = lives(workers=1)
    life.meet()
    function = uuid4()
    life.pump_ends(life.tasks(1))
    disk = FullDisk(life.journal)
    calls = [TaskCall(Run(new_id(), 0), SERIALIZER.pack_call((n,), {})) for n in range(6)]
    batch = TaskBatch(uuid4(), function, {}, tuple(calls))
    life.send(Dispatch(life.hello.session, {function: BIG_CODE}, (batch,)), PLACES.tasks)
    runs = [call.run for call in calls]
    life.pump(lambda: life.agent._journal_is_full)
    assert not set(runs) & set(life.ends())
    life.drop_line()
    hello = life.connect()
    assert set(runs) <= {*hello.held, *hello.running}
    life.send(wire.Welcome(hello.session, ()))
    disk.free()
    assert life.pump_ends(runs) == [Outcome.SUCCESS] * 6
    assert caplog.text.count("the journal can't be written") == 1


def test_tasks_are_not_acknowledged_while_the_disk_is_full(lives):
    life = lives()
    life.meet()
    life.pump_ends(life.tasks(1))
    disk = FullDisk(life.journal)
    before = list(life.link.acked)
    runs = life.tasks(BIG, 2)
    more = life.tasks(3, functions={})
    assert life.link.acked == before
    life.send(wire.Cancel((more[0],)))
    assert life.agent._said_full
    disk.free()
    assert life.pump_ends([*runs, *more]) == [Outcome.SUCCESS, Outcome.SUCCESS, Outcome.CANCELLED]
    assert sorted(life.link.acked) == list(range(1, life.tags + 1))


def test_what_a_session_did_not_take_is_left_to_the_next(lives):
    life = lives()
    life.meet()
    life.pump_ends(life.tasks(1))
    disk = FullDisk(life.journal)
    (run,) = life.tasks(BIG)
    life.drop_line()
    assert run not in life.meet().held
    disk.free()
    call = TaskCall(run, SERIALIZER.pack_call((1,), {}))
    life.dispatch([call])
    assert life.pump_ends([run]) == [Outcome.SUCCESS]
    assert life.results()[-1].run == run


def test_a_full_disk_at_the_end_loses_no_task_that_has_not_begun(lives):
    life = lives(workers=1)
    life.meet()
    life.pump_ends(life.tasks(1))
    running, waiting = life.tasks("/never/there", 7)
    life.pump(lambda: running in life.marks("running"))
    FullDisk(life.journal)
    life.end()
    life = lives(workers=1)
    hello = life.connect()
    assert hello.held == (waiting,)
    assert [broken.run for broken in hello.broken] == [running]


TALKER = pack_buffers(
    [
        "st\ntalk:def talk(path):\n    import os, time\n    print('hello')\n"
        "    while not os.path.exists(path):\n        time.sleep(0.002)\n    return 1\n"
    ]
)


def test_what_a_running_task_prints_is_told_beside_results(lives, tmp_path):
    life = lives()
    life.meet()
    (run,) = life.tasks(str(tmp_path / "gate"), functions={FUNCTION: TALKER})
    life.pump(lambda: any(report.printed for report in life.reports()))
    (report,) = [report for report in life.reports() if report.printed]
    assert report.only_printed
    ((told, _, start, text),) = report.printed
    assert (told, start, text) == (run, 0, "hello\n")
    (tmp_path / "gate").touch()
    assert life.pump_ends([run]) == [Outcome.SUCCESS]


def test_results_do_not_wait_for_printed_text_that_nobody_confirms(lives, tmp_path):
    life = lives(workers=1)
    life.meet()
    life.link.confirms = False
    (run,) = life.tasks(str(tmp_path / "gate"), functions={FUNCTION: TALKER})
    life.pump(lambda: any(report.printed for report in life.reports()))
    for number, _, message in life.link.published:  # the marks are confirmed, the text never is
        if isinstance(message, Report) and not message.printed:
            life.agent.on_confirm(life.link, number, True)
    (tmp_path / "gate").touch()
    assert life.pump_ends([run]) == [Outcome.SUCCESS]
