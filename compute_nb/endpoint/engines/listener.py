"""This module is the listener of the process engine: it gathers what running tasks print, now and then."""

from __future__ import annotations

from collections.abc import Sequence

from compute_nb.endpoint.engines.newsbox import NewsBox
from compute_nb.endpoint.engines.worker import LIVE_LOG_BYTES, Worker
from compute_nb.endpoint.timers import Timers
from compute_nb.tasks import Printed

LISTEN_S = 0.1
ROUND_CHARS = 65_536
LEAST_CHARS = 1_024
LAST_CHARS = 16_384


class Listener:
    """Looks at workers whose task runs for a while; belongs to the engine's thread.

    Nothing waits for it: what it does not come to read is written over in the worker's ring, or stays in
    its log, and counts as left out.

    Args:
        timers: Of the engine's loop.
        workers: The engine's workers; looked at in turn.
        news: Gets what was printed, once what it got before has been taken.
    """

    def __init__(self, timers: Timers, workers: Sequence[Worker], news: NewsBox) -> None:
        self._timers, self._workers, self._news = timers, workers, news
        self._is_set = False

    def wake(self) -> None:
        """A task runs for a while: listens as long as there is one."""
        if not self._is_set:
            self._is_set = True
            self._timers.later(0, self._round)

    def _round(self) -> None:
        talking = [worker for worker in self._workers if worker.chunks and worker.chunks[0].marked]
        self._is_set = bool(talking)
        if not talking:
            return
        if self._news.has_room:
            limit = max(LEAST_CHARS, ROUND_CHARS // len(talking))
            for worker in talking:
                self.hear(worker, limit)
        for worker in talking:  # also while nobody takes the news, or hears what stands in the log
            worker.bound_log(LIVE_LOG_BYTES)
        self._timers.later(LISTEN_S, self._round)

    def hear(self, worker: Worker, limit: int = LAST_CHARS) -> None:
        """Takes what the running task of a worker has printed since it was heard last."""
        chunk = worker.chunks[0]
        begun = worker.slot.begun(chunk.record)
        if not chunk.ended < begun <= len(chunk.tasks):
            return
        piece = worker.tail.news(chunk.serial, begun - 1, worker.slot.log_start(), limit)
        if piece is None or worker.slot.begun(chunk.record) != begun:  # it may be the next one's
            return
        self._news.printed(Printed(chunk.tasks[begun - 1].run, chunk.batch.task_group_id, *piece))
