"""This module is the pre-flight: what is known to fail is refused before a submit, and told by a dry run."""

from __future__ import annotations

import pkgutil
import platform
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compute_nb.notebook.body.imported import imported_by
from compute_nb.notebook.cargo.capture import looks_secret, secret_told
from compute_nb.notebook.cargo.load import LIMIT_BYTES, codes_of
from compute_nb.notebook.cargo.packing import Flight
from compute_nb.notebook.cargo.there import There, own
from compute_nb.notebook.kit.home import MAIN, Home
from compute_nb.notebook.kit.packer import pack
from compute_nb.notebook.refusal import CellRefused, nearest
from compute_nb.notebook.tables import Table

_DISTRIBUTIONS = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
_PLACES = {True: "✓ there", False: "✗ missing there", None: "○ not known"}


@dataclass(frozen=True, slots=True)
class Need:
    """A module that a cell needs.

    Attributes:
        whose: Who asks for it.
        certain: Whether the cell surely fails without it.
        mend: What else can be done than to install it.
    """

    module: str
    whose: str
    certain: bool
    mend: str = ""


def check(flight: Flight, there: There, home: Home) -> None:
    """Returns unless the cell would surely fail there.

    Raises:
        CellRefused: A module is missing, or code can't go to that Python; the text says what to do.
    """
    problems = list(_problems(flight, there, home))
    if problems:
        raise CellRefused("; ".join(problems))


def _problems(flight: Flight, there: There, home: Home) -> Iterator[str]:
    for need in _needs(flight, there, home, sure=True):
        if not _comes_along(need.module, flight) and there.has(need.module) is False:
            yield _missing(need, there)
    if not there.same_minor:
        yield from _only_bytecode(flight, there, home)


def _missing(need: Need, there: There) -> str:
    top = need.module.partition(".")[0]
    where = f"`{there.endpoint}`" + (f" ({there.host})" if there.host and not there.here else "")
    if not there.here:
        guess = nearest(top, there.modules or ())
        other = need.mend or f"`try: import {top}` if the cell can do without"
        mend = ("" if need.mend else guess) or f": install it there, or {other}"
        return f"{need.whose}: there is no module `{top}` at {where}{mend}"
    guess = nearest(top, {*(found.name for found in pkgutil.iter_modules()), *sys.stdlib_module_names})
    mend = guess or f": `%pip install {_DISTRIBUTIONS.get(top, top)}`"
    return f"{need.whose}: there is no module `{top}` in this Python{mend}"


def _only_bytecode(flight: Flight, there: There, home: Home) -> Iterator[str]:
    why = (
        "made by a program, so no source tells its code, and it can't go from Python "
        f"{platform.python_version()} to {there.python} of `{there.endpoint}`: define it in a cell"
    )
    for name in flight.captured.names if flight.captured.sourceless else ():
        thing = home.namespace[name]
        parts = pack(thing, home).sourceless
        if isinstance(thing, types.FunctionType) and thing.__name__ in parts:
            yield f"`{name}` was {why}"
        elif parts:
            yield f"`{name}` ({_told(thing)}) needs {_listed(parts)}, {why}"
    if flight.own is not None and flight.own.sourceless:
        yield f"the values of `--map` need {_listed(flight.own.sourceless)}, {why}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _told(thing: Any) -> str:
    return "the class" if isinstance(thing, type) else f"a {type(thing).__qualname__}"


def _of_values(flight: Flight, there: There, home: Home) -> Iterator[Need]:
    """Yields the modules, others than those that every Python has, that reading the values imports."""
    captured, own = flight.captured, flight.own
    others = {one for one in captured.modules if _is_asked(one, there)}
    for name in captured.names if others else ():
        thing = home.namespace[name]
        mend = f"send `{name}.tolist()`" if hasattr(thing, "tolist") else "send plain data instead"
        for module in sorted(others & pack(thing, home).modules):
            yield Need(module, f"`{name}` ({_told(thing)})", certain=True, mend=mend)
    for module in sorted(own.modules if own is not None else ()):
        if _is_asked(module, there):
            yield Need(module, "values of `--map`", certain=True, mend="send plain data instead")


def _is_asked(module: str, there: There) -> bool:
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names or there.has(top) is False


def _needs(flight: Flight, there: There, home: Home, *, sure: bool = False) -> list[Need]:
    """Returns the modules that the cell and what travels with it ask for, each by its top name, once."""
    needs = [
        Need(one.module, f"line {one.line}", one.certain)
        for one in flight.body.imports
        if one.certain or not sure
    ]
    needs += [
        Need(module, f"`{name}`" if name else "an attribute", certain)
        for name, module, certain in flight.captured.imports
        if certain or not sure
    ]
    of_values = {*flight.captured.modules, *(flight.own.modules if flight.own is not None else ())}
    if not sure or any(there.has(module) is False for module in of_values):
        needs += _of_values(flight, there, home)
    if not sure:
        for name in flight.captured.names:
            modules = imported_by(codes_of([home.namespace[name]]))
            needs += [Need(module, f"`{name}`", certain=False) for module in sorted(modules)]
    found: dict[str, Need] = {}
    for need in needs:
        top = need.module.partition(".")[0]
        if top == "__future__":
            continue
        if top not in found or (need.certain and not found[top].certain):
            found[top] = need
    return list(found.values())


def _comes_along(module: str, flight: Flight) -> bool:
    return module.partition(".")[0] in {name.partition(".")[0] for name in flight.companions}


# -- the report -----------------------------------------------------------------------------


def report(
    flight: Flight,
    there: There,
    home: Home,
    *,
    inputs: Iterable[str] = (),
    swept: Mapping[str, str] | None = None,
) -> list[Table]:
    """Returns what a submit would do, as tables; nothing has been sent.

    Args:
        inputs: Names that `-i` gave.
        swept: Names of `--map` and their expressions.
    """
    names = [*_names(flight, there, home, set(inputs))]
    names += [[name, "one for each task", "", f"--map {name}={text}"] for name, text in (swept or {}).items()]
    modules = [
        [need.module.partition(".")[0], _place(need, flight, there), _version(need.module), need.whose]
        for need in _needs(flight, there, home)
    ]
    problems = list(_problems(flight, there, home)) + list(_secrets(flight, there, set(inputs)))
    return [
        _summary(flight, there),
        Table(["name", "type", "size", "travels"], names, numbers=frozenset({2}), lines=flight.captured.notes)
        if names
        else Table([], [], lines=["no name of the notebook travels", *flight.captured.notes]),
        Table(["module", f"at {there.endpoint}", "here", "asked for by"], modules)
        if modules
        else Table([], [], lines=["no module is imported"]),
        Table([], [], lines=[f"✗ would be refused: {problem}" for problem in problems])
        if problems
        else Table([], [], lines=["✓ nothing is known that would fail; nothing was submitted"]),
    ]


def _summary(flight: Flight, there: There) -> Table:
    here = own()
    sizes = [len(str(point)) for point in flight.points]
    each = (
        ""
        if not any(len(str(p)) > 2 for p in flight.points)
        else f", {size(max(sizes))} for each task at most"
    )
    count = len(flight.points)
    sent = f"{size(len(flight.source.encode()))}{each}; values may have {size(LIMIT_BYTES)} packed"
    rows = [
        ["endpoint", _aside(there)],
        ["Python", _versions(here.python, there.python, there.here)],
        ["dill", _versions(here.dill, there.dill, there.here)],
        ["strategy", flight.strategy],
        ["payload", sent],
    ]
    return Table(["", ""], rows, title=f"Dry run: {count} task{'s' * (count != 1)} for {there.endpoint}")


def _aside(there: There) -> str:
    if there.here:
        return "this Python, in this folder"
    glyph = {"online": "●", "offline": "✗"}.get(there.state, "○")
    return ", ".join([f"{glyph} {there.state or 'not known'}", *([there.host] if there.host else [])])


def _versions(here: str, there: str, same: bool) -> str:
    if same:
        return f"✓ {here}, the same here and there"
    if not there:
        return f"○ {here} here, not known there"
    return f"✓ {here} here and there" if here == there else f"▲ {here} here, {there} there"


def _names(flight: Flight, there: There, home: Home, inputs: set[str]) -> Iterator[list[str]]:
    for name in flight.captured.names:
        thing = home.namespace[name]
        if looks_secret(name):
            stays = there.here or name in inputs
            how = "▲ looks like a secret" + (", stays on this machine" if there.here else "")
            yield [name, "hidden", "", how if stays else "✗ looks like a secret: -i names it"]
            continue
        packed = pack(thing, home)
        yield [name, _kind(thing), size(len(packed.data)), _way(thing, bool(packed.sourceless))]
    for name, module, _ in flight.captured.imports:
        if name:
            yield [name, "module", "", f"`import {module}`"]


def _secrets(flight: Flight, there: There, inputs: set[str]) -> Iterator[str]:
    for name in flight.captured.names:
        if looks_secret(name) and not there.here and name not in inputs:
            yield secret_told(name)


def _kind(thing: Any) -> str:
    if isinstance(thing, type):
        return "class"
    name = type(thing).__name__
    shape = getattr(thing, "shape", None)
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
        return f"{name}, {' x '.join(f'{n:,}' for n in shape) or 'one value'}"
    return name + (f", {len(thing):,} items" if isinstance(thing, list | tuple | dict | set) else "")


def _way(thing: Any, sourceless: bool) -> str:
    if sourceless:
        return "by value, as bytecode"
    own_class = isinstance(thing, type) and thing.__module__ == MAIN
    return "as source" if own_class or list(codes_of([thing])) else "by value"


def _place(need: Need, flight: Flight, there: There) -> str:
    if _comes_along(need.module, flight):
        return "✓ travels as source"
    found = there.has(need.module)
    if found is False and not need.certain:
        return "▲ missing there"
    return _PLACES[found]


def _version(module: str) -> str:
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return "standard library"
    told = getattr(sys.modules.get(top), "__version__", None)
    return told if isinstance(told, str) else "not loaded" if top not in sys.modules else "-"


def size(count: int) -> str:
    """Returns a number of bytes as people read it."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
