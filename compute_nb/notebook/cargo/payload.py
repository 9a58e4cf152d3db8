"""This module is the payload: a cell as the source of one function, and what comes back from it."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from compute_nb.errors import DeserializationError, SerializationError
from compute_nb.notebook import kit
from compute_nb.notebook.kit.harness import FILE, UNBOUND, Cell
from compute_nb.notebook.kit.home import Home, NotHere
from compute_nb.notebook.kit.unpacker import PREFIX, unpack
from compute_nb.shell_result import revived

FUNCTION_NAME = "compute_cell"
_DOCSTRING = re.compile(r'^( *)"{3}.*?"{3}$', re.MULTILINE | re.DOTALL)  # the house writes no other text so
_COMMENT = re.compile(r"(^ *|  )# .*$", re.MULTILINE)  # no text of the kit's has two blanks before it
_INDENT = re.compile(r"^(?: {4})+", re.MULTILINE)
_TEMPLATE = '''\
def {name}(index, swept):
    """{label}, as sent by compute_nb: everything that it needs is in this text."""
    import base64
    import sys
    import types
    import zlib

    kit = "{kit}"
    texts = []
    if kit + ".{last}" not in sys.modules:
        texts = zlib.decompress(base64.b85decode("{packed}")).decode().split("\\0")
        sys.modules.setdefault(kit, types.ModuleType(kit)).__path__ = []
    for name, text in zip(texts[::2], texts[1::2]):
        module = types.ModuleType(kit + "." + name)
        module.__package__, module.__file__ = kit, "<" + module.__name__ + ">"
        exec(compile(text, module.__file__, "exec"), module.__dict__)
        sys.modules.setdefault(module.__name__, module)
    cell = {cell!r}
    return sys.modules[kit + ".{last}"].run(cell, index, swept)
'''


def function_source(cell: Cell) -> str:
    """Returns the text of one function that runs the cell on any worker."""
    name, packed = _packed_kit()
    return _TEMPLATE.format(
        name=FUNCTION_NAME,
        label=cell.label,
        kit=name,
        packed=packed,
        last=kit.MODULES[-1],
        cell=tuple(cell),
    )


def kit_texts() -> dict[str, str]:
    """Returns the text of each module of the kit by name, each after those that it imports.

    Docstrings are empty in it, comments are gone, blocks stand in by one blank; every line keeps its number.
    """
    files = importlib.resources.files(kit)
    texts = {name: files.joinpath(f"{name}.py").read_text("utf-8") for name in kit.MODULES}
    return {name: _slim(text) for name, text in texts.items()}


def _slim(text: str) -> str:
    bare = _COMMENT.sub("", _DOCSTRING.sub(_emptied, text))
    return _INDENT.sub(lambda found: " " * (len(found[0]) // 4), bare)


def _emptied(docstring: re.Match[str]) -> str:
    return docstring[1] + '""' + "\n" * docstring[0].count("\n")


@cache
def _packed_kit() -> tuple[str, str]:
    # In base 85, which is a sixteenth less than base 64 and read once by each worker.
    text = "\0".join(part for name_and_text in kit_texts().items() for part in name_and_text).encode()
    packed = base64.b85encode(zlib.compress(text, 9)).decode()
    return PREFIX + hashlib.sha256(text).hexdigest()[:12], packed


@dataclass(frozen=True, slots=True)
class CellResult:
    """What a task of a cell gave; value and outputs stay bytes until `value` or `output` is asked for.

    Attributes:
        index: Place of the task in its group.
        swept: Text of the task's own values by name.
        point: The task's own values as they travelled in.
        items: What it printed and displayed, in order.
        display: Display data of the value, made on the worker.
        started_at: Seconds since the epoch.
        ended_at: Seconds since the epoch.
        exit_code: Of a command; None for a cell of Python.
        plain: Whether only JSON is read, and nothing unpickled.
    """

    index: int
    swept: Mapping[str, str]
    point: Mapping[str, Any] | str
    items: Sequence[Mapping[str, Any]]
    display: tuple[dict[str, Any], dict[str, Any]] | None = None
    started_at: float = 0.0
    ended_at: float = 0.0
    python: str = ""
    host: str = ""
    label: str = ""
    exit_code: int | None = None
    plain: bool = False
    _packed: str | None = None
    _value_error: str | None = None
    _output_errors: Mapping[str, str] = field(default_factory=dict)
    _opened: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict)

    @property
    def losses(self) -> tuple[str, ...]:
        """What could not come back of value and outputs, a line each; () if all did."""
        value = () if self._value_error is None else (_loss("its value", self._value_error),)
        return (*value, *(_loss(f"`{name}`", why) for name, why in self._output_errors.items()))

    @property
    def is_whole(self) -> bool:
        """Whether value and outputs have all come back."""
        return not self.losses

    def value(self, home: Home) -> Any:
        """Returns the value of the last expression.

        Raises:
            SerializationError: It could not leave the worker; the task itself succeeded.
            DeserializationError: It can't be rebuilt here; the text says what is missing.
        """
        if self._value_error is not None:
            raise SerializationError(f"the task succeeded, but {_loss('its value', self._value_error)}")
        return revived(self._unpacked(home)[0])

    def output(self, name: str, home: Home) -> Any:
        """Returns the value that the cell bound to `name`.

        Raises:
            SerializationError: It could not leave the worker, or was never bound.
            DeserializationError: It can't be rebuilt here.
        """
        if name in self._output_errors:
            raise SerializationError(_loss(f"`{name}`", self._output_errors[name]))
        outputs = self._unpacked(home)[1]
        if name not in outputs:  # asked for by a reload
            raise DeserializationError(f"the cell gave back no `{name}`")
        return outputs[name]

    def parameters(self, home: Home) -> dict[str, Any]:
        """Returns the task's own values by name; their texts if they can't be rebuilt here."""
        if not isinstance(self.point, str):
            return {n: v for n, v in (self.point or self.swept).items() if n.isidentifier()}
        if self.plain:
            return dict(self.swept)
        try:
            return dict(self._unpack(self.point, home))
        except Exception:  # noqa: BLE001 - a value's own code may raise anything
            return dict(self.swept)

    def _unpacked(self, home: Home) -> tuple[Any, dict[str, Any]]:
        """Returns value and outputs, read once and then kept, so that they stay as shared as they were."""
        if not self._opened:
            try:
                self._opened.setdefault("", self._unpack(self._packed or "", home))
            except NotHere as missing:
                raise DeserializationError(_what_to_run(missing)) from None
            except ImportError as error:
                raise DeserializationError(
                    f"the value needs module {error.name!r}, which this notebook's Python does not have: "
                    "install it here, then ask for `.result()` again"
                ) from error
        return self._opened[""]

    def _unpack(self, packed: str, home: Home) -> Any:
        if packed.startswith("["):  # JSON; base64 has no bracket
            return json.loads(packed)
        if self.plain:
            raise DeserializationError(
                "the worker sent a pickle, and `--result-serializer JSONData` reads none"
            )
        here = Home(home.namespace, home.label)  # one for each reading: it keeps what arrives
        return unpack(base64.b64decode(packed), here, prefer_present=True)


def _loss(what: str, why: str) -> str:
    """Returns that a value is gone, why, and what to do instead."""
    if UNBOUND in why:
        return f"{what} did not come back: {why}"
    mend = "" if FILE in why else f"; give back what can travel, or {FILE}"
    return f"{what} could not come back and is gone: {why}{mend}"


def _what_to_run(missing: NotHere) -> str:
    where = f" ({missing.label})" if missing.label else ""
    return (
        f"the value needs `{missing.name}`, which is not defined in this notebook now: run the cell that "
        f"defines it{where}, then ask for `.result()` again"
    )


def is_cell_envelope(data: Any) -> bool:
    """Returns whether the plain value of a task is what a compute cell gives back."""
    return isinstance(data, dict) and data.get("compute_nb_cell") == 1


def read_envelope(
    data: Mapping[str, Any], opened: dict[str, Any] | None = None, *, plain: bool = False
) -> CellResult:
    """Returns the result in the plain data that a task gave; nothing is unpickled.

    Args:
        opened: Keeps the values once they are read, for all readers of this result.
        plain: Whether only JSON is read, and nothing unpickled.

    Raises:
        DeserializationError: It is no result of a cell.
    """
    if not is_cell_envelope(data):
        raise DeserializationError("this task is not one of a compute cell: its value can be read as it is")
    return CellResult(
        index=int(data.get("index", 0)),
        swept=dict(data.get("swept") or {}),
        point=data.get("point") or {},
        items=list(data.get("items") or []),
        display=_pair(data.get("display")),
        started_at=float(data.get("started_at") or 0),
        ended_at=float(data.get("ended_at") or 0),
        python=str(data.get("python", "")),
        host=str(data.get("host", "")),
        label=str(data.get("label", "")),
        exit_code=data.get("exit"),
        plain=plain,
        _packed=data.get("values"),
        _value_error=data.get("value_error"),
        _output_errors=dict(data.get("output_errors") or {}),
        _opened={} if opened is None else opened,
    )


def _pair(display: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    if not (isinstance(display, list | tuple) and len(display) == 2):
        return None
    data, metadata = display
    return dict(data), dict(metadata)
