"""This module is the shell function: a command line that is submitted like a function.

What travels of it is plain source, `compute_nb.command` and its options as the body of one function, so that
a worker needs a Python with its standard library and nothing else.
"""

from __future__ import annotations

import inspect
import keyword
import math
import numbers
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from string import Formatter
from typing import Any

from compute_nb import command
from compute_nb.serialize.source import source_buffer
from compute_nb.shell_result import ShellResult, revived

__all__ = ["ShellFunction", "ShellResult"]

_BRACES = "braces that mean themselves are doubled: {{ and }}"


class ShellFunction:
    """A command line for bash; submit it with a keyword argument for each of its fields.

    Called by itself, it runs here. The arguments and what they mean are those of the published documentation
    (Globus Compute SDK, "Shell Functions"); `walltime` here ends all that the command has started in its
    process group, and so does a cancel. What it leaves in the background when it ends by itself runs on.

        count = ShellFunction("wc -l < {path}")
        executor.submit(count, path="data.csv").result().stdout

    Args:
        cmd: The command line with the fields of `str.format`, `{name}`, `{name:>8}`; literal braces are
            doubled.
        stdout, stderr: Files on the worker that the output is appended to, relative to the task's folder;
            by default new ones named `<task id>.<random>.stdout` and `.stderr`.
        walltime: Seconds that the command may run; then it gets SIGTERM, and SIGKILL 2 s later.
        snippet_lines: How many of the last lines of each file come back.
        name: What the function is called; by default like its class.
        return_dict: True: the result is a dict with the attributes of `ShellResult`.

    Raises:
        ValueError: `cmd` is empty or has a field that no keyword argument can fill, `name` is no
            identifier, or a number is out of range.
    """

    prefix = ""
    _needs: str | None = None

    def __init__(  # noqa: PLR0917 - the published signature
        self,
        cmd: str,
        stdout: str | os.PathLike[str] | None = None,
        stderr: str | os.PathLike[str] | None = None,
        walltime: float | None = None,
        snippet_lines: int = 1000,
        name: str | None = None,
        return_dict: bool = False,
    ) -> None:
        self.cmd = cmd
        self.stdout = None if stdout is None else os.fspath(stdout)
        self.stderr = None if stderr is None else os.fspath(stderr)
        self.walltime = walltime
        self.snippet_lines = snippet_lines
        self.return_dict = return_dict
        self.__name__ = type(self).__name__ if name is None else name
        self._check_options()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.cmd!r}, name={self.__name__!r})"

    def __call__(self, /, *args: Any, **kwargs: Any) -> ShellResult | dict[str, Any]:
        """Runs the command here.

        Raises:
            TypeError, ValueError: As `check`.
            OSError: There is no bash, or a file can't be made.
        """
        self.check(args, kwargs)
        result: ShellResult | dict[str, Any] = revived(command.run(values=kwargs, **self._options()))
        return result

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Returns if the command can be filled with these arguments.

        Raises:
            TypeError: There are positional arguments, or a field has no keyword argument.
            ValueError: A value does not fit its field.
        """
        self._check_options()
        if args:
            raise TypeError(
                f"{self!r} takes keyword arguments only, one for each {{name}} in it; "
                f"{len(args)} positional were given"
            )
        missing = [f"{{{name}}}" for name in _fields(self.cmd) if name not in kwargs]
        if missing:
            raise TypeError(f"{self!r} needs a keyword argument for {', '.join(missing)}; {_BRACES}")
        try:
            filled = self.cmd.format(**kwargs)
        except Exception as error:  # a value's own __format__ may raise anything
            raise ValueError(f"{self!r} can't be filled: {type(error).__name__}: {error}") from error
        if "\0" in filled:
            raise ValueError(f"{self!r} would hold a null character, which no command line can")

    def specification(self, given: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Returns the resource_specification to submit with; a shell function leaves it as it is."""
        return given

    def source_buffer(self) -> str:
        """Returns how it travels: the buffer of plain source that the serializer sends for it."""
        options = ", ".join(f"{name}={value!r}" for name, value in self._options().items())
        call = f"return run(values=kwargs, {options})"
        source = f"def {self.__name__}(**kwargs):\n{_program()}\n    {call}\n"
        return source_buffer(self.__name__, source)

    def _options(self) -> dict[str, Any]:
        return {
            "template": self.prefix + str(self.cmd),
            "stdout": self.stdout and str(self.stdout),
            "stderr": self.stderr and str(self.stderr),
            # Exact types: a number of numpy does not look like source.
            "walltime": None if self.walltime is None else float(self.walltime),
            "snippet_lines": int(self.snippet_lines),
            "return_dict": bool(self.return_dict),
            "needs": self._needs,
        }

    def _check_options(self) -> None:
        name, walltime, lines = self.__name__, self.walltime, self.snippet_lines
        if not (isinstance(name, str) and name.isidentifier()) or keyword.iskeyword(name):
            raise ValueError(f"name must be an identifier and no keyword of Python, not {name!r}")
        if not isinstance(self.cmd, str) or not self.cmd.strip():
            raise ValueError(f"cmd must be a command line, not {self.cmd!r}")
        if walltime is not None and not _is_number(walltime):
            raise ValueError(f"walltime is a number of seconds from 0, not {walltime!r}")
        if not _is_number(lines, numbers.Integral):
            raise ValueError(f"snippet_lines is a count from 0, not {lines!r}")
        _fields(self.cmd)


def _is_number(value: Any, kind: type = numbers.Real) -> bool:
    return isinstance(value, kind) and type(value) is not bool and 0 <= float(value) < math.inf  # type: ignore[arg-type]


@cache
def _program() -> str:
    return textwrap.indent(inspect.getsource(command), "    ")


@lru_cache(maxsize=256)
def _fields(cmd: str) -> tuple[str, ...]:
    """Returns the names of the keyword arguments that a command line reads.

    Raises:
        ValueError: Its braces don't match, or a field is no name.
    """
    try:
        found = tuple(dict.fromkeys(_names(cmd)))
    except ValueError as error:
        raise ValueError(f"the command {cmd!r} can't be read: {error}; {_BRACES}") from None
    for name in found:
        if not name.isidentifier():
            raise ValueError(f"{{{name}}} in the command {cmd!r} is no name of an argument; {_BRACES}")
    return found


def _names(text: str) -> Iterator[str]:
    for _, field, spec, conversion in Formatter().parse(text):
        if field is None:
            continue
        if conversion not in (None, "r", "s", "a"):
            raise ValueError(f"!{conversion} is no conversion, only !r, !s and !a are")
        yield field.partition(".")[0].partition("[")[0]
        yield from _names(spec or "")
