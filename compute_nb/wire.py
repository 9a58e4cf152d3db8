"""This module is the spelling of messages: records of `compute_nb.tasks` to bytes and back.

The envelope and the published types follow globus-compute-common 1.0 byte for byte; the types named
`compute_nb.*` are described in docs/extensions.md. Text buffers (length, newline, text) are packed here
too, since the service must build them without knowing any serialization strategy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from compute_nb import published_messages
from compute_nb.errors import ComputeError
from compute_nb.published_messages import PublishedResult, PublishedTask, StatusReport, as_text
from compute_nb.tasks import (
    Broken,
    Dispatch,
    Events,
    Hello,
    Move,
    Outcome,
    Printed,
    Report,
    Run,
    RunResult,
    Started,
    TaskBatch,
    TaskCall,
    TaskResult,
    TaskState,
)

VERSION_BYTE = b"\x01"


class MalformedMessage(ComputeError):
    """Bytes that are no message of this protocol, or a message with a field missing."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The service's answer to a hello: runs that the agent is to forget."""

    session: UUID
    drop: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """Results that the service has on disk, so that the agent may forget them."""

    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Runs that are to end now."""

    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """The agent is to kill its workers and end."""


Message = (
    Hello
    | Welcome
    | Dispatch
    | Report
    | Stored
    | Cancel
    | Stop
    | Events
    | StatusReport
    | PublishedTask
    | PublishedResult
)

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(message: Message) -> bytes:
    """Returns the bytes of a message."""
    name, to_data, _ = _BY_CLASS[type(message)]
    text = _dumps({"message_type": name, "data": to_data(message)})
    # Text printed by a task may hold lone surrogates: they must not stop a whole message.
    return VERSION_BYTE + text.encode("utf-8", "surrogatepass")


def decode(body: bytes) -> Message:
    """Returns the message in `body`.

    Raises:
        MalformedMessage: Empty, another version byte, no JSON, an unknown type, or a field missing.
    """
    if body[:1] != VERSION_BYTE:
        raise MalformedMessage(f"a message starts with byte 0x01, this one with {body[:8]!r}")
    try:
        envelope = json.loads(body[1:])
        _, _, from_data = _BY_NAME[envelope["message_type"]]
        return from_data(envelope["data"])  # type: ignore[no-any-return]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise MalformedMessage(
            f"message of {len(body)} bytes starting {body[:60]!r} can't be read: "
            f"{type(error).__name__}: {error}"
        ) from error


def pack_buffers(buffers: Iterable[str]) -> str:
    """Joins buffers to one text: for each its length in characters, a newline, the buffer."""
    return "".join(f"{len(buffer)}\n{buffer}" for buffer in buffers)


def unpack_buffers(packed: str) -> list[str]:
    """Splits a packed text into its buffers.

    Raises:
        MalformedMessage: A length is missing, no number, or larger than what is left.
    """
    buffers, start = [], 0
    while start < len(packed):
        newline = packed.find("\n", start)
        digits = packed[start:newline] if newline >= 0 else ""
        if not (digits.isascii() and digits.isdigit()):
            raise MalformedMessage(f"no buffer length at character {start} of a packed text")
        end = newline + 1 + int(digits)
        if end > len(packed):
            raise MalformedMessage(
                f"the buffer at character {start} says {digits} characters, "
                f"{len(packed) - newline - 1} are left"
            )
        buffers.append(packed[newline + 1 : end])
        start = end
    return buffers


def _runs_out(runs: Iterable[Run]) -> list[list[Any]]:
    return [[str(run.task_id), run.attempt] for run in runs]


def _runs_in(rows: Iterable[list[Any]]) -> tuple[Run, ...]:
    return tuple(Run(UUID(task_id), int(attempt)) for task_id, attempt in rows)


def _hello_out(hello: Hello) -> dict[str, Any]:
    return {
        "session": str(hello.session),
        "journal_id": str(hello.journal_id),
        "boot_id": str(hello.boot_id),
        "agent": dict(hello.agent),
        "held": _runs_out(hello.held),
        "running": _runs_out(hello.running),
        "done": _runs_out(hello.done),
        "broken": [[str(b.run.task_id), b.run.attempt, b.reason] for b in hello.broken],
    }


def _hello_in(data: dict[str, Any]) -> Hello:
    return Hello(
        session=UUID(data["session"]),
        journal_id=UUID(data["journal_id"]),
        boot_id=UUID(data["boot_id"]),
        agent=dict(data["agent"]),
        held=_runs_in(data["held"]),
        running=_runs_in(data["running"]),
        done=_runs_in(data["done"]),
        broken=tuple(Broken(Run(UUID(i), int(a)), str(why)) for i, a, why in data["broken"]),
    )


def _welcome_out(welcome: Welcome) -> dict[str, Any]:
    return {"session": str(welcome.session), "drop": _runs_out(welcome.drop)}


def _welcome_in(data: dict[str, Any]) -> Welcome:
    return Welcome(UUID(data["session"]), _runs_in(data["drop"]))


def _dispatch_out(dispatch: Dispatch) -> dict[str, Any]:
    return {
        "session": str(dispatch.session),
        "functions": {str(function_id): code for function_id, code in dispatch.functions.items()},
        "batches": [
            {
                "task_group_id": str(batch.task_group_id),
                "function_id": str(batch.function_id),
                "options": dict(batch.options),
                "tasks": [[str(c.run.task_id), c.run.attempt, c.args] for c in batch.tasks],
                **({"owner": batch.owner} if batch.owner else {}),
            }
            for batch in dispatch.batches
        ],
    }


def _dispatch_in(data: dict[str, Any]) -> Dispatch:
    return Dispatch(
        session=UUID(data["session"]),
        functions={UUID(function_id): str(code) for function_id, code in data["functions"].items()},
        batches=tuple(
            TaskBatch(
                task_group_id=UUID(batch["task_group_id"]),
                function_id=UUID(batch["function_id"]),
                options=dict(batch["options"]),
                tasks=tuple(
                    TaskCall(Run(UUID(task_id), int(attempt)), args)
                    for task_id, attempt, args in batch["tasks"]
                ),
                owner=str(batch.get("owner") or ""),
            )
            for batch in data["batches"]
        ),
    )


def _report_out(report: Report) -> dict[str, Any]:
    return {
        "session": str(report.session),
        "held": _runs_out(report.held),
        "running": [[str(s.run.task_id), s.run.attempt, s.started_at] for s in report.running],
        "results": [
            [
                str(r.run.task_id),
                r.run.attempt,
                r.outcome.value,
                r.data,
                r.error_code,
                r.started_at,
                r.ended_at,
            ]
            for r in report.results
        ],
        "returned": _runs_out(report.returned),
        **_printed_out(report.printed),
    }


def _report_in(data: dict[str, Any]) -> Report:
    return Report(
        session=UUID(data["session"]),
        held=_runs_in(data["held"]),
        running=tuple(Started(Run(UUID(i), int(a)), float(at)) for i, a, at in data["running"]),
        results=tuple(
            RunResult(Run(UUID(i), int(a)), _OUTCOMES[outcome], as_text(text), code, begun, ended)
            for i, a, outcome, text, code, begun, ended in data["results"]
        ),
        returned=_runs_in(data["returned"]),
        printed=_printed_in(data),
    )


def _printed_out(printed: Iterable[Printed]) -> dict[str, Any]:
    rows = [[str(p.run.task_id), str(p.task_group_id), p.run.attempt, p.start, p.text] for p in printed]
    return {"printed": rows} if rows else {}


def _printed_in(data: dict[str, Any]) -> tuple[Printed, ...]:
    return tuple(
        Printed(Run(UUID(i), int(attempt)), UUID(g), int(start), as_text(text))
        for i, g, attempt, start, text in data.get("printed", ())
    )


_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_STATES = {state.value: state for state in TaskState}


def _stored_in(data: dict[str, Any]) -> Stored:
    return Stored(_runs_in(data["tasks"]))


def _cancel_in(data: dict[str, Any]) -> Cancel:
    return Cancel(_runs_in(data["tasks"]))


def _tasks_out(message: Stored | Cancel) -> dict[str, Any]:
    return {"tasks": _runs_out(message.runs)}


def _events_out(events: Events) -> dict[str, Any]:
    rare: dict[str, Any] = {}
    if events.presence:
        rare["presence"] = {str(k): v for k, v in events.presence.items()}
    if events.fetch:
        rare["fetch"] = [str(task_id) for task_id in events.fetch]
    rare.update(_printed_out(events.printed))
    return {
        "moves": [
            [str(m.task_id), str(m.task_group_id), m.state.value, m.attempt, m.at] for m in events.moves
        ],
        "results": [[str(r.task_id), str(r.task_group_id), r.state.value, *r[3:9]] for r in events.results],
        "environments": {str(k): dict(v) for k, v in events.environments.items()},
        **rare,
    }


def _events_in(data: dict[str, Any]) -> Events:
    return Events(
        moves=tuple(
            Move(UUID(i), UUID(g), _STATES[state], int(attempt), float(at))
            for i, g, state, attempt, at in data["moves"]
        ),
        results=tuple(
            TaskResult(UUID(i), UUID(g), _STATES[state], as_text(text), code, attempt, sub, begun, ended)
            for i, g, state, text, code, attempt, sub, begun, ended in data["results"]
        ),
        environments={UUID(k): dict(v) for k, v in data["environments"].items()},
        presence={UUID(k): bool(v) for k, v in data.get("presence", {}).items()},
        fetch=tuple(UUID(task_id) for task_id in data.get("fetch", ())),
        printed=_printed_in(data),
    )


_TYPES: tuple[tuple[type, str, Any, Any], ...] = (
    (Hello, "compute_nb.hello", _hello_out, _hello_in),
    (Welcome, "compute_nb.welcome", _welcome_out, _welcome_in),
    (Dispatch, "compute_nb.tasks", _dispatch_out, _dispatch_in),
    (Report, "compute_nb.report", _report_out, _report_in),
    (Stored, "compute_nb.stored", _tasks_out, _stored_in),
    (Cancel, "compute_nb.cancel", _tasks_out, _cancel_in),
    (Stop, "compute_nb.stop", lambda _: {}, lambda _: Stop()),
    (Events, "compute_nb.events", _events_out, _events_in),
    *published_messages.TYPES,
)
_BY_CLASS = {cls: (name, out, in_) for cls, name, out, in_ in _TYPES}
_BY_NAME = {name: (name, out, in_) for _, name, out, in_ in _TYPES}
