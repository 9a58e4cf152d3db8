"""This module is the failure of a cell: its error as text for people, and as one line for programs."""

from __future__ import annotations

import base64
import copyreg
import importlib
import io
import json
import os
import pickle
import platform
import re
import sys
import traceback
import zlib
from typing import Any, NoReturn

RESULT_LIMIT = 9_500_000  # characters of the packed values; 10 MB is all that a service takes


class CellFailed(Exception):
    """The body raised; the text is its traceback and one line for programs (docs/extensions.md 4)."""


class _ErrorPickler(pickle.Pickler):
    """Pickles errors as class, args and attributes, so that reading one never runs its `__init__`."""

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for whatever is not a plain builtin."""
        if not isinstance(obj, BaseException):
            return NotImplemented
        args: Any = obj.args
        attributes = dict(_built_in_texts(obj), **obj.__dict__)
        if isinstance(obj, OSError) and type(obj).__reduce__ is OSError.__reduce__:
            args = obj.__reduce__()[1]  # with the names of files
        return (copyreg.__newobj__, (type(obj), *args), attributes or None)  # type: ignore[attr-defined]


def _built_in_texts(error: BaseException) -> dict[str, str]:
    """Returns what errors of imports and names keep apart from their arguments."""
    found = {name: getattr(error, name, None) for name in ("name", "path")}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def exception_buffer(error: BaseException) -> str | None:
    """Returns the error's class, args and attributes as a buffer; never runs its `__init__`."""
    try:
        file = io.BytesIO()
        _ErrorPickler(file, protocol=4).dump(error)
        return "00\n" + base64.encodebytes(file.getvalue()).decode()
    except Exception:  # noqa: BLE001 - a value's own code may raise anything
        return None


def end_child(error: BaseException | None = None) -> NoReturn:
    """Ends a process that the body forked and that came back here, with the exit code of a program."""
    code: Any = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    elif error is not None:
        os.write(2, (traceback_text(error, own_files()) + "\n").encode("utf-8", "replace"))
    os._exit(code & 0xFF)


def message(error: BaseException) -> str:
    """Returns what an error says of itself."""
    try:
        return str(error)[:10_000]
    except Exception:  # noqa: BLE001 - a value's own code may raise anything
        return "<no text: its __str__ failed>"


def tail(facts: dict[str, Any]) -> str:
    """Returns the line for programs; pictures and text are dropped if it gets too long."""
    text = json.dumps(facts)
    if len(text) > RESULT_LIMIT:
        text = json.dumps(dict(facts, outputs=[], exception=None, trace=None))
    return "compute_nb:1:" + base64.b64encode(zlib.compress(text.encode())).decode()


def own_files() -> tuple[str, ...]:
    """Returns the files of this package and of imports, whose frames are nobody's business."""
    package = __name__.rpartition(".")[0] + "."
    imports = [importlib.__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"]
    return tuple(imports) + tuple(
        str(module.__file__) for name, module in list(sys.modules.items()) if name.startswith(package)
    )


def traceback_text(error: BaseException, hidden: tuple[str, ...]) -> str:
    """Returns the traceback of an error as people read it: cells by number, no frames of `hidden` files."""
    told = traceback.TracebackException(type(error), error, error.__traceback__)
    _hide(told, hidden, set())
    text = "".join(told.format()).rstrip("\n").encode("utf-8", "backslashreplace").decode()
    return re.sub(r'^(\s*\|?\s*)File "(Cell In\[\d+\])", line (\d+), in (.+)$', _cell_line, text, flags=re.M)


def _cell_line(found: Any) -> str:
    indent, label, line, name = found.groups()
    return "{}{}, line {}{}".format(indent, label, line, "" if name == "<module>" else ", in " + name)


def _hide(told: Any, hidden: tuple[str, ...], seen: Any) -> None:
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    told.stack[:] = [frame for frame in told.stack if frame.filename not in hidden]
    for other in (told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ())):
        _hide(other, hidden, seen)


def memory_note(error: BaseException) -> str:
    """Returns which limit of the worker an error comes from, "" for other errors; makes room to tell it."""
    runner = sys.modules.get("_compute_nb_runner.memory")
    return "" if runner is None else str(runner.MEMORY.note(error))


def place_note(error: BaseException, folder: str | None) -> str:
    """Returns where a file, a module or a keyboard was missed, "" for other errors."""
    if isinstance(error, EOFError) and error.args == ("EOF when reading a line",):
        return "\na worker has no keyboard: ask in a cell of its own, and send the answer"
    if not isinstance(error, (FileNotFoundError, ModuleNotFoundError)):
        return ""
    where = "on host %s, in folder %s, with Python %s (%s)"
    return "\n" + where % (platform.node(), folder, platform.python_version(), sys.executable)


def absence_note(error: BaseException, notes: tuple[str, ...]) -> str:
    """Returns why a name that was missed has stayed in the notebook, "" for other errors."""
    if not isinstance(error, NameError):
        return ""
    quoted = message(error).split("'")
    name = "`" + (quoted[1] if len(quoted) > 1 else "") + "`"
    return "".join("\n" + note for note in notes if note.startswith(name))
