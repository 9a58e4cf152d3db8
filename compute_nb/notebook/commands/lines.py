"""This module is the subcommands of `%compute` on a line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from compute_nb.config import Settings
from compute_nb.errors import ComputeError
from compute_nb.executor import Executor
from compute_nb.home import Home as HomeFolder
from compute_nb.notebook.commands.destinations import Destinations
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.line.arguments import Line
from compute_nb.notebook.memory.recent import recent
from compute_nb.notebook.memory.recording import Noted, Recording
from compute_nb.notebook.memory.reload import recalled, reloaded
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs import failures
from compute_nb.notebook.runs.census import Census
from compute_nb.notebook.runs.debug import rerun
from compute_nb.notebook.runs.pending import Outputs
from compute_nb.notebook.runs.record import Entry
from compute_nb.notebook.runs.results import losses, said
from compute_nb.notebook.runs.retry import lost_places
from compute_nb.notebook.runs.run import Run
from compute_nb.notebook.runs.runs import Runs, Target
from compute_nb.notebook.tables import Table
from compute_nb.notebook.view import drawing
from compute_nb.notebook.view.bundle import capped
from compute_nb.notebook.view.outcome import StoppedWaiting, stopped
from compute_nb.notebook.view.terminal import plain
from compute_nb.notebook.view.times import moment, times_of

MAX_TRACEBACKS = 5
MAX_LOG_LINES = 200
_GLYPHS = {"done": "✓", "failed": "✗", "cancelled": "–", "running": "▸", "waiting": "○"}


class Lines:
    """Runs subcommands for one kernel; on the main thread.

    Args:
        attach: Binds and shows a run that was reloaded.
        show: Draws a run, or one task of it, again.
        lay: Shows a table.
        destinations: Does the lines on where cells go.
        fail: Shows an error with its frames, as the notebook's own.
        recording: Knows the notebook's record.
    """

    def __init__(
        self,
        runs: Runs,
        outputs: Outputs,
        home: Home,
        attach: Callable[[Run, Executor], None],
        *,
        show: Callable[[Target], None],
        lay: Callable[[Table], None],
        destinations: Destinations,
        fail: Callable[[BaseException, Any], None],
        recording: Recording,
    ) -> None:
        self._fail, self._recording = fail, recording
        self._runs, self._outputs, self._home = runs, outputs, home
        self._attach, self._show, self._lay = attach, show, lay
        self._destinations = destinations

    def run(self, line: Line) -> Any:
        """Does one line.

        Raises:
            CellRefused: It can't be done.
        """
        command: Callable[[Line], Any] = {
            "tasks": self._tasks,
            "wait": self._wait,
            "cancel": self._cancel,
            "retry": self._retry,
            "logs": self._logs,
            "tb": self._tb,
            "debug": self._debug,
            "reload": self._reload,
            "attach": self._reload,
            "forget": self._forget,
            "show": self._show_again,
            **self._destinations.commands,
        }[line.command]
        try:
            return command(line)
        except CellRefused:
            raise
        except ComputeError as error:
            raise CellRefused(str(error)) from error

    @staticmethod
    def say(text: str) -> None:
        """Prints a line at once."""
        print(text, file=sys.stdout, flush=True)  # noqa: T201 - the output of a line

    def _one(self, line: Line) -> Target:
        return self._runs.find(line.words[0] if line.words else "")

    def _open(self) -> list[Target]:
        return [self._runs.find(run.cell) for run in self._runs.open()]

    # -- runs -------------------------------------------------------------------------------

    def _tasks(self, _: Line) -> None:
        runs = self._runs.all
        here = {run.task_group_id for run in runs}
        noted = [one for one in self._recording.noted() if one.entry.id not in here]
        if not runs and not noted:
            self.say("nothing was submitted from this kernel yet")
            return
        rows = [
            [
                run.cell,
                run.name or run.label or "-",
                moment(run.submitted_at),
                run.endpoint,
                *_standing(run),
                run.task_group_id or "-",
            ]
            for run in reversed(runs)
        ]
        rows += [_of_record(one) for one in reversed(noted)]
        head = ["cell", "name", "submitted", "endpoint", "tasks", "time", "task group"]
        lines = [line for line in (self._recording.whose(),) if noted and line]
        self._lay(Table(head, rows, lines=lines, folds=1))

    def _show_again(self, line: Line) -> None:
        self._show(self._one(line))

    def _wait(self, line: Line) -> None:
        targets = [self._one(line)] if line.words else self._open()
        for target in targets:
            if not target.run.ended:
                target.run.wake()
            try:
                target.run.wait(self.say, target.futures)
            except KeyboardInterrupt:
                raise StoppedWaiting(stopped(target.run)) from None
            finally:
                self._outputs.arrive()
            for text in target.run.loss_lines() if target.whole else ():
                self.say(f"{target.run.title}: {text}")
            if target.run.snapshot().failed:
                told = drawing.line(target.run, target.run.snapshot())
                self.say(f"{told}: `%compute tb {target.run.handle}`")

    def _cancel(self, line: Line) -> None:
        if not line.words and not line.flags:
            raise CellRefused("`%compute cancel` needs NAME, NAME[i] or --all")
        targets = self._open() if line.flags else [self._one(line)]
        for target in targets:
            still = [future for future in target.futures if not future.done()]
            if target.whole:
                target.run.cancel_all()
            for future in still:
                future.cancel()
            told = f"{len(still)} of {len(target.futures)} tasks cancelled"
            self.say(f"{target.told}: {told if still or not target.futures else 'had ended already'}")
        if not targets:
            self.say("nothing is running")

    def _retry(self, line: Line) -> None:
        target = self._one(line)
        count, of = target.run.retry(target.indices), len(target.futures)
        if count:
            self.say(f"{target.told}: {count} of {drawing.tasks(of)} sent again")
            return
        still = sum(not future.done() for future in target.futures)
        told = f" so far, {still} of {of} still open" if still else ""
        self.say(f"{target.told}: nothing has failed{told}")

    def _logs(self, line: Line) -> None:
        target = self._one(line)
        sections = []
        for index, future in zip(target.indices, target.futures, strict=True):
            text = plain(said(future))
            if text:
                sections.append(self._head(target, index) + text.rstrip("\n"))
        still = sum(not future.done() for future in target.futures)
        if sections:
            text = "\n".join(sections)
            named = " ".join(["%compute logs", *line.words, "--all"])
            self.say(text if line.flags else capped(text, MAX_LOG_LINES, f"`{named}` shows them"))
        elif not still:
            self.say(f"{target.told}: nothing was printed")
        if still:
            more = "more text may come" if sections else "their text comes when they end"
            self.say(f"{target.told}: {still} of {len(target.futures)} still open; {more}")

    def _tb(self, line: Line) -> None:
        target = self._one(line)
        found = failures.same_place(target.run, target.indices)
        for failure in found[:MAX_TRACEBACKS]:
            if len(target.run.futures) > 1:
                self.say(f"--- {target.run.title}: {failure.places(target.run)}")
            self.say(failures.whole(target.run.futures[failure.indices[0]]))
        if left := found[MAX_TRACEBACKS:]:
            count, first = sum(len(failure.indices) for failure in left), left[0].indices[0]
            self.say(
                f"--- and {count} that failed otherwise: `%compute tb {target.run.handle}[{first}]` and on"
            )
        if not found:
            still = sum(not future.done() for future in target.futures)
            told = f" so far, {still} of {len(target.futures)} still open" if still else ""
            self.say(f"{target.told}: nothing has failed{told}")
        for text in target.run.loss_lines() if target.whole else losses(target.futures[0]):
            self.say(f"{target.told}: {text}")

    def _debug(self, line: Line) -> Any:
        target = self._one(line)
        lost = lost_places(target.run, target.indices)
        if not target.indices or (len(target.indices) > 1 and not lost):
            raise CellRefused(
                f"`%compute debug {target.run.handle}[0]`: name one of its tasks, none has failed"
            )
        index = lost[0] if lost else target.indices[0]
        if target.run.inputs is None:
            raise CellRefused(f"{target.told}: its inputs are not known here")
        ended = rerun(target.run.inputs(index))
        where = target.run.place(index) if target.run.group is not None else "its inputs"
        if ended.error is None:
            self.say(f"{target.run.title}: with {where} it runs here without an error")
            return ended.value
        self._fail(ended.error, ended.frames)
        self.say(f"{target.run.title}: that was {where}, here; `%debug` looks into it")
        return None

    @staticmethod
    def _head(target: Target, index: int) -> str:
        if len(target.run.futures) == 1:
            return ""
        point = target.run.point(index)
        return f"--- {target.run.title}[{index}]{' ' + point if point else ''}\n"

    def _reload(self, line: Line) -> None:
        if not line.words:
            self._recent(line)
            return
        entry = self._of_before(line)
        if entry is None:
            self._attach(*reloaded(line, self._runs, self._home))
            return
        run, executor = recalled(entry, self._home, Settings.load(HomeFolder.default()))
        free = {name for name in (run.name, *run.outputs) if name not in self._home.namespace}
        run.name, run.outputs = run.name if run.name in free else "", tuple(free.intersection(run.outputs))
        self._attach(run, executor)

    def _of_before(self, line: Line) -> Entry | None:
        """Returns what the record has of a group that this kernel does not follow yet."""
        if line.words and not line.values:
            with contextlib.suppress(CellRefused):
                entry = self._recording.find(line.words[0])
                return None if any(run.task_group_id == entry.id for run in self._runs.all) else entry
        return None

    def _forget(self, line: Line) -> None:
        if not line.words:
            raise CellRefused("`%compute forget GROUP` needs the name or the id of one group")
        entry = self._recorded(line.words[0])
        self._recording.forget(entry)
        self.say(
            f"{entry.title}: no longer in this notebook's record; its tasks and results stay, "
            f"`%compute reload {entry.id}` finds them"
        )

    def _recorded(self, text: str) -> Entry:
        """Returns the entry that a word means, of this kernel's runs first: `In[7]` is one of them only."""
        with contextlib.suppress(CellRefused):
            run = self._runs.find(text).run
            if run.entry is not None:
                return run.entry
        return self._recording.find(text)

    def _recent(self, line: Line) -> None:
        """Lists the groups that could be meant."""
        if line.values:
            raise CellRefused("`%compute reload GROUP [-n NAME] [-o x,y]` needs the id of one task group")
        own = {run.task_group_id: run for run in reversed(self._runs.all) if run.futures}
        noted = recent(self._home.namespace, HomeFolder.default())
        found = [_row(entry, notebook or "this one") for entry, notebook in noted if entry.id not in own]
        rows = [*map(_own_row, own.values()), *found]
        if not rows:
            self.say("no task group is noted in the home folder; `%compute reload GROUP` takes any by its id")
            return
        lines = ["`%compute reload GROUP [-n NAME]` follows one again"]
        head = ["submitted", "name", "endpoint", "tasks", "notebook", "task group"]
        self._lay(Table(head, rows, lines=lines, numbers=frozenset({3})))


def _row(entry: Entry, where: str) -> list[str]:
    """Returns the row of a group that may be reloaded."""
    name = entry.label or entry.name or "-"
    return [moment(entry.submitted_s), name, entry.endpoint, f"{entry.tasks:,}", where, entry.id]


def _own_row(run: Run) -> list[str]:
    count, group = f"{len(run.futures):,}", run.task_group_id or ""
    return [moment(run.submitted_at), run.title, run.endpoint, count, "this kernel", group]


def _standing(run: Run) -> list[str]:
    """Returns how a run stands, and how long it took, in the marks and words of its panel."""
    census = Census(run)
    census.take()
    snapshot = census.last
    glyph = "!" if snapshot.unsent and snapshot.state == "done" else _GLYPHS[snapshot.state]
    return [f"{glyph} {snapshot.sentence()}", times_of(census).told() or "-"]


def _of_record(noted: Noted) -> list[str]:
    """Returns the row of a group that this kernel does not follow."""
    entry = noted.entry
    glyph = "?" if noted.saved is None else _GLYPHS[noted.saved.state]
    names = [entry.name or entry.label or "-", moment(entry.submitted_s), entry.endpoint or "-"]
    return ["-", *names, f"{glyph} {noted.told}", "-", entry.id]
