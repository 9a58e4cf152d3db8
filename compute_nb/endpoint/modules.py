"""This module is the modules that tasks of an endpoint can import, by the folders of their Python.

Nothing is imported for it. A folder counts as a package whatever is in it, so that no name is missed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import all_suffixes
from typing import Any

# Import hooks that find no other modules than those in the folders.
_HARMLESS = ("_distutils_hack", "_virtualenv", "six", "importlib")
MAX_CHARACTERS = 200_000


class Modules:
    """The names of modules, listed again when a folder has changed; for one thread at a time.

    Args:
        about: What the interpreter told: `path`, `builtin`, `hooks`.
    """

    def __init__(self, about: Mapping[str, Any]) -> None:
        self._folders = [str(folder) for folder in about.get("path") or ()]
        self._builtin = [str(name) for name in about.get("builtin") or ()]
        hooks = about.get("hooks")
        self._told = hooks is not None and all(str(hook).partition(".")[0] in _HARMLESS for hook in hooks)
        self._stamps: tuple[int, ...] | None = None
        self._text: str | None = None

    def text(self) -> str | None:
        """Returns the names, sorted, with blanks between; None if there may be others."""
        if not self._told or not self._folders or any(map(os.path.isfile, self._folders)):  # an archive
            return None
        stamps = tuple(_stamp(folder) for folder in self._folders)
        if stamps != self._stamps:
            self._stamps = stamps
            names = {*self._builtin, *(name for folder in self._folders for name in names_in(folder))}
            text = " ".join(sorted(name for name in names if not name.startswith("_")))
            self._text = text if len(text) <= MAX_CHARACTERS else None
        return self._text


def own_places() -> dict[str, Any]:
    """Returns where workers of this interpreter find modules; this process's own folder is none of theirs."""
    hooks = {getattr(one, "__module__", None) or type(one).__module__ for one in sys.meta_path}
    first = 1 if sys.path and sys.path[0] in ("", os.getcwd()) else 0  # put there by `python -m`
    return {
        "path": [path for path in sys.path[first:] if path],
        "builtin": list(sys.builtin_module_names),
        "hooks": sorted(hook for hook in hooks if not hook.startswith("_frozen_importlib")),
    }


def names_in(folder: str) -> Iterator[str]:
    """Yields the names of modules and packages in a folder of the path."""
    suffixes = sorted(all_suffixes(), key=len, reverse=True)
    for entry in _entries(folder):
        name = entry.name
        if not entry.is_dir():
            suffix = next((one for one in (*suffixes, ".so", ".pyd") if name.endswith(one)), None)
            if suffix is None:
                continue
            name = name.partition(".")[0]
        if name.isidentifier():
            yield name


def _entries(folder: str) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # it names a folder or an archive that is not there
        return []


def _stamp(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0
