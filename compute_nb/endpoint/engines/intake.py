"""This module is the intake of an engine: what may run there lines up in turns, what may not ends at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compute_nb.endpoint.engine import EngineBatch, EngineTask
from compute_nb.endpoint.engines.end import CANCELLED, End, failed
from compute_nb.endpoint.gate import Gate
from compute_nb.endpoint.turns import Turns
from compute_nb.errors import ComputeError


class Intake(Turns):
    """The waiting line behind a gate; belongs to the engine's thread.

    Args:
        gate: Of the engine.
        end: Called with a task that ends here, unbegun, and how.
    """

    def __init__(self, gate: Gate, end: Callable[[EngineTask, End], object]) -> None:
        super().__init__()
        self._gate, self._end = gate, end

    def accept(self, batches: Sequence[EngineBatch]) -> None:
        """Lines up what the gate lets in, and ends the rest."""
        for batch in batches:
            try:
                self.put(self._gate.admit(batch))
            except ComputeError as error:
                for task in batch.tasks:
                    self._end(task, failed(str(error)))

    def cancel(self, number: int) -> bool:
        """Ends a task that waits; False if it does not wait here."""
        task = self.find(number)
        if task is None:
            return False
        self.drop(number)
        self._end(task, CANCELLED)
        return True

    def end_all(self, end: End) -> None:
        """Ends all that waits."""
        for task in self.clear():
            self._end(task, end)
