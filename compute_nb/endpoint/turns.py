"""This module is the waiting line of an engine, in which task groups take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from compute_nb.endpoint.engine import EngineBatch, EngineTask

MAX_CHUNK_CHARS = 256 * 1024


class Turns:
    """Tasks that wait for a worker: first come first served in a group, round robin over groups.

    Belongs to one thread.
    """

    def __init__(self) -> None:
        self._groups: OrderedDict[int, deque[tuple[EngineBatch, deque[EngineTask]]]] = OrderedDict()
        self._numbers: set[int] = set()

    def __len__(self) -> int:
        return len(self._numbers)

    def put(self, batch: EngineBatch) -> None:
        """Lines up the tasks of a batch behind those of its group."""
        if batch.tasks:
            parts = self._groups.setdefault(batch.task_group_id.int, deque())
            parts.append((batch, deque(batch.tasks)))
            self._numbers.update([task.number for task in batch.tasks])

    def put_back(self, batch: EngineBatch, tasks: Iterable[EngineTask]) -> None:
        """Lines up tasks that had been taken and not begun, before the others of their group."""
        again = deque(tasks)
        if again:
            key = batch.task_group_id.int
            self._groups.setdefault(key, deque()).appendleft((batch, again))
            self._groups.move_to_end(key, last=False)
            self._numbers.update([task.number for task in again])

    def drop(self, number: int) -> bool:
        """Takes a task out; False if it does not wait here."""
        if number not in self._numbers:
            return False
        self._numbers.remove(number)
        return True

    def find(self, number: int) -> EngineTask | None:
        """Returns a waiting task; slow, for cancelling."""
        if number in self._numbers:
            for parts in self._groups.values():
                for _, tasks in parts:
                    for task in tasks:
                        if task.number == number:
                            return task
        return None

    def head(self) -> EngineBatch | None:
        """Returns the batch whose turn is next."""
        for parts in self._groups.values():
            for batch, tasks in parts:
                if any(task.number in self._numbers for task in tasks):
                    return batch
        return None

    def take(self, size: Callable[[EngineBatch], int]) -> tuple[EngineBatch, list[EngineTask]] | None:
        """Returns tasks of the group whose turn it is, of one function and with the same options.

        Args:
            size: Says how many tasks of a batch a worker may get at once.
        """
        while self._groups:
            key, parts = next(iter(self._groups.items()))
            batch = parts[0][0]
            taken = self._from_group(parts, size(batch))
            if parts:
                self._groups.move_to_end(key)
            else:
                del self._groups[key]
            if taken:
                return batch, taken
        return None

    def _from_group(self, parts: deque[tuple[EngineBatch, deque[EngineTask]]], size: int) -> list[EngineTask]:
        """Takes up to `size` tasks like the first one from the parts of a group."""
        first, taken, room = parts[0][0], list[EngineTask](), MAX_CHUNK_CHARS
        while parts and len(taken) < size and same_call(parts[0][0], first):
            tasks = parts[0][1]
            while tasks and len(taken) < size and (not taken or len(tasks[0].args) <= room):
                task = tasks.popleft()
                if task.number in self._numbers:
                    self._numbers.remove(task.number)
                    taken.append(task)
                    room -= len(task.args)
            if tasks:
                break
            parts.popleft()
        return taken

    def clear(self) -> list[EngineTask]:
        """Empties the line and returns what was in it."""
        everything = [
            task
            for parts in self._groups.values()
            for _, tasks in parts
            for task in tasks
            if task.number in self._numbers
        ]
        self._groups.clear()
        self._numbers.clear()
        return everything


def same_call(one: EngineBatch, other: EngineBatch) -> bool:
    """True if tasks of both batches may travel in one chunk."""
    return one is other or (one.function_id == other.function_id and one.options == other.options)
