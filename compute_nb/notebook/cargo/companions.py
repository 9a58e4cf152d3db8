"""This module is the companions of a notebook: modules beside it that its cells need."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from compute_nb.notebook.kit.travelled import Module
from compute_nb.notebook.refusal import CellRefused
from compute_nb.syntax import parse

LIMIT_CHARACTERS = 1_000_000


def within_limit(found: tuple[Module, ...]) -> tuple[Module, ...]:
    """Returns the modules if they may travel with each cell.

    Raises:
        CellRefused: They are too large for that.
    """
    total = sum(len(module.text) for module in found)
    if total > LIMIT_CHARACTERS:
        largest = max(found, key=lambda module: len(module.text))
        raise CellRefused(
            f"the modules beside this notebook that the cell needs have {total:,} characters, the largest is "
            f"`{largest.file}`, and at most {LIMIT_CHARACTERS:,} travel: install them at the endpoint"
        )
    return found


def companions(names: Iterable[str], source: str = "") -> tuple[Module, ...]:
    """Returns the local modules that are needed, and those that they need; each with the packages around it.

    Args:
        names: Dotted names of modules.
        source: Text that imports others.

    Raises:
        CellRefused: One can't be read.
    """
    folders = list(_folders())
    waiting = [*names, *_asked(Module("", "", True, source))]
    found: dict[str, Module] = {}
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        module = _read(name, folders)
        if module is None:
            continue
        found[name] = module
        waiting += [name.rpartition(".")[0], *_asked(module)]
    return tuple(found[name] for name in sorted(found))


def _folders() -> Iterator[Path]:
    """Yields the notebook's folder, and what of the path is below it and was not installed there."""
    try:
        folder = Path.cwd()
    except OSError:
        return
    yield folder
    for text in sys.path:
        path = Path(text or ".").absolute()
        if path != folder and path.is_relative_to(folder) and not _installed(path):
            yield path


def _installed(path: Path) -> bool:
    prefix = Path(sys.prefix)
    return path.is_relative_to(prefix) or bool({"site-packages", "dist-packages"} & set(path.parts))


def _file(name: str, folders: Iterable[Path]) -> Path | None:
    """Returns the file of a module, or the folder of a package without one; None if it is not here."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    file = _beside(parts, folders)
    return file if file is not None and _is_meant(parts[0], file) else None


def _is_meant(top: str, file: Path) -> bool:
    """Returns whether an import here takes the module from there, and not from an installed package.

    A `pandas/` beside the notebook may be a clone, a `random.py` come too late.
    """
    try:
        spec = getattr(sys.modules.get(top), "__spec__", None) or importlib.util.find_spec(top)
    except Exception:  # noqa: BLE001 - import hooks may raise anything
        spec = None
    if spec is None:
        return True
    places = (
        [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or [])
    )
    own = file.absolute()
    return any(own == Path(place).absolute() or _holds(Path(place).absolute(), own) for place in places)


def _holds(place: Path, file: Path) -> bool:
    """Returns whether a file lies in a package, given by its folder or its `__init__.py`."""
    return file.is_relative_to(place if place.is_dir() else place.parent) and (
        place.is_dir() or place.name == "__init__.py"
    )


def _beside(parts: list[str], folders: Iterable[Path]) -> Path | None:
    for folder in folders:
        base = folder.joinpath(*parts)
        for file in (base / "__init__.py", base.with_name(base.name + ".py")):
            if file.is_file() and not _installed(file):
                return file
        if base.is_dir() and next(base.glob("*.py"), None) and not _installed(base):
            return base
    return None


def _read(name: str, folders: list[Path]) -> Module | None:
    file = _file(name, folders) if name else None
    if file is None:
        return None
    if file.is_dir():
        return Module(name, os.path.relpath(file), True, "")
    try:
        text = importlib.util.decode_source(file.read_bytes())
        return Module(name, os.path.relpath(file), file.name == "__init__.py", text)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise CellRefused(f"the cell needs `{file.name}` beside this notebook: {error}") from error


def _asked(module: Module) -> Iterator[str]:
    """Yields what may be a module among all that the text imports."""
    try:
        tree = parse(module.text)
    except (SyntaxError, ValueError):  # said by the worker, with the line
        return
    package = module.name if module.package else module.name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
