"""This module is the verdict on a task that has left a pool: how it has ended for its owner."""

from __future__ import annotations

from dataclasses import dataclass

from compute_nb.endpoint.engine import Capabilities
from compute_nb.endpoint.engines.death import death, gone
from compute_nb.endpoint.engines.end import CANCELLED, End, failed, out_of_time
from compute_nb.endpoint.engines.flights import Flight
from compute_nb.endpoint.engines.pool import WorkerLost
from compute_nb.endpoint.runner import answer as kinds
from compute_nb.endpoint.runner.answer import Answer
from compute_nb.errors import ComputeError
from compute_nb.tasks import ErrorCode, Outcome


@dataclass(frozen=True, slots=True)
class Verdict:
    """Says how tasks of one engine ended.

    Attributes:
        capabilities: Of its pool.
        memory_bytes: The memory limit of a worker; None if there is none.
    """

    capabilities: Capabilities
    memory_bytes: int | None

    def on_answer(self, flight: Flight, answer: Answer) -> End:
        """Returns how a task ended whose worker, or the worker's keeper, has answered."""
        match answer.kind:
            case kinds.SUCCESS:
                return End(Outcome.SUCCESS, answer.data, None)
            case kinds.DIED:
                worker, is_shared = f"pid {answer.pid} on {answer.host}", self.capabilities.shares_process
                limit = self.memory_bytes
                return death(worker, answer.code, answer.data, is_shared=is_shared, memory_bytes=limit)
            case kinds.CANCELLED:
                return CANCELLED
            case kinds.WALLTIME:
                return out_of_time(flight.call.options.get("walltime_s") or 0.0)
            case kinds.NO_WORKER:
                return failed(
                    f"no worker could be started on {answer.host} with {answer.data}. The task has not "
                    "begun; give the endpoint a Python 3.8 or newer that works there (its option `python`)"
                )
        return flight.doom or End(Outcome.ERROR, answer.data, answer.code or ErrorCode.REMOTE)

    def on_error(self, flight: Flight, error: BaseException | None) -> End:
        """Returns how a task ended that has no answer; no error either: its future was cancelled."""
        if flight.doom is not None:
            return flight.doom
        if error is None:
            return gone("the task was given up by what ran it")
        if isinstance(error, ComputeError):
            return failed(str(error))
        if isinstance(error, WorkerLost):
            return gone(str(error))
        name = self.capabilities.name
        return failed(f"the engine {name} could not run this task: {type(error).__name__}: {error}")
