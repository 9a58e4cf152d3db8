"""This module is the published dialect: a user endpoint's link, as the conversation of an agent knows it.

It stands between a link and a `Conversation` and translates. A service without our extensions sends single
tasks and takes single results; to the conversation it looks like one that says welcome, sends batches, and
says which results are stored: those that its broker has confirmed. So the journal, a full disk and an orderly
end are the same for both.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol
from uuid import UUID

from compute_nb import wire
from compute_nb.amqp import Incoming, LinkPlan
from compute_nb.endpoint.conversation import Conversation, Wire
from compute_nb.endpoint.registration import Address
from compute_nb.errors import ServiceUnreachable
from compute_nb.published_messages import PublishedResult, PublishedTask, StatusReport
from compute_nb.tasks import (
    Dispatch,
    ErrorCode,
    Hello,
    Outcome,
    Report,
    Run,
    RunResult,
    TaskBatch,
    TaskCall,
)

_log = logging.getLogger(__name__)


class Line(Wire, Protocol):
    """The part of `compute_nb.amqp.Link` that this uses."""

    def stop(self, timeout_s: float | None = 5.0) -> bool:
        """Ends the link."""


class Dialect:
    """The handler of a user endpoint's link, and the link of its conversation; belongs to the link's thread.

    Args:
        endpoint_id: Of the user endpoint.
        results: Where its results go.
        heartbeats: Where its heartbeats go.
        began_at: When it began, in seconds since the epoch; the same for as long as its journal lasts, so
            that a service knows this agent, started again, for the one that has its tasks.
        details: What each result tells of the workers.
    """

    def __init__(
        self,
        endpoint_id: UUID,
        results: Address,
        heartbeats: Address,
        began_at: float,
        details: Mapping[str, Any],
    ) -> None:
        self._id, self._results, self._heartbeats = endpoint_id, results, heartbeats
        self._began_at, self._details = began_at, details
        self._line: Line | None = None
        self._conversation: Conversation | None = None
        self._session: UUID | None = None
        self._numbers = 0
        self._reports: dict[int, int] = {}
        self._refused: set[int] = set()
        self._sent: dict[int, tuple[int, Run]] = {}

    def join(self, conversation: Conversation, line: Line) -> None:
        """Puts it between the two; called once, before the link runs."""
        self._conversation, self._line = conversation, line

    def end(self) -> None:
        """Says farewell and ends the link; after it the service sends a start command for the next task."""
        assert self._line is not None
        report = StatusReport(self._id, {"heartbeat_period": 0, "active": False})
        try:
            self._publish(self._heartbeats, report)
        except ServiceUnreachable:
            _log.debug("user endpoint %s ends unheard", self._id)
        self._line.stop(0)

    # hooks of the link

    def plan(self) -> LinkPlan:
        """Says where to read: there is one queue, that of its tasks."""
        plan = self._own.plan()
        return replace(plan, queues=plan.queues[:1])

    def on_open(self, link: Line) -> None:
        """The conversation says hello, which nobody but this hears."""
        self._reports.clear()
        self._refused.clear()
        self._sent.clear()
        self._own.on_open(self)

    def on_ready(self, link: Line) -> None:
        """A first heartbeat asks for tasks; then what an earlier agent has left may begin."""
        self._own.on_ready(self)
        self._hear(wire.Welcome(self._session or UUID(int=0), ()))

    def on_message(self, link: Line, message: Incoming) -> None:
        """A task came."""
        try:
            dispatch = self._dispatch(message)
        except (wire.MalformedMessage, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("a message in %s is set aside: %s: %s", message.queue, type(error).__name__, error)
            link.reject(message.tag)
            return
        self._own.on_message(self, replace(message, body=wire.encode(dispatch)))

    def on_confirm(self, link: Line, number: int, ok: bool) -> None:
        """The broker has a result, or not: once that is known for a whole report, the conversation hears."""
        if number not in self._sent:
            return
        report, run = self._sent.pop(number)
        self._reports[report] -= 1
        if ok:
            self._hear(wire.Stored((run,)))
        else:
            self._refused.add(report)
        if not self._reports[report]:
            del self._reports[report]
            self._own.on_confirm(self, report, report not in self._refused)
            self._refused.discard(report)

    def on_down(self, error: Exception) -> None:
        """The connection is gone."""
        self._own.on_down(error)

    def on_end(self, error: Exception | None) -> None:
        """The link is over."""
        self._own.on_end(error)

    # the link of the conversation

    def publish(
        self, exchange: str, routing_key: str, body: bytes, headers: Mapping[str, Any] | None = None
    ) -> int:
        """Sends what a published agent would send in the place of a message; returns a number of its own."""
        self._numbers += 1
        match wire.decode(body):
            case Hello() as hello:
                self._session = hello.session
                lost = [
                    RunResult(run, Outcome.DIED, reason, ErrorCode.LOST, None, None)
                    for run, reason in hello.broken
                ]
                self._send(tuple(lost))
            case Report() as report:
                self._send(report.results)
            case StatusReport() as status:
                state = {**status.global_state, "start_unix": self._began_at}
                self._publish(self._heartbeats, replace(status, global_state=state))
        return self._numbers

    def ack(self, tag: int, multiple: bool = False) -> None:
        """Acknowledges a task; what this has said itself has no tag."""
        if tag:
            self._below.ack(tag, multiple)

    def reject(self, tag: int) -> None:
        """Refuses a task for good."""
        if tag:
            self._below.reject(tag)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Has `call` run on the link's thread; from any thread."""
        self._below.call_soon(call)

    def call_later(self, seconds: float, call: Callable[[], None]) -> object:
        """Has `call` run on the link's thread later."""
        return self._below.call_later(seconds, call)

    # between

    @property
    def _own(self) -> Conversation:
        assert self._conversation is not None
        return self._conversation

    @property
    def _below(self) -> Line:
        assert self._line is not None
        return self._line

    def _hear(self, message: wire.Message) -> None:
        """Has the conversation hear what a service with our extensions would say."""
        self._own.on_message(self, Incoming("", wire.encode(message), 0))

    def _send(self, results: tuple[RunResult, ...]) -> None:
        report = self._numbers
        for result in results:
            number = self._publish(self._results, self._spelled(result))
            self._sent[number] = (report, result.run)
            self._reports[report] = self._reports.get(report, 0) + 1
        if not results:
            self._below.call_soon(lambda: self._own.on_confirm(self, report, True))

    def _spelled(self, result: RunResult) -> PublishedResult:
        error = None
        if result.outcome is not Outcome.SUCCESS:
            error = (result.error_code or ErrorCode.REMOTE, result.data)
        return PublishedResult(
            result.run.task_id, result.data, self._details, error, result.started_at, result.ended_at
        )

    def _publish(self, address: Address, message: wire.Message) -> int:
        return self._below.publish(address.exchange, address.routing_key, wire.encode(message))

    def _dispatch(self, message: Incoming) -> Dispatch:
        """Returns a published task as a batch of one; its group is the user endpoint."""
        task = wire.decode(message.body)
        if not isinstance(task, PublishedTask):
            raise wire.MalformedMessage(f"{type(task).__name__} is no task")
        headers = message.headers
        function_id, task_id = UUID(str(headers["function_uuid"])), UUID(str(headers["task_uuid"]))
        code, *args = wire.unpack_buffers(task.task_buffer)
        options: dict[str, Any] = {}
        if wanted := json.loads(headers.get("resource_specification") or "null"):
            options["resource_specification"] = wanted
        if serializers := headers.get("result_serializers"):
            options["result_serializers"] = [str(one) for one in serializers]
        call = TaskCall(Run(task_id, 0), wire.pack_buffers(args))
        batch = TaskBatch(self._id, function_id, options, (call,))
        return Dispatch(self._session or UUID(int=0), {function_id: wire.pack_buffers([code])}, (batch,))
