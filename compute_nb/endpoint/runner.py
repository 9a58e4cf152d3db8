"""This module is the program of a worker: it reads chunks of tasks from a pipe, runs them, writes results.

It travels alone. `PYTHON runner.py PARENT_PID` needs the standard library and dill, imports nothing of
compute_nb, and works on every Python from 3.8, so that any interpreter can be the worker of an endpoint.

A frame is four bytes of length, big-endian, and that much UTF-8 JSON. The engine sends first

    {"slots": path, "cancel": word, "begun": double, "records": [word, word], "folder": path,
     "packages": path, "limit": characters}

and then chunks, in which `code` and `forget` may be missing:

    {"chunk": serial, "record": 0 or 1, "function": id, "code": packed, "forget": function id,
     "options": {...}, "tasks": [[task id, packed args], ...]}

The worker answers `[]` when it is up, `[serial, index, ok, data, error code, started, ended]` for each
task, and `[serial, begun]` for a chunk of which the engine has taken the rest back.
"""

from __future__ import annotations

import _random
import base64
import binascii
import contextlib
import faulthandler
import importlib
import itertools
import json
import linecache
import mmap
import os
import pickle
import select
import signal
import struct
import sys
import time
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

LENGTH = struct.Struct("!I")
quoted = json.encoder.encode_basestring_ascii
MAX_TEXT = 1_000_000
MAX_EXCEPTION = 65_536
TAIL = "compute_nb:1:"
REMOTE = "RemoteExecutionError"
TOO_LARGE = "MaxResultSizeExceeded"
NOTE = "compute_nb_note"
PICKLED = {"00\n": "DillDataBase64", "01\n": "DillCode", "02\n": "PickleCode"}
INSTEAD = {"the function": "as source, with its imports inside", "an argument": "as plain data"}


class Unfit(Exception):
    """An object, a buffer or an option that this worker can't handle; the text says what to do."""


# --- objects and text ------------------------------------------------------------------------


def dill() -> Any:
    """Imports dill late: plain data and source code do without."""
    try:
        return importlib.import_module("dill")
    except ImportError as error:
        raise Unfit(
            f"this task needs dill, which {sys.executable} can't import ({error}): "
            f"run `{sys.executable} -m pip install dill` on the endpoint"
        ) from error


class PlainPickler(pickle.Pickler):
    """The C pickler, which stops at whatever dill would send by value."""

    def reducer_override(self, obj: Any) -> Any:
        """Lets through what another process finds by its name."""
        if isinstance(obj, (type, types.FunctionType)) and not importable(obj):
            raise Unfit("by value")
        return NotImplemented


def importable(obj: Any) -> bool:
    """True if the module of a class or function gives the same object by its name."""
    if obj.__module__ in (None, "__main__"):
        return False
    found: Any = sys.modules.get(obj.__module__)
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


class _Sink:
    """What a pickler writes to: the parts, joined once."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.write = self.parts.append


ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


def dumps(obj: Any) -> bytes:
    """Pickles by the C pickler where dill would write the same, by dill where it would not."""
    if type(obj) in ATOMS:
        return pickle.dumps(obj, 4)
    sink = _Sink()
    try:
        PlainPickler(sink, 4).dump(obj)
    except Exception:
        return dill().dumps(obj)  # type: ignore[no-any-return]
    return b"".join([bytes(part) for part in sink.parts])


def loads(raw: bytes) -> Any:
    """Unpickles; dill takes part only where its names occur."""
    if b"dill" in raw or b"__main__" in raw:
        return dill().loads(raw)
    return pickle.loads(raw)


def mime(raw: bytes) -> str:
    """Returns base64 in lines of 76 characters, as the protocol wants it."""
    if len(raw) <= 57:
        return binascii.b2a_base64(raw).decode("ascii")
    return base64.encodebytes(raw).decode("ascii")


def pack(buffers: list[str]) -> str:
    """Joins buffers: for each its length, a newline, the buffer."""
    return "".join([f"{len(buffer)}\n{buffer}" for buffer in buffers])


def unpack(packed: str) -> list[str]:
    """Splits a packed text into its buffers."""
    buffers, start = [], 0
    while start < len(packed):
        newline = packed.index("\n", start)
        end = newline + 1 + int(packed[start:newline])
        if end > len(packed):
            raise Unfit(f"a packed text of {len(packed)} characters is cut off")
        buffers.append(packed[newline + 1 : end])
        start = end
    return buffers


def first_readable(buffers: list[str]) -> Any:
    """Returns what the first readable one of several spellings of one object gives."""
    reasons = []
    for buffer in buffers:
        try:
            return load(buffer)
        except Exception as error:
            reasons.append(f"{buffer[:2]}: {type(error).__name__}: {error}")
    raise Unfit("none of the spellings could be read: " + "; ".join(reasons))


def from_source(name: str, source: str) -> Callable[..., Any]:
    """Runs a source in a namespace of its own and returns what it calls `name`."""
    return SourceCode(name, source).make()


def named_source(text: str) -> list[str]:
    """Splits plain source into name and source; some published versions write it in base64."""
    if ":" not in text:
        text = binascii.a2b_base64(text).decode()
    return text.split(":", 1)


def combined_parts(text: str) -> Iterator[str]:
    """Yields the buffers in a CombinedCode, whose source parts hold colons of their own."""
    while text:
        header, rest = text[:3], text[4:]
        end = rest.find(":st\n:" if header[:1] == "s" else ":")
        while end >= 0 and header[:1] == "s" and not parses(rest[:end].partition(":")[2]):
            end = rest.find(":st\n:", end + 1)
        end = len(rest) if end < 0 else end
        yield header + rest[:end]
        text = rest[end + 1 :]


def parses(source: str) -> bool:
    """True if a text is Python by itself."""
    try:
        compile(source, "<part>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def load_for_task(what: str, buffer: str) -> Any:
    """Loads a part of a task; an error in a pickle gets a note of how it was sent and what to try."""
    try:
        return load(buffer)
    except Exception as error:
        if buffer[:3] in PICKLED:
            note = (
                f"\n({what} was sent by {PICKLED[buffer[:3]]} and can't be read here: give this worker the "
                f"modules and the Python that it was made with, or send it {INSTEAD[what]})"
            )
            setattr(error, NOTE, note)
        raise


def load(buffer: str) -> Any:
    """Returns the object in a buffer, by the strategy that its first characters name."""
    header, body = buffer[:3], buffer[3:]
    if header in ("00\n", "01\n", "02\n"):
        return loads(binascii.a2b_base64(body))
    if header == "11\n":
        return json.loads(body)
    if header in ("st\n", "sd\n"):
        return from_source(*named_source(body))
    if header in ("03\n", "04\n"):
        return from_source(*loads(binascii.a2b_base64(body)))
    if header in ("12\n", "13\n"):
        return first_readable(unpack(body))
    if header == "10\n":
        return first_readable(list(combined_parts(body)))
    raise Unfit(f"Invalid header: {header!r} names no serialization strategy")


def source_buffer(header: str, get: Callable[[Any], str]) -> Callable[[Any], str]:
    """Returns a writer of plain source: `<name>:<source>`."""
    return lambda obj: f"{header}{obj.__name__}:{get(obj)}"


def coded_source_buffer(header: str, get: Callable[[Any], str]) -> Callable[[Any], str]:
    """Returns a writer of source inside a pickle."""
    return lambda obj: header + mime(pickle.dumps((obj.__name__, get(obj)), 4))


def inspected(obj: Any) -> str:
    """Returns the source of a function by `inspect`, made flush left."""
    import inspect
    import textwrap

    return textwrap.dedent(inspect.getsource(obj))


def dill_source(obj: Any) -> str:
    """Returns the source of a function by dill."""
    dill()
    source = importlib.import_module("dill.source")
    return source.getsource(obj, lstrip=True)  # type: ignore[no-any-return]


def all_of(header: str, names: tuple[str, ...]) -> Callable[[Any], str]:
    """Returns a writer of several spellings in one buffer."""

    def write(obj: Any) -> str:
        buffers = []
        for name in names:
            try:
                buffers.append(WRITERS[name][1](obj))
            except Exception:
                continue
        if not buffers:
            raise Unfit("no strategy could write it")
        if header == "10\n":
            return header + ":".join(f"{b[:3]}:{b[3:]}" for b in buffers)
        return header + pack(buffers)

    return write


COMBINED = ("DillCodeSource", "DillCode", "DillCodeTextInspect", "PureSourceDill", "PureSourceTextInspect")
# name: (is for callables, writer)
WRITERS: dict[str, tuple[bool, Callable[[Any], str]]] = {
    "DillDataBase64": (False, lambda obj: "00\n" + mime(dumps(obj))),
    "JSONData": (False, lambda obj: "11\n" + json.dumps(obj)),
    "AllDataStrategies": (False, all_of("13\n", ("JSONData", "DillDataBase64"))),
    "DillCode": (True, lambda obj: "01\n" + mime(dill().dumps(obj))),
    "DillCodeTextInspect": (True, coded_source_buffer("03\n", inspected)),
    "DillCodeSource": (True, coded_source_buffer("04\n", dill_source)),
    "PureSourceTextInspect": (True, source_buffer("st\n", inspected)),
    "PureSourceDill": (True, source_buffer("sd\n", dill_source)),
    "CombinedCode": (True, all_of("10\n", COMBINED)),
    "AllCodeStrategies": (
        True,
        all_of("12\n", ("PureSourceTextInspect", "PureSourceDill", "DillCode")),
    ),
}


def dump(value: Any, wanted: list[str]) -> str:
    """Returns the buffer of a result by the first strategy that works.

    Args:
        value: What the function returned.
        wanted: Import paths of strategies; empty for the usual ones.

    Raises:
        Unfit: None works; the text names the type and what to do.
    """
    if type(value) in ATOMS and not wanted:
        return "00\n" + mime(pickle.dumps(value, 4))
    is_code = callable(value)
    reasons = []
    for path in wanted or ("DillCode" if is_code else "DillDataBase64",):
        for_code, write = WRITERS.get(path.rsplit(".", 1)[-1], (None, None))
        if write is None:
            reasons.append(f"{path}: this worker knows no such strategy")
        elif for_code is not is_code:
            reasons.append(f"{path}: not for {'code' if is_code else 'data'}")
        else:
            try:
                return write(value)
            except Exception as error:
                reasons.append(f"{path.rsplit('.', 1)[-1]}: {type(error).__name__}: {error}")
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise Unfit(
        f"the function returned {kind}, which can't be sent back ({'; '.join(reasons)}). "
        "Return plain data (numbers, text, lists, arrays, data frames), or write it to a file and return "
        "the path"
    )


# --- code that is called ---------------------------------------------------------------------


class SourceCode:
    """A function that came as source: compiled once, run anew for each task."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.file = name, f"<{name}>"
        self.lines = source.splitlines(True)
        self.size = len(source)
        self.code = compile(source, self.file, "exec")

    def make(self) -> Callable[..., Any]:
        """Returns the function, in a namespace that no other task has seen."""
        linecache.cache[self.file] = (self.size, None, self.lines, self.file)
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(self.code, namespace)
        return namespace[self.name]  # type: ignore[no-any-return]


class PickledCode:
    """A function that came as a pickle: read anew for each task unless it can't hold anything between two."""

    def __init__(self, buffer: str) -> None:
        self.buffer = buffer
        self.kept: Callable[..., Any] | None = None
        self.names = 0

    def make(self) -> Callable[..., Any]:
        """Returns the function as it was when it was sent."""
        kept = self.kept
        if kept is not None and len(kept.__globals__) == self.names and not kept.__dict__:
            return kept
        function: Callable[..., Any] = load_for_task("the function", self.buffer)
        if holds_nothing(function):
            function.__globals__.setdefault("__builtins__", __builtins__)
            self.kept, self.names = function, len(function.__globals__)
        return function


def holds_nothing(function: Any) -> bool:
    """True if a function has no state: no closure, no changeable defaults, globals that are modules only."""
    if type(function) is not types.FunctionType or function.__closure__ or function.__dict__:
        return False
    defaults = (function.__defaults__ or ()) + tuple((function.__kwdefaults__ or {}).values())
    plain = all(
        name.startswith("__") or isinstance(value, types.ModuleType)
        for name, value in function.__globals__.items()
    )
    return plain and all(type(value) in ATOMS for value in defaults)


def code_of(packed: str) -> Any:
    """Returns the maker of a registered function from its packed text."""
    (buffer,) = unpack(packed)
    if buffer[:3] in ("st\n", "sd\n"):
        return SourceCode(*named_source(buffer[3:]))
    return PickledCode(buffer)


EMPTY = {"00\n" + mime(pickle.dumps(kind(), 4)): kind for kind in (dict, tuple)}


def arguments(packed: str) -> tuple[Any, Any]:
    """Returns positional and named arguments of a call."""
    args, kwargs = unpack(packed)
    return (
        EMPTY[args]() if args in EMPTY else load_for_task("an argument", args),
        EMPTY[kwargs]() if kwargs in EMPTY else load_for_task("an argument", kwargs),
    )


# --- errors as text --------------------------------------------------------------------------


def error_text(error: BaseException) -> str:
    """Returns the traceback of a task's error without this program's frames, then the line for programs."""
    own = str_of(error)
    if own.rsplit("\n", 1)[-1].startswith(TAIL):
        return own
    text = "".join(formatted(error)).rstrip("\n")
    if isinstance(error, (ModuleNotFoundError, FileNotFoundError)):
        text += f"\n(on {os.uname().nodename}, in {os.getcwd()}, with {sys.executable})"
    text += getattr(error, NOTE, "")
    if isinstance(error, SystemExit):
        text += "\n(the code asked its process to exit; a task ends by returning)"
    return f"{shortened(printable(text))}\n{tail(error)}"


def formatted(error: BaseException) -> list[str]:
    """Formats an error; frames of this file that surround the user's code are left out."""
    import traceback

    try:
        return traceback.format_exception(type(error), error, below_runner(error.__traceback__))
    except Exception as broken:
        return [f"{type(error).__qualname__} (its text can't be made: {broken!r})"]


def below_runner(trace: TracebackType | None) -> TracebackType | None:
    """Skips the frames of this file at the outer end of a traceback."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def tail(error: BaseException) -> str:
    """Returns the line that gives an error to programs."""
    import zlib

    kind = type(error)
    fact = {
        "type": kind.__qualname__,
        "module": kind.__module__,
        "message": printable(str_of(error))[:MAX_TEXT],
        "exception": exception_buffer(error),
    }
    packed = zlib.compress(json.dumps(fact).encode())
    return TAIL + base64.b64encode(packed).decode("ascii")


def exception_buffer(error: BaseException) -> str | None:
    """Returns the buffer of an exception, or None if it is too large or can't be read back."""
    try:
        raw = dumps(error)
        return "00\n" + mime(raw) if len(raw) <= MAX_EXCEPTION and loads(raw) is not None else None
    except Exception:
        return None


def str_of(error: BaseException) -> str:
    """Returns the text of an exception, whatever its `__str__` does."""
    try:
        return str(error)
    except Exception as broken:
        return f"(no text: {broken!r})"


def printable(text: str) -> str:
    """Returns the text with lone surrogates spelled out, so that it can be sent as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def shortened(text: str) -> str:
    """Cuts the middle out of a text that is too long to read."""
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}\n... {len(text) - MAX_TEXT:,} characters left out ...\n{text[-half:]}"


# --- what is put back before each task -------------------------------------------------------


class Surroundings:
    """Folder, paths, environment and global state of a worker as a task should find them."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.environ = dict(os.environ)
        self.raw = os.environ._data  # type: ignore[attr-defined]  # its own comparison decodes everything
        self.raw_folder = os.fsencode(os.path.join(folder, ""))
        self.raw_then = dict(self.raw)
        self.path, self.argv = list(sys.path), list(sys.argv)
        self.streams = (sys.stdin, sys.stdout, sys.stderr)
        self.modules: LocalModules | None = None
        self.started = time.time()

    def enter(self, task_id: str, context: dict[str, Any]) -> None:
        """Puts everything back and goes to the folder of the task.

        Raises:
            FileNotFoundError: The folder of the task is not on this host.
        """
        self.put_back(context.get("sys_path") or [])
        os.chdir(context.get("cwd") or self.folder)
        self.export(b"GC_TASK_UUID", task_id.encode())
        self.export(b"GC_TASK_SANDBOX_DIR", self.raw_folder + task_id.encode())

    def export(self, name: bytes, value: bytes) -> None:
        """Sets a variable of the environment, in a third of the time of `os.environ`."""
        os.putenv(name, value)
        self.raw[name] = self.raw_then[name] = value

    def put_back(self, first: list[str]) -> None:
        """Undoes what the last task did to this process."""
        if self.raw != self.raw_then:
            os.environ.clear()
            os.environ.update(self.environ)
        wanted = first + [entry for entry in self.path if entry not in first] if first else self.path
        if sys.path != wanted:
            sys.path[:] = wanted
        if sys.argv != self.argv:
            sys.argv[:] = self.argv
        sys.stdin, sys.stdout, sys.stderr = self.streams
        forget_seeds()
        close_figures()

    def refresh(self, context: dict[str, Any]) -> None:
        """Lets local modules whose files have changed be imported again."""
        folder = context.get("cwd")
        if not folder:
            self.modules = None
            return
        if self.modules is None or self.modules.folder != os.path.join(folder, ""):
            self.modules = LocalModules(folder)
            self.modules.find(self.started)
        sys.dont_write_bytecode = True  # nothing of ours appears beside a notebook
        self.modules.refresh()

    def leave(self, since: float) -> None:
        """Notes what was imported since `since`, at the end of a chunk."""
        if self.modules is not None:
            self.modules.find(since)


PLAIN_GETSIGNAL = importlib.import_module("_signal").getsignal  # `signal` wraps it in enums
BARE_SEED = _random.Random.seed  # `random.seed` spends twice the time on finding the type
FRESH = itertools.count(int.from_bytes(os.urandom(16), "big")).__next__


def forget_seeds() -> None:
    """Gives the global generators fresh entropy: neither the last task's seed nor another worker's."""
    random = sys.modules.get("random")
    if random is not None:
        BARE_SEED(random._inst, FRESH())
        random._inst.gauss_next = None
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(int.from_bytes(os.urandom(4), "big"))


def close_figures() -> None:
    """Closes what the last task left open in pyplot."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and pyplot.get_fignums():
        pyplot.close("all")


class LocalModules:
    """The modules that were imported from below one folder, with the files as they were read."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.join(folder, "")
        self.seen = 0
        self.files: dict[str, tuple[str, tuple[int, int]]] = {}

    def refresh(self) -> None:
        """Forgets all of them if the file of one has changed, since they import each other."""
        if any(self.stamp(file) != stamp for file, stamp in self.files.values()):
            for name in self.files:
                sys.modules.pop(name, None)
            self.files.clear()
            self.seen = 0
            importlib.invalidate_caches()

    def find(self, since: float) -> None:
        """Notes the local ones among modules imported since a moment; a file edited since is not trusted."""
        if len(sys.modules) == self.seen:
            return
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name not in self.files and isinstance(file, str) and self.is_local(file):
                stamp = self.stamp(file)
                self.files[name] = (file, stamp if stamp[0] < since * 1e9 else (0, 0))
        self.seen = len(sys.modules)

    def is_local(self, file: str) -> bool:
        """True for a file below the folder that no package installer has put there."""
        installed = "site-packages" in file or "dist-packages" in file
        return file.startswith(self.folder) and not installed

    def stamp(self, file: str) -> tuple[int, int]:
        """Returns what tells one version of a file from the next."""
        try:
            stat = os.stat(file)
        except OSError:
            return (0, 0)
        return (stat.st_mtime_ns, stat.st_size)


# --- the process -----------------------------------------------------------------------------


class Pipe:
    """The two descriptors that carry frames, away from 0, 1 and 2 where user code can't hit them."""

    def __init__(self) -> None:
        self.source, self.sink = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)

    def receive(self) -> dict[str, Any] | None:
        """Waits for a frame; None when the engine has closed its end."""
        head = self.read(4)
        body = self.read(LENGTH.unpack(head)[0]) if head else b""
        return json.loads(body) if body else None

    def read(self, size: int) -> bytes:
        """Reads exactly `size` bytes, or nothing at the end."""
        parts: list[bytes] = []
        while size:
            part = os.read(self.source, min(size, 1 << 20))
            if not part:
                return b""
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, frame: list[Any]) -> None:
        """Writes a frame."""
        self.write(json.dumps(frame))

    def send_result(self, serial: int, index: int, end: tuple[bool, str, str | None], started: float) -> None:
        """Writes the frame of a result; by hand, since the encoder spends its time on setting up."""
        ok, data, code = end
        self.write(
            f"[{serial},{index},{'true' if ok else 'false'},{quoted(data)},"
            f"{'null' if code is None else quoted(code)},{started!r},{time.time()!r}]"
        )

    def write(self, text: str) -> None:
        """Writes the bytes of a frame."""
        body = text.encode()
        rest = memoryview(LENGTH.pack(len(body)) + body)
        while rest:
            rest = rest[os.write(self.sink, rest) :]

    def quiet(self) -> bool:
        """True if no frame is waiting."""
        return not select.select([self.source], [], [], 0)[0]


class Slot:
    """This worker's part of the file that tells, also after a kill, which tasks have begun."""

    def __init__(self, setup: dict[str, Any]) -> None:
        with open(setup["slots"], "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        self.words = memoryview(self.map).cast("I")
        self.doubles = memoryview(self.map).cast("d")
        self.cancel, self.since = setup["cancel"], setup["begun"]
        self.records = setup["records"]

    def begin(self, record: int, index: int) -> bool:
        """Marks a task as begun unless the engine has taken it back.

        The engine writes its limit, waits, and reads the mark; so the limit is read again after marking.
        """
        words, begun = self.words, self.records[record] + 2
        if index >= words[begun + 1]:
            return False
        self.doubles[self.since] = time.time()
        words[begun] = index + 1
        if index >= words[begun + 1]:
            words[begun] = index
            return False
        return True

    def wanted_gone(self, serial: int, index: int) -> bool:
        """True if the engine has asked for exactly this task to end."""
        return (self.words[self.cancel], self.words[self.cancel + 1]) == (serial, index + 1)


class Worker:
    """The loop of the process: chunk in, tasks one by one, results out."""

    def __init__(self, pipe: Pipe, setup: dict[str, Any]) -> None:
        self.pipe, self.slot = pipe, Slot(setup)
        self.pid, self.limit = os.getpid(), setup["limit"]
        if setup["packages"]:
            sys.path.append(setup["packages"])
        self.surroundings = Surroundings(setup["folder"])
        self.codes: dict[str, Any] = {}
        self.serial = self.index = 0
        self.busy = False
        self.on_signal = self.interrupt  # one object, so that putting it back is cheap to see

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """SIGINT: ends the task that is meant, if it is still the one that runs."""
        if self.busy and self.slot.wanted_gone(self.serial, self.index):
            raise KeyboardInterrupt

    def run(self) -> None:
        """Works until the engine closes the pipe."""
        while True:
            chunk = self.pipe.receive()
            if chunk is None:
                return
            self.run_chunk(chunk)

    def run_chunk(self, chunk: dict[str, Any]) -> None:
        """Runs the tasks of a chunk and sends each result at once."""
        self.codes.pop(chunk.get("forget", ""), None)
        if "code" in chunk:
            self.codes[chunk["function"]] = chunk["code"]
        options = chunk["options"]
        self.serial, record = chunk["chunk"], chunk["record"]
        self.surroundings.refresh(options.get("context") or {})
        begun = time.time()
        for index, (task_id, packed) in enumerate(chunk["tasks"]):
            if not self.slot.begin(record, index):
                self.pipe.send([self.serial, index])
                return
            self.index = index
            started = time.time()
            end = self.run_task(task_id, chunk["function"], packed, options)
            if os.getpid() != self.pid:
                os._exit(0)  # a child that the task forked and that came back here
            self.pipe.send_result(self.serial, index, end, started)
        self.surroundings.leave(begun)

    def run_task(
        self, task_id: str, function_id: str, packed: str, options: dict[str, Any]
    ) -> tuple[bool, str, str | None]:
        """Runs one task; whatever it raises becomes text."""
        try:
            try:
                if PLAIN_GETSIGNAL(2) is not self.on_signal:
                    signal.signal(signal.SIGINT, self.on_signal)
                self.busy = True
                if self.slot.wanted_gone(self.serial, self.index):  # its SIGINT came too early
                    raise KeyboardInterrupt
                self.surroundings.enter(task_id, options.get("context") or {})
                args, kwargs = arguments(packed)
                value = self.code(function_id).make()(*args, **kwargs)
                data = dump(value, options.get("result_serializers") or [])
            finally:
                self.busy = False
        except Unfit as error:
            return False, f"SerializationError: {printable(str(error))}", REMOTE
        except BaseException as error:
            return False, error_text(error), REMOTE
        return self.checked(data)

    def code(self, function_id: str) -> Any:
        """Returns the maker of a function, read at its first use here."""
        code = self.codes[function_id]
        if isinstance(code, str):
            code = self.codes[function_id] = code_of(code)
        return code

    def checked(self, data: str) -> tuple[bool, str, str | None]:
        """Refuses a result that is larger than may be sent."""
        if len(data) <= self.limit:
            return True, printable(data), None
        text = (
            f"MaxResultSizeExceeded({len(data)}, {self.limit}): the result has {len(data):,} characters "
            f"and at most {self.limit:,} can be sent: write it to a file there and return the path, "
            "or return less"
        )
        return False, text, TOO_LARGE


def die_with(parent: int) -> None:
    """Makes the kernel end this process when the agent's engine ends; elsewhere the closed pipe does."""
    if sys.platform == "linux":
        try:
            import ctypes

            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
        except (ImportError, OSError, AttributeError):
            pass
    if os.getppid() != parent:
        os._exit(0)


def about() -> dict[str, Any]:
    """Returns what a person wants to know of this interpreter."""
    try:
        version = dill().__version__
    except Unfit:
        version = None
    python = ".".join(str(part) for part in sys.version_info[:3])
    return {"python": python, "dill": version, "prefix": sys.prefix}


def main() -> None:
    """Is a worker until the engine closes the pipe."""
    if sys.path and os.path.abspath(sys.path[0]) == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]
    if sys.argv[1:] == ["--about"]:
        print(json.dumps(about()))
        return
    parent = int(sys.argv[1])
    sys.argv[1:] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    pipe = Pipe()
    os.environ.setdefault("MPLBACKEND", "Agg")
    sys.modules["__main__"] = types.ModuleType("__main__")  # user code finds nothing of ours there
    die_with(parent)
    setup = pipe.receive()
    if setup is None:
        return
    worker = Worker(pipe, setup)
    pipe.send([])
    if pipe.quiet():
        with contextlib.suppress(Unfit):
            dill()
    worker.run()


if __name__ == "__main__":
    main()
