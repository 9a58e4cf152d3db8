"""This module is the intake: a submission becomes stored tasks, whole or not at all, and only once."""

from __future__ import annotations

import hashlib
import json
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from compute_nb.service import registry, user_endpoints
from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.rows import Conflict, Forbidden, NotFound, SubmitReply
from compute_nb.service.statements import WAITING
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import Run, Submission, TaskCall

REPEAT_WINDOW_S = 60.0


class _Terms(NamedTuple):
    """What all tasks of a submission share, as numbers of rows."""

    group: int
    endpoint: int
    functions: dict[UUID, int]
    options: int
    retries: int


class Intake:
    """Takes submissions; store thread only.

    Args:
        dispatcher: Hears what there is to send.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        # The highest task number in use, once it has been read; drawn here, so that rows can be made first.
        self._last: int | None = None

    def submit(
        self, tx: Transaction, owner: UUID, submission: Submission, digest: bytes | None
    ) -> SubmitReply:
        """Stores the tasks of a submission.

        Raises:
            NotFound: Endpoint or function are unknown.
            Forbidden: Endpoint, function or task group are somebody else's, or the endpoint does not take
                the function.
            Conflict: An id is known with other content.
        """
        if digest is not None and (reply := _repeated(tx, owner, digest)) is not None:
            return reply
        endpoint, published = _endpoint(tx, owner, submission.endpoint_id)
        functions = _functions(tx, owner, submission)
        _check_allowed(tx, endpoint, submission)
        group = self._group(tx, owner, submission, endpoint)
        if published:
            endpoint = user_endpoints.resolve(tx, endpoint, owner, submission)
        terms = _Terms(group, endpoint, functions, _options(tx, submission), submission.retries)
        new = not self._is_repeat(tx, submission, terms)
        hold = self._hold(tx, terms, submission, new)
        if new and submission.tasks:
            self._add(tx, submission, terms, hold)
        task_ids = tuple(task.task_id for task in submission.tasks)
        reply = SubmitReply(submission.task_group_id, submission.endpoint_id, task_ids, new)
        if digest is not None:
            tx.run("add_submit", digest, owner.bytes, _reply_out(reply), tx.now)
        return reply

    def _group(self, tx: Transaction, owner: UUID, submission: Submission, endpoint: int) -> int:
        group_id = submission.task_group_id
        row = tx.one("group_access", group_id.bytes)
        if row is None:
            return tx.insert("add_group", group_id.bytes, owner.bytes, endpoint, tx.now, tx.expires)
        number, group_owner = row
        if group_owner != owner.bytes:
            raise Forbidden(f"task group {group_id} is somebody else's: submit to one of your own")
        return int(number)

    def _hold(self, tx: Transaction, terms: _Terms, submission: Submission, new: bool) -> int:
        """Returns the hold of new tasks, 0 for none; releases the group's hold if asked to."""
        row = tx.one("hold", terms.group)
        if not submission.hold:
            if row is not None:
                self._release(tx, terms.group, row[0])
            return 0
        if not new:
            return 0
        hold = row[0] if row is not None else tx.insert("add_hold", terms.group, tx.now)
        tx.run("note_hold", hold, terms.endpoint)
        return int(hold)

    def _release(self, tx: Transaction, group: int, hold: int) -> None:
        for (endpoint,) in tx.all("endpoints_of_hold", hold):
            self._dispatcher.wait(tx, endpoint, group, hold)
        tx.run("drop_hold", hold)
        tx.run("drop_hold_endpoints", hold)

    @staticmethod
    def _is_repeat(tx: Transaction, submission: Submission, terms: _Terms) -> bool:
        """True if these very tasks are stored.

        Raises:
            Conflict: The first id is known, and not all is the same.
        """
        tasks = submission.tasks
        if not tasks or tx.one("task_known", tasks[0].task_id.bytes) is None:
            return False
        stored = {row[0]: row[1:] for row in tx.by_ids("contents", [t.task_id.bytes for t in tasks])}
        for task in tasks:
            fixed = (terms.group, terms.endpoint, terms.functions[task.function_id])
            content = (*fixed, terms.options, terms.retries, task.args)
            if stored.get(task.task_id.bytes) != content:
                raise _conflict(task.task_id)
        return True

    def _add(self, tx: Transaction, submission: Submission, terms: _Terms, hold: int) -> None:
        tasks, dispatcher = submission.tasks, self._dispatcher
        first = self._next_number(tx)
        at_once = not hold and dispatcher.can_send(
            terms.endpoint, len(tasks), sum(len(task.args) for task in tasks), tx.now
        )
        shared = (hold, terms.retries, tx.now, tx.expires)
        sent_at = tx.now if at_once else None
        to = (terms.group, terms.endpoint)
        rows = [
            (number, t.task_id.bytes, sent_at, *to, terms.functions[t.function_id], terms.options, *shared)
            for number, t in enumerate(tasks, first)
        ]
        try:
            tx.many("add_task", rows)
        except tx.duplicate as error:
            raise Conflict(
                f"a task id of this submit to task group {submission.task_group_id} is in use already: "
                "nothing was stored, submit again with new ids"
            ) from error
        tx.many("add_payload", [(number, t.args) for number, t in enumerate(tasks, first)])
        tx.count(WAITING, len(tasks))
        tx.on_rollback(self._forget)
        self._last = first + len(tasks) - 1
        if not at_once:
            if not hold:
                dispatcher.wait(tx, terms.endpoint, terms.group, 0)
            return
        numbered = enumerate(tasks, first)
        for function_id, same in groupby(numbered, key=lambda pair: pair[1].function_id):
            key = (terms.group, terms.functions[function_id], terms.options)
            calls = [(number, TaskCall(Run(t.task_id, 0), t.args)) for number, t in same]
            dispatcher.send(tx, terms.endpoint, key, calls)

    def draw_number(self, tx: Transaction) -> int:
        """Takes the next task number, for a task that is stored at once."""
        number = self._next_number(tx)
        tx.on_rollback(self._forget)
        self._last = number
        return number

    def _next_number(self, tx: Transaction) -> int:
        if self._last is None:
            self._last = int(tx.one("last_task")[0])
        return self._last + 1

    def _forget(self) -> None:
        self._last = None


def answered(tx: Transaction, owner: UUID, digest: bytes, written: bool) -> None:
    """Notes whether the reply to a submit without ids could be written."""
    tx.run("answer_submit", 1 if written else 2, digest, owner.bytes)
    tx.run("forget_submits", tx.now - 2 * REPEAT_WINDOW_S)


def _repeated(tx: Transaction, owner: UUID, digest: bytes) -> SubmitReply | None:
    row = tx.one("repeated_submit", digest, owner.bytes, tx.now - REPEAT_WINDOW_S)
    if row is None:
        return None
    group_id, endpoint_id, task_ids = json.loads(row[0])
    ids = tuple(UUID(task_id) for task_id in task_ids)
    # Until this second reply is written too, a third request is a repeat as well.
    return SubmitReply(UUID(group_id), UUID(endpoint_id), ids, False)


def _reply_out(reply: SubmitReply) -> str:
    task_ids = [str(task_id) for task_id in reply.task_ids]
    return json.dumps([str(reply.task_group_id), str(reply.endpoint_id), task_ids])


def _endpoint(tx: Transaction, owner: UUID, endpoint_id: UUID) -> tuple[int, bool]:
    """Returns the number of an endpoint, and True if a published agent serves it."""
    row = tx.one("endpoint_access", endpoint_id.bytes)
    if row is None or row[4] == "user":
        raise NotFound(
            f"endpoint {endpoint_id} is not known here: `compute-nb endpoint list` shows those that are"
        )
    number, endpoint_owner, public, _, kind = row
    if endpoint_owner != owner.bytes and not public:
        raise Forbidden(
            f"endpoint {endpoint_id} is somebody else's and not public: tasks run as its owner, ask for it"
        )
    return int(number), kind == "published"


def _functions(tx: Transaction, owner: UUID, submission: Submission) -> dict[UUID, int]:
    numbers: dict[UUID, int] = {}
    for function_id in {task.function_id for task in submission.tasks}:
        row = tx.one("function_access", function_id.bytes)
        if row is None:
            raise NotFound(f"function {function_id} is not known here: register it again")
        number, function_owner, public, group = row
        if not registry.may_use(tx, owner, function_owner, public, group):
            raise Forbidden(
                f"function {function_id} is somebody else's, neither public nor for a group of yours"
            )
        numbers[function_id] = number
    return numbers


def _check_allowed(tx: Transaction, endpoint: int, submission: Submission) -> None:
    (text,) = tx.one("allowed_functions", endpoint)
    allowed = None if text is None else set(json.loads(text))
    for task in submission.tasks if allowed else ():
        if str(task.function_id) not in (allowed or ()):
            raise Forbidden(
                f"Function {task.function_id} not permitted on endpoint {submission.endpoint_id}: "
                "get_allowed_functions lists those that are"
            )


def _options(tx: Transaction, submission: Submission) -> int:
    body = json.dumps(dict(submission.options), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(body.encode()).digest()
    row = tx.one("options", digest)
    if row is not None:
        return int(row[0])
    return tx.insert("add_options", digest, body)


def _conflict(task_id: UUID) -> Conflict:
    return Conflict(
        f"task {task_id} is known with another content: nothing was stored, submit again with new ids"
    )
