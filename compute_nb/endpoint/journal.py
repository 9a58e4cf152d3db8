"""This module is the journal of an agent: the runs that it has accepted, and their ends, kept in a file.

After a restart of the machine all that was held counts as begun, under a new journal id, since the file may
lack the latest commits.

A message with tasks is one row, as it came; each of its runs has a number, made of the row's and its place.
The ends that came together are one row too. Single rows for each task cost 19 us a task, this about 2.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from compute_nb import wire
from compute_nb.endpoint.engine import Ended, EngineBatch, EngineTask
from compute_nb.endpoint.journal_file import JournalFile, JournalFull
from compute_nb.tasks import Broken, Dispatch, Outcome, Run, RunResult, TaskBatch

PLACES = 1 << 16

_BROKEN = "broken"
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Entry:
    """A run that is known: held while `row` is None, else ended (or broken) in that row."""

    run: Run
    number: int
    row: int | None = None
    broken: str | None = None


@dataclass(slots=True)
class _Message:
    """A row of tasks: how many of them are not over, and the bits of those that are."""

    left: int
    over: int = 0


class Journal:
    """What an agent holds, in memory and on disk; all methods belong to one thread.

    Made by `open_journal`; `recover` is called once before anything changes.
    """

    def __init__(self, path: Path, boot_id: UUID) -> None:
        self._file = JournalFile(path, boot_id)
        self._known: dict[tuple[int, int], _Entry] = {}
        self._messages: dict[int, _Message] = {}
        self._rows: dict[int, int] = {}
        self._touched: set[int] = set()
        self._finished: list[int] = []
        self._functions: dict[int, str] = {}
        self.same_boot, self.journal_id = self._file.same_boot, self._file.journal_id
        self._load()
        self._last_message, self._last_row = self._file.last_message(), self._file.last_row()

    def close(self) -> None:
        """Writes what is left to write and closes the file; what that does not take comes up again."""
        with contextlib.suppress(JournalFull):
            self.flush()
        self._file.close()

    # what there is

    def held(self) -> list[Run]:
        """The runs that have not ended."""
        return [entry.run for entry in self._known.values() if entry.row is None]

    def done(self) -> list[Run]:
        """The runs that have ended and whose results may be unknown to the service."""
        return [e.run for e in self._known.values() if e.row is not None and e.broken is None]

    def broken(self) -> list[Broken]:
        """The runs that had begun when their worker or agent was lost."""
        return [Broken(e.run, e.broken) for e in self._known.values() if e.broken is not None]

    def number(self, run: Run) -> int | None:
        """The number of a run that is held."""
        entry = self._known.get(_key(run))
        return entry.number if entry is not None and entry.row is None else None

    def results(self) -> Iterator[RunResult]:
        """Reads the results of all that is done from disk."""
        for _, ends in self._file.ends():
            for number, task_id, attempt, outcome, *rest in ends:
                entry = self._known.get((UUID(task_id).int, attempt))
                if entry is not None and entry.number == number and outcome != _BROKEN:
                    yield RunResult(entry.run, Outcome(outcome), *rest)

    def batches(self) -> list[EngineBatch]:
        """Reads all that is held from disk, for an engine that knows nothing yet."""
        found: list[EngineBatch] = []
        for number, dispatch in self._file.messages():
            found += self._held_batches(number, dispatch)
        return found

    def _held_batches(self, number: int, dispatch: Dispatch) -> Iterator[EngineBatch]:
        place = number * PLACES
        for batch in dispatch.batches:
            numbered = [EngineTask(place + i, call.run, call.args) for i, call in enumerate(batch.tasks)]
            place += len(numbered)
            held = tuple(task for task in numbered if self.number(task.run) == task.number)
            if held:
                yield self._engine_batch(batch, held)

    def _engine_batch(self, batch: TaskBatch, tasks: tuple[EngineTask, ...]) -> EngineBatch:
        code = self._functions.get(batch.function_id.int, "")
        return EngineBatch(batch.task_group_id, batch.function_id, code, batch.options, tasks, batch.owner)

    # what changes

    def recover(self, begun: Iterable[int] | None, reason: str) -> None:
        """Counts runs of an earlier agent as broken, then makes the journal this boot's.

        Args:
            begun: Numbers of those that had begun; None if nobody knows, then all.
            reason: For people: what happened to them.
        """
        numbers = None if begun is None else set(begun)
        lost = [
            entry
            for entry in self._known.values()
            if entry.row is None and (numbers is None or entry.number in numbers)
        ]
        with self._file.db:  # no JournalFull: without this row the agent does not start
            self._file.begin_boot()
            if lost:
                ends = [[e.number, *_spelled(e.run), _BROKEN, reason, None, None, None] for e in lost]
                self._file.add_ends(self._last_row + 1, ends)
        if lost:
            self._note_ends([(entry, reason) for entry in lost])

    def begin_session(self) -> None:
        """Forgets functions that no held run needs: the service sends the others again."""
        needed = {batch.function_id.int for batch in self.batches()}
        gone = [key for key in self._functions if key not in needed]
        with self._commit():
            self._file.remove_functions(gone)
        for key in gone:
            del self._functions[key]

    def accept(self, dispatch: Dispatch, body: bytes) -> list[EngineBatch]:
        """Commits the tasks of a message and returns them under their numbers, known runs left out.

        Args:
            dispatch: The message.
            body: Its bytes.

        Raises:
            JournalFull: None was taken.
        """
        fresh = self._without_known(dispatch)
        if fresh is not dispatch:
            body = wire.encode(fresh)
        count = sum(len(batch.tasks) for batch in fresh.batches)
        if count > PLACES:
            raise wire.MalformedMessage(f"{count} tasks in one message, at most {PLACES} can be numbered")
        self._last_message += 1
        with self._commit():
            self._file.add_functions(fresh.functions)
            if count:
                self._file.add_message(self._last_message, body)
        for function_id, code in fresh.functions.items():
            self._functions[function_id.int] = code
        if count:
            self._messages[self._last_message] = _Message(count)
        return self._note(fresh)

    def _without_known(self, dispatch: Dispatch) -> Dispatch:
        known = self._known
        if not any(_key(call.run) in known for batch in dispatch.batches for call in batch.tasks):
            return dispatch
        batches = [
            replace(batch, tasks=tuple(call for call in batch.tasks if _key(call.run) not in known))
            for batch in dispatch.batches
        ]
        return replace(dispatch, batches=tuple(batch for batch in batches if batch.tasks))

    def _note(self, dispatch: Dispatch) -> list[EngineBatch]:
        number, found = self._last_message * PLACES, []
        for batch in dispatch.batches:
            tasks = []
            for call in batch.tasks:
                self._known[_key(call.run)] = _Entry(call.run, number)
                tasks.append(EngineTask(number, call.run, call.args))
                number += 1
            found.append(self._engine_batch(batch, tuple(tasks)))
        return found

    def end(self, ended: Sequence[Ended]) -> list[RunResult]:
        """Commits ends of tasks; returns the results of those that are still wanted.

        Raises:
            JournalFull: None was noted.
        """
        wanted, entries = [], []
        for number, result in ended:
            entry = self._known.get(_key(result.run))
            if entry is not None and entry.number == number and entry.row is None:
                wanted.append(result)
                entries.append((entry, None))
        if wanted:
            ends: list[list[object]] = [
                [entry.number, *_spelled(result.run), result.outcome.value, *result[2:]]
                for (entry, _), result in zip(entries, wanted, strict=True)
            ]
            with self._commit():
                self._file.add_ends(self._last_row + 1, ends)
            self._note_ends(entries)
        return wanted

    def _note_ends(self, entries: Sequence[tuple[_Entry, str | None]]) -> None:
        """Follows a committed row of ends."""
        self._last_row += 1
        self._rows[self._last_row] = len(entries)
        for entry, reason in entries:
            entry.row, entry.broken = self._last_row, reason

    def forget(self, runs: Iterable[Run]) -> list[int]:
        """Forgets runs; the disk follows with the next commit, since a second forgetting does no harm.

        Returns:
            The numbers of those that had not ended.
        """
        unended = []
        for run in runs:
            entry = self._known.pop(_key(run), None)
            if entry is None:
                continue
            if entry.row is None:
                unended.append(entry.number)
            else:
                self._rows[entry.row] -= 1
                if not self._rows[entry.row]:
                    self._finished.append(entry.row)
                    del self._rows[entry.row]
            self._over(entry.number)
        return unended

    def _over(self, number: int) -> None:
        message_number, place = divmod(number, PLACES)
        message = self._messages[message_number]
        message.left -= 1
        message.over |= 1 << place
        self._touched.add(message_number)

    def flush(self) -> None:
        """Commits what has been forgotten.

        Raises:
            JournalFull: It stays to be written.
        """
        if self._touched or self._finished:
            with self._commit():
                pass

    @contextlib.contextmanager
    def _commit(self) -> Iterator[None]:
        """Commits what is written inside, and what has been forgotten before.

        Raises:
            JournalFull: Nothing was written.
        """
        with self._file.commit():
            self._write_pending()
            yield
        self._pending_is_written()

    def _write_pending(self) -> None:
        """Within a transaction: removes messages and rows that nobody needs, marks the rest."""
        if self._finished:
            self._file.remove_ends(self._finished)
        for number in self._touched:
            message = self._messages[number]
            if message.left:
                self._file.mark_over(number, message.over)
            else:
                self._file.remove_message(number)

    def _pending_is_written(self) -> None:
        self._finished.clear()
        for number in self._touched:
            if not self._messages[number].left:
                del self._messages[number]
        self._touched.clear()

    # what was there

    def _load(self) -> None:
        self._functions = self._file.functions()
        over = self._file.over()
        for number, dispatch in self._file.messages():
            self._load_message(number, dispatch, over.get(number, 0))
        for row, ends in self._file.ends():
            self._load_ends(row, ends)

    def _load_message(self, number: int, dispatch: Dispatch, over: int) -> None:
        runs = [call.run for batch in dispatch.batches for call in batch.tasks]
        self._messages[number] = _Message(len(runs) - over.bit_count(), over)
        for place, run in enumerate(runs):
            if not over >> place & 1:
                self._known[_key(run)] = _Entry(run, number * PLACES + place)

    def _load_ends(self, row: int, ends: list[list[object]]) -> None:
        count = 0
        for number, task_id, attempt, outcome, data, *_ in ends:
            entry = self._known.get((UUID(str(task_id)).int, int(str(attempt))))
            if entry is not None and entry.number == number:
                entry.row = row
                entry.broken = str(data) if outcome == _BROKEN else None
                count += 1
        if count:
            self._rows[row] = count
        else:
            self._finished.append(row)


def open_journal(path: Path, boot_id: UUID) -> Journal:
    """Opens a journal; a damaged one is put aside and a new one made, which says so by its journal id.

    Args:
        path: The file, made if there is none.
        boot_id: Of the machine as it runs now.

    Raises:
        JournalUnreadable: It is of a newer version.
        sqlite3.OperationalError: It can't be read or written.
    """
    try:
        return Journal(path, boot_id)
    except sqlite3.OperationalError:
        raise
    except (sqlite3.DatabaseError, wire.MalformedMessage, ValueError, TypeError) as error:
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        _log.error("journal %s is damaged (%s): put aside as %s", path, error, aside.name)
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return Journal(path, boot_id)


def _key(run: Run) -> tuple[int, int]:
    return run.task_id.int, run.attempt  # a UUID hashes in Python, an int in C


def _spelled(run: Run) -> tuple[str, int]:
    return str(run.task_id), run.attempt
