"""This module is the session: what a process has open towards one service, shared by all its Executors."""

from __future__ import annotations

import atexit
import os
import threading
import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from compute_nb import published, routes
from compute_nb.connection import Connection
from compute_nb.environment import warning_of
from compute_nb.errors import ComputeError, LoginWanted, NotOffered
from compute_nb.future import ComputeFuture
from compute_nb.groups import GroupQueues
from compute_nb.ledger import Ledger
from compute_nb.parcel import Parcel
from compute_nb.reach import Reach
from compute_nb.reloaded import ReloadedTasks
from compute_nb.revival import Revival
from compute_nb.spool import spool_of
from compute_nb.submitter import Submitter
from compute_nb.tasks import new_ids
from compute_nb.terms import Terms
from compute_nb.watcher import ResultWatcher

T = TypeVar("T")

EXIT_BOUND_S = 5.0
LEAST_BOUND_S = 0.2
SENDING_SHARE = 0.9


class Session:
    """The submitter and the watcher for one service; `of` gives the one that is there. For any thread.

    Nothing runs before it is used. At the interpreter's exit what is queued is sent, within 5 s.
    """

    def __init__(self, reach: Reach, amqp_port: int | None = None) -> None:
        self.process_id = os.getpid()
        self.reach = reach
        self._watcher = ResultWatcher(reach, amqp_port)
        self._submitter = Submitter(reach, self._watcher)
        self._watcher.use(self._submitter)
        self._spool = spool_of(reach.home)
        self._revival = Revival(self._watcher, self._spool, self, self._status)
        self._checked = False
        self._plain = False
        self._noted: set[str] = set()
        self._uncompared: set[UUID] = set()
        self._compared: set[UUID] = set()

    def __repr__(self) -> str:
        return f"Session<{self.reach} {self._watcher}>"

    @classmethod
    def of(cls, reach: Reach, amqp_port: int | None = None) -> Session:
        """Returns the session of this process for that service and user."""
        return _sessions.get(reach, amqp_port)

    @property
    def can_cancel(self) -> bool:
        """True if the service ends tasks when it is asked to."""
        return not self._plain

    def ask(self, question: Callable[[Connection], T]) -> T:
        """Returns `question(connection)`, asked on the submitter's thread; blocks. Harmless to repeat.

        Raises:
            ComputeError: What it raised, or that this process was forked from the session's.
        """
        self.check_process()
        self.reach.sign_in()
        try:
            return self._asked(question)
        except LoginWanted:
            self.reach.sign_in()
            return self._asked(question)

    def submit(self, parcel: Parcel) -> None:
        """Has a task sent; returns at once."""
        parcel.future.named = not self._plain
        self._watcher.add(parcel.future)
        self._submitter.put(parcel)

    def submit_whole(self, parcels: list[Parcel]) -> None:
        """Has tasks of the same terms sent, accepted all or not at all; returns at once."""
        for parcel in parcels:
            parcel.future.named = not self._plain
            self._watcher.add(parcel.future)
        self._submitter.put_whole(parcels)

    def note_ignored(self, options: Mapping[str, object]) -> None:
        """Warns, once for each name, of options that the service does not know.

        Args:
            options: By name; those that are None, 0 or empty count as not asked for.
        """
        if not self._plain:
            return
        names = [name for name, value in options.items() if value and name not in self._noted]
        if names:
            self._noted.update(names)
            warnings.warn(
                f"{' and '.join(names)} ignored: the service {self.reach.settings.name!r} speaks the "
                "published protocol only, which has no such thing",
                UserWarning,
                stacklevel=6,
            )

    def cancel(self, futures: Iterable[ComputeFuture]) -> None:
        """Has the service end tasks whose futures have been withdrawn; returns at once."""
        cancelled = list(futures)
        if not cancelled:
            return
        self._submitter.cancel(cancelled)
        self._watcher.tell(cancelled)

    def retry(self, futures: Sequence[ComputeFuture]) -> list[ComputeFuture]:
        """Returns the futures of what runs in the places of tasks that gave no value; blocks.

        A task that is open, that has a value, or that the service does not know keeps its future.

        Raises:
            NotOffered: The service has no such thing.
            ComputeError: It can't be reached, or one can't run again.
        """
        pairs = list(zip(futures, new_ids(len(futures)), strict=True))
        return self.ask(lambda connection: self._retry(connection, pairs))

    def inputs(self, task_id: UUID) -> routes.Inputs:
        """Returns what a task was submitted with; blocks.

        Raises:
            NotOffered: The service has no such thing.
            ComputeError: It can't be reached, or does not know the task.
        """

        def ask(connection: Connection) -> routes.Inputs:
            self._refuse_if_plain("does not give inputs back")
            return routes.inputs(connection, task_id)

        return self.ask(ask)

    def environment(self, endpoint_id: UUID) -> Mapping[str, Any]:
        """What an endpoint's agent said of itself; {} if nothing was heard."""
        return self._watcher.environments.get(endpoint_id, {})

    @property
    def outage(self) -> str | None:
        """Why nothing is heard of open tasks now, for people; None if the way is open or not needed."""
        return self._watcher.outage

    def online(self, endpoint_id: UUID) -> bool | None:
        """True if an agent of the endpoint takes tasks now; None if nothing was heard, or nothing can be."""
        return None if self.outage else self._watcher.presence.get(endpoint_id)

    def agent(self, endpoint_id: UUID) -> Mapping[str, Any]:
        """As `environment`; asks the service if nothing was heard yet, and blocks then."""
        heard = self.environment(endpoint_id)
        if heard:
            return heard
        details = self.ask(lambda c: routes.details(c, endpoint_id))
        return details.get("compute_nb") or published.workers(details)

    def compare(self, endpoint_id: UUID) -> None:
        """Warns, once an endpoint, if its Python is not ours; before functions go there as bytecode; blocks.

        Warns:
            UserWarning: What differs, what that may break, and the mend.
        """
        if endpoint_id in self._compared or endpoint_id in self._uncompared:
            return
        self._uncompared.add(endpoint_id)
        self._warn(endpoint_id, self.agent(endpoint_id))

    def answered(self, endpoint_id: UUID) -> None:
        """Compares an endpoint that was not known well enough when functions went there."""
        if endpoint_id in self._uncompared:
            self._warn(endpoint_id, self.environment(endpoint_id))

    def _warn(self, endpoint_id: UUID, agent: Mapping[str, Any]) -> None:
        if not agent or endpoint_id in self._compared:
            return
        self._compared.add(endpoint_id)
        self._uncompared.discard(endpoint_id)
        text = warning_of(endpoint_id, agent)
        if text is not None:
            warnings.warn(text, UserWarning, stacklevel=6)

    def open_futures(self, ledger: Ledger) -> list[ComputeFuture]:
        """Returns the futures of the Executor with this ledger that have not ended."""
        return self._watcher.open_futures(ledger)

    def reload(self, terms: Terms) -> ReloadedTasks:
        """Returns futures for all tasks of a group, ordered by task id; those that ended are done; blocks.

        Args:
            terms: Of the Executor that asks; the endpoint is the one that each task was sent to.
        """
        return self.ask(lambda connection: self._reload(connection, terms))

    def finish(self) -> None:
        """Has what is queued sent and no more begun; `close` waits for it."""
        self._watcher.seal()
        self._submitter.finish()

    def close(self, timeout_s: float) -> None:
        """Sends what is queued and ends both threads, within `timeout_s` seconds or without the rest."""
        until = time.monotonic() + timeout_s
        self.finish()
        self._submitter.close(SENDING_SHARE * timeout_s)
        self._watcher.stop(max(0.0, until - time.monotonic()))

    def check_process(self) -> None:
        """Raises if this is not the process that the session belongs to.

        Raises:
            ComputeError: A fork has no threads of its parent, so nothing would ever be sent.
        """
        if os.getpid() != self.process_id:
            raise ComputeError(
                f"this Executor belongs to process {self.process_id}, from which this one "
                f"({os.getpid()}) was forked; make a new Executor here"
            )

    def _asked(self, question: Callable[[Connection], T]) -> T:
        if not self._checked:
            self._submitter.call(self._meet).result()
        return self._submitter.call(question).result()

    def _meet(self, connection: Connection) -> None:
        """On the submitter's thread: finds out once what the service speaks."""
        if self._checked:
            return
        if routes.extensions(connection) is None:
            self._watcher.read_from(GroupQueues(self._watcher), self._spool)
            self._submitter.speak_published()
            self._plain = True
        self._checked = True

    def _reload(self, connection: Connection, terms: Terms) -> ReloadedTasks:
        if self._plain:
            return self._revival.reload_published(connection, terms)
        return self._revival.reload(connection, terms)

    def _refuse_if_plain(self, what: str) -> None:
        if self._plain:
            raise NotOffered(
                f"the service {self.reach.settings.name!r} speaks the published protocol only and {what}: "
                "submit again"
            )

    def _retry(
        self, connection: Connection, pairs: Sequence[tuple[ComputeFuture, UUID]]
    ) -> list[ComputeFuture]:
        self._refuse_if_plain("runs nothing again")
        return self._revival.retry(connection, pairs)

    def _status(self, task_ids: Sequence[UUID]) -> routes.Status:
        """Asks on the caller's own thread: it may be the submitter's or the watcher's."""
        self.check_process()
        return self.reach.call(lambda connection: routes.status(connection, task_ids))


class _Sessions:
    """The sessions of this process, by all that tells them apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_key: dict[Hashable, Session] = {}

    def get(self, reach: Reach, amqp_port: int | None) -> Session:
        key = (reach.key, amqp_port)
        with self._lock:
            if not self._by_key:
                atexit.register(self.close)
            if key not in self._by_key:
                self._by_key[key] = Session(reach, amqp_port)
            return self._by_key[key]

    def close(self, bound_s: float = EXIT_BOUND_S) -> None:
        with self._lock:
            sessions = list(self._by_key.values())
            self._by_key.clear()
        for session in sessions:
            session.finish()
        until = time.monotonic() + bound_s
        for session in sessions:
            session.close(max(LEAST_BOUND_S, until - time.monotonic()))

    def after_fork(self) -> None:
        atexit.unregister(self.close)
        self.__init__()  # type: ignore[misc] # the parent's threads and locks are not here


_sessions = _Sessions()
os.register_at_fork(after_in_child=_sessions.after_fork)
