"""This module is the conversation of an agent with its service: tasks come, results go.

It lives on the link's thread: messages are decoded, journalled and acknowledged there, and the engine's
news come back to it. What each side says, and in which order, is docs/extensions.md 3.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol
from uuid import UUID, uuid4

from compute_nb import logline, wire
from compute_nb.amqp import Incoming, LinkPlan
from compute_nb.endpoint.engine import Ended, Engine, EngineBatch, EngineStatus
from compute_nb.endpoint.figures import LOOK_S, Pulse
from compute_nb.endpoint.folder import Farewell
from compute_nb.endpoint.journal import Journal
from compute_nb.endpoint.journal_file import JournalFull
from compute_nb.endpoint.leaving import Leaving
from compute_nb.endpoint.modules import Modules
from compute_nb.endpoint.outbox import Outbox
from compute_nb.endpoint.registration import Places
from compute_nb.errors import ServiceUnreachable
from compute_nb.published_messages import StatusReport
from compute_nb.tasks import Dispatch, ErrorCode, Hello, Outcome, Run, RunResult, Started
from compute_nb.trust import Authorities

FLUSH_S = 1.0
FULL_S = 2.0

_log = logging.getLogger(__name__)


class Wire(Protocol):
    """The part of `compute_nb.amqp.Link` that this uses."""

    def publish(
        self, exchange: str, routing_key: str, body: bytes, headers: Mapping[str, Any] | None = None
    ) -> int:
        """Sends a message and returns its number."""

    def ack(self, tag: int, multiple: bool = False) -> None:
        """Acknowledges a message."""

    def reject(self, tag: int) -> None:
        """Refuses a message for good."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Has `call` run on the link's thread; from any thread."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> object:
        """Has `call` run on the link's thread later."""


class Conversation:
    """The handler of the endpoint's link; all methods but `start` run on the link's thread.

    Args:
        register: Registers the endpoint and says where to read and write; may block.
        journal: Recovered; closed at the end.
        engine: Not started; stopped at the end.
        boot_id: Of the machine.
        facts: The `agent` object of hello.
        modules: Those of the workers' Python, told again when they have changed.
        stop_s: How long running tasks may go on when the agent is to end.
        begun: Returns the numbers of tasks that had begun and whose ends were not journalled; asked once the
            engine has stopped.
        on_welcome: Called with the endpoint's id each time that the service has taken this agent in.
        ca: The certificate authorities that count for the service's broker, as in `trust.context`.

    Attributes:
        failure: Why the link could not go on.
        leaving: How the agent ends.
        farewell: What became of the tasks, once it is over.
    """

    def __init__(
        self,
        register: Callable[[], Places],
        journal: Journal,
        engine: Engine,
        boot_id: UUID,
        facts: Mapping[str, Any],
        *,
        modules: Modules | None = None,
        stop_s: float = 0.0,
        begun: Callable[[], Iterable[int]] = tuple,
        on_welcome: Callable[[UUID], object] | None = None,
        ca: Authorities = None,
    ) -> None:
        self._register, self._journal, self._engine = register, journal, engine
        self._boot_id, self._facts, self._modules = boot_id, facts, modules
        self._stop_s, self._tell_welcome, self._ca = stop_s, on_welcome, ca
        self._pulse = Pulse(engine.capabilities.name, engine.status, facts, modules)
        self._outbox = Outbox(journal.results)
        self._places: Places | None = None
        self._session: UUID | None = None
        self._running: dict[int, Started] = {}
        self._cancelled_early: set[Run] = set()
        self._recovered: list[EngineBatch] = journal.batches()
        self._unwritten: list[Ended] = []
        self._serial = 0
        self._untaken: deque[tuple[Wire, Dispatch, Incoming]] = deque()
        self._journal_is_full = self._said_full = self._flush_is_set = self._is_down = False
        self._link: Wire | None = None
        self._stop: Callable[[], object] | None = None
        self.leaving = Leaving(self, journal, engine, stop_s, begun)
        self.failure: Exception | None = None
        self.farewell = Farewell()

    def start(self, link: Wire, stop: Callable[[], object]) -> None:
        """Starts the engine; called once, before the link runs.

        Args:
            link: Will call this handler.
            stop: Ends the link; called when the service says so.
        """
        self._link, self._stop = link, stop
        self._engine.start(lambda: link.call_soon(self._on_news))

    def status(self) -> EngineStatus:
        """Returns how busy the engine is; from any thread."""
        return self._engine.status()

    def beat(self) -> None:
        """Sends a heartbeat now, whatever has changed; on the link's thread."""
        self._pulse.again()
        if self._link is not None and self._session is not None:
            self._tell_state(self._link)

    def leave(self) -> None:
        """Ends in order: what runs gets `stop_s`, its results are sent, then the link ends."""
        assert self._link is not None
        assert self._stop is not None
        self.leaving.begin(self._link, self._stop)

    # what a leaving asks for

    def last_news(self) -> None:
        """Takes, journals and sends what the engine still has to tell."""
        self._on_news()
        self._running.clear()

    def tell_broken(self) -> None:
        """Says hello once more, in the same session: that is the word for runs that were killed."""
        if self._link is not None and self._session is not None and self._places is not None:
            address, hello = self._places.results, self._hello(self._session)
            with contextlib.suppress(ServiceUnreachable):  # `on_down` follows
                self._link.publish(address.exchange, address.routing_key, wire.encode(hello))

    def is_heard(self) -> bool:
        """True while the service is there."""
        return self._session is not None

    # hooks of the link

    def plan(self) -> LinkPlan:
        """Registers the endpoint."""
        self._places = self._register()
        return LinkPlan(self._places.url, (self._places.tasks, self._places.commands), ca=self._ca)

    def on_open(self, link: Wire) -> None:
        """Begins a session: says what is here, then sends what is not stored."""
        assert self._places is not None
        self._session = uuid4()
        self._cancelled_early.clear()
        self._untaken.clear()
        with contextlib.suppress(JournalFull):  # code that is not needed does no harm
            self._journal.begin_session()
        address = self._places.results
        link.publish(address.exchange, address.routing_key, wire.encode(self._hello(self._session)))
        self._outbox.open(link, self._session, address)

    def _hello(self, session: UUID) -> Hello:
        running = {started.run for started in self._running.values()}
        return Hello(
            session=session,
            journal_id=self._journal.journal_id,
            boot_id=self._boot_id,
            agent=self._facts,
            held=tuple(run for run in self._journal.held() if run not in running),
            running=tuple(running),
            done=tuple(self._journal.done()),
            broken=tuple(self._journal.broken()),
        )

    def on_ready(self, link: Wire) -> None:
        """The agent is there: heartbeats begin."""
        assert self._places is not None
        self._is_down = False
        _log.info("endpoint %s is connected, session %s", self._places.endpoint_id, self._session)
        self._pulse.again()
        self._beat(link, self._session)

    def on_message(self, link: Wire, message: Incoming) -> None:
        """Does what the service says."""
        try:
            content = wire.decode(message.body)
            if isinstance(content, Dispatch):
                self._untaken.append((link, content, message))
                self._take_tasks()
                return
            self._on_command(link, content)
        except wire.MalformedMessage as error:
            _log.warning("a message in %s is set aside: %s", message.queue, error)
            link.reject(message.tag)
            return
        link.ack(message.tag)

    def on_confirm(self, link: Wire, number: int, ok: bool) -> None:
        """A message of ours has arrived, or not."""
        self._outbox.confirmed(number, ok)

    def on_down(self, error: Exception) -> None:
        """The service is away: tasks go on, results wait."""
        self._session = None
        self._outbox.close()
        if not self._is_down:
            self._is_down = True
            _log.warning("no connection to the service (%s); tasks go on, and it is tried again", error)

    def on_end(self, error: Exception | None) -> None:
        """The link is over: so are the workers."""
        self._session = None
        self._outbox.close()
        self.failure = error
        if error is not None:
            _log.error("the endpoint ends: %s", error)
        if not self.leaving.engine_is_over and not self.leaving.overdue:
            self._engine.stop(self._stop_s)
        self._unwritten += self._engine.take().ended
        with contextlib.suppress(JournalFull):
            self._journal.end(self._unwritten)
        self.farewell = replace(self.leaving.farewell, unsent=len(self._journal.done()))
        self._journal.close()

    # what the service says

    def _take_tasks(self) -> None:
        """Takes the messages with tasks in their order, as far as the journal takes them."""
        while self._untaken and not self._journal_is_full:
            link, dispatch, message = self._untaken[0]
            try:
                self._on_tasks(dispatch, message.body)
            except JournalFull as error:
                self._wait_for_room(error)
                return
            except wire.MalformedMessage as error:
                _log.warning("a message in %s is set aside: %s", message.queue, error)
                link.reject(message.tag)
            else:
                link.ack(message.tag)
            self._untaken.popleft()

    def _on_tasks(self, dispatch: Dispatch, body: bytes) -> None:
        if dispatch.session != self._session:
            _log.info("tasks of session %s are ignored: it is over", dispatch.session)
            return
        batches = self._journal.accept(dispatch, body)
        runnable = [batch for batch in batches if batch.code]
        self._engine.submit(runnable)
        for batch in batches:
            self._outbox.held([task.run for task in batch.tasks])
            logline.told(_log, "journalled", [task.run.task_id for task in batch.tasks])
            if not batch.code:
                self._end_without_code(batch)
        if self._cancelled_early:
            self._cancel([task.run for batch in runnable for task in batch.tasks])

    def _end_without_code(self, batch: EngineBatch) -> None:
        text = f"the code of function {batch.function_id} did not reach this endpoint; submit the task again"
        ended = [
            Ended(
                task.number,
                RunResult(task.run, Outcome.ERROR, text, ErrorCode.REMOTE, None, None),
            )
            for task in batch.tasks
        ]
        self._unwritten += ended
        self._write_ends()

    def _cancel(self, runs: Sequence[Run]) -> None:
        """Cancels those of `runs` that were cancelled before they came."""
        early = [run for run in runs if run in self._cancelled_early]
        self._cancelled_early.difference_update(early)
        self._engine.cancel([n for n in map(self._journal.number, early) if n is not None])

    def _on_command(self, link: Wire, content: wire.Message) -> None:
        match content:
            case wire.Welcome(session=session, drop=drop):
                if session == self._session:
                    self._on_welcome(link, drop)
            case wire.Stored(runs=runs):
                self._forget(link, runs)
            case wire.Cancel(runs=runs):
                self._on_cancel(runs)
            case wire.Stop():
                _log.info("the service says stop")
                self.leave()
            case _:
                raise wire.MalformedMessage(f"{type(content).__name__} is not for an agent")

    def _on_welcome(self, link: Wire, drop: Sequence[Run]) -> None:
        """Forgets what is not wanted; then what an earlier agent has left may begin."""
        self._forget(link, drop)
        if self._tell_welcome is not None and self._places is not None:
            self._tell_welcome(self._places.endpoint_id)
        self.leaving.go_if_told()
        recovered, self._recovered = self._recovered, []
        wanted = [
            replace(
                batch,
                tasks=tuple(task for task in batch.tasks if self._journal.number(task.run) == task.number),
            )
            for batch in recovered
        ]
        self._engine.submit([batch for batch in wanted if batch.tasks])

    def _forget(self, link: Wire, runs: Sequence[Run]) -> None:
        unended = self._journal.forget(runs)
        if unended:
            self._engine.cancel(unended)
        self.leaving.go_if_told()
        if not self._flush_is_set:
            self._flush_is_set = True
            link.call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flush_is_set = False
        with contextlib.suppress(JournalFull):  # the next commit brings it
            self._journal.flush()

    def _on_cancel(self, runs: Sequence[Run]) -> None:
        numbers = []
        for run in runs:
            number = self._journal.number(run)
            if number is None:
                self._cancelled_early.add(run)
            else:
                numbers.append(number)
        self._engine.cancel(numbers)  # at once: else the end of one lets the next begin

    # what the engine says

    def _on_news(self) -> None:
        news = self._engine.take()
        self._unwritten += news.ended
        self._serial = news.serial
        gone = {ended.number for ended in news.ended} if news.begun else ()
        for begun in news.begun:
            logline.told(_log, "begun", [begun.run.task_id])
            if begun.number not in gone:
                self._running[begun.number] = Started(begun.run, begun.at)
                self._outbox.begun(self._running[begun.number])
        self._outbox.printed(news.printed)
        self._write_ends()

    def _write_ends(self) -> None:
        """Journals what has ended, then sends it; until it is journalled the engine begins little more."""
        if self._journal_is_full:
            return
        try:
            results = self._journal.end(self._unwritten)
        except JournalFull as error:
            self._wait_for_room(error)
            return
        ends, self._unwritten = self._unwritten, []
        if not self.leaving.has_begun:
            self._engine.settle(self._serial)
        self.leaving.ended(len(ends))
        for ended in ends:
            self._running.pop(ended.number, None)
            logline.told(_log, f"ended, {ended.result.outcome.value}", [ended.result.run.task_id])
        self._outbox.results(results)

    def _wait_for_room(self, error: JournalFull) -> None:
        """Keeps results in memory and tasks unacknowledged until the disk takes them."""
        if not self._said_full:
            self._said_full = True
            self._pulse.trouble = (
                f"the journal can't be written ({error}): what has ended is kept in memory, what runs goes "
                f"on, nothing new is taken; it is tried again every {FULL_S:g} s, free some space"
            )
            _log.error("%s", self._pulse.trouble)
            self._tell_trouble()
        self._journal_is_full = True
        assert self._link is not None
        self._link.call_later(FULL_S, self._try_again)

    def _try_again(self) -> None:
        self._journal_is_full = False
        self._write_ends()
        self._take_tasks()
        if not self._journal_is_full:
            self._said_full, self._pulse.trouble = False, ""
            _log.info("the journal can be written again")
            self._tell_trouble()

    # heartbeats

    def _tell_trouble(self) -> None:
        if self._link is not None and self._session is not None:
            self._tell_state(self._link)

    def _beat(self, link: Wire, session: UUID | None) -> None:
        """Tells how the endpoint is: now and then, and soon after that has changed."""
        if session is None or session != self._session:
            return
        self._tell_state(link)
        link.call_later(LOOK_S, lambda: self._beat(link, session))

    def _tell_state(self, link: Wire) -> None:
        state = self._pulse.due()
        if state is not None and self._places is not None:
            address = self._places.heartbeats
            report = StatusReport(self._places.endpoint_id, state)
            with contextlib.suppress(ServiceUnreachable):  # `on_down` follows
                link.publish(address.exchange, address.routing_key, wire.encode(report))
