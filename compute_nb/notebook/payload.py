"""This module is the payload: a cell as the source of one function, and what comes back from it."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from compute_nb.errors import DeserializationError, SerializationError
from compute_nb.notebook import freight
from compute_nb.notebook.freight import Home
from compute_nb.notebook.harness import Cell

FUNCTION_NAME = "compute_cell"
_IMPORT = "from compute_nb.notebook import freight\n"
_TEMPLATE = '''\
def {name}(index, swept):
    """{label}, as sent by compute_nb: everything that it needs is in this text."""
    import sys
    import types

    texts = {{
        "{prefix}_freight": {freight!r},
        "{prefix}_harness": {harness!r},
    }}
    for name, text in texts.items():
        if name not in sys.modules:
            module = types.ModuleType(name)
            exec(compile(text, "<" + name + ">", "exec"), module.__dict__)
            sys.modules[name] = module
    cell = {cell!r}
    return sys.modules["{prefix}_harness"].run(cell, index, swept)
'''


def function_source(cell: Cell) -> str:
    """Returns the text of one function that runs the cell on any worker."""
    freight_text, harness_text, prefix = _texts()
    return _TEMPLATE.format(
        name=FUNCTION_NAME,
        label=cell.label,
        prefix=prefix,
        freight=freight_text,
        harness=harness_text,
        cell=tuple(cell),
    )


@cache
def _texts() -> tuple[str, str, str]:
    files = importlib.resources.files("compute_nb.notebook")
    freight_text = files.joinpath("freight.py").read_text("utf-8")
    harness_text = files.joinpath("harness.py").read_text("utf-8")
    digest = hashlib.sha256((freight_text + harness_text).encode()).hexdigest()[:12]
    prefix = f"_compute_nb_{digest}"
    there = f'import sys as _sys\n\nfreight = _sys.modules["{prefix}_freight"]\n'
    return freight_text, harness_text.replace(_IMPORT, there), prefix


@dataclass(frozen=True, slots=True)
class CellResult:
    """What a task of a cell gave; value and outputs stay bytes until `value` or `output` is asked for.

    Attributes:
        index: Place of the task in its group.
        swept: Text of the task's own values by name.
        items: What it printed and displayed, in order.
        display: Display data of the value, made on the worker.
        started_at: Seconds since the epoch.
        ended_at: Seconds since the epoch.
    """

    index: int
    swept: Mapping[str, str]
    items: Sequence[Mapping[str, Any]]
    display: tuple[dict[str, Any], dict[str, Any]] | None = None
    started_at: float = 0.0
    ended_at: float = 0.0
    python: str = ""
    host: str = ""
    label: str = ""
    _packed: str | None = None
    _value_error: str | None = None
    _output_errors: Mapping[str, str] = field(default_factory=dict)

    def value(self, home: Home) -> Any:
        """Returns the value of the last expression.

        Raises:
            SerializationError: It could not leave the worker; the task itself succeeded.
            DeserializationError: It can't be rebuilt here; the text says what is missing.
        """
        if self._value_error is not None:
            raise SerializationError(f"the task succeeded, and its value stayed there: {self._value_error}")
        return self._unpacked(home)[0]

    def output(self, name: str, home: Home) -> Any:
        """Returns the value that the cell bound to `name`.

        Raises:
            SerializationError: It could not leave the worker, or was never bound.
            DeserializationError: It can't be rebuilt here.
        """
        if name in self._output_errors:
            raise SerializationError(f"`{name}` stayed there: {self._output_errors[name]}")
        return self._unpacked(home)[1][name]

    def all_values(self, home: Home) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Returns value, outputs and the task's own values from one reading, as shared as they were."""
        return self._unpacked(home)

    def _unpacked(self, home: Home) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        try:
            here = Home(home.namespace, home.label)  # one for each reading: it keeps what arrives
            unpacked = freight.unpack(base64.b64decode(self._packed or ""), here, prefer_present=True)
        except freight.NotHere as missing:
            raise DeserializationError(_what_to_run(missing)) from None
        except ImportError as error:
            raise DeserializationError(
                f"the value needs module {error.name!r}, which this notebook's Python does not have: "
                "install it here, then ask for `.result()` again"
            ) from error
        value, outputs, point = unpacked
        return value, outputs, point


def _what_to_run(missing: freight.NotHere) -> str:
    where = f" ({missing.label})" if missing.label else ""
    return (
        f"the value needs `{missing.name}`, which is not defined in this notebook now: run the cell that "
        f"defines it{where}, then ask for `.result()` again"
    )


def is_cell_envelope(data: Any) -> bool:
    """Returns whether the plain value of a task is what a compute cell gives back."""
    return isinstance(data, dict) and data.get("compute_nb_cell") == 1


def read_envelope(data: Mapping[str, Any]) -> CellResult:
    """Returns the result in the plain data that a task gave; nothing is unpickled.

    Raises:
        DeserializationError: It is no result of a cell.
    """
    if not is_cell_envelope(data):
        raise DeserializationError("this task is not one of a compute cell: its value can be read as it is")
    return CellResult(
        index=int(data.get("index", 0)),
        swept=dict(data.get("swept") or {}),
        items=list(data.get("items") or []),
        display=_pair(data.get("display")),
        started_at=float(data.get("started_at") or 0),
        ended_at=float(data.get("ended_at") or 0),
        python=str(data.get("python", "")),
        host=str(data.get("host", "")),
        label=str(data.get("label", "")),
        _packed=data.get("values"),
        _value_error=data.get("value_error"),
        _output_errors=dict(data.get("output_errors") or {}),
    )


def _pair(display: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    if not (isinstance(display, list | tuple) and len(display) == 2):
        return None
    data, metadata = display
    return dict(data), dict(metadata)
