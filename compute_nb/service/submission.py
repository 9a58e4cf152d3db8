"""This module is the reading of a submit: a body to the `Submission` that the store takes, and the reply."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4, uuid5

from compute_nb.service.body import Body, as_uuid
from compute_nb.service.config import MAX_REQUEST_TASKS
from compute_nb.service.refusal import bad_request, too_large
from compute_nb.tasks import MAX_RETRIES, Submission, TaskSpec, new_id, new_ids


def read_submission(endpoint_id: UUID, body: Body, *, plain: bool = False) -> Submission:
    """Returns what a submit asks for.

    Args:
        plain: True passes over our own key, as a service without extensions does.

    Raises:
        Refusal: A field is missing or of another type, or there are too many tasks.
    """
    ours = Body({}) if plain else body.inner("compute_nb")
    payloads = _payloads(body.take("tasks", dict))
    client_ids = "task_ids" in ours
    ids = _client_ids(ours, body) if client_ids else new_ids(len(payloads))
    hold = ours.take("hold", bool, False)
    _check_tasks(payloads, body, held_group="task_group_id" in body and "hold" in ours)
    return Submission(
        endpoint_id=endpoint_id,
        task_group_id=body.uuid_or_none("task_group_id") or new_id(),
        tasks=tuple(
            TaskSpec(task_id, function_id, args)
            for task_id, (function_id, args) in zip(ids, payloads, strict=True)
        ),
        options=_options(body, ours),
        retries=_retries(ours),
        hold=hold,
        client_ids=client_ids,
        create_queue=body.take("create_queue", bool, False),
        user_runtime=body.take("user_runtime", dict, {}),
    )


def reply(submission: Submission, task_group_id: UUID, task_ids: Sequence[UUID]) -> dict[str, Any]:
    """Returns the published answer to a submit: ids by function, in the order of its payloads.

    The same one each time, so that who repeats a request can't tell it from the first.
    """
    tasks: dict[UUID, list[str]] = {}
    for spec, task_id in zip(submission.tasks, task_ids, strict=True):
        tasks.setdefault(spec.function_id, []).append(str(task_id))
    return {
        "tasks": {str(function_id): ids for function_id, ids in tasks.items()},
        "task_group_id": str(task_group_id),
        "request_id": str(uuid5(task_group_id, str(task_ids[0])) if task_ids else uuid4()),
        "endpoint_id": str(submission.endpoint_id),
    }


def _payloads(tasks: Mapping[str, Any]) -> list[tuple[UUID, str]]:
    pairs = []
    for key, payloads in tasks.items():
        function_id = as_uuid(key, "a key of 'tasks'")
        if str(function_id) != key:
            raise bad_request(f"a key of 'tasks' must be a UUID in lower case with dashes, not {key!r}")
        pairs += [(function_id, text) for text in _texts(payloads, key)]
    return pairs


def _texts(payloads: object, key: str) -> list[str]:
    if isinstance(payloads, list) and all(isinstance(text, str) for text in payloads):
        return payloads
    raise bad_request(f"'tasks' of function {key} must be a list of texts")


def _client_ids(ours: Body, body: Body) -> list[UUID]:
    """Returns the client's ids in the order of the payloads."""
    given, tasks = ours.take("task_ids", dict), body.take("tasks", dict)
    _same_shape(given, tasks)
    ids = [as_uuid(text, "each of 'task_ids'") for key in tasks for text in given[key]]
    if len(set(ids)) != len(ids):
        raise bad_request("a task id stands twice in 'task_ids'")
    if _NIL in ids:
        raise bad_request("'task_ids' has the nil UUID, which names nothing")
    return ids


def _same_shape(given: Mapping[str, Any], tasks: Mapping[str, Any]) -> None:
    if _counts(given.items()) != _counts(tasks.items()):
        raise bad_request("'task_ids' must have the same functions and counts as 'tasks'")


def _counts(items: Iterable[tuple[str, Any]]) -> dict[str, int]:
    return {key: len(values) if isinstance(values, list) else -1 for key, values in items}


def _check_tasks(payloads: Sequence[object], body: Body, held_group: bool) -> None:
    if len(payloads) > MAX_REQUEST_TASKS:
        raise too_large(
            f"{len(payloads):,} tasks in one request, {MAX_REQUEST_TASKS:,} are allowed: submit in parts"
        )
    if not payloads and not held_group:
        raise bad_request("no tasks: only a group on hold may be submitted to without any, to release it")


def _options(body: Body, ours: Body) -> dict[str, Any]:
    """Returns what travels to the agent unread, checked for its type."""
    for name, kind in _OPTIONS:
        if name in body:
            body.take(name, kind)
    if "walltime_s" in ours:
        _check_walltime(ours.given("walltime_s").get("walltime_s"))
    if "context" in ours:
        _check_context(ours.inner("context"))
    return body.given(*(name for name, _ in _OPTIONS)) | ours.given("walltime_s", "context")


def _check_walltime(value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:  # type: ignore[operator]
        raise bad_request(f"'compute_nb.walltime_s' must be a number of seconds above 0, not {value}")


def _check_context(context: Body) -> None:
    context.take("cwd", str, "")
    entries = context.take("sys_path", list, [])
    if not all(isinstance(entry, str) for entry in entries):
        raise bad_request("'compute_nb.context.sys_path' must be a list of texts")


_NIL = UUID(int=0)
_OPTIONS: tuple[tuple[str, type], ...] = (
    ("result_serializers", list),
    ("resource_specification", dict),
    ("user_endpoint_config", dict),
)


def _retries(ours: Body) -> int:
    retries = ours.take("retries", int, 0)
    if not 0 <= retries <= MAX_RETRIES:
        raise bad_request(f"'retries' must be between 0 and {MAX_RETRIES}, not {retries}")
    return retries
