"""This module is the command of a shell cell: its text with the notebook's values in it, and its body.

Only `{name}`, `{name:spec}` and `{name!q}` are replaced; braces around anything else, and those after `$`,
are the shell's.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from compute_nb import command
from compute_nb.mpi import MPIFunction
from compute_nb.notebook.body.cell import CellBody
from compute_nb.notebook.cargo import tailing
from compute_nb.notebook.cargo.load import not_a_value
from compute_nb.notebook.cargo.namespace import Notebook
from compute_nb.notebook.refusal import CellRefused, nearest

TEXT = "$"  # no name can hide the command, which travels among a task's own values under this one
_NAME = r"([^\W\d]\w*)(!q)?(?::([^{}\n]*))?"
_FIELD = re.compile(rf"\{{\{{{_NAME}\}}\}}|(?<!\$)\{{{_NAME}\}}")
_PART = re.compile(r"(?<![{$])\{([^\W\d]\w*)((?:\.[^\W\d]\w*|\[[^][{}\s]*\])+)[^{}\n]*\}")
_ALL_SAME = "all tasks would be the same"
_PLAIN = (int, float, str, bool, type(None))

_BODY = """\
import subprocess
names = {{"__name__": "compute_nb_command"}}
for program in {programs!r}:
    exec(compile(program, "<a command of compute_nb>", "exec"), names)
values = {{"command": globals()[{text!r}]}}
with names["Tailing"]() as tailing:
    out, err = tailing.paths
    result = names["run"]({template!r}, values, stdout=out, stderr=err, needs={needs!r})
if {check!r} and result["returncode"]:
    raise subprocess.CalledProcessError(
        result["returncode"], result["cmd"], result["stdout"], result["stderr"])
result
"""


def command_body(text: str) -> CellBody:
    """Returns the text of a shell cell as a body that is not read as Python.

    Raises:
        CellRefused: There is no command in it.
    """
    if not text.strip():
        raise CellRefused("this cell has no command: write it under the `%%compute` line")
    if "\0" in text:
        raise CellRefused("this cell has a null character, which no command line can have")
    return CellBody(text.rstrip("\n"), {}, frozenset(), shows=True, open_ended=False, postponed=False)


def worker_source(kind: str, *, check: bool) -> str:
    """Returns the Python text that runs a command on a worker.

    Args:
        kind: "shell", or "mpi" for what an MPI engine starts.
        check: Whether an exit code that is not 0 is a failure.
    """
    prefix, needs = (MPIFunction.prefix, MPIFunction._needs) if kind == "mpi" else ("", None)
    return _BODY.format(
        programs=(inspect.getsource(command), inspect.getsource(tailing)),
        template=prefix + "{command}",
        text=TEXT,
        needs=needs,
        check=check,
    )


def commands(
    text: str, points: Sequence[Mapping[str, Any]] | None, swept: Sequence[str], notebook: Notebook
) -> list[dict[str, Any]]:
    """Returns each task's own values: those of `--map`, as far as they are plain, and its command.

    Raises:
        CellRefused: A `{name}` means nothing here, a value does not fit, or a swept name is not read.
    """
    names = fields(text)
    _check(names, swept, notebook)
    space = {name: notebook.home.namespace[name] for name in names if name not in swept}
    tasks = []
    for point in points if points is not None else [{}]:
        plain = {n: v if type(v) in _PLAIN else str(v)[:200] for n, v in point.items()}
        tasks.append({**plain, TEXT: filled(text, {**space, **point})})
    return tasks


def fields(text: str) -> list[str]:
    """Returns the names that a command reads from the notebook."""
    return list(dict.fromkeys(found[4] for found in _FIELD.finditer(text) if found[4]))


def left_to_the_shell(text: str, swept: Collection[str], notebook: Notebook) -> Iterator[str]:
    """Yields a line for each `{name.part}` of a name that is known here: nothing replaces it."""
    for found in {found[0]: found for found in _PART.finditer(text)}.values():
        if found[1] in swept or notebook.has(found[1]):
            yield (
                f"`{found[0]}` goes to the shell as it is, only names are replaced: "
                f"bind `{found[1]}{found[2]}` to a name and write that"
            )


def filled(text: str, values: Mapping[str, Any]) -> str:
    """Returns a command with values in the place of their names.

    Raises:
        CellRefused: A value does not fit; names it.
    """

    def value(found: re.Match[str]) -> str:
        if not found[4]:
            return found[0][1:-1]
        name, quoted, spec = found[4], found[5], found[6]
        try:
            shown = format(values[name], spec or "")
        except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
            raise CellRefused(f"`{found[0]}`: {type(error).__name__}: {error}") from None
        if "\0" in shown:
            raise CellRefused(f"`{found[0]}` has a null character, which no command line can have")
        try:
            os.fsencode(shown)
        except UnicodeEncodeError:
            raise CellRefused(f"`{found[0]}` has half a character, which no command line can have") from None
        return shlex.quote(shown) if quoted else shown

    return _FIELD.sub(value, text)


def _check(names: Sequence[str], swept: Sequence[str], notebook: Notebook) -> None:
    for name in names:
        if name in swept:
            continue
        if not notebook.has(name):
            known = [*notebook.names(), *swept]
            told = nearest(name, known) or f"; `{{{{{name}}}}}` gives the shell `{{{name}}}`"
            raise CellRefused(f"`{{{name}}}`: there is no `{name}` here{told}")
        mend = not_a_value(notebook.home.namespace[name])
        if mend is not None:
            raise CellRefused(f"`{name}` {mend.format(name=name)}")
    for name in swept:
        if name not in names:
            raise CellRefused(
                f"`--map {name}=...`: the command never reads `{{{name}}}`, so {unread(name, swept)}"
            )


def unread(name: str, swept: Collection[str]) -> str:
    """Returns what it means that nothing reads a name of `--map`.

    Args:
        swept: All names of it.
    """
    return f"tasks that differ in `{name}` alone would be the same" if len(swept) > 1 else _ALL_SAME
