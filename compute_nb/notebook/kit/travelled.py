"""This module is the modules that travelled: files beside the notebook, importable for one task."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import Any, NamedTuple

from .source import remember


class Module(NamedTuple):
    """A module as it travels.

    Attributes:
        name: Dotted.
        file: What tracebacks call it.
        package: Whether others are below it.
    """

    name: str
    file: str
    package: bool
    text: str


class Travelled:
    """Finds these modules before all others, while it is entered; what it replaces is put back.

    Args:
        modules: As they travelled.
    """

    def __init__(self, modules: Any) -> None:
        self._modules = {module[0]: Module(*module) for module in modules}
        self._tops = {name.partition(".")[0] for name in self._modules}
        self._before: dict[str, Any] = {}

    def __enter__(self) -> Travelled:
        if self._modules:
            self._before = self._taken_out()
            sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._modules:
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            self._taken_out()
            sys.modules.update(self._before)

    def _taken_out(self) -> dict[str, Any]:
        ours = [name for name in list(sys.modules) if name.partition(".")[0] in self._tops]
        return {name: sys.modules.pop(name) for name in ours}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Called by an import."""
        module = self._modules.get(name)
        if module is None:
            return None
        return ModuleSpec(name, self, origin=module.file, is_package=module.package)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Called by an import: the usual kind of module."""

    def exec_module(self, module: Any) -> None:
        """Called by an import: runs the text."""
        _, file, _, text = self._modules[module.__name__]
        remember(file, 1, text)
        exec(compile(text, file, "exec", dont_inherit=True), module.__dict__)

    def get_source(self, name: str) -> str:
        """Called by who wants to show the text."""
        return self._modules[name].text
