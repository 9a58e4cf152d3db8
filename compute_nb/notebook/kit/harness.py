"""This module is the harness: it runs the body of one cell on a worker and says what came of it.

Cells of one process take turns, since standard output, the working directory and `__main__` are the
process's.
"""

from __future__ import annotations

import ast
import base64
import builtins
import contextvars
import importlib
import io
import json
import os
import platform
import sys
import threading
import time
import traceback
import types
from typing import Any, NamedTuple, NoReturn

from .display import Handle, bundle, plain, shows_itself
from .failure import (
    RESULT_LIMIT,
    CellFailed,
    absence_note,
    end_child,
    exception_buffer,
    memory_note,
    message,
    own_files,
    place_note,
    tail,
    traceback_text,
)
from .figures import is_artist, is_figure, show_figures
from .home import Home
from .items import STREAMS, Items, current, end_cell
from .packer import pack
from .settings import own_decimals
from .source import POSTPONED, beside_others, forget_all, remember
from .surroundings import Surroundings
from .trace import trace_of
from .travelled import Travelled
from .unpacker import unpack

MESSAGE_LIMIT = 10_000_000  # characters of values and displays together
POINT_LIMIT = 100_000  # characters of a task's own values that are sent back, beyond it their texts tell

JSON = "JSONData"
FILE = "write it to a file there and return the path"
UNBOUND = "the cell ended without binding"

_TURN = threading.RLock()


class Cell(NamedTuple):
    """A cell as it travels.

    Attributes:
        label: What its code is called in tracebacks, "Cell In[7]".
        source: The body; its line 1 is the line under `%%compute`.
        shows: Whether the last expression is the value.
        postponed: Whether annotations are postponed, as in the notebook.
        imports: Name, module, and whether the body surely reads it.
        values: Base64 of the packed names that travel in.
        outputs: Names whose values travel back.
        seed: What generators of random numbers begin with, and the text of the module that sees to it.
        forms: How values travel back, tried in this order: "JSONData", "DillDataBase64"; () is the latter.
        modules: Those beside the notebook, with their texts; see `travelled`.
        notes: What stayed in the notebook, each beginning with its name.
    """

    label: str
    source: str
    shows: bool
    postponed: bool
    imports: tuple[tuple[str, str, bool], ...]
    values: str
    outputs: tuple[str, ...]
    seed: tuple[int, str] | None = None
    forms: tuple[str, ...] = ()
    modules: tuple[tuple[str, str, bool, str], ...] = ()
    notes: tuple[str, ...] = ()


def run(cell: Cell, index: int, swept: Any) -> dict[str, Any]:
    """Runs a cell once.

    Args:
        cell: The cell.
        index: Place of this task in its group.
        swept: Values of this task by name, or base64 of them packed.

    Returns:
        Plain data: the packed values, what was printed and displayed, times, versions.

    Raises:
        CellFailed: The body raised, or what it needs can't be had here.
    """
    cell = Cell(*cell)
    with _TURN:
        items = Items()
        current.append(items)
        try:
            with Surroundings() as around, Travelled(cell.modules):
                turn = Turn(cell, index, items, around)
                return contextvars.copy_context().run(turn.run, swept)
        finally:
            end_cell()


class Turn:
    """One run of a cell, inside its surroundings if it has some."""

    def __init__(self, cell: Cell, index: int, items: Items, around: Surroundings | None = None) -> None:
        self._cell, self._index, self._items, self._around = cell, index, items, around
        self.module = types.ModuleType("__main__")
        self._space = self.module.__dict__
        self._space["__builtins__"] = builtins  # not a copy: `mock.patch("builtins.open")` works
        self._home = Home(self._space)
        self._taken: dict[str, Any] = {}
        self._swept: dict[str, Any] = {}
        self._point: Any = {}
        self._room = RESULT_LIMIT
        self._process_id = os.getpid()
        self._started_at = time.time()

    def run(self, swept: Any) -> dict[str, Any]:
        """Does it."""
        forget_all()
        own_decimals()
        sys.modules["__main__"] = self.module
        sys.stdin = io.StringIO()
        sys.stdout, sys.stderr = STREAMS
        try:
            value = self.body(swept)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a body is a failure as well
            if os.getpid() != self._process_id:
                end_child(error)
            self._flush_figures()
            self._fail(error)
        if os.getpid() != self._process_id:
            end_child()
        return self._answer(value)

    def body(self, swept: Any) -> Any:
        """Runs the body itself and returns its value."""
        self._import_modules()
        self._take_in(swept)
        return self._execute()

    def _import_modules(self) -> None:
        for name, module, certain in self._cell.imports:
            try:
                found = importlib.import_module(module)
                if name:  # a submodule is read as an attribute of its package
                    self._space[name] = found
            except ImportError:
                if certain:
                    raise

    def _take_in(self, swept: Any) -> None:
        if self._cell.values.startswith("{"):  # JSON; base64 has no brace
            self._taken = json.loads(self._cell.values)
        elif self._cell.values:
            packed = base64.b64decode(self._cell.values)
            definitions, values = unpack(packed, self._home, self._space)
            self._taken = dict(definitions, **values)
        self._space.update(self._taken)
        self._point = swept
        if isinstance(swept, str):
            swept = unpack(base64.b64decode(swept), self._home, self._space)
        self._swept = dict(swept)
        self._space.update(self._swept)

    def _execute(self) -> Any:
        if self._cell.seed is None:
            return self._run_body()
        seed, text = self._cell.seed
        seeds: Any = {"__name__": __name__ + "_seeds"}
        exec(compile(text, __file__, "exec"), seeds)
        with seeds["Seeds"](seed, self._index, self._cell.source):
            return self._run_body()

    def _run_body(self) -> Any:
        cell = self._cell
        remember(cell.label, 1, cell.source)
        flags = POSTPONED if cell.postponed else 0
        flags |= ast.PyCF_ONLY_AST
        tree: Any = beside_others(compile, cell.source, cell.label, "exec", flags=flags, dont_inherit=True)
        last = tree.body.pop() if cell.shows else None
        flags &= ~ast.PyCF_ONLY_AST
        exec(compile(tree, cell.label, "exec", flags=flags, dont_inherit=True), self._space)
        if last is None:
            return None
        expression = compile(ast.Expression(last.value), cell.label, "eval", flags=flags, dont_inherit=True)
        return eval(expression, self._space)

    def _answer(self, value: Any) -> dict[str, Any]:
        drawn = is_artist(value) and not is_figure(value)  # its figure is shown, not its repr
        is_command = type(value) is dict and value.get("compute_nb_shell") == 1
        hidden = value is None or drawn or is_command or not self._cell.shows or shows_itself(value)
        shown = None if hidden else bundle(value)
        if is_figure(value) and shown is not None:
            self._forget_figure(value)
        self._flush_figures()
        if is_artist(value) or isinstance(value, Handle):  # what it stands for stays on the worker
            value = None
        answer = self._facts()
        displayed = len(json.dumps([answer["items"], shown]))
        self._room = min(RESULT_LIMIT, MESSAGE_LIMIT - displayed)
        answer.update(self._pack(value))
        answer["display"] = shown
        if is_command:
            answer["exit"] = value["returncode"]
        answer["point"] = self._point if len(json.dumps(self._point)) <= POINT_LIMIT else {}
        return answer

    def _facts(self) -> dict[str, Any]:
        return {
            "compute_nb_cell": 1,
            "index": self._index,
            "label": self._cell.label,
            "swept": {n: plain(value)[:200] for n, value in self._swept.items() if n.isidentifier()},
            "items": self._items.packed(),
            "started_at": self._started_at,
            "ended_at": time.time(),
            "python": platform.python_version(),
            "host": platform.node(),
        }

    def _forget_figure(self, figure: Any) -> None:
        pylab = sys.modules.get("matplotlib._pylab_helpers")
        if pylab is not None:
            pylab.Gcf.destroy_fig(figure)

    def _flush_figures(self) -> None:
        try:
            show_figures()
        except Exception:  # noqa: BLE001 - a value's own code may raise anything
            traceback.print_exc()

    def _pack(self, value: Any) -> dict[str, Any]:
        """Packs value and outputs together, so that what they share stays shared; else one by one."""
        outputs = {name: self._space[name] for name in self._cell.outputs if name in self._space}
        errors = {name: f"{UNBOUND} `{name}`" for name in self._cell.outputs if name not in self._space}
        try:
            values = self._packed((value, outputs))
        except Exception:  # noqa: BLE001 - a value's own code may raise anything
            value, why = self._alone(value)
            good = {}
            for name, output in outputs.items():
                good[name], problem = self._alone(output)
                if problem is not None:
                    del good[name]
                    errors[name] = problem
            values = self._packed_rest(value, good, errors)
            return {"values": values, "value_error": why, "output_errors": errors}
        return {"values": values, "value_error": None, "output_errors": errors}

    def _packed(self, thing: Any) -> str:
        if self._cell.forms[:1] == (JSON,):
            try:
                return _limited(json.dumps(thing, allow_nan=True), self._room)
            except (TypeError, ValueError, RecursionError) as error:
                if len(self._cell.forms) == 1:
                    raise ValueError(f"it can't go as JSON ({error}), and nothing else is allowed") from None
        packed = pack(thing, self._home, self._name_there, with_globals=True).data
        return _limited(base64.b64encode(packed).decode(), self._room)

    def _name_there(self, thing: Any) -> str | None:
        found = self._home.arrived.get(id(thing))
        if found is None or found[0] is not thing:
            return None
        name = found[1]
        if isinstance(thing, type):  # also one that came with its instances only
            return name or None
        return name if self._taken.get(name) is thing else None

    def _alone(self, thing: Any) -> tuple[Any, str | None]:
        try:
            self._packed(thing)
        except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
            kind = type(thing).__name__
            return None, f"a value of type `{kind}` can't be sent: {error}"
        return thing, None

    def _packed_rest(self, value: Any, outputs: dict[str, Any], errors: dict[str, str]) -> str:
        """Packs what is good by itself; it may still be too much together."""
        try:
            return self._packed((value, outputs))
        except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
            for name in outputs:
                errors[name] = f"it can't be sent: {error}"
            return self._packed((None, {}))

    def _fail(self, error: BaseException) -> NoReturn:
        short = memory_note(error)
        own = (self._cell.label,) if "$" in self._swept else ()  # a command's text is not in these frames
        hidden, folder = own_files() + own, None if self._around is None else self._around.folder
        text, trace = traceback_text(error, hidden), trace_of(error, hidden)
        note = place_note(error, folder) + absence_note(error, self._cell.notes) + short
        text += note
        if trace:
            trace[-1]["text"] += note
        facts = {
            "type": type(error).__qualname__,
            "module": type(error).__module__,
            "message": message(error),
            "exception": None if self._cell.forms == (JSON,) else exception_buffer(error),
            "traceback": text,
            "trace": trace,
            **self._facts(),
        }
        facts["outputs"] = facts.pop("items")
        raise CellFailed(text + "\n" + tail(facts)) from None


def _limited(text: str, room: int) -> str:
    if len(text) > room:
        size = len(text) * 3 // 4
        raise ValueError(
            f"it has {size:,} bytes packed and about {room * 3 // 4:,} can be sent: give back less, or {FILE}"
        )
    return text
