"""This module is the desk of one kernel: it takes parsed cells, keeps their runs and shows them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compute_nb.executor import Executor
from compute_nb.home import Home as HomeFolder
from compute_nb.notebook.body.cell import analyse
from compute_nb.notebook.cargo.commandline import command_body
from compute_nb.notebook.cargo.namespace import Notebook
from compute_nb.notebook.cargo.there import Scout
from compute_nb.notebook.commands.destinations import Destinations
from compute_nb.notebook.commands.lines import Lines
from compute_nb.notebook.front import Front, cell_id_of, cell_of, cell_source_of, client_of, front_of
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.kit.source import POSTPONED
from compute_nb.notebook.line.arguments import Line
from compute_nb.notebook.line.options import Options, check, points, shadowed
from compute_nb.notebook.memory.memory import Memory
from compute_nb.notebook.memory.messages import NotebookSeen
from compute_nb.notebook.memory.page import Page, silent_comm
from compute_nb.notebook.memory.recording import Recording
from compute_nb.notebook.memory.resume import Resume
from compute_nb.notebook.runs.entry import entry_of, place_of
from compute_nb.notebook.runs.launch import dry_run, launch
from compute_nb.notebook.runs.pending import Outputs
from compute_nb.notebook.runs.record import Entry
from compute_nb.notebook.runs.results import when_read
from compute_nb.notebook.runs.retry import retry
from compute_nb.notebook.runs.run import Run
from compute_nb.notebook.runs.runs import Runs
from compute_nb.notebook.screen import Screen
from compute_nb.notebook.view import outcome
from compute_nb.notebook.view.times import moment


@dataclass(frozen=True, slots=True)
class Defaults:
    """What `%config ComputeMagics` says at the moment of a cell."""

    endpoint: str
    wait: bool
    retries: int
    max_output_lines: int
    max_tasks: int


class Desk:
    """Everything of compute_nb that one IPython shell holds; the main thread's alone.

    Args:
        shell: The IPython shell.
        magics: Whose `endpoint` trait `%compute use` sets.
    """

    def __init__(self, shell: Any, magics: Any) -> None:
        self._shell, self._magics = shell, magics
        self._home = Home(shell.user_ns, self._label)
        self._outputs = Outputs(shell.user_ns)
        self._runs = Runs(shell.user_ns)
        self._scout = Scout()
        self._memory = Memory(shell.user_ns, HomeFolder.default())
        self._page = Page(self._heard, silent_comm, changes=self._memory.changes)
        self._screen = Screen(shell, self._page, lambda: int(magics.max_output_lines))
        destinations = Destinations(
            self._runs,
            magics.endpoints,
            use=self._use,
            default=lambda: str(magics.endpoint),
            say=Lines.say,
            lay=self._screen.lay,
        )
        self._recording = Recording(self._page, self._memory)
        self._lines = Lines(
            self._runs,
            self._outputs,
            self._home,
            self._attach,
            show=self._screen.show_again,
            lay=self._screen.lay,
            destinations=destinations,
            fail=self._screen.fail,
            recording=self._recording,
        )
        self._resume = Resume(
            shell.user_ns,
            self._home,
            self._memory,
            self._take_up,
            unbind=self._page.unbind,
            notes=self._page.notes,
        )
        shell.events.register("pre_execute", self._arrive)
        shell.events.register("post_run_cell", self._arrive)

    @property
    def runs(self) -> list[Run]:
        """What was submitted from this kernel, oldest first."""
        return self._runs.all

    def _label(self, filename: str) -> str:
        found = self._shell.compile.format_code_name(filename)
        return filename if found is None else " ".join(found)

    def _use(self, endpoint: str) -> None:
        self._magics.endpoint = endpoint

    def _arrive(self, *_: Any) -> None:
        """Puts values that are here under their names; called by IPython between cells."""
        if threading.current_thread() is threading.main_thread():  # a subshell may run amid a cell
            self._resume.reconcile()
            self._outputs.arrive()

    def _read(self) -> None:
        """Puts values that are here under their names; called as one is asked for."""
        if threading.current_thread() is threading.main_thread():
            self._outputs.arrive()

    def recall(self) -> None:
        """Takes up earlier runs of this notebook."""
        if front_of(self._shell) is Front.PERSON:
            self._page.written_by(client_of(self._shell))
            self._resume.recall()
            self._outputs.arrive()

    def found(self) -> str:
        """Returns one line on the runs that were taken up, "" if there are none or it was told."""
        return self._resume.line()

    def lay_earlier(self) -> None:
        """Shows the runs that were taken up under the running cell, if no page shows them under theirs."""
        self._screen.shelf.lay(self._memory.drifted())

    def _heard(self, seen: NotebookSeen) -> None:
        self._resume.heard(seen)
        self._screen.shelf.clear()

    def line(self, line: Line) -> Any:
        """Does a `%compute` line."""
        return self._lines.run(line)

    def cell(self, options: Options, source: str, defaults: Defaults) -> Any:
        """Submits a cell and, if it waits, returns its value.

        Raises:
            CellRefused: It can't travel or was not accepted; nothing was submitted.
            TaskExecutionFailed: It waited, and a task failed.
            StoppedWaiting: Interrupted once accepted; the tasks go on.
        """
        shell = self._shell
        postponed = bool(shell.compile.flags & POSTPONED)
        body = command_body(source) if options.command else analyse(source, postponed=postponed)
        check(options, body)
        values = points(options.maps, shell.ev, defaults.max_tasks) if options.maps else None
        endpoint = options.endpoint or defaults.endpoint
        if options.dry_run:
            notebook = Notebook(self._home, shell.user_ns_hidden)
            self._screen.lay(*dry_run(cell_of(shell), body, options, values, notebook, endpoint, self._scout))
            return None
        hidden = shadowed(options.name, shell.user_ns)
        swept = [name for names, _ in options.maps for name in names]
        try:
            run, executor = launch(
                cell_of(shell),
                body,
                options,
                values,
                Notebook(self._home, shell.user_ns_hidden),
                endpoint=endpoint,
                retries=defaults.retries if options.retries is None else options.retries,
                scout=self._scout,
                going_on=self._going_on,
                sent=lambda run, executor: self._note(run, executor, swept),
                accepted=self._bind,
            )
        except BaseException:
            self._recording.withdraw()
            raise
        if run.entry is None or run.entry.id != run.task_group_id:
            run.entry = self._entry(run, executor, swept)
        if hidden:
            outcome.say(hidden)
        try:
            return self._follow(run, executor, options, defaults)
        except KeyboardInterrupt:
            run.waited_for = run.blocks = False
            raise outcome.StoppedWaiting(outcome.stopped(run)) from None

    def _going_on(self, key: str) -> tuple[Run, Executor] | None:
        """Returns the run of before that the cell which runs now would only repeat, bound anew."""
        cell_id = cell_id_of(self._shell)
        if cell_id is None:
            return None
        here = (
            (run, self._screen.executors[run])
            for run in reversed(self._runs.open())
            if run.cell_id == cell_id and run.key == key and run in self._screen.executors
        )
        found = next(here, None)
        if found is None and front_of(self._shell) is Front.PERSON:
            found = self._resume.same(cell_id, key, {str(run.task_group_id) for run in self._runs.all})
            if found is not None:
                self._runs.add(found[0])
        if found is None:
            return None
        run, _ = found
        run.cell = cell_of(self._shell)
        self._name(run)
        outcome.say(
            f"the same run of this cell still goes on since {moment(run.submitted_at)}, "
            f"{run.progress()}: attached to it; `--new` submits again"
        )
        return found

    def _note(self, run: Run, executor: Executor, swept: Sequence[str]) -> None:
        """Has the home folder note a run while it is sent, so that nothing is accepted that is not noted."""
        run.cell_id = cell_id_of(self._shell)
        run.entry = self._entry(run, executor, swept)
        if front_of(self._shell) is Front.PERSON and run.futures:
            self._recording.begin(run.entry, cell_source_of(self._shell))

    def _entry(self, run: Run, executor: Executor, swept: Sequence[str]) -> Entry:
        place = place_of(executor, HomeFolder.default())
        return entry_of(run, cell_source_of(self._shell), swept, place)

    def _bind(self, run: Run) -> None:
        run.cell_id = cell_id_of(self._shell)
        run.earlier = self._runs.taken_over_by(run)
        self._runs.add(run)
        self._name(run)

    def _name(self, run: Run) -> None:
        self._shell.user_ns["_compute"] = run.thing
        if run.name:
            self._shell.user_ns[run.name] = run.thing
        self._equip(run)

    def _equip(self, run: Run) -> None:
        if run.group is not None:
            run.group.show = lambda: self._screen.bundle(run)[0]
        run.retry = lambda indices: retry(run, indices, self._shell.user_ns, self._outputs)
        run.arrive = self._read
        when_read(run.futures, self._read)
        self._outputs.promise(run)

    def _record(self, run: Run) -> None:
        """Puts a run into the notebook's record and the home folder's notes."""
        self._page.written_by(client_of(self._shell))
        source = cell_source_of(self._shell)
        problem = self._recording.keep(run.entry, source) if run.entry is not None and run.futures else ""
        if problem:
            outcome.say(problem)

    def _follow(self, run: Run, executor: Executor, options: Options, defaults: Defaults) -> Any:
        front = front_of(self._shell)
        waits = options.wait if options.wait is not None else defaults.wait or front is Front.HEADLESS
        for note in run.notes if front is not Front.PERSON else ():  # a panel has them
            outcome.say(note)
        run.waited_for = run.blocks = waits
        if front is Front.PERSON:
            try:
                self._screen.panel(run, executor)
            finally:
                self._record(run)
        else:
            for line in run.earlier_lines():
                outcome.say(line)
        if waits:
            return self._waited(run, front)
        if front is Front.TERMINAL:
            told = outcome.submitted(run, shows_id=True)
            print(told, flush=True)  # noqa: T201 - all that there is to see of it
        elif front is Front.HEADLESS:
            outcome.say(outcome.submitted(run, shows_id=False))
            self._screen.show(*self._screen.bundle(run, headless=True))
        return None

    def _waited(self, run: Run, front: Front) -> Any:
        alone = front is Front.HEADLESS
        try:
            outcome.wait(run, alone=alone)
        finally:
            self._outputs.arrive()
        outcome.print_all(run, self._screen.show)
        if alone:
            print(outcome.final_line(run), flush=True)  # noqa: T201 - asked for by whoever reads the log
            self._screen.show(*self._screen.bundle(run, headless=True))
        value = outcome.value_of(run, self._screen.show, alone=front is not Front.PERSON)
        if outcome.has_displayed_itself(run, value):
            self._shell.displayhook.update_user_ns(value)  # `_` and `Out[n]`; it is not shown twice
            return None
        return value

    # -- runs of before ---------------------------------------------------------------------

    def _attach(self, run: Run, executor: Executor) -> None:
        """Binds and shows a run that was reloaded."""
        self._bind(run)
        if front_of(self._shell) is Front.PERSON:
            self._screen.panel(run, executor)
        else:
            print(outcome.final_line(run), flush=True)  # noqa: T201 - the panel of a plain terminal
            for note in run.notes:
                outcome.say(note)

    def _take_up(self, run: Run, executor: Executor) -> None:
        """Follows a run of before this kernel began."""
        self._runs.add(run)
        self._equip(run)
        self._screen.panel(run, executor, resumed=True)
