"""This module is the capture: which names of the notebook travel with a cell, and how."""

from __future__ import annotations

import ast
import base64
import builtins
import dis
import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compute_nb.notebook.body.cell import CellBody
from compute_nb.notebook.cargo.load import Load, codes_of, import_name, is_module, sentence
from compute_nb.notebook.cargo.namespace import NEVER, OF_MODULE, Notebook
from compute_nb.notebook.kit.packer import pack
from compute_nb.notebook.kit.source import walk_code
from compute_nb.notebook.refusal import CellRefused, nearest
from compute_nb.serialize import JSONData
from compute_nb.syntax import parse

_OF_SITE = ("exit", "quit")  # of any Python; IPython has hidden them here
_SECRET_PARTS = ("token", "password", "passwd", "secret", "api_key", "apikey", "private_key")


@dataclass(frozen=True, slots=True)
class Captured:
    """What travels with a cell.

    Attributes:
        imports: Name, module, whether the body surely reads it.
        values: Base64 of the packed names, "" if there are none.
        names: Names in `values`.
        notes: What stays behind, one line each.
        lazy_reads: Names that travelling functions read when they are called.
        modules: Modules that reading `values` imports.
        sourceless: Code in `values` that another minor version of Python can't read.
    """

    imports: tuple[tuple[str, str, bool], ...]
    values: str
    names: tuple[str, ...]
    notes: tuple[str, ...]
    lazy_reads: frozenset[str]
    modules: frozenset[str] = frozenset()
    sourceless: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Points:
    """Each task's own values on their way.

    Attributes:
        packed: As they travel, one for each task.
        met: What they refer to by name.
        modules: Modules that reading them imports.
        sourceless: Code in them that another minor version of Python can't read.
    """

    packed: list[dict[str, Any] | str]
    met: dict[str, Any] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    sourceless: set[str] = field(default_factory=set)


def capture(
    body: CellBody,
    notebook: Notebook,
    *,
    inputs: Sequence[str] = (),
    swept: Collection[str] = (),
    also: Mapping[str, Any] | None = None,
    guard_secrets: bool = False,
    plain: bool = False,
) -> Captured:
    """Takes a snapshot of all that the body reads.

    Args:
        body: The cell.
        notebook: Where its names are looked up.
        inputs: Names that travel whether or not the text shows them (`-i`).
        swept: Names that each task gets for itself.
        also: Functions and classes that the swept values refer to.
        guard_secrets: Whether names that look like secrets need `-i`.
        plain: Whether values travel as JSON only.

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
    modules = {name for name in wanted if is_module(space[name])}
    imports = tuple((name, import_name(name, space[name]), wanted[name]) for name in sorted(modules))
    load = Load(notebook, {name: sure for name, sure in wanted.items() if name not in modules}, set(swept))
    values = load.packed()
    for name in load.things:
        _check_secret(name, inputs, guard_secrets)
    if plain:
        values = _json(load.things)
    imports += tuple(load.imports)
    imports += _submodules([module for _, module, _ in imports], body.source, load.things.values())
    of_values = (frozenset(), frozenset()) if plain else (load.modules, load.sourceless)
    names = tuple(load.things)
    return Captured(imports, values, names, tuple(load.notes), frozenset(load.lazy_reads), *of_values)


def _submodules(
    modules: Iterable[str], source: str, things: Iterable[Any]
) -> tuple[tuple[str, str, bool], ...]:
    """Returns submodules loaded here that the text or a function reads as attributes of their packages."""
    waiting = list(modules)
    if not waiting:
        return ()
    names = {node.attr for node in ast.walk(parse(source)) if isinstance(node, ast.Attribute)}
    for code in codes_of(things):
        for part in walk_code(code):
            names.update(part.co_names)
    found: set[str] = set()
    while waiting:
        module = waiting.pop()
        inner = {f"{module}.{name}" for name in names if f"{module}.{name}" in sys.modules}
        waiting += inner - found
        found |= inner
    return tuple(("", module, False) for module in sorted(found))


def _wanted(body: CellBody, notebook: Notebook, swept: Collection[str]) -> dict[str, bool]:
    """Returns the names that travel, each with whether the body surely needs it."""
    wanted: dict[str, bool] = {}
    missing = []
    for name, read in body.reads.items():
        if name in swept or name in OF_MODULE:
            continue
        if name in NEVER and name not in body.binds:
            raise CellRefused(f"line {read.line}: `{name}` can't travel: {NEVER[name]}")
        if notebook.has(name):
            wanted[name] = read.certain
        elif not (
            name in body.binds
            or read.guarded
            or body.open_ended
            or hasattr(builtins, name)
            or name in _OF_SITE
            or notebook.is_display(name)
        ):
            missing.append(read)
    if missing:
        bound = _bound_by_functions(notebook)
        missing = [read for read in missing if read.name not in bound]
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


def _bound_by_functions(notebook: Notebook) -> set[str]:
    """Returns the names that functions of the notebook bind once they are called (`global`)."""
    codes = [part for code in codes_of(notebook.home.namespace.values()) for part in walk_code(code)]
    return {
        one.argval for code in codes for one in dis.get_instructions(code) if one.opname == "STORE_GLOBAL"
    }


def _check_secret(name: str, inputs: Collection[str], guard: bool) -> None:
    if guard and name not in inputs and looks_secret(name):
        raise CellRefused(secret_told(name))


def secret_told(name: str) -> str:
    """Returns why a name that looks like a secret does not travel by itself; its value is not looked at."""
    return f"`{name}` looks like a secret and would leave this machine: say `-i {name}` if that is meant"


def looks_secret(name: str) -> bool:
    """Returns whether a name is one that secrets have."""
    return any(part in name.lower() for part in _SECRET_PARTS)


def _json(things: Mapping[str, Any]) -> str:
    """Returns values as JSON, "" for none.

    Raises:
        CellRefused: One is nothing that JSON can write; names it.
    """
    for name, thing in things.items():
        try:
            json.dumps(thing)
        except (TypeError, ValueError, RecursionError) as error:
            mend = JSONData().mend(thing)
            raise CellRefused(f"`{name}` can't travel by `--serializer JSONData`: {error}; {mend}") from None
    return json.dumps(dict(things)) if things else ""


_PLAIN = (int, float, str, bool, type(None))


def pack_points(points: Sequence[Mapping[str, Any]], notebook: Notebook, *, plain: bool = False) -> Points:
    """Returns each task's own values as they travel.

    Raises:
        CellRefused: A value cannot travel.
    """
    made = Points([])
    for number, point in enumerate(points):
        if all(type(value) in _PLAIN for value in point.values()):
            made.packed.append(dict(point))
            continue
        if plain:
            made.packed.append(json.loads(_json(point)))
            continue
        try:
            one = pack(dict(point), notebook.home, notebook.name_of)
        except Exception as error:
            name, value = _worst(point, notebook)
            raise CellRefused(f"value {number} of `--map`: {sentence(name, value, error)}") from error
        made.met.update(one.met)
        made.modules.update(one.modules)
        made.sourceless.update(one.sourceless)
        made.packed.append(base64.b64encode(one.data).decode())
    return made


def _worst(point: Mapping[str, Any], notebook: Notebook) -> tuple[str, Any]:
    for name, value in point.items():
        try:
            pack(value, notebook.home, notebook.name_of)
        except Exception:  # noqa: BLE001 - a value's own code may raise anything
            return name, value
    return next(iter(point.items()))
