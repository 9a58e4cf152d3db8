"""This module is the settings of an endpoint: its endpoint.toml, checked (docs/endpoint.md has every key)."""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from compute_nb.endpoint import machine
from compute_nb.endpoint.gate import MAX_RESULT_CHARS, Limits
from compute_nb.endpoint.runner.memory import LEAST_BYTES, MOST_BYTES, why_not
from compute_nb.errors import ComputeError

ENGINES = ("processes", "threads", "parsl", "dask", "mpi")
NO_WALLTIME = frozenset({"threads"})
FILE_NAME = "endpoint.toml"
MOST_COUNT = 100_000  # of workers: the slots of so many take 100 MB
ELSEWHERE = frozenset({"parsl", "dask"})  # their workers may be on another system

_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt]?i?b)?\s*", re.IGNORECASE)
_UNITS: Mapping[str, int] = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", 1)},
}

# key -> the type of its value and what it is called to people
_TOP: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "engine": (str, "one of " + ", ".join(ENGINES)),
    "workers": (int, "a count from 1"),
    "min_workers": (int, "a count from 0, at most `workers`"),
    "max_tasks_per_worker": (int, "a count from 1, or 0 for no limit"),
    "preload": (list, "a list of modules by name"),
    "python": (str, "the path of an interpreter"),
    "working_folder": (str, "the path of a folder"),
    "walltime_s": ((int, float), "seconds above 0"),
    "stop_s": ((int, float), "seconds from 0"),
    "kill_s": ((int, float), "seconds from 0"),
    "idle_s": ((int, float), "seconds above 0"),
    "memory_limit": ((int, str), f'bytes from {LEAST_BYTES}, or a text such as "4 GB"'),
    "public": (bool, "true or false"),
    "result_limit": (int, f"characters from 1 to {MAX_RESULT_CHARS}"),
    "allowed_functions": (list, "a list of function ids"),
    "allowed_serializers": (list, "a list of strategies by name"),
    "environment": (dict, "a table of texts"),
    "parsl": (dict, "a table"),
    "dask": (dict, "a table"),
    "mpi": (dict, "a table"),
}
_TABLES: Mapping[str, Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "parsl": {"config": (str, "the path of a Python file")},
    "dask": {
        "address": (str, "the address of a scheduler, such as tcp://host:8786"),
        "dashboard": (bool, "true or false"),
    },
    "mpi": {
        "launcher": (str, "mpiexec, srun, aprun or the path of one"),
        "nodes": (list, "a list of host names"),
        "slots_per_node": (int, "a count from 1"),
    },
}

# key -> the engines that can honour it, the first one to recommend, and why others can't
_ENGINES_OF: Mapping[str, tuple[tuple[str, ...], str]] = {
    "min_workers": (("processes", "mpi"), "what it is built on starts and ends its workers"),
    "max_tasks_per_worker": (("processes", "mpi", "parsl", "dask"), "its tasks share one process"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the owner of an endpoint has decided; None where the default depends on the machine.

    Attributes:
        engine: One of `ENGINES`.
        workers: How many tasks run at a time at most.
        min_workers: How many worker processes are kept, also if they have nothing to do (processes, mpi).
        max_tasks: A worker process that has run so many is replaced; 0 for no limit.
        preload: Modules that a worker imports before it is up.
        python: The interpreter that runs tasks.
        folder: Where tasks without a folder of their own run.
        environ: Variables that their workers get besides the agent's.
        limits: What tasks may do.
        public: True if other users of the service may submit to it.
        idle_s: How long others may have nothing to do.
        kill_s: How long a task that is to end may take over it before its worker is killed.
        stop_s: How long running tasks may go on when the agent is asked to end.
        parsl_config: A Python file with a Parsl `config`.
        dask_address: Of a scheduler.
        dask_dashboard: True if the cluster of this machine has Dask's web pages, which ask nobody who he is.
        mpi_launcher, mpi_nodes, mpi_slots: What MPI tasks are started with, and where.
    """

    engine: str = "processes"
    workers: int | None = None
    min_workers: int = 1
    max_tasks: int = 0
    preload: tuple[str, ...] = ()
    python: str | None = None
    folder: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    public: bool = False
    idle_s: float = 600.0
    kill_s: float = 5.0
    stop_s: float = 0.0
    parsl_config: Path | None = None
    dask_address: str | None = None
    dask_dashboard: bool = False
    mpi_launcher: str = "mpiexec"
    mpi_nodes: tuple[str, ...] = ()
    mpi_slots: int | None = None


def read_settings(path: Path | None, given: Mapping[str, Any]) -> Settings:
    """Returns the settings of an endpoint.

    Args:
        path: An endpoint.toml, or a Python file with a Parsl `config`; None for neither.
        given: Keys that the command line gives, which win over the file; None for those that it doesn't.

    Raises:
        ComputeError: The file can't be read, or says what can't be; the text names the key and what to do.
    """
    table: dict[str, Any] = {}
    where = os.fspath(path) if path is not None else "the command line"
    if path is not None and path.suffix == ".py":
        table = {"engine": "parsl", "parsl": {"config": os.fspath(path.absolute())}}
    elif path is not None:
        table = _read(path)
    table.update({key: value for key, value in given.items() if value is not None})
    if os.sep in (given.get("python") or ""):
        table["python"] = os.path.abspath(given["python"])
    folder = path.parent if path is not None else Path()
    return _Reader(where, folder.absolute()).settings(table)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise ComputeError(f"{path} can't be read: {error}") from error


class _Reader:
    """Checks one table; relative paths start at `folder`."""

    def __init__(self, where: str, folder: Path) -> None:
        self._where, self._folder = where, folder

    def settings(self, table: Mapping[str, Any]) -> Settings:
        """Returns what the table says."""
        self._check(table, _TOP, "")
        for name, keys in _TABLES.items():
            self._check(table.get(name, {}), keys, f"{name}.")
        engine = table.get("engine", "processes")
        if engine not in ENGINES:
            self._refuse("engine", engine, _TOP["engine"][1] + self._near(engine, ENGINES))
        self._check_engine(engine, table)
        mpi, dask = table.get("mpi", {}), table.get("dask", {})
        return Settings(
            engine=engine,
            workers=self._count(table, "workers"),
            min_workers=self._min_workers(table),
            max_tasks=self._count_from_0(table, "max_tasks_per_worker", 0),
            preload=self._modules(table),
            python=self._python(table.get("python")),
            folder=self._path(table, "working_folder"),
            environ=self._environ(table.get("environment", {})),
            limits=self._limits(table),
            public=table.get("public", False),
            idle_s=self._seconds(table, "idle_s", 600.0, above=0.0),
            kill_s=self._seconds(table, "kill_s", 5.0),
            stop_s=self._seconds(table, "stop_s", 0.0),
            parsl_config=self._path(table.get("parsl", {}), "config"),
            dask_address=dask.get("address"),
            dask_dashboard=dask.get("dashboard", False),
            mpi_launcher=mpi.get("launcher", "mpiexec"),
            mpi_nodes=self._texts(mpi, "nodes", "mpi."),
            mpi_slots=self._count(mpi, "slots_per_node", "mpi."),
        )

    def _check(self, table: Mapping[str, Any], keys: Mapping[str, Any], prefix: str) -> None:
        for key, value in table.items():
            if key not in keys:
                raise ComputeError(
                    f"{self._where}: there is no key {prefix + key!r}{self._near(key, keys)}; known are "
                    f"{', '.join(prefix + known for known in keys)} (docs/endpoint.md)"
                )
            kind, words = keys[key]
            if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
                self._refuse(prefix + key, value, words)

    def _near(self, key: Any, known: Any) -> str:
        close = difflib.get_close_matches(str(key), list(known), n=1)
        return f" (did you mean {close[0]!r}?)" if close else ""

    def _refuse(self, key: str, value: Any, words: str) -> None:
        raise ComputeError(f"{self._where}: {key} must be {words}, not {value!r}")

    def _check_engine(self, engine: str, table: Mapping[str, Any]) -> None:
        if engine in NO_WALLTIME and "walltime_s" in table:
            raise ComputeError(
                f"{self._where}: the engine {engine} can't honour walltime_s, since its tasks share one "
                "process: take the key out, or choose another engine, such as processes"
            )
        for key, (engines, because) in _ENGINES_OF.items():
            if key in table and engine not in engines:
                raise ComputeError(
                    f"{self._where}: the engine {engine} can't honour {key}, since {because}: take the key "
                    f"out, or choose another engine, such as {engines[0]}"
                )
        for name in _TABLES:
            if name in table and name != engine:
                raise ComputeError(
                    f"{self._where}: [{name}] is for the engine {name}, and this endpoint has {engine}: "
                    f'say engine = "{name}", or take the table out'
                )

    def _count(self, table: Mapping[str, Any], key: str, prefix: str = "") -> int | None:
        value = table.get(key)
        if value is not None and value < 1:
            self._refuse(prefix + key, value, "a count from 1")
        if value is not None and value > MOST_COUNT:
            self._refuse(prefix + key, value, f"at most {MOST_COUNT}")
        return value

    def _count_from_0(self, table: Mapping[str, Any], key: str, default: int) -> int:
        value = int(table.get(key, default))
        if value < 0:
            self._refuse(key, value, _TOP[key][1])
        return value

    def _min_workers(self, table: Mapping[str, Any]) -> int:
        least, most = self._count_from_0(table, "min_workers", 1), table.get("workers")
        if most is None and least > 1:
            most = machine.usable_cpus()
        if most is not None and least > max(most, 1):
            self._refuse("min_workers", least, f"at most `workers`, which is {most} here")
        return least

    def _modules(self, table: Mapping[str, Any]) -> tuple[str, ...]:
        names = self._texts(table, "preload")
        for name in names:
            if not all(part.isidentifier() for part in name.split(".")):
                self._refuse("preload", name, 'a list of modules by name, such as ["numpy", "scipy.linalg"]')
        return names

    def _seconds(
        self, table: Mapping[str, Any], key: str, default: float, above: float | None = None
    ) -> float:
        value = float(table.get(key, default))
        if not math.isfinite(value) or value < 0 or (above is not None and value <= above):
            self._refuse(key, table[key], _TOP[key][1])
        return value

    def _path(self, table: Mapping[str, Any], key: str) -> Path | None:
        return self._folder / Path(table[key]).expanduser() if key in table else None

    def _python(self, python: str | None) -> str | None:
        """A bare name is looked for by PATH, as a shell does."""
        if python is None or os.sep not in python:
            return python
        return os.fspath(self._folder / Path(python).expanduser())

    def _environ(self, table: Mapping[str, Any]) -> dict[str, str]:
        for name, value in table.items():
            if not isinstance(value, str) or "=" in name or "\0" in name + value:
                self._refuse(f"environment.{name}", value, "a text")
        return dict(table)

    def _texts(self, table: Mapping[str, Any], key: str, prefix: str = "") -> tuple[str, ...]:
        found = table.get(key, [])
        for value in found:
            if not isinstance(value, str) or not value:
                self._refuse(prefix + key, found, "a list of texts")
        return tuple(found)

    def _limits(self, table: Mapping[str, Any]) -> Limits:
        size = table.get("result_limit", MAX_RESULT_CHARS)
        if not 1 <= size <= MAX_RESULT_CHARS:
            self._refuse("result_limit", size, _TOP["result_limit"][1])
        return Limits(
            walltime_s=self._seconds(table, "walltime_s", 1.0, above=0.0) if "walltime_s" in table else None,
            functions=frozenset(
                self._each(table, "allowed_functions", UUID, "ids such as those of `%compute`")
            ),
            serializers=frozenset(self._each(table, "allowed_serializers", _identifier, ", ".join(_known()))),
            result_chars=size,
            memory_bytes=self._memory(table) if "memory_limit" in table else None,
        )

    def _memory(self, table: Mapping[str, Any]) -> int:
        """Where the engine's workers are elsewhere, they themselves look whether their system keeps it."""
        value = table["memory_limit"]
        found = _SIZE.fullmatch(str(value))
        size = int(float(found[1]) * _UNITS[(found[2] or "B").upper()]) if found is not None else 0
        if not LEAST_BYTES <= size <= MOST_BYTES:
            self._refuse("memory_limit", value, _TOP["memory_limit"][1])
        reason = why_not() if table.get("engine") not in ELSEWHERE else ""
        if reason:
            raise ComputeError(
                f"{self._where}: memory_limit can't be kept: {reason}. Take the key out, and limit "
                "the agent as a whole by other means, such as a container"
            )
        return size

    def _each(self, table: Mapping[str, Any], key: str, read: Callable[[str], Any], known: str) -> list[Any]:
        found = []
        for text in self._texts(table, key):
            try:
                found.append(read(text))
            except (ValueError, KeyError):
                self._refuse(key, text, f"{_TOP[key][1]}: {known}{self._near(text, _known())}")
        return found


def _known() -> dict[str, str]:
    """Returns the two characters of each strategy by its name."""
    from compute_nb import serialize

    kinds = (getattr(serialize, name) for name in serialize.__all__)
    return {kind.__name__: kind.identifier[:2] for kind in kinds if hasattr(kind, "identifier")}


def _identifier(text: str) -> str:
    return _known()[text.rpartition(".")[2].rpartition(":")[2]]
