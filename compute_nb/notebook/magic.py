# mypy: disable-error-code="untyped-decorator"
"""This module is the magic: `%%compute` on a cell and `%compute` on a line, read and handed on."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from traitlets import Bool, Int, TraitError, Unicode, observe, validate

from compute_nb.notebook.line.arguments import read_cell, read_line
from compute_nb.notebook.line.manual import manual
from compute_nb.notebook.line.options import words
from compute_nb.notebook.nesting import nest, why_not

if TYPE_CHECKING:
    from compute_nb.notebook.commands.endpoints import Endpoints
    from compute_nb.notebook.desk import Desk
    from compute_nb.notebook.runs.run import Run

F = TypeVar("F", bound=Callable[..., Any])

_HELP = ("-h", "--help", "help")
_LINE_ALONE = re.compile(r"%%compute(\s|$)")
_VARIABLE = re.compile(r"\{([^\W\d]\w*)\}|\$([^\W\d]\w*)")


def with_body(lines: list[str]) -> list[str]:
    """Gives a cell of a `%%compute` line alone a body: IPython's own refusal has no mend."""
    return [*lines, "\n"] if len(lines) == 1 and _LINE_ALONE.match(lines[0]) else lines


with_body.has_side_effects = True  # type: ignore[attr-defined] # for whoever asks whether more is to come


def _documented(magic: F) -> F:
    """Makes the manual what `%%compute?` shows."""
    magic.__doc__ = f"{magic.__doc__}\n\n{manual()}\n"
    return magic


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

    endpoint = Unicode("local", help="Where cells go that name no endpoint; `%compute use` sets it.").tag(
        config=True
    )
    wait = Bool(False, help="Cells wait for their tasks, as with -w.").tag(config=True)
    retries = Int(
        0, min=0, help="How often a task begins again whose worker or agent was lost; --retries."
    ).tag(config=True)
    max_output_lines = Int(
        200, min=1, help="How many printed lines a panel shows; `%compute logs` has all."
    ).tag(config=True)
    max_tasks = Int(100_000, min=1, help="How many tasks one --map may give.").tag(config=True)
    nest_asyncio = Bool(
        False, help="Let `asyncio.run` work in cells: patches asyncio of this kernel, until its restart."
    ).tag(config=True)

    reattach = Bool(True, help="whether loading the extension takes up the notebook's earlier runs").tag(
        config=True
    )

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._made: Desk | None = None
        self._endpoints: Endpoints | None = None
        self._listed = ""

    @property
    def _desk(self) -> Desk:
        """All else, imported when it is first needed, so that `%load_ext` costs little."""
        if self._made is None:
            with _interrupts_later():
                from compute_nb.notebook.desk import Desk

            self._made = Desk(self.shell, self)
        return self._made

    @validate("nest_asyncio")
    def _can_nest(self, proposal: Any) -> bool:
        if proposal["value"]:
            problem = why_not()
            if problem:
                raise TraitError(
                    f"ComputeMagics.nest_asyncio: {problem}"
                )  # `%config` puts the old value back
        return bool(proposal["value"])

    @observe("nest_asyncio")
    def _nest(self, change: Any) -> None:
        if change["new"]:
            nest()

    @property
    def runs(self) -> list[Run]:
        """What was submitted so far; nothing is imported for the question."""
        return [] if self._made is None else self._made.runs

    @property
    def endpoints(self) -> Endpoints:
        """The endpoints that a line may name, imported when they are first needed."""
        if self._endpoints is None:
            with _interrupts_later():
                from compute_nb.notebook.commands.endpoints import Endpoints

            self._endpoints = Endpoints()
        return self._endpoints

    def recall(self) -> None:
        """Takes up earlier runs of this notebook, if there are any; only counts them without `reattach`."""
        from compute_nb.notebook.memory.memory import listed, remembered

        found = remembered(self.shell.user_ns)
        if not self.reattach:
            self._listed = listed(found)
        elif found.entries or found.elsewhere or found.unsure:
            self._desk.recall()

    def found(self) -> str:
        """Returns one line on what was taken up, "" if there is nothing that was not told yet."""
        line, self._listed = self._listed, ""
        return line or ("" if self._made is None else self._made.found())

    def lay_earlier(self) -> None:
        """Shows what was taken up where no page shows it under its own cells."""
        if self._made is not None:
            self._made.lay_earlier()

    # -- the cell ---------------------------------------------------------------------------

    @no_var_expand
    @_documented
    @cell_magic("compute")
    def compute_cell(self, line: str, cell: str) -> Any:
        """Runs the cell on an endpoint; returns at once, the panel under it follows the tasks."""
        given = words(line)
        if any(word in _HELP[:2] for word in given) or given[:1] == ["help"]:
            print(manual())  # noqa: T201 - asked for
            return None
        options = read_cell(given)
        desk = self._desk
        from compute_nb.notebook.desk import Defaults

        defaults = Defaults(self.endpoint, self.wait, self.retries, self.max_output_lines, self.max_tasks)
        return desk.cell(options, cell, defaults)

    # -- the line ---------------------------------------------------------------------------

    @no_var_expand
    @_documented
    @line_magic("compute")
    def compute_line(self, line: str) -> Any:
        """Does a subcommand on what cells have submitted."""
        given = [self._expanded(word) for word in words(line)]
        if not given or given[0] == "help" or any(word in _HELP[:2] for word in given):
            print(manual(" ".join(word for word in given if word not in _HELP)))  # noqa: T201 - asked for
            return None
        return self._desk.line(read_line(given))

    def _expanded(self, word: str) -> str:
        """Returns `{name}` and `$name` as other line magics get them; nothing else is evaluated."""
        found = _VARIABLE.fullmatch(word)
        name = (found[1] or found[2]) if found else ""
        return str(self.shell.user_ns[name]) if name in self.shell.user_ns else word
