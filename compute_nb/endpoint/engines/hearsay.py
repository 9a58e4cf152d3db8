"""This module is the hearsay of a pool engine: what its tasks print, gathered until it may be told."""

from __future__ import annotations

from compute_nb.endpoint.engines.ear import Ear
from compute_nb.endpoint.engines.flights import Flight, Flights
from compute_nb.endpoint.engines.newsbox import NewsBox
from compute_nb.endpoint.runner.voice import joined
from compute_nb.tasks import Printed


class Hearsay:
    """Belongs to the engine's thread.

    Args:
        ear: Hears what tasks print; closed here.
        flights: Whose words count; those of others are dropped.
    """

    def __init__(self, ear: Ear, flights: Flights) -> None:
        self._ear, self._flights = ear, flights
        self._unsaid: dict[int, tuple[int, str]] = {}

    def hear(self) -> None:
        """Takes what has been printed."""
        for task_id, start, text in self._ear.take():
            flight = self._flights.of_task(task_id)
            if flight is not None and not flight.over:
                number = flight.task.number
                self._unsaid[number] = joined(self._unsaid.get(number), (start, text))

    def tell(self, flight: Flight, news: NewsBox) -> None:
        """Tells what is left of a task that is about to leave the pool."""
        piece = self._unsaid.pop(flight.task.number, None)
        if piece is not None and not flight.over:
            news.printed(Printed(flight.task.run, flight.chunk.batch.task_group_id, *piece))

    def tell_all(self, news: NewsBox) -> None:
        """Tells what was heard of all tasks, once what was told before has been taken."""
        if news.has_room:
            for number in tuple(self._unsaid):
                flight = self._flights.find(number)
                assert flight is not None  # one that leaves the pool is told before
                self.tell(flight, news)

    def close(self) -> None:
        """Hears nothing more."""
        self._ear.close()
