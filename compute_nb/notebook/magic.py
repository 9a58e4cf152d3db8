"""This module is the magic: `%%compute` on a cell and `%compute` on a line, in an IPython shell."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from traitlets import Bool, Int, Unicode

from compute_nb.executor import Executor
from compute_nb.notebook import outcome
from compute_nb.notebook.capture import Notebook
from compute_nb.notebook.cell import analyse
from compute_nb.notebook.freight import POSTPONED, Home
from compute_nb.notebook.front import Front, cell_id_of, front_of
from compute_nb.notebook.launch import launch
from compute_nb.notebook.lines import Lines
from compute_nb.notebook.options import Options, check, names_of, points, split_map, words
from compute_nb.notebook.panel import Panel, bundle
from compute_nb.notebook.pending import Outputs
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.run import Run
from compute_nb.notebook.runs import Runs


@magics_class
class ComputeMagics(Magics):  # type: ignore[misc] # IPython has no types
    """Runs cells somewhere else."""

    endpoint = Unicode("local", help="where cells go that name no endpoint").tag(config=True)
    wait = Bool(False, help="whether cells wait for their tasks, as with -w").tag(config=True)
    retries = Int(0, min=0, help="how often a task whose worker or agent was lost begins again").tag(
        config=True
    )
    max_output_lines = Int(200, min=1, help="how much printed text a panel shows").tag(config=True)
    max_tasks = Int(100_000, min=1, help="how many tasks one --map may give").tag(config=True)

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._home = Home(shell.user_ns, self._label)
        self._outputs = Outputs(shell.user_ns)
        self._runs = Runs(shell.user_ns)
        self._lines = Lines(self._runs, self._outputs, self._home, self._use, self._attach)
        shell.events.register("pre_execute", self._arrive)
        shell.events.register("post_run_cell", self._arrive)

    def _label(self, filename: str) -> str:
        found = self.shell.compile.format_code_name(filename)
        return filename if found is None else " ".join(found)

    def _use(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def _arrive(self, *_: Any) -> None:
        """Puts values that are here under their names; called by IPython between cells."""
        if threading.current_thread() is threading.main_thread():  # a subshell may run amid a cell
            self._outputs.arrive()

    # -- the cell ---------------------------------------------------------------------------

    @no_var_expand
    @magic_arguments("%%compute")
    @argument("endpoint", nargs="?", help="local, an alias, an endpoint's id or name, service:endpoint")
    @argument("-n", "--name", default="", help="bind the future, or the group of --map, to NAME")
    @argument(
        "-i",
        "--input",
        action="append",
        default=[],
        help="names that travel although the text does not show them",
    )
    @argument(
        "-o",
        "--output",
        action="append",
        default=[],
        help="names to be assigned here when the result is here",
    )
    @argument(
        "-m",
        "--map",
        action="append",
        default=[],
        metavar="NAME=EXPR",
        help="one task per value; repeated: product",
    )
    @argument("-w", "--wait", dest="wait", action="store_true", default=None, help="wait and show the value")
    @argument(
        "--no-wait",
        dest="wait",
        action="store_false",
        help="do not wait, also where nobody is at the notebook",
    )
    @argument(
        "--retries", type=int, default=None, metavar="N", help="begin again after a lost worker or agent"
    )
    @argument("--label", default="", metavar="TEXT", help="what the panel calls it")
    @cell_magic("compute")
    def compute_cell(self, line: str, cell: str) -> Any:
        """Runs the cell on an endpoint; returns at once, the panel under it follows the tasks."""
        given = words(line)
        if given and given[0] in ("-h", "--help"):
            print(self._parser.format_help())  # noqa: T201 - asked for
            return None
        options = self._options(given)
        postponed = bool(self.shell.compile.flags & POSTPONED)
        body = analyse(cell, postponed=postponed)
        check(options, body)
        values = None
        if options.maps:
            values = points(options.maps, self.shell.ev, self.max_tasks)
        run, executor = launch(
            f"In[{self.shell.execution_count}]",
            body,
            options,
            values,
            Notebook(self._home, self.shell.user_ns_hidden),
            endpoint=options.endpoint or self.endpoint,
            retries=self.retries if options.retries is None else options.retries,
        )
        self._bind(run)
        return self._follow(run, executor, options.wait)

    @property
    def _parser(self) -> Any:
        return type(self).compute_cell.parser

    def _options(self, given: Sequence[str]) -> Options:
        try:
            args = self._parser.parse_args(list(given))
        except UsageError as error:
            raise CellRefused(
                f"`%%compute {' '.join(given)}`: {error}; `%%compute --help` lists all options"
            ) from None
        if args.name:
            names_of([args.name], "-n")
        if args.retries is not None and args.retries < 0:
            raise CellRefused(f"`--retries {args.retries}`: a number from 0 up")
        return Options(
            endpoint=args.endpoint,
            name=args.name,
            inputs=names_of(args.input, "-i"),
            outputs=names_of(args.output, "-o"),
            maps=tuple(map(split_map, args.map)),
            wait=args.wait,
            retries=args.retries,
            label=args.label,
        )

    def _bind(self, run: Run) -> None:
        self._runs.add(run)
        self.shell.user_ns["_compute"] = run.thing
        if run.name:
            self.shell.user_ns[run.name] = run.thing
        if run.group is not None:
            run.group.show = lambda: self._bundle(run, headless=False)[0]
        self._outputs.promise(run)

    def _follow(self, run: Run, executor: Executor, wait: bool | None) -> Any:
        front = front_of(self.shell)
        waits = wait if wait is not None else self.wait or front is Front.HEADLESS
        for note in run.notes:
            print(note, file=sys.stderr)  # noqa: T201 - one line to the person, at once
        if front is Front.PERSON:
            self._panel(run, executor, results=not waits)
        if not waits:
            if front is not Front.PERSON:
                print(f"{run.title}: {len(run.futures)} task(s) submitted to {run.endpoint}")  # noqa: T201
            return None
        return self._waited(run, front)

    def _waited(self, run: Run, front: Front) -> Any:
        alone = front is Front.HEADLESS
        try:
            outcome.wait(run, say=self._state if alone else None)
        finally:
            self._outputs.arrive()
        outcome.print_all(run, self._show)
        if alone:
            print(outcome.final_line(run))  # noqa: T201 - asked for by whoever reads the log
            self._show(*self._bundle(run, headless=True))
        return outcome.value_of(run, self._show)

    @staticmethod
    def _state(text: str) -> None:
        print(text, file=sys.stderr)  # noqa: T201 - as above

    # -- showing ----------------------------------------------------------------------------

    def _panel(self, run: Run, executor: Executor, *, results: bool) -> None:
        panel = Panel(run, self._publish, cell_id_of(self.shell), self.max_output_lines, results=results)
        panel.show()
        executor.add_update_callback(panel.news)
        panel.news()

    def _attach(self, run: Run, executor: Executor) -> None:
        """Binds and shows a run that was reloaded."""
        self._bind(run)
        if front_of(self.shell) is Front.PERSON:
            self._panel(run, executor, results=True)
        else:
            print(outcome.final_line(run))  # noqa: T201 - the panel of a plain terminal

    def _bundle(self, run: Run, *, headless: bool) -> Any:
        cell_id = cell_id_of(self.shell)
        return bundle(run, run.snapshot(), cell_id, max_lines=self.max_output_lines, headless=headless)

    def _show(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        self.shell.display_pub.publish(data=data, metadata=metadata)

    def _publish(self, data: Any, metadata: Any, display_id: str, update: bool) -> None:
        transient = {"display_id": display_id}
        self.shell.display_pub.publish(data=data, metadata=metadata, transient=transient, update=update)

    # -- the line ---------------------------------------------------------------------------

    @no_var_expand
    @line_magic("compute")
    def compute_line(self, line: str) -> Any:
        """Subcommands; `%compute help` lists them."""
        return self._lines.run(words(line))
