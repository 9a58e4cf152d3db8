"""This module is the load of a cell: the values that travel with it, in one pickle."""

from __future__ import annotations

import base64
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

from compute_nb.notebook.cargo.namespace import NEVER, Notebook
from compute_nb.notebook.kit.home import MAIN
from compute_nb.notebook.kit.packer import Definitions, pack
from compute_nb.notebook.kit.source import global_names
from compute_nb.notebook.refusal import CellRefused

LIMIT_BYTES = 7_000_000  # of one pickle: base64 makes a third more of it, and a submit may have 10 MB
_STAYS = "it stays here, since the cell may do without"
_DEFINED = (types.FunctionType, type)
_LARGE_BYTES = 100_000  # less is not worth leaving behind
_MENDS = (
    ("a future stands", "take the `result()` of each first, and read that"),
    ("a group of futures stands", "take its `result()` first, and read that"),
    ("lock", "make it inside the cell"),
    ("_io.", "open the file inside the cell, or read it here and send what it holds"),
    ("generator", "send `list(...)` of it"),
    ("coroutine", "await it here and send the value"),
    ("socket", "connect inside the cell"),
    ("thread", "start it inside the cell"),
    ("module", "import it inside the cell"),
    ("memoryview", "send `bytes(...)` of it"),
)


class Load:
    """The values of one cell on their way into one pickle."""

    def __init__(self, notebook: Notebook, wanted: dict[str, bool], swept: set[str]) -> None:
        self._notebook = notebook
        self._wanted, self._swept = wanted, swept
        self.things = {name: notebook.home.namespace[name] for name in wanted}
        self.imports: list[tuple[str, str, bool]] = []
        self.notes: list[str] = []
        self.lazy_reads: set[str] = set()
        self.modules: frozenset[str] = frozenset()
        self.sourceless: frozenset[str] = frozenset()

    def packed(self) -> str:
        """Returns all values as text; shared objects stay shared, since it is one pickle."""
        for name in list(self.things):
            self._check(name)
        self._follow(_reads_of(self.things.values()))
        while self.things:
            try:
                packed = pack(self._ordered(), self._notebook.home)
            except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
                self._leave_behind(error)
                continue
            if self._follow(packed.reads):
                continue
            if len(packed.data) > LIMIT_BYTES and self._lighten():
                continue
            if len(packed.data) > LIMIT_BYTES:
                raise CellRefused(self._too_large(len(packed.data)))
            self.modules, self.sourceless = frozenset(packed.modules), frozenset(packed.sourceless)
            return base64.b64encode(packed.data).decode()
        return ""

    def _ordered(self) -> tuple[Definitions, dict[str, Any]]:
        """Returns functions and classes before all values, which may be rebuilt by them."""
        first = {name for name, thing in self.things.items() if isinstance(thing, _DEFINED)}
        values = {name: thing for name, thing in self.things.items() if name not in first}
        return Definitions((name, self.things[name]) for name in sorted(first)), values

    def _follow(self, names: Iterable[str]) -> bool:
        """Adds names that functions read when they are called; returns whether one is new."""
        new = False
        waiting = sorted(names)
        while waiting:
            name = waiting.pop()
            self.lazy_reads.add(name)
            if name in ("In", "Out") and self._wanted.get(name) is None:
                raise CellRefused(f"a function that the cell needs reads `{name}`: {NEVER[name]}")
            known = name in self._wanted or name in self._swept or name in NEVER
            if known or not self._notebook.has(name):
                continue
            thing = self._notebook.home.namespace[name]
            self._wanted[name] = False
            if is_module(thing):
                self.imports.append((name, import_name(name, thing), False))
                continue
            self.things[name] = thing
            self._check(name)
            waiting.extend(_reads_of([thing]))
            new = True
        return new

    def _check(self, name: str) -> None:
        mend = not_a_value(self.things[name])
        if mend is not None:
            raise CellRefused(f"`{name}` {mend.format(name=name)}")

    def _leave_behind(self, error: Exception) -> None:
        """Finds the names that cannot travel; those that the body can perhaps do without stay here."""
        bad = {}
        for name, thing in self.things.items():
            try:
                pack(thing, self._notebook.home)
            except Exception as problem:  # noqa: BLE001 - a value's own code may raise anything
                bad[name] = sentence(name, thing, problem)
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
        return len(pack(thing, self._notebook.home).data)


def _reads_of(things: Iterable[Any]) -> set[str]:
    """Returns the names that functions and methods read when they are called, without pickling anything."""
    return {name for code in codes_of(things) for name in global_names(code)}


def codes_of(things: Iterable[Any]) -> Iterator[types.CodeType]:
    """Yields the code of functions and methods of the notebook."""
    for thing in things:
        inner = getattr(thing, "__wrapped__", thing)
        if isinstance(inner, types.FunctionType) and inner.__module__ == MAIN:
            yield inner.__code__
        elif isinstance(inner, type) and inner.__module__ == MAIN:
            for value in inner.__dict__.values():
                code = getattr(getattr(value, "__func__", value), "__code__", None)
                if code is not None:
                    yield code


def not_a_value(thing: Any) -> str | None:
    """Returns what to say of things that stand for values still being computed, or None."""
    use = getattr(type(thing), "_compute_nb_use", None)
    if use is not None:
        use(thing)
    mend = getattr(type(thing), "_compute_nb_not_a_value", None)
    if isinstance(mend, str):
        return mend
    from concurrent.futures import Future

    if isinstance(thing, Future):
        return "is a future, and a worker can't wait for it: `x = {name}.result()` first, read `x`"
    return None


def sentence(name: str, thing: Any, problem: Exception) -> str:
    """Returns why a value can't travel, and what to do."""
    if isinstance(problem, RecursionError):
        why, mend = "it is nested too deeply to be pickled", "send a flatter form of it"
    else:
        why = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        if isinstance(problem, CellRefused):  # of a marker inside, and says what to do
            return f"`{name}` ({_described(thing)}) can't travel: {why}"
        found = [mend for part, mend in _MENDS if part in why.lower() or part in type(thing).__name__.lower()]
        mend = found[0] if found else "make it inside the cell"
    return f"`{name}` ({_described(thing)}) can't travel: {why}. Instead: {mend}"


def _described(thing: Any) -> str:
    kind = type(thing)
    where = "" if kind.__module__ in ("builtins", MAIN) else kind.__module__ + "."
    size = f", {len(thing):,} items" if isinstance(thing, (list, tuple, dict, set)) else ""
    return f"a {where}{kind.__qualname__}{size}"


def megabytes(count: int) -> str:
    """Returns a number of bytes as people read it."""
    return f"{count / 1_000_000:.1f} MB"


def import_name(name: str, module: types.ModuleType) -> str:
    """Returns what has to be imported to get a module.

    Raises:
        CellRefused: No import gives it.
    """
    known = module.__name__
    if sys.modules.get(known) is not module:
        known = next((key for key, one in list(sys.modules.items()) if one is module), known)
    if module.__spec__ is not None or hasattr(module, "__file__"):
        return known
    raise CellRefused(
        f"`{name}` is a module that was made by hand, and no import gives it: write it to a file beside the "
        "notebook, or read here what you need of it and send that"
    )


def is_module(thing: Any) -> bool:
    """Returns whether a value is a module, which is imported there."""
    return isinstance(thing, types.ModuleType) and thing.__name__ != MAIN
