"""How tasks ended that left a pool, as their owners are told."""

from uuid import UUID

import pytest

from compute_nb.endpoint.engine import Capabilities, EngineBatch, EngineTask
from compute_nb.endpoint.engines.end import CANCELLED
from compute_nb.endpoint.engines.flights import Chunk, Flight
from compute_nb.endpoint.engines.pool import WorkerLost
from compute_nb.endpoint.engines.verdict import Verdict
from compute_nb.endpoint.runner import answer as kinds
from compute_nb.endpoint.runner.answer import Answer, Call
from compute_nb.errors import ComputeError
from compute_nb.tasks import ErrorCode, Outcome, Run

VERDICT = Verdict(Capabilities("parsl"), None)


def flown(doom=None):
    task = EngineTask(7, Run(UUID(int=7), 1), "args")
    batch = EngineBatch(UUID(int=1), UUID(int=2), "code", {"walltime_s": 1.5}, (task,))
    call = Call(str(UUID(int=7)), batch.function_id.hex, batch.code, task.args, batch.options, 0)
    return Flight(Chunk(batch, 1, []), task, call, 0, doom=doom)


def answer(kind, data="", code=None):
    return Answer(kind, data, code, 1.0, 2.0, 42, "node7")


@pytest.mark.parametrize(
    ("given", "outcome", "code", "said"),
    [
        (answer(kinds.SUCCESS, "value"), Outcome.SUCCESS, None, "value"),
        (answer(kinds.ERROR, "trace"), Outcome.ERROR, ErrorCode.REMOTE, "trace"),
        (answer(kinds.CANCELLED), Outcome.CANCELLED, ErrorCode.CANCELLED, "was cancelled"),
        (answer(kinds.WALLTIME), Outcome.ERROR, ErrorCode.WALLTIME, "walltime of 1.5 s"),
        (answer(kinds.DIED, "", -9), Outcome.DIED, ErrorCode.WORKER_DIED, "pid 42 on node7"),
        (answer(kinds.NO_WORKER, "python2"), Outcome.ERROR, ErrorCode.REMOTE, "on node7 with python2"),
    ],
)
def test_an_answer_tells_how_it_ended(given, outcome, code, said):
    end = VERDICT.on_answer(flown(), given)
    assert (end.outcome, end.error_code) == (outcome, code)
    assert said in end.data


@pytest.mark.parametrize(
    ("error", "outcome", "said"),
    [
        (None, Outcome.DIED, "given up by what ran it"),
        (ComputeError("too large"), Outcome.ERROR, "too large"),
        (WorkerLost("node7 is gone"), Outcome.DIED, "node7 is gone"),
        (OSError("boom"), Outcome.ERROR, "engine parsl could not run this task: OSError: boom"),
    ],
)
def test_without_an_answer_the_cause_is_told_but_for_one_that_somebody_ended(error, outcome, said):
    end = VERDICT.on_error(flown(), error)
    assert end.outcome is outcome
    assert said in end.data
    assert VERDICT.on_error(flown(CANCELLED), error) == CANCELLED


def test_what_was_computed_before_it_could_be_ended_is_kept():
    ended = flown(CANCELLED)
    assert VERDICT.on_answer(ended, answer(kinds.SUCCESS, "value")).outcome is Outcome.SUCCESS
    assert VERDICT.on_answer(ended, answer(kinds.ERROR, "KeyboardInterrupt")) == CANCELLED
