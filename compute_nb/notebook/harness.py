"""This module is the harness: it runs the body of one cell on a worker and says what came of it.

Its text travels to the worker as it stands (`compute_nb.notebook.payload`), so it needs nothing but the
standard library of Python 3.8 and the text of `freight`. Cells of one process take turns, since standard
output, the working directory and `__main__` are the process's.
"""

from __future__ import annotations

import ast
import base64
import builtins
import copyreg
import importlib
import io
import json
import os
import pickle
import platform
import random
import re
import sys
import threading
import time
import traceback
import types
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from compute_nb.notebook import freight

TEXT_LIMIT = 1_000_000  # characters of printed text that come back; the middle is left out beyond it
RESULT_LIMIT = 9_500_000  # characters of the packed values; 10 MB is all that a service takes
PICTURE_LIMIT = 4_000_000  # characters of one picture or text of display data
ROWS_SHOWN = 1_000
FIGURES = "_compute_nb_figures"
REPRS = (
    ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("text/latex", "_repr_latex_"),
    ("application/json", "_repr_json_"),
)
_TURN = threading.RLock()


class CellFailed(Exception):
    """The body raised; the text is its traceback and one line for programs (docs/extensions.md 4)."""


class Cell(NamedTuple):
    """A cell as it travels.

    Attributes:
        label: What its code is called in tracebacks, "Cell In[7]".
        source: The body; its line 1 is the line under `%%compute`.
        shows: Whether the last expression is the value.
        postponed: Whether annotations are postponed, as in the notebook.
        imports: Name, module, and whether the body surely reads it.
        values: Base64 of the packed names that travel in.
        outputs: Names whose values travel back.
    """

    label: str
    source: str
    shows: bool
    postponed: bool
    imports: tuple[tuple[str, str, bool], ...]
    values: str
    outputs: tuple[str, ...]


class Printed(io.TextIOBase):
    """Standard output or error of a cell: keeps head and tail, in order with what is displayed."""

    def __init__(self, name: str, items: Items, behind: Any) -> None:
        super().__init__()
        self._name, self._items, self._behind = name, items, behind

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What text would be encoded to."""
        return "utf-8"

    def writable(self) -> bool:
        """Says yes."""
        return True

    def write(self, text: str) -> int:
        """Keeps the text."""
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not " + type(text).__name__)
        self._items.text(self._name, text)
        return len(text)

    def fileno(self) -> int:
        """Returns the worker's own file number, for programs that the cell starts."""
        return int(self._behind.fileno())


class Items:
    """What a cell printed and displayed, in order."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._size = 0
        self._left_out = 0

    def text(self, stream: str, text: str) -> None:
        """Adds printed text."""
        if not text:
            return
        last = self.entries[-1] if self.entries else {}
        if last.get("stream") != stream:
            self.entries.append({"stream": stream, "pieces": []})
        self.entries[-1]["pieces"].append(text)
        self._size += len(text)
        if self._size > 2 * TEXT_LIMIT:
            self._shrink()

    def _shrink(self) -> None:
        entry = max(
            (entry for entry in self.entries if "stream" in entry),
            key=lambda entry: sum(map(len, entry["pieces"])),
        )
        text = "".join(entry["pieces"])
        keep = min(len(text), TEXT_LIMIT) // 2
        self._left_out += len(text) - 2 * keep
        entry["pieces"] = [text[:keep], text[len(text) - keep :]]
        entry["cut"] = entry.get("cut", 0) + len(text) - 2 * keep
        self._size -= len(text) - 2 * keep

    def show(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Adds display data."""
        self.entries.append({"data": data, "metadata": metadata})

    def packed(self) -> list[dict[str, Any]]:
        """Returns all of it as plain data."""
        return [self._entry(entry) for entry in self.entries]

    def _entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        if "stream" not in entry:
            return entry
        pieces = entry["pieces"]
        if entry.get("cut"):
            note = "\n[... {} characters left out ...]\n".format(format(entry["cut"], ","))
            pieces = [pieces[0], note, *pieces[1:]]
        return {"stream": entry["stream"], "text": "".join(pieces)}


class Surroundings:
    """What a cell may change of the process, put back afterwards."""

    def __init__(self) -> None:
        self.folder = _folder()
        self._environ = dict(os.environ)
        self._argv, self._path = list(sys.argv), list(sys.path)
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._main = sys.modules.get("__main__")

    def __enter__(self) -> Surroundings:
        random.seed()
        numpy_random = sys.modules.get("numpy.random")
        if numpy_random is not None:
            numpy_random.seed()
        _prepare_figures()
        return self

    def __exit__(self, *_: Any) -> None:
        sys.stdin, sys.stdout, sys.stderr = self._streams
        if self._main is not None:
            sys.modules["__main__"] = self._main
        sys.argv[:], sys.path[:] = self._argv, self._path
        self._put_back_environ()
        if self.folder is not None and _folder() != self.folder:
            os.chdir(self.folder)
        _close_figures()

    def _put_back_environ(self) -> None:
        now = dict(os.environ)
        for name in now:
            if name not in self._environ:
                del os.environ[name]
        for name, value in self._environ.items():
            if now.get(name) != value:
                os.environ[name] = value


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _prepare_figures() -> None:
    """Makes pyplot draw into memory, whatever the environment of the worker says."""
    if FIGURES not in sys.modules:
        backend = types.ModuleType(FIGURES)
        backend.__dict__["show"] = _show_figures
        backend.__dict__["__getattr__"] = _backend_part
        sys.modules[FIGURES] = backend
    os.environ["MPLBACKEND"] = "module://" + FIGURES
    _close_figures()
    if "matplotlib" in sys.modules:  # it has read the environment already
        sys.modules["matplotlib"].use("module://" + FIGURES)


def _backend_part(name: str) -> Any:
    if name == "FigureCanvas":
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        sys.modules[FIGURES].__dict__[name] = FigureCanvasAgg  # pyplot looks here next
        return FigureCanvasAgg
    raise AttributeError(name)


_current: list[Items] = []


def _show_figures(*_: Any, **__: Any) -> None:
    """Adds the open figures to what the cell has displayed, and closes them; `plt.show()`."""
    pylab = sys.modules.get("matplotlib._pylab_helpers")
    if pylab is None or not _current:
        return
    for manager in pylab.Gcf.get_all_fig_managers():
        figure = manager.canvas.figure
        _current[-1].show(_figure_data(figure), {})
    _close_figures()


def _close_figures() -> None:
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")


def _figure_data(figure: Any) -> dict[str, Any]:
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    width, height = figure.get_size_inches() * figure.dpi
    png = base64.b64encode(file.getvalue()).decode()
    text = f"<Figure size {width:.0f}x{height:.0f} with {len(figure.axes)} Axes>"
    return {"image/png": png, "text/plain": text}


def _is_figure(value: Any) -> bool:
    module = sys.modules.get("matplotlib.figure")
    return module is not None and isinstance(value, module.Figure)


def _is_artist(value: Any) -> bool:
    """Returns whether a value is drawn things only, which are not sent as values."""
    artist = sys.modules.get("matplotlib.artist")
    if artist is None:
        return False
    if isinstance(value, artist.Artist):
        return True
    if type(value).__module__.partition(".")[0] == "matplotlib":
        return True
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray) and value.dtype == object:
        value = value.ravel().tolist()
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_is_artist, value))


def bundle(thing: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the display data of an object and its metadata, as a notebook would make it."""
    data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    if not isinstance(thing, type):
        _ask(thing, "_repr_mimebundle_", lambda found: _take_bundle(found, data, metadata))
        for mime, method in REPRS:
            if mime not in data:
                _ask(thing, method, lambda found, mime=mime: _take(mime, found, data, metadata))  # type: ignore[misc]
    if _is_figure(thing) and "image/png" not in data:
        data.update(_figure_data(thing))
    data.setdefault("text/plain", plain(thing))
    kept = {mime: value for mime, value in data.items() if _fits(mime, value)}
    return kept, {mime: metadata[mime] for mime in kept if mime in metadata}


def _ask(thing: Any, method: str, take: Callable[[Any], None]) -> None:
    if not callable(getattr(type(thing), method, None)):
        return
    try:
        found = getattr(thing, method)()
        if found is not None:
            take(found)
    except Exception:  # noqa: BLE001 - a value's own code may raise anything
        traceback.print_exc()


def _take_bundle(found: Any, data: dict[str, Any], metadata: dict[str, Any]) -> None:
    if isinstance(found, tuple):
        metadata.update(found[1])
        found = found[0]
    for mime, value in found.items():
        _take(mime, value, data, metadata)


def _take(mime: str, found: Any, data: dict[str, Any], metadata: dict[str, Any]) -> None:
    if isinstance(found, tuple):
        found, metadata[mime] = found
    data[mime] = base64.b64encode(found).decode() if isinstance(found, bytes) else found


def _fits(mime: str, value: Any) -> bool:
    if "javascript" in mime:
        return False
    try:
        return len(json.dumps(value)) <= PICTURE_LIMIT
    except (TypeError, ValueError):
        return False


def plain(thing: Any) -> str:
    """Returns the text of an object; of a very long collection the beginning."""
    try:
        if type(thing) in (list, tuple, set, frozenset, dict) and len(thing) > ROWS_SHOWN:
            some = [item for _, item in zip(range(ROWS_SHOWN), thing)]  # noqa: B905 - Python 3.8
            head = {key: thing[key] for key in some} if isinstance(thing, dict) else type(thing)(some)
            return f"{repr(head)[:-1]}, ...{repr(head)[-1]}"
        return repr(thing)
    except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
        return f"<{type(thing).__name__} whose repr failed: {type(error).__name__}>"


def _display(*things: Any, raw: bool = False, metadata: Any = None, **_: Any) -> None:
    """Stands for IPython's `display` on a worker."""
    for thing in things:
        data, made = (dict(thing), {}) if raw else bundle(thing)
        _current[-1].show(data, dict(made, **(metadata or {})))


def _namespace(home_module: types.ModuleType) -> dict[str, Any]:
    space = home_module.__dict__
    space["__builtins__"] = dict(builtins.__dict__, display=_display)
    return space


def run(cell: Cell, index: int, swept: Any) -> dict[str, Any]:
    """Runs a cell once.

    Args:
        cell: The cell.
        index: Place of this task in its group.
        swept: Values of this task by name, or base64 of them packed.

    Returns:
        Plain data: the packed values, what was printed and displayed, times, versions.

    Raises:
        CellFailed: The body raised, or what it needs can't be had here.
    """
    cell = Cell(*cell)
    with _TURN:
        items = Items()
        _current.append(items)
        try:
            with Surroundings() as around:
                return _Turn(cell, index, items, around).run(swept)
        finally:
            _current.pop()


class _Turn:
    """One run of a cell, inside its surroundings."""

    def __init__(self, cell: Cell, index: int, items: Items, around: Surroundings) -> None:
        self._cell, self._index, self._items, self._around = cell, index, items, around
        self._module = types.ModuleType("__main__")
        self._space = _namespace(self._module)
        self._home = freight.Home(self._space)
        self._swept: dict[str, Any] = {}
        self._started_at = time.time()

    def run(self, swept: Any) -> dict[str, Any]:
        """Does it."""
        sys.modules["__main__"] = self._module
        sys.stdin = io.StringIO()
        sys.stdout = Printed("stdout", self._items, sys.stdout)
        sys.stderr = Printed("stderr", self._items, sys.stderr)
        try:
            self._import_modules()
            self._take_in(swept)
            value = self._execute()
        except KeyboardInterrupt:  # a cancel: the agent knows
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit of a body is a failure as well
            self._flush_figures()
            self._fail(error)
        return self._answer(value)

    def _import_modules(self) -> None:
        for name, module, certain in self._cell.imports:
            try:
                self._space[name] = importlib.import_module(module)
            except ImportError:
                if certain:
                    raise

    def _take_in(self, swept: Any) -> None:
        if self._cell.values:
            packed = base64.b64decode(self._cell.values)
            self._space.update(freight.unpack(packed, self._home, self._space))
        if isinstance(swept, str):
            swept = freight.unpack(base64.b64decode(swept), self._home, self._space)
        self._swept = dict(swept)
        self._space.update(self._swept)

    def _execute(self) -> Any:
        cell = self._cell
        freight.remember(cell.label, 1, cell.source)
        flags = freight.POSTPONED if cell.postponed else 0
        flags |= ast.PyCF_ONLY_AST
        tree: Any = compile(cell.source, cell.label, "exec", flags=flags, dont_inherit=True)
        last = tree.body.pop() if cell.shows else None
        flags &= ~ast.PyCF_ONLY_AST
        exec(compile(tree, cell.label, "exec", flags=flags, dont_inherit=True), self._space)
        if last is None:
            return None
        expression = compile(ast.Expression(last.value), cell.label, "eval", flags=flags, dont_inherit=True)
        return eval(expression, self._space)

    def _answer(self, value: Any) -> dict[str, Any]:
        drawn = _is_artist(value) and not _is_figure(value)  # its figure is shown, not its repr
        shown = bundle(value) if self._cell.shows and value is not None and not drawn else None
        if _is_figure(value) and shown is not None:
            self._forget_figure(value)
        self._flush_figures()
        if _is_artist(value):
            value = None
        answer = self._facts()
        answer.update(self._pack(value))
        answer["display"] = shown
        return answer

    def _facts(self) -> dict[str, Any]:
        return {
            "compute_nb_cell": 1,
            "index": self._index,
            "label": self._cell.label,
            "swept": {name: plain(value)[:200] for name, value in self._swept.items()},
            "items": self._items.packed(),
            "started_at": self._started_at,
            "ended_at": time.time(),
            "python": platform.python_version(),
            "host": platform.node(),
        }

    def _forget_figure(self, figure: Any) -> None:
        pylab = sys.modules.get("matplotlib._pylab_helpers")
        if pylab is not None:
            pylab.Gcf.destroy_fig(figure)

    def _flush_figures(self) -> None:
        try:
            _show_figures()
        except Exception:  # noqa: BLE001 - a value's own code may raise anything
            traceback.print_exc()

    def _pack(self, value: Any) -> dict[str, Any]:
        """Packs value and outputs together, so that what they share stays shared; else one by one."""
        outputs = {name: self._space[name] for name in self._cell.outputs if name in self._space}
        errors = {
            name: f"the cell ended without binding `{name}`"
            for name in self._cell.outputs
            if name not in self._space
        }
        try:
            values = self._packed((value, outputs, self._swept))
        except Exception:  # noqa: BLE001 - a value's own code may raise anything
            value, why = self._alone(value)
            good = {}
            for name, output in outputs.items():
                good[name], problem = self._alone(output)
                if problem is not None:
                    del good[name]
                    errors[name] = problem
            values = self._packed_rest(value, good, errors)
            return {"values": values, "value_error": why, "output_errors": errors}
        return {"values": values, "value_error": None, "output_errors": errors}

    def _packed(self, thing: Any) -> str:
        packed, _, _ = freight.pack(thing, self._home, self._name_there, with_globals=True)
        text = base64.b64encode(packed).decode()
        if len(text) > RESULT_LIMIT:
            raise ValueError(
                f"it has {len(packed):,} bytes packed and about {RESULT_LIMIT * 3 // 4:,} can be sent: "
                "write it to a file there and return the path"
            )
        return text

    def _name_there(self, thing: Any) -> str | None:
        found = self._home.arrived.get(id(thing))
        return found[1] if found is not None and found[0] is thing else None

    def _alone(self, thing: Any) -> tuple[Any, str | None]:
        try:
            self._packed(thing)
        except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
            kind = type(thing).__name__
            return None, f"a value of type `{kind}` can't be sent: {error}"
        return thing, None

    def _packed_rest(self, value: Any, outputs: dict[str, Any], errors: dict[str, str]) -> str:
        """Packs what is good by itself; it may still be too much together."""
        try:
            return self._packed((value, outputs, self._swept))
        except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
            for name in outputs:
                errors[name] = f"it can't be sent: {error}"
            return self._packed((None, {}, {}))

    def _fail(self, error: BaseException) -> NoReturn:
        text = traceback_text(error, _own_files())
        place = _place_note(error, self._around.folder)
        if place:
            text += place
        tail = {
            "type": type(error).__qualname__,
            "module": type(error).__module__,
            "message": _message(error),
            "exception": self._exception_buffer(error),
            "traceback": text,
            **self._facts(),
        }
        tail["outputs"] = tail.pop("items")
        raise CellFailed(text + "\n" + _tail(tail)) from None

    def _exception_buffer(self, error: BaseException) -> str | None:
        """Returns the error's class, args and attributes as a buffer; never runs its `__init__`."""
        try:
            file = io.BytesIO()
            _ErrorPickler(file, protocol=4).dump(error)
            return "00\n" + base64.encodebytes(file.getvalue()).decode()
        except Exception:  # noqa: BLE001 - a value's own code may raise anything
            return None


class _ErrorPickler(pickle.Pickler):
    """Pickles errors as class, args and attributes, so that reading one never runs its `__init__`."""

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for whatever is not a plain builtin."""
        if isinstance(obj, BaseException):
            return (copyreg.__newobj__, (type(obj), *obj.args), obj.__dict__ or None)  # type: ignore[attr-defined]
        return NotImplemented


def _message(error: BaseException) -> str:
    try:
        return str(error)[:10_000]
    except Exception:  # noqa: BLE001 - a value's own code may raise anything
        return "<no text: its __str__ failed>"


def _tail(facts: dict[str, Any]) -> str:
    """Returns the line for programs; pictures and text are dropped if it gets too long."""
    text = json.dumps(facts)
    if len(text) > RESULT_LIMIT:
        text = json.dumps(dict(facts, outputs=[], exception=None))
    return "compute_nb:1:" + base64.b64encode(zlib.compress(text.encode())).decode()


def _own_files() -> tuple[str, ...]:
    return (_own_files.__code__.co_filename, freight.pack.__code__.co_filename)


def traceback_text(error: BaseException, hidden: tuple[str, ...]) -> str:
    """Returns the traceback of an error as people read it: cells by number, no frames of `hidden` files."""
    told = traceback.TracebackException(type(error), error, error.__traceback__)
    _hide(told, hidden, set())
    text = "".join(told.format()).rstrip("\n")
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


def _place_note(error: BaseException, folder: str | None) -> str:
    if not isinstance(error, (FileNotFoundError, ModuleNotFoundError)):
        return ""
    where = "on host %s, in folder %s, with Python %s (%s)"
    return "\n" + where % (platform.node(), folder, platform.python_version(), sys.executable)
