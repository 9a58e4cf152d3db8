"""This module is the arguments: what may stand on a line of `%%compute` or `%compute`."""

from __future__ import annotations

import argparse
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from compute_nb.notebook.line.manner import manner
from compute_nb.notebook.line.options import Options, names_of, split_map
from compute_nb.notebook.refusal import CellRefused, nearest
from compute_nb.tasks import MAX_RETRIES

_OPTION = re.compile(r"--?[^\W\d]")
_QUOTED = re.compile(r"`([^`]+)`")


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
_RELOAD = ("-n", "--name", "-o", "--output")
SUBCOMMANDS: Mapping[str, Subcommand] = {
    "tasks": Subcommand("", "what was submitted from this kernel, and what the notebook's record has"),
    "wait": Subcommand("[NAME]", "until it has ended; without NAME all of this kernel", 1, ("--all",)),
    "show": Subcommand("[NAME]", "its panel again, and what its tasks displayed", 1),
    "logs": Subcommand("[NAME] [--all]", "what the tasks printed; --all: without leaving out", 1, ("--all",)),
    "tb": Subcommand("[NAME]", "tracebacks of what failed, equal ones together", 1),
    "cancel": Subcommand("NAME | --all", "end the open tasks of NAME, or of this kernel", 1, ("--all",)),
    "retry": Subcommand("[NAME]", "what failed, was lost or cancelled: again, same inputs", 1),
    "debug": Subcommand("[NAME[i]]", "runs a task's body here with its stored inputs; then `%debug`", 1),
    "reload": Subcommand(
        "[GROUP] [-n NAME] [-o x,y]",
        "a task group from anywhere; -o binds its outputs; without GROUP lists the recent ones",
        1,
        valued=_RELOAD,
    ),
    "attach": Subcommand("[GROUP] …", "another name of `reload`", 1, valued=_RELOAD),
    "forget": Subcommand("GROUP", "drop a run from the notebook's record; tasks and results stay", 1),
    "endpoints": Subcommand("", "where cells can go: state, Python, workers"),
    "use": Subcommand("ENDPOINT", "cells of this kernel that name no endpoint go there", 1),
    "restart": Subcommand(
        "[ENDPOINT] [--force]", "new workers for `local`, after an upgrade", 1, ("--force",)
    ),
    "service": Subcommand("", "where the service is and what it has to do", mend=_SERVICE),
    "login": Subcommand("[SERVICE] [--force]", "log in at Globus; --force: ask again", 1, ("--force",)),
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
        raise CellRefused(f"`%compute {command}`: no such subcommand{_meant(command)}")
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
            options = (*known.flags, *known.valued)
            guess = near_option(word, options).lstrip(", ") if word.startswith("-") else ""
            mend = guess or known.mend or f"`{takes}` is all that it takes"
            raise CellRefused(f"`%compute {' '.join(given)}`: `{word}` means nothing to `{command}`; {mend}")
        else:
            words.append(word)
    if words and "--all" in flags and command != "logs":
        raise CellRefused(f"`%compute {' '.join(given)}`: either `{words[0]}` or `--all`")
    return Line(command, tuple(words), frozenset(flags), values)


def _meant(command: str) -> str:
    """Returns what was meant by a word that is no subcommand, or which there are."""
    known = near_option(command, [*SUBCOMMANDS, "help"])
    if known:
        return known
    if command.startswith("-"):
        return "; options belong to a cell: `%%compute` as its first line"
    return "; there are " + ", ".join(SUBCOMMANDS)


# -- the cell -------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CellRefused(message)


@functools.cache
def parser() -> argparse.ArgumentParser:
    """Returns the parser of the line of a cell; making it takes longer than all else that is done with it."""
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
    add("--walltime", metavar="S", help="end a task that has run for S seconds; it has failed then")
    add("--resources", metavar="JSON", help="what an engine is asked for (resource_specification)")
    add("--config", metavar="JSON", help="what an endpoint with a template is asked for")
    add("--seed", metavar="N", help="random numbers from N and the task's place: the same in every run")
    add("--cache", action="store_true", help="take results of the same cell, inputs and endpoint, if any")
    commands = parser.add_mutually_exclusive_group()
    commands.add_argument(
        "--shell", action="store_true", help="the body is a shell command; {x} is filled in"
    )
    commands.add_argument(
        "--mpi", action="store_true", help="as --shell, started by an MPI engine's launcher"
    )
    add("--check", action="store_true", help="with --shell: an exit code that is not 0 is a failure")
    add("--serializer", metavar="NAME", help="how inputs travel: JSONData keeps pickles out")
    add(
        "--result-serializer",
        action="append",
        default=[],
        metavar="NAME,NAME",
        help="how results come back: JSONData, DillDataBase64 or both, tried in this order",
    )
    add("--new", action="store_true", help="submit again though the same run of this cell still goes on")
    add("--dry-run", action="store_true", help="only tell what would travel and what is missing there")
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
    found = parser()
    for word in given:
        _check_option(told, word, found)
    try:
        args, left = found.parse_known_args(list(given))
    except CellRefused as problem:
        raise CellRefused(f"{told}: {problem}; `%compute --help` lists all options") from None
    if left:
        raise CellRefused(f"{told}: {_left_over(left[0], args.endpoint)}")
    if args.name:
        args.name = ",".join(names_of([args.name], "-n"))
    if args.retries is not None and not 0 <= args.retries <= MAX_RETRIES:
        raise CellRefused(f"`--retries {args.retries}`: a number from 0 to {MAX_RETRIES}")
    command = "shell" if args.shell else "mpi" if args.mpi else ""
    _check_command(args, command)
    return Options(
        endpoint=args.endpoint,
        name=args.name,
        inputs=names_of(args.input, "-i"),
        outputs=names_of(args.output, "-o"),
        maps=tuple(map(split_map, args.map)),
        wait=args.wait,
        retries=args.retries,
        label=args.label,
        dry_run=args.dry_run,
        new=args.new,
        manner=manner(args),
        command=command,
        check=args.check,
    )


def _check_command(args: argparse.Namespace, command: str) -> None:
    if args.check and not command:
        raise CellRefused("`--check` is for `--shell` and `--mpi`: an error of Python is a failure anyway")
    if not command:
        return
    for given, option in ((args.input, "-i"), (args.output, "-o")):
        if given:
            raise CellRefused(
                f"`{option} {','.join(given)}`: a command has no names of Python; `{{name}}` in it is "
                "replaced from the notebook, and `-n NAME` binds its result: stdout, stderr, returncode"
            )
    if args.seed is not None or args.serializer or args.result_serializer:
        raise CellRefused("`--seed` and the serializers are for cells of Python: a command has neither")
    if command == "mpi" and args.resources is None:
        raise CellRefused(
            '`--mpi` needs to know how many ranks: `--resources {"num_nodes": 2, "ranks_per_node": 4}`'
        )


def _check_option(told: str, word: str, known: argparse.ArgumentParser) -> None:
    """Returns unless a word is an option that does not exist, or one with a dash too few.

    Raises:
        CellRefused: It is, with the nearest that exists.
    """
    name = word.partition("=")[0]
    options = known._option_string_actions
    if not _OPTION.match(word) or name in options:
        return
    attached = name[:2] in options and not name.startswith("--")  # -nsims, -ox: the value stands close
    if attached and "-" + name not in options:
        return
    guess = near_option(name, list(options)) or "; `%compute --help` lists all options"
    raise CellRefused(f"{told}: unrecognized option `{name}`{guess}")


def near_option(word: str, known: Sequence[str]) -> str:
    """Returns ", did you mean `--retries`?" for the option most like a word, dashes aside; "" if none is."""
    bare = {one.lstrip("-"): one for one in known if len(one.lstrip("-")) > 1}
    plain = word.lstrip("-").replace("_", "-").lower()
    if plain in bare:
        return f", did you mean `{bare[plain]}`?"
    same = max(4, len(plain) - 1)  # letters, from the first
    begun = [one for one in bare if one[:same] == plain[:same]]
    guess = f", did you mean `{begun[0]}`?" if len(begun) == 1 else nearest(plain, bare)
    return _QUOTED.sub(lambda found: f"`{bare[found[1]]}`", guess)


def _left_over(word: str, endpoint: str) -> str:
    """Returns why a word has no place on the line of a cell."""
    guess = near_option(word, list(parser()._option_string_actions))
    mend = guess or "; a cell goes to one endpoint, and its code stands below the line"
    return f"`{word}` has no place after the endpoint `{endpoint}`{mend}"


def _without_blanks(given: Sequence[str]) -> list[str]:
    joined: list[str] = []
    for word in given:
        if joined and (word.startswith("=") or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined
