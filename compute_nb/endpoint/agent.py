"""This module is the agent of an endpoint as a process: lock, journal, engine and link, put together.

At the start it ends what an earlier agent of the folder has left running, and learns from its slots what
had begun.
"""

from __future__ import annotations

import dataclasses
import getpass
import logging
import os
import platform
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from uuid import UUID

import psutil
from filelock import FileLock, Timeout

import compute_nb
from compute_nb import logline
from compute_nb.amqp import Link
from compute_nb.endpoint import machine, modules
from compute_nb.endpoint.config import AgentConfig
from compute_nb.endpoint.conversation import Conversation
from compute_nb.endpoint.core import Core
from compute_nb.endpoint.custody import read_custody
from compute_nb.endpoint.engine import Engine, EngineStatus
from compute_nb.endpoint.engines.catalogue import CUSTODY, SLOTS, Site, make_engine
from compute_nb.endpoint.engines.worker import WorkerPlan
from compute_nb.endpoint.figures import Pulse
from compute_nb.endpoint.folder import LOCK_FILE, NOTE_FILE, Farewell, Folder, own_note
from compute_nb.endpoint.interpreter import about_python, lend_dill, own_dill, worker_environ
from compute_nb.endpoint.journal import Journal, open_journal
from compute_nb.endpoint.registration import OURS, OtherDialect, Places, Registration
from compute_nb.endpoint.slots import Leftover, read_leftovers
from compute_nb.errors import ComputeError

LOCK_TIMEOUT_S = 1.0
DEATH_TIMEOUT_S = 10.0
SWITCH_INTERVAL_S = 0.0005

_log = logging.getLogger(__name__)


class Agent:
    """One run of an agent in this process, on its main thread.

    Args:
        config: Of the endpoint.
        announce: Called with the endpoint's id once the service has taken it in.
    """

    def __init__(self, config: AgentConfig, announce: Callable[[UUID], object] | None = None) -> None:
        self._config, self._folder, self._settings = config, config.directory, config.settings
        self._announce = announce
        self._workers = self._settings.workers or machine.usable_cpus()
        self._python = self._settings.python or sys.executable
        self._signals = 0
        self._overdue = False
        self._marks: set[str] = set()

    def run(self) -> int:
        """Runs until it is stopped; returns the exit code."""
        logline.begin([logging.StreamHandler()], *logline.chosen())
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self._folder / LOCK_FILE, timeout=LOCK_TIMEOUT_S):
                self._note(None)
                return self._run()
        except Timeout:
            _log.error("another agent runs in %s; this one ends", self._folder)
        except ComputeError as error:
            _log.error("the agent of %s can't run: %s", self._config.name, error)
        except (OSError, sqlite3.Error) as error:
            _log.error(
                "the agent of %s can't run: %s: %s; see that %s can be written and has room, then start it",
                *(self._config.name, type(error).__name__, error, self._folder),
            )
        return 1

    def _run(self) -> int:
        sys.setswitchinterval(SWITCH_INTERVAL_S)  # the engine's thread must not wait 5 ms for this one
        about = about_python(self._python)
        self._note(about.get("python"))
        metadata = {
            OURS: {"version": 1},
            "endpoint_version": compute_nb.__version__,
            "python_version": about.get("python"),
            "local_user": getpass.getuser(),
            **self._facts(about),
        }
        registration = Registration(self._config, metadata)
        plain = registration.plain()
        while True:
            served = self._serve_plain if plain else self._serve
            failure, farewell = served(registration, about)
            if not isinstance(failure, OtherDialect):
                break
            plain = not plain
        if failure is not None:
            return 1
        Folder(self._folder).farewell(farewell)
        _log.info("the endpoint has ended: %s", farewell)
        if self._overdue:
            self._leave_all()
        return 0

    def _serve(
        self, registration: Registration, about: Mapping[str, Any]
    ) -> tuple[Exception | None, Farewell]:
        """Serves a service with our extensions, until the link is over."""
        conversation, _ = self._house(self._folder, about, registration.register, self._announce)
        link = Link(conversation, "agent")
        self._on_signals(lambda: link.call_soon(conversation.leave))
        conversation.start(link, lambda: link.stop(0))
        link.run()
        self._overdue = conversation.leaving.overdue
        return conversation.failure, conversation.farewell

    def _serve_plain(
        self, registration: Registration, about: Mapping[str, Any]
    ) -> tuple[Exception | None, Farewell]:
        """Serves a service without them, as a core endpoint."""
        facts = self._facts(about)

        def house(folder: Path, register: Callable[[], Places]) -> tuple[Conversation, UUID]:
            return self._house(folder, about, register)

        def pulse(status: Callable[[], EngineStatus]) -> Pulse:
            return Pulse(self._settings.engine, status, facts, modules.Modules(about), self._workers)

        details = {
            "os": facts["platform"],
            "python_version": facts["python"],
            "dill_version": facts["dill"],
            "compute_nb_version": facts["version"],
        }
        core = Core(
            lambda: registration.register(plain=True),
            self._folder,
            house,
            pulse,
            details,
            on_welcome=self._announce,
            ca=self._config.ca,
        )
        link = Link(core, "agent")
        core.start(link)
        self._on_signals(core.leave)
        link.run()
        self._overdue = core.overdue
        return core.failure, core.farewell

    def _house(
        self,
        folder: Path,
        about: Mapping[str, Any],
        register: Callable[[], Places],
        on_welcome: Callable[[UUID], object] | None = None,
    ) -> tuple[Conversation, UUID]:
        """Returns a conversation that is not started, with what it needs in a folder; the journal's id."""
        boot_id = machine.boot_id()
        journal = open_journal(folder / "journal.db", boot_id)
        settle_past(journal, folder)
        journal_id = journal.journal_id
        self._marks.add(str(journal_id))
        engine = make_engine(
            self._settings, Site(folder, journal_id, self._workers, self._plan(folder, about, journal_id))
        )
        found = modules.Modules(about)
        facts = {
            **self._facts(about),
            "modules": found.text(),
            "engine": engine_facts(engine),
            "stop_s": self._settings.stop_s,
        }
        conversation = Conversation(
            register,
            journal,
            engine,
            boot_id,
            facts,
            modules=found,
            stop_s=self._settings.stop_s,
            begun=lambda: begun_in(folder, journal_id) or (),
            on_welcome=on_welcome,
            ca=self._config.ca,
        )
        return conversation, journal_id

    def _note(self, python: str | None) -> None:
        """Says in the folder who runs here; without room for that it runs all the same."""
        config = self._config
        note = replace(
            own_note(os.getpid(), self._settings.stop_s),
            service=config.service,
            token_file=None if config.token_file is None else os.fspath(config.token_file),
            options=dict(config.options),
            engine=self._settings.engine,
            workers=self._workers,
            python=python,
        )
        try:
            Folder(self._folder).note(note)
        except OSError as error:
            _log.warning("%s can't be written (%s): `endpoint stop` asks the service", NOTE_FILE, error)

    def _leave_all(self) -> NoReturn:
        """Ends at once, with all that was started for a journal of this agent."""
        for mark in self._marks:
            machine.kill_marked(mark)
        os._exit(1)

    def _plan(self, house: Path, about: Mapping[str, Any], journal_id: UUID) -> WorkerPlan:
        settings = self._settings
        tasks, logs = settings.folder or self._folder / "tasks_working_dir", house / "logs"
        for folder in (tasks, logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        packages = None if about.get("dill") else lend_dill(self._folder / "packages")
        environ = {**worker_environ(os.environ, self._workers, journal_id), **settings.environ}
        limits = settings.limits
        return WorkerPlan(
            *(self._python, tasks, logs, packages, environ, limits.result_chars),
            memory_bytes=limits.memory_bytes,
            preload=settings.preload,
            max_tasks=settings.max_tasks,
        )

    def _facts(self, about: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "version": compute_nb.__version__,
            "python": about.get("python"),
            "dill": about.get("dill") or (own_dill() if about else None),
            "platform": platform.platform(),
            "hostname": platform.node(),
            "pid": os.getpid(),
            "workers": self._workers,
            "prefix": about.get("prefix"),
        }

    def _on_signals(self, leave: Callable[[], object]) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            self._signals += 1
            if self._signals == 1:
                threading.Thread(target=leave, name="stop", daemon=True).start()
                return
            self._leave_all()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)


def run_agent(config: AgentConfig, announce: Callable[[UUID], object] | None = None) -> int:
    """Is the agent of an endpoint until it is stopped; blocks, on the main thread of a process of its own.

    Args:
        config: Of the endpoint.
        announce: Called with the endpoint's id each time that the service has taken it in.

    Returns:
        The exit code: 0 if it was stopped, 1 if it could not go on; why is in the log.
    """
    return Agent(config, announce).run()


def settle_past(journal: Journal, folder: Path) -> None:
    """Ends what an earlier agent has left running and counts what had begun as broken.

    Args:
        journal: Opened, not recovered.
        folder: Of the endpoint, with the slots or the custody file of that agent's engine.
    """
    slots, custody, journal_id = folder / SLOTS, folder / CUSTODY, journal.journal_id
    leftovers = read_leftovers(slots, journal_id)
    if not journal.same_boot:
        journal.recover(None, "the machine was restarted while the endpoint held this task")
    elif leftovers is None and read_custody(custody, journal_id) is None:
        journal.recover(None, "the endpoint's record of begun tasks was lost while it held this one")
    else:
        handed_over = _begun_of_custody(custody, journal_id) or []
        _end_workers(leftovers or [], str(journal_id))
        after = read_leftovers(slots, journal_id) or leftovers or []
        begun = [number for leftover in after for number in leftover.begun]
        reason = "the endpoint's agent was killed or stopped while this task ran"
        journal.recover([*begun, *handed_over], reason)


def begun_in(folder: Path, journal_id: UUID) -> list[int] | None:
    """Returns the numbers of tasks that had begun and whose ends were not settled; None if nobody knows.

    Args:
        folder: Of the endpoint, with the slots or the custody file of its engine, which has stopped.
        journal_id: The journal that the numbers belong to.
    """
    leftovers = read_leftovers(folder / SLOTS, journal_id)
    handed_over = _begun_of_custody(folder / CUSTODY, journal_id)
    if leftovers is None and handed_over is None:
        return None
    return [*(number for one in leftovers or () for number in one.begun), *(handed_over or ())]


def _begun_of_custody(path: Path, journal_id: UUID) -> list[int] | None:
    """Ends what holds tasks of an engine that is over, so that none of them begins later; returns which had.

    Where that does not end, all that it was given counts as begun.
    """
    if read_custody(path, journal_id) is None:
        return None
    is_over = _wait_for_end(machine.kill_marked(str(journal_id)))
    return [entry.number for entry in read_custody(path, journal_id) or () if entry.begun or not is_over]


def engine_facts(engine: Engine) -> dict[str, Any]:
    """Returns what people and programs may know of an engine."""
    facts = dataclasses.asdict(engine.capabilities)
    facts.pop("because")
    return facts


def _end_workers(leftovers: list[Leftover], worker_mark: str) -> None:
    doomed = []
    for leftover in leftovers:
        doomed += machine.kill_group(leftover.pid, leftover.start_mark, worker_mark)
    _wait_for_end(doomed)


def _wait_for_end(doomed: list[psutil.Process]) -> bool:
    """Returns whether all have ended."""
    _, alive = psutil.wait_procs(doomed, timeout=DEATH_TIMEOUT_S)
    for process in alive:
        _log.warning("process %d of an earlier agent does not end", process.pid)
    return not alive
