"""This module is the waiting line of an engine, in which users take turns, and the task groups of each."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator

from compute_nb.endpoint.engine import EngineBatch, EngineTask

MAX_CHUNK_CHARS = 256 * 1024

_Parts = deque[tuple[EngineBatch, deque[EngineTask]]]


class Turns:
    """Tasks that wait for a worker: first come first served in a group, round robin over the owners that
    have some, and over the groups of each.

    Belongs to one thread.
    """

    def __init__(self) -> None:
        self._owners: OrderedDict[str, OrderedDict[int, _Parts]] = OrderedDict()
        self._numbers: set[int] = set()

    def __len__(self) -> int:
        return len(self._numbers)

    def put(self, batch: EngineBatch) -> None:
        """Lines up the tasks of a batch behind those of its group."""
        if batch.tasks:
            groups = self._owners.setdefault(batch.owner, OrderedDict())
            parts = groups.setdefault(batch.task_group_id.int, deque())
            parts.append((batch, deque(batch.tasks)))
            self._numbers.update([task.number for task in batch.tasks])

    def put_back(self, batch: EngineBatch, tasks: Iterable[EngineTask]) -> None:
        """Lines up tasks that had been taken and not begun, before all others: their turn was not used."""
        again = deque(tasks)
        if again:
            groups, key = self._owners.setdefault(batch.owner, OrderedDict()), batch.task_group_id.int
            groups.setdefault(key, deque()).appendleft((batch, again))
            groups.move_to_end(key, last=False)
            self._owners.move_to_end(batch.owner, last=False)
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
            for _, task in self._waiting():
                if task.number == number:
                    return task
        return None

    def head(self) -> EngineBatch | None:
        """Returns the batch whose turn is next."""
        return next((batch for batch, _ in self._waiting()), None)

    def take(self, size: Callable[[EngineBatch], int]) -> tuple[EngineBatch, list[EngineTask]] | None:
        """Returns tasks of the group whose turn it is, of one function and with the same options.

        Args:
            size: Says how many tasks of a batch a worker may get at once.
        """
        while self._owners:
            owner, groups = next(iter(self._owners.items()))
            key, parts = next(iter(groups.items()))
            batch = parts[0][0]
            taken = self._from_group(parts, size(batch))
            if parts:
                groups.move_to_end(key)
            else:
                del groups[key]
            if not groups:
                del self._owners[owner]
            elif taken:
                self._owners.move_to_end(owner)
            if taken:
                return batch, taken
        return None

    def _from_group(self, parts: _Parts, size: int) -> list[EngineTask]:
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
        everything = [task for _, task in self._waiting()]
        self._owners.clear()
        self._numbers.clear()
        return everything

    def _waiting(self) -> Iterator[tuple[EngineBatch, EngineTask]]:
        """All that waits, those first whose turn is next."""
        for groups in self._owners.values():
            for parts in groups.values():
                for batch, tasks in parts:
                    for task in tasks:
                        if task.number in self._numbers:
                            yield batch, task


def same_call(one: EngineBatch, other: EngineBatch) -> bool:
    """True if tasks of both batches may travel in one chunk."""
    return one is other or (one.function_id == other.function_id and one.options == other.options)
