"""This module is the flights of a pool engine: tasks that were handed over, until their ends are journalled.

What was handed over stands in the custody file, also when it has left the pool, so that after a kill one
knows what had begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from compute_nb.endpoint.custody import Custody
from compute_nb.endpoint.engine import EngineBatch, EngineTask
from compute_nb.endpoint.engines.end import End
from compute_nb.endpoint.runner.answer import Answer, Call


@dataclass(slots=True, eq=False)
class Chunk:
    """Tasks of a function that were handed over together; `left` of them are still there."""

    batch: EngineBatch
    left: int
    back: list[EngineTask]


@dataclass(slots=True, eq=False)
class Flight:
    """A task that was handed over.

    Attributes:
        place: In the custody file.
        future: Of the pool; None while that has not taken it.
        doom: How it is to end, once somebody has ended it.
        marked: Whether it was told to have begun.
        over: Whether it has ended for its owner; it may still run.
        last_news: The serial of the news that tell its end.
    """

    chunk: Chunk
    task: EngineTask
    call: Call
    place: int
    future: Future[Answer] | None = None
    doom: End | None = None
    marked: bool = False
    over: bool = False
    last_news: int = 0


class Flights:
    """All flights of an engine; they belong to its thread, but for `len` and `is_full`.

    Args:
        make_custody: Makes the file for so many tasks.

    Attributes:
        chunks: How many chunks the pool has.
    """

    def __init__(self, make_custody: Callable[[int], Custody]) -> None:
        self._make_custody = make_custody
        self._custody: Custody | None = None
        self._by_number: dict[int, Flight] = {}
        self._by_task_id: dict[str, Flight] = {}
        self._returned: list[Chunk] = []
        self._landed: list[Flight] = []
        self._settled = 0
        self.chunks = 0

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._by_number.values())

    def open(self, places: int) -> None:
        """Makes the custody file for so many tasks, the first time that it is called."""
        if self._custody is None:
            self._custody = self._make_custody(places)

    def close(self) -> None:
        """Closes the custody file, which stays."""
        if self._custody is not None:
            self._custody.close()

    @property
    def is_full(self) -> bool:
        """True if the custody file takes no task until some are settled."""
        return self._custody is not None and self._custody.is_full

    @property
    def room(self) -> int:
        """How many tasks the custody file takes now."""
        return self._kept.room

    @property
    def _kept(self) -> Custody:
        assert self._custody is not None
        return self._custody

    def find(self, number: int) -> Flight | None:
        """Returns the flight of a journal number; None once it has left the pool."""
        return self._by_number.get(number)

    def of_task(self, task_id: str) -> Flight | None:
        """Returns the flight of a task; None once it has left the pool."""
        return self._by_task_id.get(task_id)

    def begin(self, batch: EngineBatch, tasks: Sequence[EngineTask]) -> list[Flight]:
        """Makes a chunk of tasks that are about to be handed over, and takes them into custody."""
        options = {name: value for name, value in batch.options.items() if name != "user_endpoint_config"}
        chunk, function_id = Chunk(batch, len(tasks), []), batch.function_id.hex
        self.chunks += 1
        flights = []
        for task in tasks:
            place = self._kept.add(task.number)
            call = Call(str(task.run.task_id), function_id, batch.code, task.args, options, place)
            flight = Flight(chunk, task, call, place)
            self._by_number[task.number] = self._by_task_id[call.task_id] = flight
            flights.append(flight)
        return flights

    def land(self, flight: Flight) -> None:
        """A task has left the pool and won't be handed over again; it is in custody until it is settled."""
        self._leave(flight)
        self._landed.append(flight)

    def take_back(self, flight: Flight) -> None:
        """A task has left the pool unbegun: it is to line up again."""
        self._leave(flight)
        self._kept.remove(flight.place)
        if not flight.chunk.back:
            self._returned.append(flight.chunk)
        flight.chunk.back.append(flight.task)

    def returned(self) -> Iterator[tuple[EngineBatch, list[EngineTask]]]:
        """Yields and forgets what was taken back, as it was handed over."""
        chunks, self._returned = self._returned, []
        for chunk in chunks:
            tasks, chunk.back = chunk.back, []
            yield chunk.batch, tasks

    def settle(self, serial: int) -> None:
        """Takes what is journalled, as far as the news of that serial tell it, out of custody."""
        if serial == self._settled:
            return
        self._settled = serial
        kept = []
        for flight in self._landed:
            if flight.last_news <= serial:
                self._kept.remove(flight.place)
            else:
                kept.append(flight)
        self._landed = kept

    def _leave(self, flight: Flight) -> None:
        del self._by_number[flight.task.number], self._by_task_id[flight.call.task_id]
        flight.chunk.left -= 1
        if not flight.chunk.left:
            self.chunks -= 1
