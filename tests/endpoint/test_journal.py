from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from compute_nb import wire
from compute_nb.endpoint.engine import Ended
from compute_nb.endpoint.journal import Journal, open_journal
from compute_nb.endpoint.journal_file import JournalFull, JournalUnreadable
from compute_nb.tasks import Dispatch, Outcome, Run, RunResult, TaskBatch, TaskCall, new_id, new_ids

BOOT = uuid4()
FUNCTION = uuid4()
GROUP = uuid4()
FAST_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None


def opened(path: Path, boot_id: UUID = BOOT, begun: tuple[int, ...] = ()) -> Journal:
    journal = open_journal(path, boot_id)
    journal.recover(begun if journal.same_boot else None, "the agent was killed")
    return journal


def message(runs: list[Run], functions: dict[UUID, str] | None = None) -> Dispatch:
    calls = tuple(TaskCall(run, f"args of {run.task_id}") for run in runs)
    batch = TaskBatch(GROUP, FUNCTION, {"walltime_s": 3}, calls)
    return Dispatch(uuid4(), {FUNCTION: "code"} if functions is None else functions, (batch,))


def accept(journal: Journal, runs: list[Run]) -> list[int]:
    dispatch = message(runs)
    batches = journal.accept(dispatch, wire.encode(dispatch))
    return [task.number for batch in batches for task in batch.tasks]


def end(journal: Journal, run: Run, number: int, data: str = "value") -> list[RunResult]:
    return journal.end([Ended(number, RunResult(run, Outcome.SUCCESS, data, None, 1.5, 2.5))])


def runs(count: int) -> list[Run]:
    return [Run(task_id, 0) for task_id in new_ids(count)]


def test_accepted_tasks_come_back_with_their_code_and_options(tmp_path):
    journal = opened(tmp_path / "journal.db")
    mine = runs(3)
    numbers = accept(journal, mine)
    journal.close()

    journal = opened(tmp_path / "journal.db")
    (batch,) = journal.batches()
    assert [(task.number, task.run) for task in batch.tasks] == list(zip(numbers, mine, strict=True))
    assert (batch.code, batch.options) == ("code", {"walltime_s": 3})
    assert batch.tasks[0].args == f"args of {mine[0].task_id}"
    journal.close()


def test_a_run_is_accepted_once_and_another_attempt_of_it_too(tmp_path):
    journal = opened(tmp_path / "journal.db")
    first, second = runs(2)
    accept(journal, [first])
    assert len(accept(journal, [first, second])) == 1
    assert len(accept(journal, [Run(first.task_id, 1)])) == 1
    journal.close()
    assert len(opened(tmp_path / "journal.db").held()) == 3


def test_a_repeated_run_stays_known_when_its_first_message_is_gone(tmp_path):
    journal = opened(tmp_path / "journal.db")
    repeated, other = runs(2)
    (number,) = accept(journal, [repeated])
    accept(journal, [repeated, other])
    end(journal, repeated, number)
    journal.forget([repeated])
    journal.close()
    assert opened(tmp_path / "journal.db").held() == [other]


def test_results_are_kept_until_they_are_stored(tmp_path):
    journal = opened(tmp_path / "journal.db")
    first, second = runs(2)
    numbers = accept(journal, [first, second])
    end(journal, first, numbers[0], "one")
    journal.close()

    journal = opened(tmp_path / "journal.db", begun=(numbers[0],))
    assert [result.data for result in journal.results()] == ["one"]
    assert (journal.done(), journal.held(), journal.broken()) == ([first], [second], [])
    assert journal.forget([first]) == []
    journal.close()
    journal = opened(tmp_path / "journal.db")
    assert (journal.done(), journal.held()) == ([], [second])
    journal.close()


def test_an_end_of_a_run_that_was_dropped_is_not_wanted(tmp_path):
    journal = opened(tmp_path / "journal.db")
    (run,) = runs(1)
    (number,) = accept(journal, [run])
    assert journal.forget([run]) == [number]
    assert end(journal, run, number) == []
    journal.close()


def test_what_had_begun_is_broken_and_stays_so_until_it_is_forgotten(tmp_path):
    journal = opened(tmp_path / "journal.db")
    begun, held = runs(2)
    numbers = accept(journal, [begun, held])
    journal.close()
    for _ in range(2):
        journal = opened(tmp_path / "journal.db", begun=(numbers[0],))
        assert [tuple(broken) for broken in journal.broken()] == [(begun, "the agent was killed")]
        assert journal.held() == [held]
        assert [task.run for batch in journal.batches() for task in batch.tasks] == [held]
        journal.close()
    journal = opened(tmp_path / "journal.db")
    journal.forget([begun])
    journal.close()
    assert opened(tmp_path / "journal.db").broken() == []


def test_another_boot_breaks_all_that_was_held_under_a_new_journal_id(tmp_path):
    journal = opened(tmp_path / "journal.db")
    done, held = runs(2)
    numbers = accept(journal, [done, held])
    end(journal, done, numbers[0])
    old = journal.journal_id
    journal.close()
    journal = opened(tmp_path / "journal.db", boot_id=uuid4())
    assert journal.journal_id != old
    assert [broken.run for broken in journal.broken()] == [held]
    assert journal.done() == [done]
    journal.close()


def test_a_damaged_journal_is_put_aside_and_a_new_one_has_another_id(tmp_path, caplog):
    path = tmp_path / "journal.db"
    journal = opened(path)
    accept(journal, runs(300))
    old = journal.journal_id
    journal.close()
    body = bytearray(path.read_bytes())
    body[4096:] = b"\xff" * (len(body) - 4096)
    path.write_bytes(body)
    journal = opened(path)
    assert journal.journal_id != old
    assert journal.held() == []
    assert list(tmp_path.glob("journal.db.damaged-*"))
    assert "damaged" in caplog.text
    journal.close()


def test_a_newer_journal_is_refused_untouched(tmp_path):
    path = tmp_path / "journal.db"
    opened(path).close()
    db = sqlite3.connect(path)
    db.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    db.commit()
    db.close()
    with pytest.raises(JournalUnreadable, match="newer"):
        open_journal(path, BOOT)


def test_a_session_forgets_functions_that_no_held_run_needs(tmp_path):
    journal = opened(tmp_path / "journal.db")
    (run,) = runs(1)
    dispatch = Dispatch(uuid4(), {FUNCTION: "code", uuid4(): "other"}, message([run]).batches)
    journal.accept(dispatch, wire.encode(dispatch))
    journal.begin_session()
    journal.close()
    db = sqlite3.connect(tmp_path / "journal.db")
    assert db.execute("SELECT id, code FROM function").fetchall() == [(FUNCTION.bytes, "code")]
    db.close()


class JournalMachine(RuleBasedStateMachine):
    """A journal beside a plain model of it, killed at any moment."""

    @initialize()
    def open(self):
        self.folder = tempfile.TemporaryDirectory(dir=FAST_DISK)
        self.path = Path(self.folder.name) / "journal.db"
        self.journal = opened(self.path)
        self.numbers: dict[Run, int] = {}
        self.held: set[Run] = set()
        self.done: set[Run] = set()
        self.over: set[Run] = set()

    @rule(count=st.integers(1, 4), again=st.integers(0, 2))
    def accept(self, count, again):
        known = sorted(self.held | self.done)[:again]
        fresh = [Run(new_id(), 0) for _ in range(count)]
        numbers = accept(self.journal, known + fresh)
        assert len(numbers) == count
        assert not set(numbers) & {self.numbers[run] for run in self.held | self.done}
        self.numbers.update(zip(fresh, numbers, strict=True))
        self.held.update(fresh)

    @rule(count=st.integers(1, 3))
    def end(self, count):
        some = sorted(self.held)[:count]
        ended = [
            Ended(self.numbers[run], RunResult(run, Outcome.SUCCESS, str(run.task_id), None, 0.0, 1.0))
            for run in some
        ]
        assert [result.run for result in self.journal.end(ended)] == some
        assert self.journal.end(ended) == []
        self.held.difference_update(some)
        self.done.update(some)

    @rule(count=st.integers(1, 3), first=st.booleans())
    def forget(self, count, first):
        some = sorted(self.held | self.done)[:count] if first else sorted(self.done)[-count:]
        self.journal.forget(some)
        self.held.difference_update(some)
        self.done.difference_update(some)
        self.over.update(some)

    @rule()
    def kill(self):
        """What was not committed is lost: runs may be remembered again that had been forgotten."""
        copy = Path(self.folder.name) / f"copy{new_id()}.db"
        for suffix in ("", "-wal"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                copy.with_name(copy.name + suffix).write_bytes(file.read_bytes())
        self.journal.close()
        self.path = copy
        self.journal = opened(copy)
        again = set(self.journal.held()) | set(self.journal.done())
        assert again - (self.held | self.done) <= self.over
        self.journal.forget(again & self.over)

    @rule()
    def restart(self):
        self.journal.close()
        self.journal = opened(self.path)

    @invariant()
    def knows_what_it_holds(self):
        if hasattr(self, "journal"):
            assert set(self.journal.held()) == self.held
            assert set(self.journal.done()) == self.done
            stored = {result.run: result.data for result in self.journal.results()}
            assert stored == {run: str(run.task_id) for run in self.done}
            engine = {task.run: task.number for b in self.journal.batches() for task in b.tasks}
            assert engine == {run: self.numbers[run] for run in self.held}

    def teardown(self):
        if hasattr(self, "journal"):
            self.journal.close()
            self.folder.cleanup()


JournalMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestJournalMachine = JournalMachine.TestCase


@given(st.lists(st.integers(0, 40), unique=True))
@settings(max_examples=20, deadline=None)
def test_nothing_stays_in_the_file_when_all_is_over(order):
    with tempfile.TemporaryDirectory(dir=FAST_DISK) as folder:
        all_over(Path(folder) / "journal.db", order)


def all_over(path: Path, order: list[int]) -> None:
    journal = opened(path)
    mine = runs(41)
    numbers = accept(journal, mine)
    journal.end(
        [
            Ended(number, RunResult(run, Outcome.ERROR, "text", "code", None, None))
            for number, run in zip(numbers, mine, strict=True)
        ]
    )
    for place in order:
        journal.forget([mine[place]])
        journal.flush()
    journal.forget(mine)
    journal.close()
    db = sqlite3.connect(path)
    for table in ("message", "over", "ended"):
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    db.close()


def test_a_commit_that_fails_changes_nothing_and_may_be_tried_again(tmp_path):
    journal = opened(tmp_path / "journal.db")
    first, second, third = runs(3)
    numbers = accept(journal, [first, second])
    end(journal, first, numbers[0])
    journal.forget([first])
    (pages,) = journal._file.db.execute("PRAGMA page_count").fetchone()
    journal._file.db.execute(f"PRAGMA max_page_count={pages}").fetchone()
    with pytest.raises(JournalFull):
        end(journal, second, numbers[1], "x" * 200_000)
    dispatch = message([third], {FUNCTION: "c" * 200_000})
    with pytest.raises(JournalFull):
        journal.accept(dispatch, wire.encode(dispatch))
    assert (journal.held(), journal.done()) == ([second], [])
    journal._file.db.execute("PRAGMA max_page_count=1000000").fetchone()
    assert end(journal, second, numbers[1], "x" * 200_000)
    accept(journal, [third])
    journal.close()
    journal = opened(tmp_path / "journal.db")
    assert (journal.held(), journal.done()) == ([third], [second])
    assert [result.data for result in journal.results()] == ["x" * 200_000]
    journal.close()
