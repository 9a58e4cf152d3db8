"""This module is the screen of one kernel: how runs, tables and errors are shown to whoever looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compute_nb.executor import Executor
from compute_nb.notebook.front import Front, front_of
from compute_nb.notebook.memory.outlet import Outlet
from compute_nb.notebook.memory.page import Page
from compute_nb.notebook.memory.shelf import Shelf
from compute_nb.notebook.runs.census import Census
from compute_nb.notebook.runs.run import Run
from compute_nb.notebook.runs.runs import Target
from compute_nb.notebook.tables import Table
from compute_nb.notebook.view import outcome
from compute_nb.notebook.view.bundle import bundle, notes
from compute_nb.notebook.view.panel import Panel
from compute_nb.notebook.view.pulse import pulse
from compute_nb.notebook.view.shown import results_bundle


class Screen:
    """Shows things under the running cell; the main thread's alone, but for `shelf`.

    Args:
        shell: The IPython shell.
        max_lines: Says how much printed text a panel shows.

    Attributes:
        executors: Of the runs that have a panel.
        shelf: Runs of before, for front ends that can't draw them under their own cells.
    """

    def __init__(self, shell: Any, page: Page, max_lines: Callable[[], int]) -> None:
        self._shell, self._page, self._max_lines = shell, page, max_lines
        self.executors: dict[Run, Executor] = {}
        self.shelf = Shelf(self._publish, page)

    @property
    def front(self) -> Front:
        """Who looks at it now."""
        return front_of(self._shell)

    def show_again(self, target: Target) -> None:
        """Draws a run as it stands now, live if it goes on; of one task what it gave."""
        run = target.run
        if not target.whole:
            print(outcome.task_line(run, target.indices[0]), flush=True)  # noqa: T201 - asked for
            outcome.print_one(target.futures[0], self.show)
        elif self.front is not Front.PERSON:
            # The panel of a plain terminal.
            print("\n".join([outcome.final_line(run), *notes(run)]), flush=True)  # noqa: T201
        elif run.ended or run not in self.executors:
            self.show(*self.bundle(run))
            results = results_bundle(run)
            if results is not None:
                self.show(dict(results), {})
        else:
            self.panel(run, self.executors[run])

    def lay(self, *tables: Table) -> None:
        """Shows tables as one output: HTML to a person at a notebook, else text."""
        text = "\n\n".join(table.text() for table in tables)
        if self.front is Front.PERSON:
            self.show({"text/html": "".join(table.html() for table in tables), "text/plain": text}, {})
        else:
            print(text, flush=True)  # noqa: T201 - asked for

    def panel(self, run: Run, executor: Executor, *, resumed: bool = False) -> None:
        """Follows a run with a panel: under the running cell, or where its cell has one of before.

        Args:
            resumed: Whether it was submitted before this kernel began.
        """
        self.executors[run] = executor
        outlet = Outlet(
            str(run.task_group_id),
            self._publish,
            self._page,
            lambda: self.bundle(run)[0],
            lambda: run.ended,
            resumed=resumed,
            over=self.shelf.tell_end,
        )
        if resumed:
            self.shelf.put(str(run.task_group_id), outlet, lambda: self.bundle(run)[0], lambda: run.ended)
        panel = Panel(run, outlet, self._max_lines(), outlet.counted)
        executor.add_update_callback(panel.news)  # first: an Interrupt may come while it is shown
        panel.show()
        pulse.ask_soon(outlet)

    def fail(self, error: BaseException, frames: Any) -> None:
        """Shows an error with its frames, and leaves them for `%debug`."""
        self._shell.showtraceback((type(error), error.with_traceback(frames), frames))

    def bundle(self, run: Run, *, headless: bool = False) -> Any:
        """Returns a run as it stands as display data with its metadata."""
        census = Census(run)
        while census.unsure:
            census.take()
        return bundle(run, census, max_lines=self._max_lines(), headless=headless)

    def show(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Shows display data."""
        self._shell.display_pub.publish(data=data, metadata=metadata)

    def _publish(self, data: Any, metadata: Any, display_id: str, update: bool) -> None:
        transient = {"display_id": display_id}
        self._shell.display_pub.publish(data=data, metadata=metadata, transient=transient, update=update)
