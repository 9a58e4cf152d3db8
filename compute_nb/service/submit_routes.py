"""This module is the route on which tasks come in."""

from __future__ import annotations

import hashlib
import logging

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from compute_nb import logline
from compute_nb.service import body
from compute_nb.service.gate import Caller
from compute_nb.service.parts import Parts
from compute_nb.service.refusal import Refusal
from compute_nb.service.store import StoreUnusable
from compute_nb.service.submission import read_submission, reply
from compute_nb.tasks import Submission

_log = logging.getLogger(__name__)


class Submits:
    """The route on which tasks come in."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._plain = bool(parts.config.plain)
        self._limits = parts.limits
        self._broker = parts.broker
        self._publisher = parts.publisher
        self._supervisor = parts.supervisor
        self._steward = parts.steward

    async def submit(self, request: Request, caller: Caller) -> Response:
        """Accepts tasks: committed, on their way to the agent, on disk, and only then answered."""
        endpoint_id = body.as_uuid(request.path_params["endpoint_id"], "the endpoint")
        raw = await body.read_bytes(request)
        submission = read_submission(endpoint_id, body.parse(raw), plain=self._plain)
        digest = None
        if not submission.client_ids:
            digest = hashlib.sha256(endpoint_id.bytes + raw).digest()
        await self._limits.tasks(caller.user, len(submission.tasks))
        accepted = await self._store.submit(caller.user, submission, digest=digest)
        self._accepted(submission, caller)
        try:
            await self._store.synced()
        except StoreUnusable as error:
            # Committed: a status that clients repeat would make published ones submit twice.
            raise Refusal(507, "STORE_FAILED", str(error)) from error
        if submission.create_queue:
            # The published SDK reads the group's queue at once. Where the broker is away, it tries again.
            await self._broker.settled()
        logline.told(
            _log,
            "accepted" if accepted.new else "accepted before",
            accepted.task_ids,
            task_group_id=accepted.task_group_id,
            endpoint_id=endpoint_id,
        )
        response = JSONResponse(reply(submission, accepted.task_group_id, accepted.task_ids))
        if digest is not None:
            written = not await request.is_disconnected()
            response.background = BackgroundTask(self._store.answered, caller.user, digest, written)
        return response

    def _accepted(self, submission: Submission, caller: Caller) -> None:
        self._publisher.accepted(caller.user, submission.task_group_id, submission.endpoint_id)
        if submission.create_queue:
            self._publisher.open_group_queue(caller.user, submission.task_group_id)
        self._supervisor.need(submission.endpoint_id)
        self._steward.need(submission.endpoint_id)
