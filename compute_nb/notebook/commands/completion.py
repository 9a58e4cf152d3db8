# mypy: disable-error-code="untyped-decorator"
"""This module is the completion of the magic's line: endpoints, options, their values, names, subcommands.

IPython asks on the main thread at each Tab. Services are asked aside: what has not come in a quarter of a
second is there at the next Tab.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.notebook.line.arguments import SUBCOMMANDS, parser
from compute_nb.notebook.line.manner import JSON, PICKLE
from compute_nb.notebook.memory.recent import recent
from compute_nb.syntax import parse

if TYPE_CHECKING:
    from compute_nb.notebook.magic import ComputeMagics
    from compute_nb.notebook.runs.run import Run

WAIT_S = 0.25
MAX_GROUPS = 20

_CELL = re.compile(r"\s*%%compute[ \t]+")
_LINE = re.compile(r"\s*%compute[ \t]+")
_TAKES_NAME = frozenset({"wait", "show", "logs", "tb", "cancel", "retry", "debug", "forget"})
_TAKES_GROUP = frozenset({"reload", "attach"})
_TAKES_ENDPOINT = frozenset({"use", "restart"})


class Offer(NamedTuple):
    """One completion: the text, and what it is, in short."""

    text: str
    kind: str


def install(shell: Any, magics: ComputeMagics) -> None:
    """Has an IPython shell ask for completions of `%%compute` and `%compute`."""
    completion = Completion(shell, magics)

    @context_matcher(identifier="compute_nb")
    def compute_matcher(context: CompletionContext) -> Any:
        return completion.match(context)

    shell.Completer.custom_matchers.append(compute_matcher)


class Completion:
    """Completes lines of one shell; on the main thread."""

    def __init__(self, shell: Any, magics: ComputeMagics) -> None:
        self._shell, self._magics = shell, magics

    def match(self, context: CompletionContext) -> dict[str, Any]:
        """Returns what IPython's completer asks of a matcher."""
        before = context.line_with_cursor[: context.cursor_position]
        found = self._offers(context, before)
        if found is None:
            return {"completions": [], "suppress": False}
        fragment, offers = found
        return {
            "completions": [SimpleCompletion(text, type=_unbroken(kind)) for text, kind in offers],
            "matched_fragment": fragment,
            "suppress": True,
            "ordered": True,
        }

    def _offers(self, context: CompletionContext, before: str) -> tuple[str, list[Offer]] | None:
        """Returns the piece before the cursor and what may stand in its place; None if that is not ours."""
        cell = _CELL.match(before) if context.cursor_line == 0 else None
        line = _LINE.match(before)
        begun = cell or line
        if begun is None:
            return None
        *given, last = re.split(r"\s+", before[begun.end() :])
        body = context.full_text.partition("\n")[2]
        asked = self._of_cell(given, last, body) if cell else self._of_line(given, last)
        fragment = last
        if asked.after:
            fragment = last.rpartition(asked.after)[2]
        fits = [offer for offer in asked.offers if offer.text.startswith(fragment) and offer.text != fragment]
        return fragment, list(dict.fromkeys(fits))

    # -- the cell -------------------------------------------------------------------------------

    def _of_cell(self, given: list[str], last: str, body: str) -> _Asked:
        options = {name: action for action in parser()._actions for name in action.option_strings}
        name, equals, _ = last.partition("=")
        if name in options and equals:
            return _Asked(self._values(name, body), "=")
        before = given[-1] if given else ""
        if before in options and options[before].nargs != 0:
            return _Asked(self._values(before, body), "," if before in _LISTS else "")
        if last.startswith("-"):
            return _Asked(Offer(name, _takes(action)) for name, action in options.items())
        if self._has_endpoint(given, options):
            long = [name for name in options if name.startswith("--")]
            return _Asked(Offer(name, _takes(options[name])) for name in long)
        return _Asked(self._endpoints())

    @staticmethod
    def _has_endpoint(given: list[str], options: Mapping[str, Any]) -> bool:
        values = {
            place + 1 for place, word in enumerate(given) if word in options and options[word].nargs != 0
        }
        return any(
            word and not word.startswith("-") and place not in values for place, word in enumerate(given)
        )

    def _values(self, option: str, body: str) -> Iterator[Offer]:
        """Yields values of an option that are known."""
        if option in ("-n", "--name"):
            yield from (Offer(run.name, "bound before") for run in reversed(self._magics.runs) if run.name)
        elif option in ("-i", "--input"):
            yield from (Offer(name, type(value).__name__) for name, value in self._own_names())
        elif option in ("-o", "--output"):
            yield from (Offer(name, "bound in this cell") for name in _names(body, ast.Store))
        elif option in ("-m", "--map"):
            here = self._shell.user_ns
            missing = [name for name in _names(body, ast.Load) if name not in here and not _is_builtin(name)]
            yield from (Offer(f"{name}=", "read in this cell") for name in missing)
        elif option in ("--serializer", "--result-serializer"):
            yield from (Offer(name, "strategy") for name in (JSON, PICKLE))
        elif option == "--retries":
            yield from (Offer(str(count), "times") for count in (1, 3, 5))

    def _own_names(self) -> Iterator[tuple[str, Any]]:
        hidden = self._shell.user_ns_hidden
        for name, value in list(self._shell.user_ns.items()):
            if not name.startswith("_") and name not in hidden:
                yield name, value

    # -- the line -------------------------------------------------------------------------------

    def _of_line(self, given: list[str], last: str) -> _Asked:
        if not given:
            return _Asked(Offer(name, "subcommand") for name in SUBCOMMANDS)
        command = given[0]
        known = SUBCOMMANDS.get(command)
        if known is None:
            return _Asked(iter(()))
        if last.startswith("-"):
            return _Asked(Offer(name, "option") for name in (*known.flags, *known.valued, "--help"))
        if command in _TAKES_ENDPOINT:
            return _Asked(self._endpoints())
        if command in _TAKES_GROUP:
            return _Asked(itertools.chain(self._groups(), self._recent()))
        return _Asked(self._runs() if command in _TAKES_NAME else iter(()))

    def _runs(self) -> Iterator[Offer]:
        """Yields how runs are named, the newest first."""
        runs = list(reversed(self._magics.runs))
        for run in runs:
            if run.name:
                yield Offer(run.name, _kind(run))
        for run in runs[:MAX_GROUPS]:
            yield Offer(run.cell, _kind(run))
        yield from self._groups()

    def _groups(self) -> Iterator[Offer]:
        """Yields the task groups of this kernel, the newest first."""
        for run in list(reversed(self._magics.runs))[:MAX_GROUPS]:
            if run.task_group_id:
                yield Offer(run.task_group_id, _kind(run))

    def _recent(self) -> Iterator[Offer]:
        """Yields the task groups of earlier kernels, this notebook's first."""
        here = {run.task_group_id for run in self._magics.runs}
        for one in recent(self._shell.user_ns, Home.default()):
            if one.entry.id not in here:
                yield Offer(one.entry.id, one.told)

    def _endpoints(self) -> Iterator[Offer]:
        try:
            answer = self._magics.endpoints.look(WAIT_S)
        except ComputeError:  # Tab is no place for errors: the submit says them
            return
        for one in answer.endpoints:
            yield Offer(one.name, one.told or "endpoint")


class _Asked(NamedTuple):
    """What may stand here; `after` is the last character of what stays of the word."""

    offers: Iterator[Offer]
    after: str = ""


_LISTS = frozenset({"-i", "--input", "-o", "--output", "--result-serializer"})


def _kind(run: Run) -> str:
    return f"{run.endpoint}, {run.progress()}"


def _takes(action: argparse.Action) -> str:
    """Returns the value of an option in short."""
    return "option" if action.nargs == 0 else str(action.metavar or action.dest.upper())


def _unbroken(kind: str) -> str:
    """Returns what front ends show in one line: they break types at blanks, and draw them over each other."""
    return kind.replace(" ", "\u00a0")


def _names(body: str, kind: type) -> list[str]:
    """Returns the names that a body reads or binds somewhere, in order; nothing if it is no Python yet."""
    try:
        tree = parse(body)
    except (SyntaxError, ValueError, RecursionError):
        return []
    named = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, kind)]
    if kind is ast.Store:
        named += [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        return list(dict.fromkeys(named))
    bound = set(_names(body, ast.Store))
    bound |= {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return [name for name in dict.fromkeys(named) if name not in bound]


def _is_builtin(name: str) -> bool:
    import builtins

    return hasattr(builtins, name)
