"""A small agent for tests: it speaks the real wire, runs tasks in place, and does as it is told."""

from __future__ import annotations

import platform
import threading
from uuid import UUID

from compute_nb import wire
from compute_nb.amqp import Link, LinkPlan
from compute_nb.client import Client
from compute_nb.serialize import ComputeSerializer
from compute_nb.tasks import (
    Dispatch,
    Hello,
    Outcome,
    Report,
    Run,
    RunResult,
    Started,
    TaskBatch,
    TaskCall,
    new_id,
)


class TinyAgent:
    """Registers, connects, and ends each task at once, or when `go` is set.

    Attributes:
        calls: Every run that was delivered, in order.
        batches: Every batch, with its options.
        cancelled: Every run that the service asked to end.
    """

    def __init__(self, client: Client, name: str = "tiny", **about: str) -> None:
        self._about = {"version": "0", "python": platform.python_version(), "workers": 1, "hostname": "here"}
        self._about |= about
        answer = client.register_endpoint(name, metadata={"compute_nb": {"version": 1}})
        self.endpoint_id = UUID(answer["endpoint_id"])
        self.url = answer["task_queue_info"]["connection_url"]
        self.calls: list[Run] = []
        self.batches: list[TaskBatch] = []
        self.cancelled: list[Run] = []
        self.arrived = threading.Semaphore(0)
        self.ready = threading.Event()
        self.was_told = threading.Event()
        self.holding = False
        self._held: list[tuple[TaskCall, str]] = []
        self._done: dict[Run, RunResult] = {}
        self._journal, self._boot = new_id(), new_id()
        self._session = new_id()
        self._functions: dict[UUID, str] = {}
        self._serializer = ComputeSerializer()
        self._link = Link(self, "tiny agent")
        self._link.start()
        assert self.ready.wait(60)

    def release(self) -> None:
        """Ends what is held."""
        self.holding = False
        self._link.call_soon(self._run_held)

    def send(self, *results: RunResult) -> None:
        """Reports results of the test's own."""
        self._link.call_soon(lambda: self._end(results))

    def send_raw(self, body: bytes) -> None:
        """Publishes any bytes as a report."""
        self._link.call_soon(lambda: self._link.publish("results", f"{self.endpoint_id}.results", body))

    def start(self, *runs: Run) -> None:
        """Reports runs as begun."""
        begun = tuple(Started(run, 1.0) for run in runs)
        self._link.call_soon(lambda: self._report(Report(self._session, running=begun)))

    def stop(self) -> None:
        """Disconnects."""
        self._link.stop()

    # -- the link's thread

    def plan(self) -> LinkPlan:
        return LinkPlan(self.url, (f"{self.endpoint_id}.tasks", f"{self.endpoint_id}.commands"))

    def on_open(self, link: Link) -> None:
        self._session = new_id()
        self._functions.clear()
        self._publish(
            Hello(
                self._session,
                self._journal,
                self._boot,
                self._about,
                held=tuple(call.run for call, _ in self._held),
                done=tuple(self._done),
            )
        )
        self._tell_done()

    def on_ready(self, link: Link) -> None: ...

    def on_message(self, link: Link, message) -> None:
        record = wire.decode(message.body)
        if isinstance(record, Dispatch) and record.session == self._session:
            self._functions.update(record.functions)
            for batch in record.batches:
                self._take(batch)
        elif isinstance(record, wire.Welcome):  # by now the service knows what it is
            self.ready.set()
        elif isinstance(record, wire.Stored):
            for run in record.runs:
                self._done.pop(run, None)
        elif isinstance(record, wire.Cancel):
            self.cancelled += record.runs
            self._held = [held for held in self._held if held[0].run not in record.runs]
            self.was_told.set()
        link.ack(message.tag)

    def on_confirm(self, link: Link, number: int, ok: bool) -> None: ...

    def on_down(self, error: Exception) -> None: ...

    def on_end(self, error: Exception | None) -> None: ...

    def _take(self, batch: TaskBatch) -> None:
        self.batches.append(batch)
        for call in batch.tasks:
            self.calls.append(call.run)
            self._held.append((call, self._functions[batch.function_id]))
            self.arrived.release()
        if not self.holding:
            self._run_held()

    def _run_held(self) -> None:
        held, self._held = self._held, []
        self._end(tuple(self._run(call, code) for call, code in held))

    def _end(self, results: tuple[RunResult, ...]) -> None:
        """Keeps results until the service has them, as an agent must."""
        self._done |= {result.run: result for result in results}
        if results and self._link.is_open:
            self._report(Report(self._session, results=results))

    def _tell_done(self) -> None:
        if self._done:
            self._report(Report(self._session, results=tuple(self._done.values())))

    def _run(self, call: TaskCall, code: str) -> RunResult:
        try:
            fn, args, kwargs = self._serializer.unpack_and_deserialize(code + call.args)
            data = self._serializer.serialize(fn(*args, **kwargs))
            return RunResult(call.run, Outcome.SUCCESS, data, None, 1.0, 2.0)
        except Exception as error:
            text = f"Traceback: {error!r}"
            return RunResult(call.run, Outcome.ERROR, text, "RemoteExecutionError", 1.0, 2.0)

    def _report(self, report: Report) -> None:
        self._publish(report)

    def _publish(self, message) -> None:
        self._link.publish("results", f"{self.endpoint_id}.results", wire.encode(message))
