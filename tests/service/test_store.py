import asyncio
import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from compute_nb.errors import ComputeError
from compute_nb.service.lane import RESERVE_TASKS, Lane, Rate
from compute_nb.service.parcel import MESSAGE_CHARACTERS, MESSAGE_TASKS
from compute_nb.service.statements import CODES, STATES, Statements
from compute_nb.service.store import (
    Conflict,
    Forbidden,
    NotFound,
    Principal,
    Store,
    StoreClosed,
    StoreFull,
    StoreUnusable,
)
from compute_nb.tasks import (
    MOVES,
    OPEN,
    Broken,
    Dispatch,
    ErrorCode,
    Hello,
    Outcome,
    Report,
    Run,
    RunResult,
    Started,
    Submission,
    TaskBatch,
    TaskSpec,
    TaskState,
    new_id,
    new_ids,
)

DAY_S = 24 * 3600.0
ME, YOU = UUID(int=1), UUID(int=2)


class Rig:
    """A store with one owner, one function and one endpoint; time stands still until a test moves it."""

    def __init__(self, place: Path | str) -> None:
        self.place = place
        self.now = 1_000_000.0
        self.messages: list[tuple[UUID, Dispatch]] = []
        self.session = new_id()
        self.journal_id = new_id()

    async def open(self, **options: Any) -> "Rig":
        self.store = Store.open(self.place, clock=lambda: self.now, **options)
        self.store.start(self.messages.extend)
        return self

    async def set_up(self) -> "Rig":
        await self.open()
        self.function = await self.store.register_function(ME, "f", "4\ncode", meta={"v": 1})
        self.endpoint = await self.store.register_endpoint(ME, "lab", {"compute_nb": {"version": 1}})
        return self

    async def hello(self, **inventory: Any) -> Any:
        self.session = new_id()
        agent = inventory.pop("agent", {"workers": 2})
        journal_id = inventory.pop("journal_id", self.journal_id)
        message = Hello(self.session, journal_id, new_id(), agent, **inventory)
        return await self.store.hello(self.endpoint, message)

    def specs(self, count: int, args: str = "args") -> tuple[TaskSpec, ...]:
        return tuple(TaskSpec(i, self.function, args) for i in new_ids(count))

    async def submit(self, count: int, group: UUID | None = None, **more: Any) -> list[UUID]:
        specs = more.pop("specs", None) or self.specs(count, more.pop("args", "args"))
        owner = more.pop("owner", ME)
        submission = Submission(self.endpoint, group or new_id(), specs, **more)
        reply = await self.store.submit(owner, submission)
        return list(reply.task_ids)

    def sent(self) -> list[Run]:
        """Takes the runs that have left since the last call, in their order."""
        messages, self.messages[:] = list(self.messages), []
        return [call.run for _, m in messages for batch in m.batches for call in batch.tasks]

    async def report(self, **parts: Any) -> Any:
        session = parts.pop("session", self.session)
        return await self.store.report(self.endpoint, Report(session, **parts))

    async def finish(self, *runs: Run, outcome: Outcome = Outcome.SUCCESS, data: str = "v") -> Any:
        code = ErrorCode.REMOTE if outcome is Outcome.ERROR else None
        results = tuple(RunResult(run, outcome, data, code, 1.0, 2.0) for run in runs)
        return await self.report(results=results)

    async def open_to_all(self) -> None:
        """Makes the endpoint and the function public; an agent is connected."""
        more = {"metadata": {"compute_nb": {"version": 1}}, "endpoint_id": self.endpoint, "public": True}
        await self.store.register_endpoint(ME, "lab", **more)
        self.function = await self.store.register_function(ME, "f", "4\ncode", public=True)
        await self.hello()

    def sent_by_owner(self) -> dict[str, list[Run]]:
        """Takes the runs that have left since the last call, by what the agent hears of their owners."""
        messages, self.messages[:] = list(self.messages), []
        found: dict[str, list[Run]] = {}
        for batch in [batch for _, message in messages for batch in message.batches]:
            found.setdefault(batch.owner, []).extend(call.run for call in batch.tasks)
        return found

    async def row(self, task_id: UUID) -> Any:
        (row,) = await self.store.task_rows(ME, [task_id])
        return row

    async def states(self, task_ids: list[UUID]) -> list[str]:
        return [row.state.value for row in await self.store.task_rows(ME, task_ids)]


Play = Callable[[Callable[[Rig], Coroutine[Any, Any, None]]], None]


def playing(place: Path | str) -> Play:
    def run(scene: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            rig = await Rig(place).set_up()
            try:
                await scene(rig)
            finally:
                rig.store.close()

        asyncio.run(main())

    return run


@pytest.fixture
def play(place: Path | str) -> Play:
    """Runs a scene with a fresh store, and closes it; once with each database."""
    return playing(place)


@pytest.fixture
def play_file(tmp_path: Path) -> Play:
    """The same with a file only."""
    return playing(tmp_path / "store.db")


# -- the way of a task ----------------------------------------------------------------------------


def test_a_task_from_submit_to_its_value(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        group = new_id()
        (task,) = await rig.submit(1, group, options={"walltime_s": 3})
        ((endpoint, message),) = rig.messages
        run = Run(task, 0)
        assert endpoint == rig.endpoint
        assert message.session == rig.session
        assert message.functions == {rig.function: "4\ncode"}
        (batch,) = message.batches
        assert isinstance(batch, TaskBatch)
        assert (batch.task_group_id, batch.function_id) == (group, rig.function)
        assert batch.options == {"walltime_s": 3}
        assert [(call.run, call.args) for call in batch.tasks] == [(run, "args")]

        done = await rig.report(held=(run,))
        assert [(m.task_id, m.state) for m in done.moves] == [(task, TaskState.DELIVERED)]
        done = await rig.report(running=(Started(run, 7.0),))
        assert [(m.state, m.at) for m in done.moves] == [(TaskState.RUNNING, 7.0)]
        done = await rig.finish(run, data="value")
        assert done.stored == (run,)
        (result,) = done.results
        assert (result.task_group_id, result.state, result.data) == (group, TaskState.SUCCEEDED, "value")
        row = await rig.row(task)
        assert (row.state, row.data, row.attempt) == (TaskState.SUCCEEDED, "value", 0)
        assert (row.submitted_at, row.started_at, row.ended_at) == (rig.now, 1.0, 2.0)
        counts = await rig.store.counts()
        assert counts[TaskState.SUCCEEDED] == 1
        assert await rig.store.open_count() == 0
        await rig.store.synced()

    play(scene)


def test_nothing_leaves_before_hello_and_code_leaves_once_a_session(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        first = await rig.submit(2)
        assert rig.messages == []
        await rig.hello()
        assert rig.messages[0][1].functions == {rig.function: "4\ncode"}
        assert [run.task_id for run in rig.sent()] == first
        await rig.submit(1)
        assert rig.messages[0][1].functions == {}
        rig.sent()
        await rig.store.endpoint_gone(rig.endpoint, new_id())
        await rig.submit(1)
        assert len(rig.sent()) == 1, "the end of another session is none of ours"
        await rig.store.endpoint_gone(rig.endpoint, rig.session)
        await rig.submit(1)
        assert rig.sent() == []

    play(scene)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_first_good_result_wins(play: Play, outcome: Outcome) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        await rig.submit(1)
        (run,) = rig.sent()
        first = await rig.finish(run, outcome=outcome)
        again = await rig.finish(run, outcome=Outcome.SUCCESS, data="other")
        assert len(first.results) == 1
        assert again.results == ()
        assert again.stored == (run,), "set aside, but the agent may forget it"
        assert (await rig.row(run.task_id)).state is first.results[0].state

    play(scene)


def test_what_is_not_his_to_report_is_set_aside(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        (task,) = await rig.submit(1)
        other = await rig.store.register_endpoint(ME, "other", {})
        result = RunResult(Run(task, 0), Outcome.SUCCESS, "forged", None, 1.0, 2.0)
        unknown = result._replace(run=Run(new_id(), 0))
        done = await rig.store.report(other, Report(new_id(), results=(result, unknown)))
        assert done.results == ()
        assert len(done.stored) == 2
        assert await rig.states([task]) == ["WAITING"]
        with pytest.raises(NotFound, match="register again"):
            await rig.store.report(new_id(), Report(new_id()))

    play(scene)


def test_worker_died(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        (task,) = await rig.submit(1, retries=1)
        assert rig.sent() == [Run(task, 0)]
        done = await rig.finish(Run(task, 0), outcome=Outcome.DIED, data="killed by SIGSEGV")
        assert [(m.state, m.attempt) for m in done.moves] == [(TaskState.WAITING, 1)]
        assert done.results == ()
        assert rig.sent() == [Run(task, 1)]
        late = await rig.finish(Run(task, 0), outcome=Outcome.DIED)
        assert (late.moves, late.results) == ((), ())
        done = await rig.finish(Run(task, 1), outcome=Outcome.DIED, data="killed by SIGSEGV")
        (result,) = done.results
        assert (result.state, result.error_code) == (TaskState.FAILED, ErrorCode.WORKER_DIED)
        assert "SIGSEGV" in result.data
        assert result.data.endswith("attempt 2 of 2")

    play(scene)


def test_marks_of_another_attempt_or_session_change_nothing(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        (task,) = await rig.submit(1, retries=1)
        await rig.finish(Run(task, 0), outcome=Outcome.DIED)
        old = Run(task, 0)
        done = await rig.report(held=(old,), running=(Started(old, 1.0),), returned=(old,))
        assert done.moves == ()
        done = await rig.report(session=new_id(), returned=(Run(task, 1),))
        assert done.moves == ()
        rig.sent()
        done = await rig.report(returned=(Run(task, 1),))
        assert [m.state for m in done.moves] == [TaskState.WAITING]
        assert rig.sent() == [Run(task, 1)], "handed back unbegun: the same attempt"

    play(scene)


def test_an_error_with_characters_that_nobody_stores_holds_up_no_other(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        first, second = await rig.submit(2)
        results = (
            RunResult(Run(first, 0), Outcome.ERROR, "nul \0 and half \ud800", None, 1.0, 2.0),
            RunResult(Run(second, 0), Outcome.SUCCESS, "value", None, 1.0, 2.0),
        )
        assert len((await rig.report(results=results)).results) == 2
        assert (await rig.row(first)).data == r"nul \x00 and half \ud800"
        assert (await rig.row(second)).data == "value"

    play(scene)


# -- hello ----------------------------------------------------------------------------------------


def test_hello_compares_the_inventory(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        tasks = await rig.submit(6, retries=1)
        held, running, done, broken, missing, cancelled = (Run(task, 0) for task in tasks)
        rig.sent()
        await rig.store.cancel(ME, task_ids=[cancelled.task_id])
        stranger = Run(new_id(), 0)
        answer = await rig.hello(
            held=(held, cancelled, stranger),
            running=(running,),
            done=(done,),
            broken=(Broken(broken, "the agent was killed"),),
        )
        assert answer.welcome.session == rig.session
        assert set(answer.welcome.drop) == {cancelled, stranger, broken}
        assert rig.sent() == [Run(broken.task_id, 1), missing]
        assert await rig.states(tasks) == [
            "DELIVERED",
            "RUNNING",
            "WAITING",
            "WAITING",
            "WAITING",
            "CANCELLED",
        ]
        moves = {(m.task_id, m.state, m.attempt) for m in answer.moves}
        assert (held.task_id, TaskState.DELIVERED, 0) in moves
        assert (broken.task_id, TaskState.WAITING, 1) in moves
        (result,) = (await rig.finish(done)).results
        assert result.state is TaskState.SUCCEEDED

    play(scene)


def test_broken_without_retries_is_lost_and_a_late_value_still_counts(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        (task,) = await rig.submit(1)
        run = Run(task, 0)
        answer = await rig.hello(broken=(Broken(run, "the agent was killed"),))
        (result,) = answer.results
        assert (result.state, result.error_code) == (TaskState.LOST, ErrorCode.LOST)
        assert "the agent was killed" in result.data
        assert "submit it again" in result.data
        assert answer.welcome.drop == (run,)
        assert (await rig.finish(run, outcome=Outcome.CANCELLED)).results == ()
        (late,) = (await rig.finish(run, data="late")).results
        assert late.state is TaskState.SUCCEEDED
        assert (await rig.row(task)).data == "late"
        assert (await rig.finish(run, data="later")).results == ()

    play(scene)


def test_running_though_given_up_goes_on(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        (task, other) = await rig.submit(2)
        lost = await rig.store.lose(ME, [task, other])
        assert [r.state for r in lost.results] == [TaskState.LOST] * 2
        answer = await rig.hello(running=(Run(task, 0),), held=(Run(other, 0),))
        assert answer.welcome.drop == (Run(other, 0),), "not begun: not wanted; begun: its value counts"

    play(scene)


def test_another_journal_breaks_all_that_was_sent(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        (again,) = await rig.submit(1, retries=1)
        (gone,) = await rig.submit(1)
        rig.sent()
        answer = await rig.hello(journal_id=new_id(), held=(Run(again, 0),))
        assert [r.task_id for r in answer.results] == [gone]
        assert answer.welcome.drop == (Run(again, 0),)
        assert rig.sent() == [Run(again, 1)]
        assert await rig.states([again, gone]) == ["WAITING", "LOST"]

    play(scene)


def test_a_restarted_service_knows_what_is_out(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        held, lost_on_the_way = await rig.submit(2)
        rig.sent()
        rig.store.close()
        await rig.open()
        (waiting,) = await rig.submit(1)
        assert rig.sent() == [], "no session yet"
        await rig.hello(held=(Run(held, 0),))
        assert [run.task_id for run in rig.sent()] == [lost_on_the_way, waiting]
        assert await rig.store.outstanding(rig.endpoint) == (0, 3)

    play(scene)


def test_an_agent_that_knows_more_than_a_store_set_back(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        (task,) = await rig.submit(1)
        answer = await rig.hello(running=(Run(task, 0),))
        assert answer.welcome.drop == ()
        assert rig.sent() == [], "it has the task, whatever the store forgot"
        assert await rig.states([task]) == ["RUNNING"]

    play(scene)


# -- windows and fairness -------------------------------------------------------------------------


def test_window_and_messages_are_limited(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        await rig.submit(1000)
        assert len(rig.sent()) == 256
        await rig.hello(agent={"workers": 100})
        counts = [sum(len(b.tasks) for b in m.batches) for _, m in rig.messages]
        assert sum(counts) == 400
        assert max(counts) == MESSAGE_TASKS
        out = rig.sent()
        await rig.finish(*out[:300])
        assert len(rig.sent()) == 300
        assert await rig.store.outstanding(rig.endpoint) == (300, 400)

    play(scene)


def test_large_arguments_share_no_message(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        half = "x" * (MESSAGE_CHARACTERS // 2)
        await rig.submit(5, args=half)
        assert [sum(len(b.tasks) for b in m.batches) for _, m in rig.messages] == [2, 2, 1]
        rig.sent()
        await rig.submit(2, args="x" * (MESSAGE_CHARACTERS + 1))
        assert len(rig.messages) == 2
        assert all(m.functions == {} for _, m in rig.messages)

    play(scene)


def test_bytes_on_the_way_are_limited(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        rig.store.close()
        await rig.open(window_characters=1024 * 1024)
        await rig.hello()
        sixteenth = "x" * (1024 * 1024 // 16)
        group = new_id()
        for _ in range(3):
            await rig.submit(7, group, args=sixteenth)
        out = rig.sent()
        assert len(out) == 16
        await rig.finish(*out[:3])
        assert len(rig.sent()) == 3

    play(scene)


def test_rate_widens_the_window_and_fades() -> None:
    rate, lane = Rate(), Lane(1, new_id(), new_id(), workers=1)
    for tenth in range(50):
        rate.add(200, 100.0 + tenth / 10)
    assert 1800 < rate.at(105.0) < 2200, "about 2,000 a second"
    lane.rate = rate
    assert lane.room(105.0) > 1700
    assert lane.room(200.0) == 256


def test_one_task_passes_ten_thousand_of_another_group(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        big, third = new_id(), new_id()
        for _ in range(10):
            await rig.submit(1000, big)
        out = rig.sent()
        (lone,) = await rig.submit(1)
        assert rig.sent() == [], "the window is full"
        await rig.finish(out[0])
        assert [run.task_id for run in rig.sent()] == [lone]
        many = await rig.submit(300, third)
        await rig.finish(*out[1:101])
        groups = Counter(run.task_id in many for run in rig.sent())
        assert groups == {True: 50, False: 50}

    play(scene)


def test_a_user_with_ten_groups_has_no_larger_share_than_one_with_one(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.open_to_all()
        for _ in range(10):
            await rig.submit(100)
        ((me, mine),) = rig.sent_by_owner().items()
        await rig.submit(600, owner=YOU)
        ((you, yours),) = rig.sent_by_owner().items()
        assert you != me
        while len(mine) > 128:
            await rig.finish(*mine[:4])
            del mine[:4]
            yours += rig.sent_by_owner().get(you, [])
        assert (len(mine), len(yours)) == (128, 128)
        await rig.finish(*mine[:10], *yours[:10])
        assert {owner: len(runs) for owner, runs in rig.sent_by_owner().items()} == {me: 10, you: 10}

    play(scene)


def test_who_a_user_is_can_be_told_by_the_key_of_the_service_alone(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        heard: list[str] = []
        for key in (b"one", b"one", b"other"):
            rig.store.close()
            await rig.open(key=key)
            await rig.open_to_all()
            await rig.submit(1)
            ((owner, _),) = rig.sent_by_owner().items()
            heard.append(owner)
        assert heard[0] == heard[1] != heard[2]  # also after a restart of the service
        ids = rig.endpoint.bytes + ME.bytes  # what an agent may know: its endpoint, and a user's id
        assert hashlib.sha256(ids).hexdigest()[:16] not in heard
        assert all(re.fullmatch("[0-9a-f]{16}", owner) for owner in heard)

    play(scene)


def test_a_user_with_nothing_out_does_not_wait_for_a_full_window(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.open_to_all()
        for _ in range(3):
            await rig.submit(500)
        assert len(rig.sent()) == 256
        yours = await rig.submit(2, owner=YOU)
        assert [run.task_id for run in rig.sent()] == yours
        for _ in range(40):
            await rig.submit(20, owner=YOU)
        assert len(rig.sent()) == RESERVE_TASKS - 2, "the window is bounded"

    play(scene)


def test_a_window_full_of_bytes_has_room_for_one_task_of_each_user(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        rig.store.close()
        await rig.open(window_characters=1024)
        await rig.open_to_all()
        await rig.submit(4, args="x" * 512)
        assert len(rig.sent()) == 2
        (first, second, _) = await rig.submit(3, owner=YOU)
        assert [run.task_id for run in rig.sent()] == [first]
        await rig.finish(Run(first, 0))
        assert [run.task_id for run in rig.sent()] == [second]

    play(scene)


def test_shares_are_found_again_after_a_new_session(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.open_to_all()
        await rig.submit(300)
        yours = await rig.submit(20, owner=YOU)
        out = rig.sent()
        assert len(out) == 256 + RESERVE_TASKS
        await rig.hello(held=tuple(out))
        await rig.finish(Run(yours[0], 0))
        assert [run.task_id for run in rig.sent()] == [yours[RESERVE_TASKS]]

    play(scene)


def test_plans_never_scan_what_is_stored(play_file: Play) -> None:
    async def scene(rig: Rig) -> None:
        statements, plans = Statements(), {}
        connection = sqlite3.connect(rig.place)
        for name in statements.names():
            # With many ids the planner is tempted to begin elsewhere.
            sql = statements.for_ids(name, 256)
            values: Any = {"owner": b"", "public": False} if ":owner" in sql else (None,) * sql.count("?")
            rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
            plans[name] = [row[3] for row in rows]
        connection.close()
        scans = {name for name, plan in plans.items() if any(p.startswith("SCAN") for p in plan)}
        assert scans <= {
            *("tally", "endpoints", "user_endpoints", "stale_hold", "principals", "give_up_answers"),
            *("all_principals", "accounts", "open_of_owner"),  # all tokens, all users; endpoints, open tasks
        }
        for index in ("task_outbox", "task_out"):
            assert any(f"{index} (endpoint" in line for line in plans["open_of_owner"]), plans[
                "open_of_owner"
            ]
        for name in ("outbox", "next_lane", "count_waiting", "held_tasks"):
            assert any("task_outbox" in line for line in plans[name]), plans[name]
            assert not any("TEMP B-TREE" in line for line in plans[name]), plans[name]
        for name in ("groups", "task_rows", "tasks", "inputs"):
            assert any("(id=?)" in line for line in plans[name]), plans[name]
        for name in ("tasks_out", "numbers_out", "count_out"):
            assert any("task_out (" in line for line in plans[name]), plans[name]

    play_file(scene)


# -- submit ---------------------------------------------------------------------------------------


def test_the_same_submit_again_stores_nothing(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        submission = Submission(rig.endpoint, new_id(), rig.specs(3), {"a": 1})
        first, second = await asyncio.gather(
            rig.store.submit(ME, submission), rig.store.submit(ME, submission)
        )
        assert (first.new, second.new) == (True, False)
        assert first.task_ids == second.task_ids
        assert await rig.store.open_count() == 3

    play(scene)


def test_known_ids_with_another_content_are_a_conflict(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        group, specs = new_id(), rig.specs(3)
        await rig.submit(3, group, specs=specs)
        fresh = rig.specs(2)
        for other in (
            Submission(rig.endpoint, group, (TaskSpec(specs[0].task_id, rig.function, "else"),)),
            Submission(rig.endpoint, new_id(), specs),
            Submission(rig.endpoint, group, specs, {"walltime_s": 1}),
            Submission(rig.endpoint, group, specs, retries=2),
            Submission(rig.endpoint, group, (*specs, *fresh)),
            Submission(rig.endpoint, group, (*fresh, *specs)),
            Submission(rig.endpoint, group, (fresh[0], fresh[0])),
        ):
            with pytest.raises(Conflict, match="nothing was stored"):
                await rig.store.submit(ME, other)
        assert await rig.store.open_count() == 3
        assert await rig.store.task_rows(ME, [spec.task_id for spec in fresh]) == []

    play(scene)


def test_an_operation_that_fails_does_not_hurt_the_others_of_its_commit(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        group, specs = new_id(), rig.specs(2)
        twice = (specs[0], specs[0])
        replies = await asyncio.gather(
            rig.store.submit(ME, Submission(rig.endpoint, group, rig.specs(2))),
            rig.store.submit(ME, Submission(rig.endpoint, new_id(), twice)),
            rig.store.submit(ME, Submission(new_id(), group, rig.specs(1))),
            rig.store.submit(ME, Submission(rig.endpoint, group, rig.specs(2))),
            rig.store.set_meta("k", "v"),
            return_exceptions=True,
        )
        assert [type(reply).__name__ for reply in replies] == [
            "SubmitReply",
            "Conflict",
            "NotFound",
            "SubmitReply",
            "NoneType",
        ]
        assert await rig.store.get_meta("k") == "v"
        assert await rig.store.open_count() == 4
        assert len(rig.sent()) == 4
        page = await rig.store.tasks_of_group(ME, group)
        assert len(page.tasks) == 4

    play(scene)


def test_held_until_released(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        group = new_id()
        (before,) = await rig.submit(1, group)
        rig.sent()
        specs = rig.specs(3)
        held = await rig.submit(3, group, specs=specs, hold=True)
        held += await rig.submit(2, group, hold=True)
        assert rig.sent() == []
        await rig.hello(held=(Run(before, 0),))
        assert rig.sent() == [], "a new session does not release"
        await rig.submit(0, group)
        assert [run.task_id for run in rig.sent()] == held
        await rig.submit(3, group, specs=specs, hold=True)
        (later,) = await rig.submit(1, group, hold=True)
        assert rig.sent() == [], "a repeat holds nothing again, new tasks are held"
        (last,) = await rig.submit(1, group)
        assert {run.task_id for run in rig.sent()} == {later, last}

    play(scene)


def test_held_tasks_that_nobody_releases_are_cancelled(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        group = new_id()
        (free,) = await rig.submit(1, group)
        held = [task for _ in range(3) for task in await rig.submit(1000, group, hold=True)]
        rig.now += 3599
        assert (await rig.store.expire()).results == ()
        rig.now += 1
        ended = await rig.store.expire()
        assert {r.task_id for r in ended.results} == set(held)
        assert ended.results[0].state is TaskState.CANCELLED
        assert "submit again" in ended.results[0].data
        assert await rig.states([free]) == ["WAITING"]
        await rig.hello()
        assert [run.task_id for run in rig.sent()] == [free]

    play(scene)


def test_requests_without_ids_are_repeats_only_if_the_reply_was_not_written(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        async def post(digest: bytes) -> bool:
            submission = Submission(rig.endpoint, new_id(), rig.specs(1), client_ids=False)
            reply = await rig.store.submit(ME, submission, digest=digest)
            return reply.new

        assert await post(b"1")
        assert await post(b"1"), "two equal requests at a time are two"
        await rig.store.answered(ME, b"1", True)
        assert await post(b"1")
        await rig.store.answered(ME, b"1", False)
        assert not await post(b"1")
        await rig.store.answered(ME, b"1", True)
        assert await post(b"1")
        await rig.store.answered(ME, b"1", False)
        rig.now += 61
        assert await post(b"1"), "60 s have passed"
        rig.store.close()
        await rig.open()
        assert not await post(b"1"), "the service ended before it could answer"

    play(scene)


# -- whose it is ----------------------------------------------------------------------------------


def test_admins_of_an_endpoint_see_and_delete_it_and_no_more(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        store, third = rig.store, UUID(int=3)
        metadata = {"compute_nb": {}, "admins": [str(YOU)]}
        endpoint_id = await store.register_endpoint(ME, "shared", metadata)
        assert (await store.endpoint(YOU, endpoint_id)).owner == ME
        submission = Submission(endpoint_id, new_id(), rig.specs(1))
        for refused in (
            store.endpoint(third, endpoint_id),
            store.delete_endpoint(third, endpoint_id),
            store.register_endpoint(YOU, "mine now", metadata, endpoint_id),
            store.submit(YOU, submission),
        ):
            with pytest.raises(Forbidden, match="somebody else's"):
                await refused
        (task_id,) = (await store.submit(ME, submission)) and [spec.task_id for spec in submission.tasks]
        await store.delete_endpoint(YOU, endpoint_id)
        (row,) = await store.task_rows(ME, [task_id])
        assert row.state is TaskState.FAILED

        again = await store.register_endpoint(ME, "shared", metadata)
        await store.register_endpoint(ME, "shared", {"compute_nb": {}}, again)
        with pytest.raises(Forbidden):
            await store.endpoint(YOU, again)

    play(scene)


def test_nothing_of_others_is_seen_or_used(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        store, group = rig.store, new_id()
        tasks = await rig.submit(2, group)
        yours = await store.register_endpoint(YOU, "yours", {})
        for refused in (
            store.function(YOU, rig.function),
            store.delete_function(YOU, rig.function),
            store.endpoint(YOU, rig.endpoint),
            store.delete_endpoint(YOU, rig.endpoint),
            store.register_endpoint(YOU, "mine now", {}, rig.endpoint),
            store.group(YOU, group),
            store.tasks_of_group(YOU, group),
            store.cancel(YOU, task_group_id=group),
            store.submit(YOU, Submission(rig.endpoint, new_id(), ())),
            store.submit(YOU, Submission(yours, group, ())),
            store.submit(YOU, Submission(yours, new_id(), rig.specs(1))),
        ):
            with pytest.raises(Forbidden, match="somebody else's"):
                await refused
        assert await store.task_rows(YOU, tasks) == []
        assert (await store.cancel(YOU, task_ids=tasks)).results == ()
        assert (await store.lose(YOU, tasks)).results == ()
        await store.cancel(ME, task_ids=tasks)
        assert (await store.retry(YOU, [(tasks[0], new_id())])).newest == ()
        with pytest.raises(NotFound, match="not known here"):
            await store.inputs(YOU, tasks[0])
        assert await store.groups_of(YOU, [group]) == []
        assert [g.task_group_id for g in await store.groups_of(ME, [group, new_id()])] == [group]
        for unknown in (
            store.function(ME, new_id()),
            store.endpoint(ME, new_id()),
            store.group(ME, new_id()),
            store.delete_endpoint(ME, new_id()),
            store.hello(new_id(), Hello(new_id(), new_id(), new_id(), {})),
        ):
            with pytest.raises(NotFound):
                await unknown

    play(scene)


def test_public_endpoints_and_functions_serve_others(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        store = rig.store
        function = await store.register_function(ME, "g", "1\nc", public=True, description="d")
        endpoint = await store.register_endpoint(ME, "open", {"m": 1}, public=True, display_name="O")
        spec = TaskSpec(new_id(), function, "a")
        assert (await store.submit(YOU, Submission(endpoint, new_id(), (spec,)))).new
        row = await store.endpoint(YOU, endpoint)
        assert (row.name, row.display_name, row.kind, row.metadata) == ("open", "O", "published", {"m": 1})
        assert (await store.function(YOU, function)).description == "d"
        assert [row.endpoint_id for row in await store.endpoints(YOU, public=True)] == [endpoint]
        assert await store.endpoints(YOU) == []
        await store.delete_function(ME, function)
        with pytest.raises(NotFound):
            await store.function(ME, function)

    play(scene)


def test_an_endpoint_registers_again(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        store = rig.store
        again = await store.register_endpoint(ME, "renamed", {"compute_nb": {}}, rig.endpoint)
        assert again == rig.endpoint
        before = await store.endpoint(None, rig.endpoint)
        assert (before.name, before.kind, before.agent, before.connected) == (
            "renamed",
            "compute_nb",
            None,
            False,
        )
        await rig.hello(agent={"workers": 3, "python": "3.11"})
        after = await store.endpoint(ME, rig.endpoint)
        assert (after.connected, after.last_seen_at) == (True, rig.now)
        known = await store.environments([rig.endpoint, new_id()])
        assert known == {rig.endpoint: {"workers": 3, "python": "3.11"}}
        outlived = new_id()
        assert await store.register_endpoint(ME, "old", {}, outlived) == outlived

    play(scene)


# -- ends from the service's side -----------------------------------------------------------------


def test_cancel_tells_agents_only_what_was_sent(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        group = new_id()
        tasks = [task for _ in range(5) for task in await rig.submit(1000, group)]
        out = rig.sent()
        await rig.finish(out[0])
        some = await rig.store.cancel(ME, task_ids=[out[1].task_id, out[1].task_id, tasks[-1]])
        assert {r.task_id for r in some.results} == {out[1].task_id, tasks[-1]}
        assert some.runs == {rig.endpoint: (out[1],)}
        ended = await rig.store.cancel(ME, task_group_id=group)
        assert len(ended.results) == 4997
        counts = await rig.store.counts()
        assert counts[TaskState.CANCELLED] == 4999
        row = await rig.row(tasks[-1])
        assert (row.data, row.error_code) == ("cancelled", ErrorCode.CANCELLED)
        assert (await rig.finish(out[1])).results == (), "cancelled is for good"
        assert (await rig.store.cancel(ME, task_group_id=group)).results == ()

    play(scene)


def test_a_shorter_expiry_holds_for_what_comes_later_in_older_groups_too(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        group = new_id()
        (older,) = await rig.submit(1, group)
        await rig.store.expire_after(3600.0)
        (younger,) = await rig.submit(1, group)
        rig.now += 3599
        assert (await rig.store.expire()).results == ()
        rig.now += 1
        assert [r.task_id for r in (await rig.store.expire()).results] == [younger]
        rig.now += 14 * DAY_S
        assert [r.task_id for r in (await rig.store.expire()).results] == [older]

    play(scene)


def test_expiry(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        group = new_id()
        (delivered, sent) = await rig.submit(2, group)
        await rig.report(held=(Run(delivered, 0),))
        await rig.store.endpoint_gone(rig.endpoint)
        unsent = [task for _ in range(3) for task in await rig.submit(1000, group)]
        rig.now += DAY_S
        (younger,) = await rig.submit(1, group)
        rig.now += 13 * DAY_S - 1
        assert (await rig.store.expire()).results == ()
        rig.now += 1
        ended = {r.task_id: r for r in (await rig.store.expire()).results}
        assert set(ended) == {delivered, sent, *unsent}
        assert ended[unsent[0]].error_code == ErrorCode.EXPIRED
        assert (ended[delivered].state, ended[sent].state) == (TaskState.LOST, TaskState.FAILED)
        rig.now += DAY_S
        assert [r.task_id for r in (await rig.store.expire()).results] == [younger]
        assert await rig.store.open_count() == 0

    play(scene)


def test_deleting_an_endpoint_ends_its_tasks(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        tasks = [task for _ in range(3) for task in await rig.submit(1000)]
        out = rig.sent()
        ended = await rig.store.delete_endpoint(ME, rig.endpoint)
        assert Counter(r.state for r in ended.results) == {
            TaskState.FAILED: 3000 - 256,
            TaskState.LOST: 256,
        }
        assert set(ended.runs[rig.endpoint]) == set(out)
        assert (await rig.row(tasks[-1])).data.endswith("submit it to another one")
        with pytest.raises(NotFound):
            await rig.submit(1)

    play(scene)


def test_a_retry_of_what_a_deleted_endpoint_had_says_so(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        (task,) = await rig.submit(1)
        await rig.store.delete_endpoint(ME, rig.endpoint)
        with pytest.raises(NotFound, match=r"endpoint .* was deleted; submit to another one"):
            await rig.store.retry(ME, [(task, new_id())])
        assert (await rig.store.counts())[TaskState.WAITING] == 0

    play(scene)


def test_pages_of_a_group(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        group = new_id()
        tasks = sorted(await rig.submit(5, group))
        pages, after, more = [], None, True
        while more:
            page = await rig.store.tasks_of_group(ME, group, after, 2)
            pages.append([task_id for task_id, *_ in page.tasks])
            after, more = pages[-1][-1], page.more
        assert pages == [tasks[:2], tasks[2:4], tasks[4:]]
        assert page.group.endpoint_id == rig.endpoint
        assert [row.task_id for row in await rig.store.task_rows(ME, tasks[::-1])] == tasks[::-1]

    play(scene)


def test_principals_and_settings(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        store = rig.store
        new = Principal("ab", "laptop", ME, "client", b"\x01" * 32, "all", 5.0)
        await store.add_principal(new)
        assert await store.principal("ab") == new
        assert await store.principal("cd") is None
        assert await store.revoke("ab")
        assert not await store.revoke("ab")
        assert await store.principal("ab") is None
        (revoked,) = await store.principals(ME)
        assert (revoked.revoked_at, revoked.generation) == (rig.now, 1)
        assert await store.ensure_meta("service_id", "1") == "1"
        assert await store.ensure_meta("service_id", "2") == "1"
        await store.set_meta("service_id", "3")
        assert await store.get_meta("service_id") == "3"
        assert await store.get_meta("none") is None

    play(scene)


# -- the file -------------------------------------------------------------------------------------


def test_states_are_spelled_for_good() -> None:
    assert [(state.value, code) for state, code in CODES.items()] == [
        ("WAITING", 0),
        ("DELIVERED", 1),
        ("RUNNING", 2),
        ("SUCCEEDED", 3),
        ("FAILED", 4),
        ("CANCELLED", 5),
        ("LOST", 6),
    ]
    for old in STATES:
        assert old.open == (old.state in OPEN)
        for new in STATES:
            assert new.reachable(old) == (new.state in MOVES[old.state])


def test_a_store_that_cannot_be_used_names_the_file_and_the_mend(tmp_path: Path) -> None:
    damaged = tmp_path / "store.db"
    damaged.write_bytes(b"this is no database, it is a letter to a friend" * 100)
    with pytest.raises(StoreUnusable, match=r"store\.db is damaged.*move it away"):
        Store.open(damaged)
    with pytest.raises(StoreUnusable, match=r"can't be read or written.*COMPUTE_NB_HOME"):
        Store.open(tmp_path / "missing" / "store.db")
    locked = tmp_path / "locked.db"
    Store.open(locked).close()
    holder = sqlite3.connect(locked, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnusable, match="in use by another program"):
        Store.open(locked, busy_timeout_s=0)
    holder.close()


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.db")
    assert {oct(p.stat().st_mode & 0o777) for p in tmp_path.iterdir()} == {"0o600"}
    store.close()


def test_a_full_disk_fails_the_request_and_the_store_goes_on(play_file: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        (pages,) = rig.store._database.connection.execute("PRAGMA page_count").fetchone()
        rig.store._database.connection.execute(f"PRAGMA max_page_count = {pages + 20}")
        good, bad, read = await asyncio.gather(
            rig.submit(1), rig.submit(10, args="x" * 20_000), rig.store.counts(), return_exceptions=True
        )
        assert isinstance(bad, StoreFull)
        assert "store.db is full" in str(bad)
        assert isinstance(good, list)
        assert isinstance(read, dict)
        (run,) = rig.sent()
        rig.store._database.connection.execute("PRAGMA max_page_count = 1000000")
        assert (await rig.finish(run)).results[0].state is TaskState.SUCCEEDED
        assert len(await rig.submit(10, args="x" * 20_000)) == 10
        assert len(rig.sent()) == 10
        assert (await rig.store.counts())[TaskState.WAITING] == 10

    play_file(scene)


def test_closing_does_what_is_queued_and_refuses_what_comes_after(tmp_path: Path) -> None:
    async def main() -> None:
        rig = await Rig(tmp_path / "store.db").set_up()
        queued = [asyncio.ensure_future(rig.submit(1)) for _ in range(5)]
        await asyncio.sleep(0)
        rig.store.close()
        assert [len(tasks) for tasks in await asyncio.gather(*queued)] == [1] * 5
        with pytest.raises(StoreClosed):
            await rig.store.counts()
        with pytest.raises(StoreClosed):
            await rig.store.synced()
        Store.open(rig.place).close()

    asyncio.run(main())


def test_a_disk_that_refuses_a_sync_is_not_believed_again(tmp_path: Path) -> None:
    async def main() -> None:
        rig = await Rig(tmp_path / "store.db").set_up()
        await rig.store.synced()
        # A read end of a pipe can't be synced: what a broken disk answers, from the kernel itself.
        read, write = os.pipe()
        os.dup2(read, rig.store._database._syncer._wal)
        for _ in range(2):
            with pytest.raises(StoreUnusable, match="can't be read or written"):
                await rig.store.synced()
        rig.store.close()
        os.close(read)
        os.close(write)

    asyncio.run(main())


KILLED = """
import asyncio, os, sys
from pathlib import Path
from uuid import UUID
from compute_nb.service.store import Store
from compute_nb.tasks import Hello, Outcome, Report, RunResult, Run, Submission, TaskSpec, new_id, new_ids

async def main():
    store = Store.open(Path(sys.argv[1]))
    store.start(lambda messages: None)
    me = UUID(int=1)
    function = await store.register_function(me, "f", "c")
    endpoint = await store.register_endpoint(me, "e", {"compute_nb": {}})
    session = new_id()
    await store.hello(endpoint, Hello(session, new_id(), new_id(), {}))
    ids = new_ids(300)
    await store.submit(me, Submission(endpoint, new_id(), tuple(TaskSpec(i, function, "a") for i in ids)))
    result = RunResult(Run(ids[0], 0), Outcome.SUCCESS, "value", None, 1.0, 2.0)
    await store.report(endpoint, Report(session, results=(result,)))
    print(endpoint, *ids, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_all_that_was_committed_is_there_after_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    endpoint, *tasks = map(UUID, process.stdout.readline().split())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    async def main() -> None:
        store = Store.open(path)
        store.start(lambda _: None)
        rows = await store.task_rows(ME, tasks)
        assert len(rows) == 300
        assert (rows[0].state, rows[0].data) == (TaskState.SUCCEEDED, "value")
        assert await store.open_count() == 299
        assert await store.outstanding(endpoint) == (299 - 256, 256)
        store.close()

    asyncio.run(main())


def test_errors_are_ours() -> None:
    for error in (NotFound, Forbidden, Conflict, StoreFull, StoreClosed):
        assert issubclass(error, ComputeError)
