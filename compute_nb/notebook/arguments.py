"""This module is the arguments: what may stand on a line of `%%compute` or `%compute`, and the help on it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from compute_nb.notebook.options import Options, names_of, split_map
from compute_nb.notebook.refusal import CellRefused, nearest
from compute_nb.tasks import MAX_RETRIES


@dataclass(frozen=True, slots=True)
class Subcommand:
    """What a subcommand takes.

    Attributes:
        usage: How the rest of its line reads.
        most: How many words that are no options it takes.
        flags: Options without a value.
        valued: Options with one.
        mend: What to do instead of giving it more.
    """

    usage: str
    text: str
    most: int = 0
    flags: tuple[str, ...] = ()
    valued: tuple[str, ...] = ()
    mend: str = ""


_SERVICE = "`!compute-nb service stop` (start, restart, status) does such things"
SUBCOMMANDS: Mapping[str, Subcommand] = {
    "endpoints": Subcommand("", "endpoints with state, Python and workers"),
    "use": Subcommand("ENDPOINT", "cells of this kernel that name no endpoint go there", 1),
    "tasks": Subcommand("", "what was submitted from this kernel"),
    "wait": Subcommand("[NAME]", "until it has ended; without NAME all of this kernel", 1, ("--all",)),
    "cancel": Subcommand("NAME | --all", "end the open tasks of NAME, or of this kernel", 1, ("--all",)),
    "retry": Subcommand("[NAME]", "what failed, was lost or cancelled runs again with the same inputs", 1),
    "logs": Subcommand("[NAME] [--all]", "what the tasks printed; --all: without leaving out", 1, ("--all",)),
    "tb": Subcommand("[NAME]", "tracebacks of what failed, equal ones together", 1),
    "reload": Subcommand(
        "GROUP [-n NAME] [-o x,y]",
        "a task group from anywhere by its id; -o binds outputs of its cell",
        1,
        valued=("-n", "--name", "-o", "--output"),
    ),
    "attach": Subcommand("", "as reload", 1, valued=("-n", "--name", "-o", "--output")),
    "service": Subcommand("", "where the service is and what it has to do", mend=_SERVICE),
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of `%compute`, read.

    Attributes:
        words: What is no option.
        flags: Options given without a value.
        values: Options given with one, by their last spelling.
    """

    command: str
    words: tuple[str, ...]
    flags: frozenset[str]
    values: Mapping[str, str]


def read_line(given: Sequence[str]) -> Line:
    """Returns what a line of `%compute` asks for.

    Raises:
        CellRefused: There is no such subcommand, or it does not take what was given.
    """
    command, *rest = given
    known = SUBCOMMANDS.get(command)
    if known is None:
        guess = nearest(command, SUBCOMMANDS) or "; there are " + ", ".join(SUBCOMMANDS)
        raise CellRefused(f"`%compute {command}`: no such subcommand{guess}")
    words: list[str] = []
    flags: set[str] = set()
    values: dict[str, str] = {}
    left = iter(rest)
    for word in left:
        if word in known.valued:
            values[word] = next(left, "")
            if not values[word]:
                raise CellRefused(f"`%compute {' '.join(given)}`: a value is missing after `{word}`")
        elif word in known.flags:
            flags.add(word)
        elif word.startswith("-") or len(words) == known.most:
            takes = f"%compute {command} {known.usage}".strip()
            mend = known.mend or f"`{takes}` is all that it takes"
            raise CellRefused(f"`%compute {' '.join(given)}`: `{word}` means nothing to `{command}`; {mend}")
        else:
            words.append(word)
    if words and "--all" in flags and command != "logs":
        raise CellRefused(f"`%compute {' '.join(given)}`: either `{words[0]}` or `--all`")
    return Line(command, tuple(words), frozenset(flags), values)


# -- the cell -------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CellRefused(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="%%compute", add_help=False, allow_abbrev=False)
    parser.add_argument("endpoint", nargs="?", help="local, an alias, an endpoint's id or name")
    add = parser.add_argument
    add("-n", "--name", default="", help="bind the future, or the group of --map, to NAME")
    names = {"action": "append", "default": [], "metavar": "A,B"}
    add("-i", "--input", **names, help="names that travel although the text does not show them")  # type: ignore[arg-type]
    add("-o", "--output", **names, help="names to be bound here when the result is here")  # type: ignore[arg-type]
    add(
        "-m",
        "--map",
        action="append",
        default=[],
        metavar="NAME=EXPR",
        help="one task per value; repeated: product",
    )
    waiting = parser.add_mutually_exclusive_group()
    waiting.add_argument("-w", "--wait", action="store_true", default=None, help="wait and show the value")
    waiting.add_argument(
        "--no-wait",
        dest="wait",
        action="store_false",
        help="do not wait, also where nobody is at the notebook",
    )
    add("--retries", type=int, metavar="N", help="begin again up to N times if the worker or agent is lost")
    add("--label", default="", metavar="TEXT", help="what the panel calls it")
    return parser


def read_cell(given: Sequence[str]) -> Options:
    """Returns what the line of `%%compute` asks for.

    Raises:
        CellRefused: It can't be read; the text names the mend.
    """
    told = f"`%%compute {' '.join(given)}`"
    joined = _without_blanks(given)
    if joined != list(given):
        raise CellRefused(f"{told}: no blanks around `=`: `%%compute {' '.join(joined)}`")
    try:
        args = _parser().parse_args(list(given))
    except CellRefused as problem:
        raise CellRefused(f"{told}: {problem}; `%compute --help` lists all options") from None
    if args.name:
        names_of([args.name], "-n")
    if args.retries is not None and not 0 <= args.retries <= MAX_RETRIES:
        raise CellRefused(f"`--retries {args.retries}`: a number from 0 to {MAX_RETRIES}")
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


def _without_blanks(given: Sequence[str]) -> list[str]:
    joined: list[str] = []
    for word in given:
        if joined and (word.startswith("=") or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def manual() -> str:
    """Returns what `%compute --help` shows."""
    options = [f"  {_spelled(action):<24}{action.help}" for action in _parser()._actions]
    lines = [f"  {f'{name} {known.usage}'.strip():<34}{known.text}" for name, known in SUBCOMMANDS.items()]
    return "\n".join(
        [
            "%%compute [ENDPOINT] [options] runs the cell below it somewhere else:",
            *options,
            "",
            "%compute SUBCOMMAND on a line; NAME is what -n bound, NAME[i] one task of it, In[7] a cell:",
            *lines,
        ]
    )


def _spelled(action: argparse.Action) -> str:
    if not action.option_strings:
        return action.dest.upper()
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return ", ".join(action.option_strings) + value
