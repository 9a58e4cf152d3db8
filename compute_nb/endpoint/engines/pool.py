"""This module is the contract of a pool: what runs calls for the pool engine (threads, Parsl, Dask, MPI)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from compute_nb.endpoint.engine import Capabilities, Resources
from compute_nb.endpoint.runner.answer import Answer, Call
from compute_nb.errors import ComputeError

MOST = 64  # calls in a chunk


class WorkerLost(Exception):
    """What ran a task is gone, and the task with it; the text says what is known."""


class NotBegun(Exception):
    """The task comes back from the pool: it has not begun there, and never will."""


class OutOfReach(Exception):
    """The task was to end, and may run on: what runs it can't be asked."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How large a pool is, and how busy.

    Attributes:
        workers: The most that it may have.
        alive: How many there are.
        busy: How many have a call; None if one each has, as far as they go.
        queued: Calls that it keeps and no worker runs; None if those are what is left over.
        resources: Of its workers, where those stand elsewhere; None if nobody has told.
        elsewhere: Whether its workers may stand on other machines.
    """

    workers: int
    alive: int
    busy: int | None = None
    queued: int | None = None
    resources: Resources | None = None
    elsewhere: bool = False


class Pool(Protocol):
    """What runs calls somewhere else. The engine calls all methods on its own thread.

    A future of it gives an `Answer`, or raises `WorkerLost`, `NotBegun`, `OutOfReach` or what else went
    wrong; it may be set on any thread.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    @property
    def window(self) -> int:
        """How many chunks it may have at a time; read once it is open."""

    @property
    def most(self) -> int:
        """How many calls may be in a chunk now, at most `MOST`."""

    def open(self) -> None:
        """Called before the first `submit`; may block.

        Raises:
            ComputeError: It can't be had; the text says what to do. It is tried again with later tasks.
        """

    def submit(self, chunks: Sequence[Sequence[Call]]) -> Sequence[Future[Answer]]:
        """Takes calls, and gives a future for each; that of one that can't be taken has a ComputeError.

        Args:
            chunks: Each has calls of one function with the same options, which may go together.

        Raises:
            ComputeError: None can be taken: they have not begun.
        """

    def cancel(self, call: Call) -> bool:
        """Ends a call that was taken; False if that can't be done here."""

    def running(self, futures: Sequence[Future[Answer]]) -> Sequence[Future[Answer]]:
        """Returns which of these have begun, as far as one can know; they come in the order of `submit`."""

    def figures(self) -> Figures:
        """Called now and then."""

    def close(self) -> None:
        """Called last, also if it is not open: ends all that runs and returns when nothing is left."""


def refused(error: ComputeError) -> Future[Answer]:
    """Returns the future of a call that was not taken."""
    future: Future[Answer] = Future()
    future.set_exception(error)
    return future


def oldest(futures: Sequence[Future[Answer]], alive: int) -> Sequence[Future[Answer]]:
    """Returns the futures that so many workers run if they take them in order."""
    return futures[:alive]


def begun(futures: Sequence[Future[Any]]) -> Sequence[Future[Any]]:
    """Returns the futures that say themselves that they run."""
    return [future for future in futures if future.running()]
