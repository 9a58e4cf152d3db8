"""This module is the submitter: the one thread on which a process speaks REST with a service.

It sends at once when it is idle and gathers while a request is in flight. A request that got no answer is
sent again: the service knows tasks by the ids that were made here. One without our extensions names them
itself, so there a request is sent again only if nothing of it can have arrived.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from compute_nb import published, routes
from compute_nb.connection import Connection
from compute_nb.errors import ComputeError, ServiceUnreachable, SubmitRefused
from compute_nb.future import ComputeFuture
from compute_nb.parcel import MAX_CHARACTERS, MAX_TASKS, Parcel, chunks, refusal, terms_of
from compute_nb.reach import Reach
from compute_nb.tasks import Submission, TaskSpec
from compute_nb.terms import Terms, user_runtime

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_S = 60.0
# What stands before a service says so while that service, or its database, starts again.
_OF_A_PROXY = (502, 504)
LONGEST_PAUSE_S = 5.0
_CLOSED = "the submitter of this process was closed before it could send this"


class Watching(Protocol):
    """Whoever waits for the results; both hooks are called on the submitter's thread."""

    def follow(self, connection: Connection, task_group_id: UUID) -> None:
        """Is called before tasks of a group are sent, so that no result is missed."""

    def discard(self, futures: Iterable[ComputeFuture]) -> None:
        """These tasks never got to the service, or nobody waits for them any more."""

    def expect_names(self) -> None:
        """A request is under way whose tasks the service will name."""

    def name(self, names: Iterable[tuple[ComputeFuture, UUID]]) -> None:
        """The request has been answered: so it has named these tasks, and none else."""


class _Whole(NamedTuple):
    """Tasks with the same terms that are accepted all or not at all."""

    parcels: list[Parcel]


class _Call(NamedTuple):
    ask: Callable[[Connection], Any]
    revive: bool
    answer: Future[Any]


class _Cancel(NamedTuple):
    futures: list[ComputeFuture]


class _Stop:
    pass


_Item = Parcel | _Whole | _Call | _Cancel | _Stop


def _passes(error: ComputeError, once: bool) -> bool:
    """True if the same question may have an answer soon: nobody answers, or somebody says "not now"."""
    if isinstance(error, ServiceUnreachable):
        return error.nothing_sent or not once
    return error.http_status == 503 or (error.http_status in _OF_A_PROXY and not once)


class Submitter:
    """Owns the thread `compute_nb submitter`, which is started by the first thing to send.

    All methods but those marked are for any thread; none blocks except `close`.

    Args:
        reach: The way to the service.
        watching: Told what is sent.
        patience_s: How long a service that does not answer is asked again.
    """

    def __init__(self, reach: Reach, watching: Watching, patience_s: float = PATIENCE_S) -> None:
        self._reach = reach
        self._watching = watching
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._next: _Item | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closing = threading.Event()
        self._ended = threading.Event()
        self._patience_s = patience_s
        self._published = False

    def speak_published(self) -> None:
        """Sends as to a service without our extensions from now on; called on the submitter's thread."""
        self._published = True

    def put(self, parcel: Parcel) -> None:
        """Has one task sent."""
        self._put(parcel)

    def put_whole(self, parcels: list[Parcel]) -> None:
        """Has tasks of the same terms sent, to be accepted all or not at all."""
        self._put(_Whole(parcels))

    def call(self, ask: Callable[[Connection], T], *, revive: bool = True) -> Future[T]:
        """Has `ask(connection)` called on the submitter's thread; it must be harmless to repeat.

        Args:
            revive: True if the home's own service may be started for it.
        """
        answer: Future[T] = Future()
        self._put(_Call(ask, revive, answer))
        return answer

    def cancel(self, futures: Iterable[ComputeFuture]) -> None:
        """Has the service end tasks whose futures have been withdrawn."""
        self._put(_Cancel(list(futures)))

    def finish(self) -> None:
        """Has the thread end when what is waiting now has been sent; `close` waits for that."""
        if self._thread is not None:
            self._queue.put(_Stop())

    def close(self, timeout_s: float) -> bool:
        """Sends what is waiting, then ends; True if that was done within `timeout_s` seconds."""
        self.finish()
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout_s / 2)
        self._closing.set()
        thread.join(timeout_s / 2)
        return not thread.is_alive()

    def _put(self, item: _Item) -> None:
        self._queue.put(item)
        if self._thread is None:
            self._start()
        if self._ended.is_set():
            self._break(ComputeError(_CLOSED))

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="compute_nb submitter", daemon=True)
                self._thread.start()

    # -- the submitter's thread

    def _run(self) -> None:
        try:
            while not isinstance(item := self._take(), _Stop):
                self._handle(item)
        except Exception as error:  # the top of a thread: whoever waits on it must hear
            log.exception("the submitter failed")
            self._ended.set()
            self._break(error)
        self._ended.set()
        self._break(ComputeError(_CLOSED))

    def _take(self) -> _Item:
        item, self._next = self._next, None
        return self._queue.get() if item is None else item

    def _handle(self, item: _Item) -> None:
        if isinstance(item, Parcel):
            for parcels in self._gathered(item):
                self._send(parcels)
        elif isinstance(item, _Whole):
            self._send_whole(item.parcels)
        elif isinstance(item, _Call):
            self._answer(item)
        elif isinstance(item, _Cancel):
            self._end(item.futures)

    def _gathered(self, first: Parcel) -> Iterator[list[Parcel]]:
        """Takes the tasks that are waiting, up to the limits; yields them as requests."""
        by_terms: dict[int, list[Parcel]] = {}
        item: _Item = first
        count, size = 0, 0
        while True:
            if not isinstance(item, Parcel):
                self._next = item
                break
            by_terms.setdefault(id(item.future.terms), []).append(item)
            count, size = count + 1, size + len(item.args)
            if count >= MAX_TASKS or size >= MAX_CHARACTERS:
                break
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        for parcels in by_terms.values():
            yield from chunks(parcels)

    def _send(self, parcels: Sequence[Parcel]) -> None:
        terms = terms_of(parcels[0])
        wanted = self._still_wanted(parcels, terms)
        if not wanted:
            return
        if self._published:
            self._send_published(terms, wanted)
            return
        try:
            self._post(terms, wanted, hold=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, it fails these tasks and no others
            self._refuse(wanted, terms, _as_own(error))
        else:
            self._accept(wanted, terms)

    def _send_published(self, terms: Terms, parcels: Sequence[Parcel]) -> bool:
        """Sends tasks that the service names; False if they were refused as a whole."""
        self._watching.expect_names()
        names: list[tuple[ComputeFuture, UUID]] = []
        try:
            accepted = self._post_published(terms, parcels)
        except Exception as error:  # noqa: BLE001 - as above
            self._watching.name(())
            self._refuse(parcels, terms, _as_own(error))
            return False
        if accepted.task_group_id != terms.task_group_id:
            log.warning("tasks for group %s went to %s", terms.task_group_id, accepted.task_group_id)
            answered = replace(terms, task_group_id=accepted.task_group_id)
            for parcel in parcels:
                parcel.future.terms = answered
        for function_id, ids in accepted.ids.items():
            own = [parcel for parcel in parcels if parcel.function_id == function_id]
            if isinstance(ids, ComputeError):
                self._refuse(own, terms, ids, answered=True)
                continue
            self._accept(own, terms)
            names += [(parcel.future, task_id) for parcel, task_id in zip(own, ids, strict=True)]
        self._watching.name(names)
        if names:
            self._watching.follow(self._reach.connection, accepted.task_group_id)
        return True

    def _post_published(self, terms: Terms, parcels: Sequence[Parcel]) -> published.Accepted:
        self._keep_pace(terms, len(parcels))
        submission = self._submission(terms, parcels)

        def ask(connection: Connection) -> published.Accepted:
            return published.submit(connection, submission, user_runtime())

        return self._patiently(ask, once=True)

    def _keep_pace(self, terms: Terms, tasks: int) -> None:
        pace = self._reach.pace
        pause_s = pace.take_turn(tasks, terms.burst_limit, terms.burst_window_s) if pace else 0.0
        if pause_s:
            log.info("the service limits small requests: the next one waits %.1f s", pause_s)
            self._closing.wait(pause_s)

    def _send_whole_published(self, terms: Terms, parcels: Sequence[Parcel]) -> None:
        """Sends a group in parts: what was accepted before a refusal can't be taken back."""
        left = list(chunks(parcels))
        while left:
            wanted = self._still_wanted(left.pop(0), terms)
            if wanted and not self._send_published(terms, wanted):
                break
        for chunk in left:
            stopped = SubmitRefused("a request before this one failed, so it was not sent")
            self._refuse(chunk, terms, stopped)

    def _send_whole(self, parcels: Sequence[Parcel]) -> None:
        terms = terms_of(parcels[0])
        wanted = self._still_wanted(parcels, terms)
        if not wanted:
            return
        if self._published:
            self._send_whole_published(terms, wanted)
            return
        requests = list(chunks(wanted))
        try:
            for chunk in requests[:-1]:
                self._post(terms, chunk, hold=True)
                if self._given_up(wanted, terms):
                    return
            self._post(terms, requests[-1], hold=False)
        except Exception as error:  # noqa: BLE001 - as above
            self._withdraw(wanted)
            self._refuse(wanted, terms, _as_own(error))
        else:
            self._accept(wanted, terms)

    def _given_up(self, parcels: Sequence[Parcel], terms: Terms) -> bool:
        """Takes a group back that was withdrawn while it was on hold: its last request would release it."""
        if not all(parcel.future.done() for parcel in parcels):
            return False
        self._withdraw(parcels)
        self._watching.discard([parcel.future for parcel in parcels])
        terms.ledger.drop(len(parcels))
        return True

    def _still_wanted(self, parcels: Sequence[Parcel], terms: Terms) -> list[Parcel]:
        wanted = [parcel for parcel in parcels if not parcel.future.done()]
        if len(wanted) < len(parcels):
            self._watching.discard([p.future for p in parcels if p.future.done()])
            terms.ledger.drop(len(parcels) - len(wanted))
        return wanted

    def _submission(self, terms: Terms, parcels: Sequence[Parcel], hold: bool = False) -> Submission:
        for parcel in parcels:
            parcel.future.sent = True
        return Submission(
            endpoint_id=terms.endpoint_id,
            task_group_id=terms.task_group_id,
            tasks=tuple(TaskSpec(p.future.id, p.function_id, p.args) for p in parcels),
            options=terms.options,
            retries=terms.retries,
            hold=hold,
        )

    def _post(self, terms: Terms, parcels: Sequence[Parcel], *, hold: bool) -> None:
        submission = self._submission(terms, parcels, hold)

        def ask(connection: Connection) -> None:
            self._watching.follow(connection, terms.task_group_id)
            routes.submit(connection, submission, user_runtime())

        self._patiently(ask)

    def _patiently(self, ask: Callable[[Connection], T], *, once: bool = False) -> T:
        """Asks until there is an answer, for a minute at most; the home's own service is started.

        Args:
            ask: The question.
            once: True asks again only if nothing was sent, or the service says that it has not taken it.
        """
        until, pause_s = time.monotonic() + self._patience_s, 0.1
        while True:
            try:
                return self._reach.call(ask, once=once)
            except ComputeError as error:
                if not _passes(error, once):
                    raise
                if time.monotonic() + pause_s > until or self._closing.wait(pause_s):
                    raise
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _accept(self, parcels: Sequence[Parcel], terms: Terms) -> None:
        now = time.time()
        for parcel in parcels:
            if parcel.future.submitted_at is None:
                parcel.future.submitted_at = now
        terms.ledger.accept(len(parcels))
        log.debug("group %s: %s tasks accepted", terms.task_group_id, len(parcels))

    def _refuse(
        self, parcels: Sequence[Parcel], terms: Terms, error: ComputeError, *, answered: bool = False
    ) -> None:
        """Ends futures; `answered` if the service took the request and what it said of them can't be used."""
        told = refusal(terms, parcels, error, answered)
        futures = [parcel.future for parcel in parcels]
        self._watching.discard(futures)
        for future in futures:
            future.fail(told)
        terms.ledger.refuse(len(futures), told)
        terms.ledger.tell(futures)

    def _withdraw(self, parcels: Sequence[Parcel]) -> None:
        """Takes back what was held; if that can't be told, the service drops it within the hour."""
        held = [parcel.future.id for parcel in parcels if parcel.future.sent]
        try:
            self._reach.call(lambda connection: routes.cancel(connection, held))
        except ComputeError as error:
            log.warning("%s held tasks could not be taken back: %s", len(held), error)

    def _end(self, futures: Sequence[ComputeFuture]) -> None:
        if self._published:
            self._watching.discard(futures)
            return
        task_ids = [future.id for future in futures if future.sent]
        self._watching.discard([future for future in futures if not future.sent])
        if not task_ids:
            return
        try:
            self._patiently(lambda connection: routes.cancel(connection, task_ids))
        except ComputeError as error:
            log.warning("%s tasks could not be cancelled and may still run: %s", len(task_ids), error)

    def _answer(self, call: _Call) -> None:
        try:
            if call.revive:
                call.answer.set_result(self._reach.call(call.ask))
            else:
                call.answer.set_result(call.ask(self._reach.connection))
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            call.answer.set_exception(error)

    def _break(self, error: Exception) -> None:
        """Fails all that is waiting, so that nobody waits for ever."""
        while True:
            try:
                item = self._next or self._queue.get_nowait()
            except queue.Empty:
                return
            self._next = None
            if isinstance(item, _Call):
                item.answer.set_exception(error)
            elif isinstance(item, Parcel | _Whole):
                parcels = [item] if isinstance(item, Parcel) else item.parcels
                self._refuse(parcels, terms_of(parcels[0]), SubmitRefused(str(error)))


def _as_own(error: Exception) -> ComputeError:
    if isinstance(error, ComputeError):
        return error
    own = SubmitRefused(f"they can't be sent: {type(error).__name__}: {error}")
    own.__cause__ = error
    return own
