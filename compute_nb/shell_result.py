"""This module is the result of a shell command.

A worker, which has no compute_nb, answers with a plain dict that carries a mark; any reader can use that, and
ours makes a `ShellResult` of it (docs/extensions.md 5).
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any

from compute_nb.command import CUT, MARK

_SHOWN_CHARACTERS = 1024
_SHOWN_LINES = 10
_SHOWN_WIDTH = 60
_FIELDS = ("cmd", "stdout", "stderr", "returncode", "exception_name")
_short = reprlib.Repr()
_short.maxstring = 120


@dataclass(repr=False)
class ShellResult:
    """How a command line ended.

    The names and the form of `str` are those of the published documentation (Globus Compute SDK,
    "Shell Functions").

    Attributes:
        cmd: The command line that ran, its fields replaced.
        stdout, stderr: The last lines of its output, at most 768 KiB.
        returncode: Its exit code, negative for a signal, 124 if its walltime was over.
        exception_name: None for code 0, `subprocess.TimeoutExpired` if its walltime was over, else
            `subprocess.CalledProcessError`.
    """

    cmd: str
    stdout: str
    stderr: str
    returncode: int
    exception_name: str | None = None

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={_short.repr(getattr(self, name))}" for name in _FIELDS)
        return f"ShellResult({fields})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Called by IPython: the output of a cell has been printed above, and its command stands there."""
        text = self.stdout.splitlines()
        if len(text) == 1 and len(text[0]) <= _SHOWN_WIDTH:
            printer.text(f"<ShellResult: exit code {self.returncode}, {text[0]!r}>")
            return
        lines = len(text)
        told = f"exit code {self.returncode}, {lines} line{'s' * (lines != 1)} of output"
        printer.text(f"<ShellResult: {told}>")

    def __str__(self) -> str:
        parts = [f"exit code: {self.returncode}\n   stdout:\n{_end_of(self.stdout)}"]
        if self.returncode != 0:
            parts.append(f"   stderr:\n{_end_of(self.stderr)}")
            if self.exception_name:
                parts.append(f"exception: {self.exception_name}")
        return "\n\n".join(parts)


def revived(value: Any) -> Any:
    """Returns the ShellResult that a value read from a worker stands for; any other value as it is."""
    if type(value) is not dict or value.get(MARK) != 1 or value.keys() != {*_FIELDS, MARK}:
        return value
    return ShellResult(*(value[name] for name in _FIELDS))


def _end_of(text: str) -> str:
    lines = text[-_SHOWN_CHARACTERS:].splitlines(keepends=True)[-_SHOWN_LINES:]
    end = "".join(lines)
    return (end if len(end) == len(text) else CUT + end).rstrip("\n")
