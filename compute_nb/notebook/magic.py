# mypy: disable-error-code="untyped-decorator"
"""This module is the magic: `%%compute` on a cell and `%compute` on a line, read and handed on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from traitlets import Bool, Int, Unicode

from compute_nb.notebook.options import Options, names_of, split_map, words
from compute_nb.notebook.refusal import CellRefused

if TYPE_CHECKING:
    from compute_nb.notebook.desk import Desk


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Holds an Interrupt back: an import that it cuts short leaves modules half made for good."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    seen: list[int] = []
    signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:
        raise KeyboardInterrupt


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
        self._made: Desk | None = None

    @property
    def _desk(self) -> Desk:
        """All else, imported when it is first needed, so that `%load_ext` costs little."""
        if self._made is None:
            with _interrupts_later():
                from compute_nb.notebook.desk import Desk

            self._made = Desk(self.shell, self)
        return self._made

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
        desk = self._desk
        from compute_nb.notebook.desk import Defaults

        defaults = Defaults(self.endpoint, self.wait, self.retries, self.max_output_lines, self.max_tasks)
        return desk.cell(options, cell, defaults)

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

    # -- the line ---------------------------------------------------------------------------

    @no_var_expand
    @line_magic("compute")
    def compute_line(self, line: str) -> Any:
        """Subcommands; `%compute help` lists them."""
        return self._desk.line(words(line))
