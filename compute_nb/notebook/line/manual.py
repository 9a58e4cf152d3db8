"""This module is the manual: what `%compute --help` shows."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from compute_nb.notebook.line.arguments import SUBCOMMANDS, parser

WIDTH = 96  # of the output of a cell beside an open side bar
_COLUMN = 30

_EXAMPLES = """\
    %%compute local -n f                             one task; f.result() is its value
    %%compute local --map seed=range(40) -n sims     40 tasks; sims.result() is a list
    %%compute gpu -m lr=[0.1, 0.01] -m n=range(8)    the product: 16 tasks
    %%compute gpu -o model,loss                      both are bound here when it has ended
    %%compute gpu --dry-run                          what would travel, what is missing there"""

# Options that are in no group stand in the last one.
_OPTIONS: Mapping[str, Sequence[str]] = {
    "Names": ("--name", "--input", "--output"),
    "Many tasks": ("--map", "--seed", "--cache"),
    "Waiting": ("--wait", "--no-wait"),
    "Other bodies": ("--shell", "--check", "--mpi"),
    "How it runs": (),
}
_LINES: Mapping[str, Sequence[str]] = {
    "What was submitted": ("tasks", "wait", "show", "logs", "tb", "debug", "cancel", "retry"),
    "After a restart": ("reload", "attach", "forget"),
    "Where cells go": (),
}


def manual(command: str = "") -> str:
    """Returns the manual, or the lines on one subcommand."""
    if command in SUBCOMMANDS:
        known = SUBCOMMANDS[command]
        return _entry(f"%compute {command} {known.usage}".strip(), known.text, 40)
    return "\n".join([*_of_cells(), "", *_of_lines()])


def _of_cells() -> Iterator[str]:
    yield "%%compute [ENDPOINT] [options]     runs the cell below it somewhere else, and returns at once"
    yield ""
    yield _EXAMPLES
    actions = {action.option_strings[-1]: action for action in parser()._actions if action.option_strings}
    for title, names in _grouped(_OPTIONS, list(actions)):
        yield f"\n  {title}"
        for name in names:
            yield _entry(f"    {_spelled(actions[name])}", str(actions[name].help), _COLUMN)
    yield ""
    yield "  ENDPOINT: local (another process of this machine), an alias, a name, an id, SERVICE:NAME;"
    yield "  `%compute endpoints` lists them. Without it cells go to the default, `%compute use`."


def _of_lines() -> Iterator[str]:
    yield "%compute SUBCOMMAND     on a line; `%compute SUBCOMMAND --help` shows one"
    for title, names in _grouped(_LINES, list(SUBCOMMANDS)):
        yield f"\n  {title}"
        for name in names:
            known = SUBCOMMANDS[name]
            yield _entry(f"    {name} {known.usage}".rstrip(), known.text, 38)
    yield ""
    yield "  NAME: what -n bound, In[7], a task group's id or its beginning; NAME[3] is one task of it."
    yield "  Without NAME the last cell is meant. `%config ComputeMagics` shows the defaults."


def _grouped(groups: Mapping[str, Sequence[str]], known: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    named = {name for names in groups.values() for name in names}
    for title, names in groups.items():
        found = [name for name in names or [one for one in known if one not in named] if name in known]
        if found:
            yield title, found


def _entry(what: str, text: str, column: int) -> str:
    """Returns what stands on the left and its explanation on the right, wrapped."""
    lines = textwrap.wrap(text, WIDTH - column)
    first = f"{what:<{column}}{lines[0]}" if len(what) < column else f"{what}\n{'':<{column}}{lines[0]}"
    return "\n".join([first, *(" " * column + line for line in lines[1:])])


def _spelled(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    short = [one for one in action.option_strings if not one.startswith("--")]
    long = [one for one in action.option_strings if one.startswith("--")]
    return (f"{short[0]}, " if short else "    ") + ", ".join(long) + value
