"""This module is the capture: which names of the notebook travel with a cell, and how."""

from __future__ import annotations

import ast
import base64
import builtins
import re
import sys
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compute_nb.notebook.cell import CellBody
from compute_nb.notebook.kit.home import MAIN, Home
from compute_nb.notebook.kit.packer import pack
from compute_nb.notebook.kit.source import global_names, walk_code
from compute_nb.notebook.refusal import CellRefused, nearest

LIMIT_BYTES = 7_000_000  # of one pickle: base64 makes a third more of it, and a submit may have 10 MB
_STAYS = "it stays here, since the cell may do without"
_LARGE_BYTES = 100_000  # less is not worth leaving behind
_RESULT = re.compile(r"_{1,3}|_\d+")
_OF_MODULE = frozenset(
    {"__name__", "__doc__", "__builtins__", "__debug__", "__annotations__", "__spec__", "__loader__"}
) | {"__package__", "__build_class__", "__import__"}
_NEVER = {
    "In": "the history of this notebook stays here: copy what you need into a name of its own",
    "Out": "the outputs of this notebook stay here: copy what you need into a name of its own",
    "get_ipython": "there is no IPython on a worker: do that in a cell of its own",
}
_SECRET_PARTS = ("token", "password", "passwd", "secret", "api_key", "apikey", "private_key")
_MENDS = (
    ("lock", "make it inside the cell"),
    ("_io.", "open the file inside the cell, or read it here and send what it holds"),
    ("generator", "make a list of it first"),
    ("coroutine", "await it here and send the value"),
    ("socket", "connect inside the cell"),
    ("thread", "start it inside the cell"),
    ("module", "import it inside the cell"),
)


@dataclass(frozen=True, slots=True)
class Notebook:
    """The namespace of a notebook as the magic sees it.

    Attributes:
        home: Its names and how cells are called.
        hidden: Names that IPython put there, not the user.
    """

    home: Home
    hidden: Mapping[str, Any] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Returns whether the user bound `name`."""
        space = self.home.namespace
        if name not in space or name in _OF_MODULE:
            return False
        thing = space[name]
        if _RESULT.fullmatch(name):  # hidden by IPython, and yet the user's values
            return True
        ours = getattr(thing, "__module__", None) == "IPython.core.display_functions"
        return not ours and not (name in self.hidden and self.hidden[name] is thing)

    def names(self) -> list[str]:
        """Returns what the user could mean, for suggestions."""
        return [name for name in self.home.namespace if not name.startswith("_") and self.has(name)]

    def name_of(self, thing: Any) -> str | None:
        """Returns the name by which the notebook has this function or class, or None."""
        qualname = getattr(thing, "__qualname__", None)
        if getattr(thing, "__module__", None) != MAIN or not isinstance(qualname, str):
            return None
        return qualname if self.home.namespace.get(qualname) is thing else None


@dataclass(frozen=True, slots=True)
class Captured:
    """What travels with a cell.

    Attributes:
        imports: Name, module, whether the body surely reads it.
        values: Base64 of the packed names, "" if there are none.
        names: Names in `values`.
        notes: What stays behind, one line each.
        lazy_reads: Names that travelling functions read when they are called.
    """

    imports: tuple[tuple[str, str, bool], ...]
    values: str
    names: tuple[str, ...]
    notes: tuple[str, ...]
    lazy_reads: frozenset[str]


def capture(
    body: CellBody,
    notebook: Notebook,
    *,
    inputs: Sequence[str] = (),
    swept: Collection[str] = (),
    also: Mapping[str, Any] | None = None,
    guard_secrets: bool = False,
) -> Captured:
    """Takes a snapshot of all that the body reads.

    Args:
        body: The cell.
        notebook: Where its names are looked up.
        inputs: Names that travel whether or not the text shows them (`-i`).
        swept: Names that each task gets for itself.
        also: Functions and classes that the swept values refer to.
        guard_secrets: Whether names that look like secrets need `-i`.

    Raises:
        CellRefused: A name exists nowhere or cannot travel; the text names it and the mend.
    """
    wanted = _wanted(body, notebook, swept)
    for name in inputs:
        if not notebook.has(name):
            raise CellRefused(f"`-i {name}`: there is no `{name}` here{nearest(name, notebook.names())}")
        wanted[name] = True
    for name in also or ():
        wanted.setdefault(name, True)
    for name in wanted:
        _check_secret(name, inputs, guard_secrets)
    space = notebook.home.namespace
    modules = {name for name in wanted if _is_module(space[name])}
    imports = tuple((name, space[name].__name__, wanted[name]) for name in sorted(modules))
    load = _Load(notebook, {name: sure for name, sure in wanted.items() if name not in modules}, set(swept))
    values = load.packed()
    imports += tuple(load.imports)
    imports += _submodules([module for _, module, _ in imports], body.source, load.things.values())
    return Captured(imports, values, tuple(load.things), tuple(load.notes), frozenset(load.lazy_reads))


def _submodules(
    modules: Iterable[str], source: str, things: Iterable[Any]
) -> tuple[tuple[str, str, bool], ...]:
    """Returns submodules loaded here that the text or a function reads as attributes of their packages."""
    waiting = list(modules)
    if not waiting:
        return ()
    names = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    for code in _codes_of(things):
        for part in walk_code(code):
            names.update(part.co_names)
    found: set[str] = set()
    while waiting:
        module = waiting.pop()
        inner = {f"{module}.{name}" for name in names if f"{module}.{name}" in sys.modules}
        waiting += inner - found
        found |= inner
    return tuple(("", module, False) for module in sorted(found))


def _is_module(thing: Any) -> bool:
    return isinstance(thing, types.ModuleType) and thing.__name__ != MAIN


def _wanted(body: CellBody, notebook: Notebook, swept: Collection[str]) -> dict[str, bool]:
    """Returns the names that travel, each with whether the body surely needs it."""
    wanted = {}
    missing = []
    for name, read in body.reads.items():
        if name in swept or name in _OF_MODULE:
            continue
        if name in _NEVER and name not in body.binds:
            raise CellRefused(f"line {read.line}: `{name}` can't travel: {_NEVER[name]}")
        if notebook.has(name):
            wanted[name] = read.certain
        elif not (name in body.binds or read.guarded or body.open_ended or hasattr(builtins, name)):
            missing.append(read)
    if missing:
        first = missing[0]
        known = {*notebook.names(), *body.binds, *swept}
        others = ", ".join(f"`{read.name}`" for read in missing[1:])
        also = f" (nor do {others})" if others else ""
        raise CellRefused(
            f"line {first.line}: `{first.name}` exists neither here nor in the cell{also}"
            f"{nearest(first.name, known) or nearest(first.name, dir(builtins)) or ': define it first'}"
        )
    return wanted


def _check_secret(name: str, inputs: Collection[str], guard: bool) -> None:
    if guard and name not in inputs and any(part in name.lower() for part in _SECRET_PARTS):
        raise CellRefused(
            f"`{name}` looks like a secret and would leave this machine: say `-i {name}` if that is meant"
        )


class _Load:
    """The values of one cell on their way into one pickle."""

    def __init__(self, notebook: Notebook, wanted: dict[str, bool], swept: set[str]) -> None:
        self._notebook = notebook
        self._wanted, self._swept = wanted, swept
        self.things = {name: notebook.home.namespace[name] for name in wanted}
        self.imports: list[tuple[str, str, bool]] = []
        self.notes: list[str] = []
        self.lazy_reads: set[str] = set()

    def packed(self) -> str:
        """Returns all values as text; shared objects stay shared, since it is one pickle."""
        for name in list(self.things):
            self._check(name)
        self._follow(_reads_of(self.things.values()))
        while self.things:
            try:
                data, reads, _ = pack(self.things, self._notebook.home)
            except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
                self._leave_behind(error)
                continue
            if self._follow(reads):
                continue
            if len(data) > LIMIT_BYTES and self._lighten():
                continue
            if len(data) > LIMIT_BYTES:
                raise CellRefused(self._too_large(len(data)))
            return base64.b64encode(data).decode()
        return ""

    def _follow(self, names: Iterable[str]) -> bool:
        """Adds names that functions read when they are called; returns whether one is new."""
        new = False
        waiting = sorted(names)
        while waiting:
            name = waiting.pop()
            self.lazy_reads.add(name)
            if name in ("In", "Out") and self._wanted.get(name) is None:
                raise CellRefused(f"a function that the cell needs reads `{name}`: {_NEVER[name]}")
            known = name in self._wanted or name in self._swept or name in _NEVER
            if known or not self._notebook.has(name):
                continue
            thing = self._notebook.home.namespace[name]
            self._wanted[name] = False
            if _is_module(thing):
                self.imports.append((name, thing.__name__, False))
                continue
            self.things[name] = thing
            self._check(name)
            waiting.extend(_reads_of([thing]))
            new = True
        return new

    def _check(self, name: str) -> None:
        mend = _not_a_value(self.things[name])
        if mend is not None:
            raise CellRefused(f"`{name}` {mend.format(name=name)}")

    def _leave_behind(self, error: Exception) -> None:
        """Finds the names that cannot travel; those that the body can perhaps do without stay here."""
        bad = {}
        for name, thing in self.things.items():
            try:
                pack(thing, self._notebook.home)
            except Exception as problem:  # noqa: BLE001 - a value's own code may raise anything
                bad[name] = _sentence(name, thing, problem)
        if not bad:
            raise CellRefused(f"the inputs of this cell can't travel together: {error}") from error
        needed = [text for name, text in bad.items() if self._wanted[name]]
        if needed:
            raise CellRefused("; ".join(needed))
        for name, text in bad.items():
            del self.things[name]
            self.notes.append(f"{text}; {_STAYS}")

    def _lighten(self) -> bool:
        """Leaves the largest name behind that the body can perhaps do without; False if none is large."""
        sizes = {name: self._size(self.things[name]) for name in self.things if not self._wanted[name]}
        name = max(sizes, key=lambda name: sizes[name], default=None)
        if name is None or sizes[name] < _LARGE_BYTES:
            return False
        del self.things[name]
        size = megabytes(sizes[name])
        self.notes.append(f"`{name}` ({size}) is too large to travel; {_STAYS}")
        return True

    def _too_large(self, total: int) -> str:
        sizes = {name: self._size(thing) for name, thing in self.things.items()}
        name = max(sizes, key=lambda name: sizes[name])
        kind = type(self.things[name]).__name__
        return (
            f"`{name}` (a {kind}, {megabytes(sizes[name])}) is too large to travel: all inputs have "
            f"{megabytes(total)}, at most {megabytes(LIMIT_BYTES)} can be sent. Write it to a file "
            "that the worker can read"
        )

    def _size(self, thing: Any) -> int:
        return len(pack(thing, self._notebook.home)[0])


def _reads_of(things: Iterable[Any]) -> set[str]:
    """Returns the names that functions and methods read when they are called, without pickling anything."""
    return {name for code in _codes_of(things) for name in global_names(code)}


def _codes_of(things: Iterable[Any]) -> Iterator[types.CodeType]:
    for thing in things:
        inner = getattr(thing, "__wrapped__", thing)
        if isinstance(inner, types.FunctionType) and inner.__module__ == MAIN:
            yield inner.__code__
        elif isinstance(inner, type) and inner.__module__ == MAIN:
            for value in inner.__dict__.values():
                code = getattr(getattr(value, "__func__", value), "__code__", None)
                if code is not None:
                    yield code


def _not_a_value(thing: Any) -> str | None:
    """Returns what to say of things that stand for values still being computed, or None."""
    mend = getattr(type(thing), "_compute_nb_not_a_value", None)
    if isinstance(mend, str):
        return mend
    from concurrent.futures import Future

    if isinstance(thing, Future):
        return "is a future, and a worker can't wait for it: `x = {name}.result()` first, read `x`"
    return None


def _sentence(name: str, thing: Any, problem: Exception) -> str:
    if isinstance(problem, RecursionError):
        why, mend = "it is nested too deeply to be pickled", "send a flatter form of it"
    else:
        why = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        found = [mend for part, mend in _MENDS if part in why.lower() or part in type(thing).__name__.lower()]
        mend = found[0] if found else "make it inside the cell"
    return f"`{name}` ({_described(thing)}) can't travel: {why}. The mend: {mend}"


def _described(thing: Any) -> str:
    kind = type(thing)
    where = "" if kind.__module__ in ("builtins", MAIN) else kind.__module__ + "."
    size = f", {len(thing):,} items" if isinstance(thing, (list, tuple, dict, set)) else ""
    return f"a {where}{kind.__qualname__}{size}"


def megabytes(count: int) -> str:
    """Returns a number of bytes as people read it."""
    return f"{count / 1_000_000:.1f} MB"


_PLAIN = (int, float, str, bool, type(None))


def pack_points(
    points: Sequence[Mapping[str, Any]], notebook: Notebook
) -> tuple[list[dict[str, Any] | str], dict[str, Any]]:
    """Returns each task's own values as they travel, and what they refer to by name.

    Raises:
        CellRefused: A value cannot travel.
    """
    met: dict[str, Any] = {}
    packed: list[dict[str, Any] | str] = []
    for number, point in enumerate(points):
        if all(type(value) in _PLAIN for value in point.values()):
            packed.append(dict(point))
            continue
        try:
            data, _, names = pack(dict(point), notebook.home, notebook.name_of)
        except Exception as error:
            name, value = _worst(point, notebook)
            raise CellRefused(f"value {number} of `--map`: {_sentence(name, value, error)}") from error
        met.update(names)
        packed.append(base64.b64encode(data).decode())
    return packed, met


def _worst(point: Mapping[str, Any], notebook: Notebook) -> tuple[str, Any]:
    for name, value in point.items():
        try:
            pack(value, notebook.home, notebook.name_of)
        except Exception:  # noqa: BLE001 - a value's own code may raise anything
            return name, value
    return next(iter(point.items()))
