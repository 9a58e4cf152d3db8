"""This module is the debugging of a task: its stored inputs come back and its body runs here.

It runs in a namespace of its own and in this process: what it prints and draws shows as it comes, and an
error leaves the frames of the cell for `%debug`.
"""

from __future__ import annotations

import ast
import base64
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from compute_nb.errors import SerdeError
from compute_nb.notebook.cargo.commandline import TEXT
from compute_nb.notebook.cargo.payload import FUNCTION_NAME
from compute_nb.notebook.kit.harness import Cell, Turn
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.kit.items import Items
from compute_nb.notebook.kit.unpacker import unpack
from compute_nb.notebook.refusal import CellRefused
from compute_nb.routes import Inputs
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.syntax import parse

_SERIALIZER = ComputeSerializer()


@dataclass(frozen=True, slots=True)
class TaskInputs:
    """What one task of a cell was sent with.

    Attributes:
        source: The function that travelled.
        index: Its place.
        swept: Its own values as they travelled.
    """

    source: str
    index: int
    swept: Any

    def values(self, home: Home) -> dict[str, Any]:
        """Returns the task's own values by name; {} if they can't be rebuilt here."""
        swept = self.swept
        if isinstance(swept, str):
            try:
                here = Home(home.namespace, home.label)
                swept = unpack(base64.b64decode(swept), here, prefer_present=True)
            except Exception:  # noqa: BLE001 - a value's own code may raise anything
                return {}
        return {name: value for name, value in swept.items() if name.isidentifier()}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a body ended here: with a value, or with an error and the frames from the cell on."""

    value: Any = None
    error: BaseException | None = None
    frames: types.TracebackType | None = None


def stored(inputs: Inputs) -> TaskInputs:
    """Returns what the service has stored of a task of a cell.

    Raises:
        CellRefused: The task is not one of a compute cell, or can't be read here.
    """
    try:
        (code,) = _SERIALIZER.unpack_buffers(inputs.code)
        arguments, _ = map(_SERIALIZER.deserialize, _SERIALIZER.unpack_buffers(inputs.args))
        index, swept = arguments
    except (SerdeError, ValueError, TypeError) as error:
        raise CellRefused(f"this task's inputs can't be read here: {error}") from None
    return TaskInputs(code.partition(":")[2], index, swept)


def rerun(inputs: TaskInputs) -> Ended:
    """Runs the body of a task here, as it was sent.

    Raises:
        CellRefused: It is a command, or no compute cell of this version.
    """
    cell = _cell(inputs.source)
    if isinstance(inputs.swept, dict) and TEXT in inputs.swept:
        raise CellRefused(f"a command needs no debugger here; this is what ran:\n{inputs.swept[TEXT]}")
    turn = Turn(cell, inputs.index, Items())
    with _as_main(turn.module):
        try:
            return Ended(turn.body(inputs.swept))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the body may raise anything
            return Ended(error=error, frames=_from_cell(error, cell.label))


def _cell(source: str) -> Cell:
    try:
        (function,) = parse(source).body
        assert isinstance(function, ast.FunctionDef)
        for node in function.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "cell":
                return Cell(*ast.literal_eval(node.value))
    except (SyntaxError, ValueError, TypeError, AssertionError):
        pass
    raise CellRefused(
        f"this task is no compute cell of this version of compute_nb: `{FUNCTION_NAME}` is not what it ran"
    )


@contextmanager
def _as_main(module: types.ModuleType) -> Iterator[None]:
    before = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        yield
    finally:
        sys.modules["__main__"] = before


def _from_cell(error: BaseException, label: str) -> types.TracebackType | None:
    """Returns the frames from the cell's own on; all of them if it had none yet."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != label:
        frames = frames.tb_next
    return frames or error.__traceback__
