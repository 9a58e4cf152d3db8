"""Whatever happens in whatever order: one end a task, at most 1 + retries begins, and none forgotten."""

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from compute_nb.service.store import Store
from compute_nb.tasks import (
    ENDS,
    OPEN,
    Broken,
    Dispatch,
    Hello,
    Outcome,
    Report,
    Run,
    RunResult,
    Started,
    Submission,
    TaskSpec,
    TaskState,
    new_id,
    new_ids,
)

ME = UUID(int=1)
T = TypeVar("T")
picks = st.integers(min_value=0, max_value=1_000_000)
# Deaths are where attempts go wrong, so they are frequent.
outcomes = st.sampled_from([*Outcome, Outcome.DIED, Outcome.DIED])


class Agent:
    """An honest agent: it journals what it gets, and never begins a run twice."""

    def __init__(self) -> None:
        self.begun: list[Run] = []
        self.new_journal()

    def new_journal(self) -> None:
        self.journal_id = new_id()
        self.known: set[Run] = set()
        self.held: list[Run] = []
        self.running: list[Run] = []
        self.broken: list[Run] = []
        self.done: dict[Run, RunResult] = {}

    def take(self, run: Run) -> None:
        if run not in self.known:
            self.known.add(run)
            self.held.append(run)

    def begin(self, run: Run) -> None:
        self.held.remove(run)
        self.running.append(run)
        self.begun.append(run)

    def end(self, run: Run, outcome: Outcome) -> None:
        self.running.remove(run)
        self.done[run] = RunResult(run, outcome, f"{outcome.value} {run}", None, 1.0, 2.0)

    def killed(self) -> None:
        self.broken += self.running
        self.running = []

    def drop(self, run: Run) -> None:
        for runs in (self.held, self.running, self.broken):
            if run in runs:
                runs.remove(run)
        self.done.pop(run, None)

    def hello(self, session: UUID) -> Hello:
        broken = tuple(Broken(run, "killed") for run in self.broken)
        held, running, done = tuple(self.held), tuple(self.running), tuple(self.done)
        return Hello(session, self.journal_id, new_id(), {"workers": 1}, held, running, done, broken)


class Whatever(RuleBasedStateMachine):
    def __init__(self, place: Path | str) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.place = place
        self.messages: list[Dispatch] = []
        self.dispatched: defaultdict[UUID, set[int]] = defaultdict(set)
        self.retries: dict[UUID, int] = {}
        self.ends: dict[UUID, tuple[TaskState, str]] = {}
        self.submissions: list[Submission] = []
        self.groups = new_ids(3)
        self.agent = Agent()
        self.session: UUID | None = None
        self.open()
        self.function = self.play(self.store.register_function(ME, "f", "code"))
        self.endpoint = self.play(self.store.register_endpoint(ME, "e", {"compute_nb": {}}))

    def play(self, step: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(step)

    def open(self) -> None:
        self.store = Store.open(self.place, durability="process")

        async def start() -> None:
            self.store.start(self.leave)

        self.play(start())

    def leave(self, messages: list[tuple[UUID, Dispatch]]) -> None:
        for _, message in messages:
            self.messages.append(message)
            for batch in message.batches:
                for call in batch.tasks:
                    self.dispatched[call.run.task_id].add(call.run.attempt)

    def report(self, **parts: Any) -> None:
        done = self.play(self.store.report(self.endpoint, Report(self.session or new_id(), **parts)))
        assert set(done.stored) == {result.run for result in parts.get("results", ())}
        self.hear(done.results)

    def hear(self, results: tuple[Any, ...]) -> None:
        for result in results:
            before = self.ends.get(result.task_id)
            assert before is None or before[0] is TaskState.LOST, "an end is for good"
            self.ends[result.task_id] = (result.state, result.data)

    # -- what may happen --------------------------------------------------------------------------

    @rule(
        count=st.integers(0, 5),
        retries=st.integers(0, 2),
        hold=st.sampled_from([False, False, True]),
        group=picks,
    )
    def submit(self, count: int, retries: int, hold: bool, group: int) -> None:
        specs = tuple(TaskSpec(i, self.function, "a") for i in new_ids(count))
        to = self.groups[group % len(self.groups)]
        submission = Submission(self.endpoint, to, specs, {}, retries, hold)
        assert self.play(self.store.submit(ME, submission)).new
        self.submissions.append(submission)
        self.retries.update({spec.task_id: retries for spec in specs})

    @precondition(lambda self: any(s.tasks for s in self.submissions))
    @rule(pick=picks)
    def submit_again(self, pick: int) -> None:
        with_tasks = [s for s in self.submissions if s.tasks]
        submission = with_tasks[pick % len(with_tasks)]
        assert not self.play(self.store.submit(ME, submission)).new

    @rule()
    def connect(self) -> None:
        self.session = new_id()
        done = self.play(self.store.hello(self.endpoint, self.agent.hello(self.session)))
        self.hear(done.results)
        for run in done.welcome.drop:
            self.agent.drop(run)

    @rule()
    def deliver(self) -> None:
        messages, self.messages = self.messages, []
        for message in messages:
            if message.session == self.session:
                for batch in message.batches:
                    for call in batch.tasks:
                        self.agent.take(call.run)

    @rule()
    def messages_get_lost_with_the_connection(self) -> None:
        self.messages, self.session = [], None
        self.play(self.store.endpoint_gone(self.endpoint))

    @precondition(lambda self: self.agent.held)
    @rule(pick=picks, told=st.booleans())
    def begin(self, pick: int, told: bool) -> None:
        run = self.agent.held[pick % len(self.agent.held)]
        self.agent.begin(run)
        if told:
            self.report(held=tuple(self.agent.held), running=(Started(run, 1.0),))

    @precondition(lambda self: self.agent.running)
    @rule(pick=picks, outcome=outcomes)
    def end(self, pick: int, outcome: Outcome) -> None:
        self.agent.end(self.agent.running[pick % len(self.agent.running)], outcome)

    @precondition(lambda self: self.agent.done)
    @rule(stored=st.booleans())
    def publish(self, stored: bool) -> None:
        self.report(results=tuple(self.agent.done.values()))
        if stored:
            self.agent.done.clear()

    @rule(ends=st.lists(outcomes, max_size=4), stored=st.booleans())
    def work(self, ends: list[Outcome], stored: bool) -> None:
        if self.session is None:
            self.connect()
        self.deliver()
        for run, outcome in zip(list(self.agent.held), ends, strict=False):
            self.agent.begin(run)
            self.agent.end(run, outcome)
        self.report(held=tuple(self.agent.held), results=tuple(self.agent.done.values()))
        if stored:
            self.agent.done.clear()

    @precondition(lambda self: self.agent.held and self.session)
    @rule(pick=picks)
    def hand_back(self, pick: int) -> None:
        run = self.agent.held[pick % len(self.agent.held)]
        self.agent.drop(run)
        self.agent.known.discard(run)
        self.report(returned=(run,))

    @rule()
    def kill_agent(self) -> None:
        self.agent.killed()
        self.session = None

    @rule()
    def lose_journal(self) -> None:
        self.agent.new_journal()
        self.session = None

    @rule(kept=st.booleans())
    def restart_service(self, kept: bool) -> None:
        self.store.close()
        if not kept:
            self.messages = []
        self.session = None
        self.open()

    @precondition(lambda self: self.retries)
    @rule(pick=picks, lose=st.booleans())
    def cancel_or_lose(self, pick: int, lose: bool) -> None:
        task_id = list(self.retries)[pick % len(self.retries)]
        if lose:
            ended = self.play(self.store.lose(ME, [task_id]))
        else:
            ended = self.play(self.store.cancel(ME, task_ids=[task_id]))
            for run in [run for runs in ended.runs.values() for run in runs]:
                self.agent.drop(run)
        self.hear(ended.results)

    # -- what holds -------------------------------------------------------------------------------

    @invariant()
    def no_more_attempts_than_allowed(self) -> None:
        for task_id, attempts in self.dispatched.items():
            assert attempts <= set(range(self.retries[task_id] + 1))
        assert max(Counter(self.agent.begun).values(), default=1) == 1

    @invariant()
    def the_store_tells_what_it_told(self) -> None:
        rows = self.play(self.store.task_rows(ME, self.retries))
        assert len(rows) == len(self.retries)
        for row in rows:
            if row.state in ENDS or row.state is TaskState.LOST:
                assert (row.state, row.data) == self.ends[row.task_id]
            else:
                assert row.task_id not in self.ends
        counts = self.play(self.store.counts())
        told = Counter(row.state for row in rows)
        assert {state: n for state, n in counts.items() if n} == told

    def teardown(self) -> None:
        try:
            self.everything_ends()
        finally:
            self.store.close()
            self.loop.close()

    def everything_ends(self) -> None:
        for group in self.groups:
            self.play(self.store.submit(ME, Submission(self.endpoint, group, ())))
        self.connect()
        for _ in range(4):
            self.deliver()
            for run in list(self.agent.held):
                self.agent.begin(run)
            for run in list(self.agent.running):
                self.agent.end(run, Outcome.SUCCESS)
            self.report(results=tuple(self.agent.done.values()))
            self.agent.done.clear()
        self.no_more_attempts_than_allowed()
        self.the_store_tells_what_it_told()
        counts = self.play(self.store.counts())
        assert sum(counts[state] for state in OPEN) == 0, "no task is forgotten"


SETTINGS = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_whatever_happens(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    files = (tmp_path / f"{number}.db" for number in itertools.count())
    server = request.getfixturevalue("postgresql") if kind == "postgresql" else None

    def machine() -> Whatever:
        return Whatever(server.schema() if server else next(files))

    run_state_machine_as_test(machine, settings=SETTINGS)
