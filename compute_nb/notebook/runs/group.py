"""This module is the group: the futures of a `--map`, in map order, as one thing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NoReturn, overload

from compute_nb.errors import (
    ComputeError,
    SerializationError,
    StillOpen,
    TaskExecutionFailed,
    TaskWithdrawn,
)
from compute_nb.future import OFFLINE, ComputeFuture
from compute_nb.notebook.runs.results import facts, own_values
from compute_nb.tasks import TaskState

_NAMED = 5
_COLUMNS = ("value", "error", "state", "duration_s", "submitted_at", "started_at", "ended_at")
_SAID = sorted(TaskState, key=lambda state: state is not TaskState.SUCCEEDED)


class ComputeGroup(Sequence[ComputeFuture]):
    """The tasks of one `--map`. Iterating gives their futures, `result` their values, in map order.

    Args:
        futures: In map order.
        points: Each task's own values by name; {} where only the worker knows them (after a reload).
        name: What `-n` bound it to.
        show: Draws its panel.
        ask: Returns the own values of the task in a place that has not brought them back; blocks.
        parameters: Names of the own values, for a group without tasks.
    """

    _compute_nb_not_a_value = (
        "is a group of futures, and a worker can't wait for it: `values = {name}.result()` first, read that"
    )

    def __init__(
        self,
        futures: Sequence[ComputeFuture],
        points: Sequence[Mapping[str, Any]] = (),
        name: str = "",
        show: Callable[[], dict[str, Any]] | None = None,
        ask: Callable[[int], Mapping[str, Any]] | None = None,
        *,
        parameters: Sequence[str] = (),
    ) -> None:
        self._futures = tuple(futures)
        self._points = list(points) or [{}] * len(self._futures)
        self._ask, self._parameters = ask, parameters
        self.name = name
        self.show = show

    def replace(self, futures: Sequence[ComputeFuture]) -> None:
        """Takes other futures for the same places: some tasks run again. For the run that owns the group."""
        self._futures = tuple(futures)

    def __len__(self) -> int:
        return len(self._futures)

    @overload
    def __getitem__(self, index: int) -> ComputeFuture: ...
    @overload
    def __getitem__(self, index: slice) -> ComputeGroup: ...
    def __getitem__(self, index: int | slice) -> ComputeFuture | ComputeGroup:
        if isinstance(index, slice):
            places, ask = range(len(self))[index], self._ask
            return ComputeGroup(
                self._futures[index],
                self._points[index],
                self.name,
                ask=None if ask is None else lambda place: ask(places[place]),
            )
        return self._futures[index]

    def __iter__(self) -> Iterator[ComputeFuture]:
        return iter(self._futures)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a group of futures stands for values that are not here yet")

    def __repr__(self) -> str:
        counts = Counter(future.state for future in self._futures)
        told = ", ".join(f"{counts[state]} {state.word}" for state in _SAID if counts[state]) or "empty"
        return f"<ComputeGroup {self._title}: {len(self)} tasks, {told}>"

    @property
    def _title(self) -> str:
        """What `-n` and `--label` call it, or its id."""
        terms = self._futures[0].terms if self._futures else None
        label = "" if terms is None else terms.label
        if not self.name:
            return label or str(self.task_group_id)
        return f"{self.name} ({label})" if label not in ("", self.name) else self.name

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Draws its panel again."""
        return {"text/plain": repr(self), **(self.show() if self.show is not None else {})}

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._awaited().__await__()

    async def _awaited(self) -> list[Any]:
        while not self.done():  # some may be sent again meanwhile
            for future in self._futures:
                try:
                    await future
                except Exception:  # noqa: BLE001 - told by result(), for all tasks together
                    continue
        return self.result(0)

    @property
    def task_group_id(self) -> str | None:
        """The group as the service knows it."""
        return self._futures[0].task_group_id if self._futures else None

    @property
    def points(self) -> list[dict[str, Any]]:
        """Each task's own values by name, in map order; after a reload the service may be asked for some."""
        return [self._values(place) for place in range(len(self))]

    def _values(self, place: int) -> dict[str, Any]:
        known = dict(self._points[place]) or own_values(self._futures[place])
        if not known and self._ask is not None:
            self._points[place] = known = dict(self._ask(place))
        return known

    def done(self) -> bool:
        """Returns whether no task is open."""
        return all(future.done() for future in self._futures)

    def cancel(self) -> int:
        """Ends all open tasks; returns how many."""
        return sum(future.cancel() for future in self._futures if not future.done())

    def result(self, timeout: float | None = None, return_exceptions: bool = False) -> list[Any]:
        """Returns the values in map order; waits for all tasks first.

        Args:
            timeout: Seconds for all of them together.
            return_exceptions: Whether an error stands in the place of its value, instead of being raised.

        Raises:
            TimeoutError: You stopped waiting; the tasks go on.
            TaskExecutionFailed: The error of the first failed task, which says how many failed.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self.done():  # some may be sent again meanwhile
            for future in self._futures:
                self._wait(future, until)
        if return_exceptions:
            return [_value_or_error(future) for future in self._futures]
        error = self.first_error()
        if error is not None:
            raise error.with_traceback(None)
        return [future.result(0) for future in self._futures]

    def _wait(self, future: ComputeFuture, until: float | None) -> None:
        import concurrent.futures

        left = None if until is None else max(0.0, until - time.monotonic())
        if not future.done() and not concurrent.futures.wait([future], left).done:
            done = sum(one.done() for one in self._futures)
            goes_on = "the others go on" if future.endpoint_online is not False else OFFLINE
            raise StillOpen(
                f"{self.name or 'the group'}: {done} of {len(self)} tasks ended in time; {goes_on}"
            )

    def first_error(self) -> BaseException | None:
        """Returns the error of the first task that has no value, with a note on all of them."""
        missing: dict[str, list[int]] = {}
        first, cancelled = None, 0
        for number, future in enumerate(self._futures):
            if future.state is TaskState.CANCELLED:
                cancelled += 1
            elif error := error_of(future):
                missing.setdefault(_how(future, error), []).append(number)
                first = first or error
        told = f"{cancelled} of {len(self)} cancelled"
        if first is None:
            return TaskWithdrawn(f"{self.name or 'the group'}: {told}") if cancelled else None
        parts = [self._counted(how, numbers) for how, numbers in missing.items()]
        notes = ["; ".join([*parts, told] if cancelled else parts)]
        left = len(self) - cancelled - sum(map(len, missing.values()))
        if left:
            have = "the other one has its value" if left == 1 else f"the other {left} have their values"
            notes.append(f"{have}: `{self.name}.result(return_exceptions=True)`")
        if isinstance(first, TaskExecutionFailed):
            first.of_group = notes[0]
        for note in notes:
            if note not in getattr(first, "__notes__", ()):
                first.add_note(note)
        return first

    def _counted(self, how: str, numbers: list[int]) -> str:
        """Returns "12 of 500 failed: seed=3, seed=7, …"."""
        more = ", …" if len(numbers) > _NAMED else ""
        return f"{len(numbers)} of {len(self)} {how}: {', '.join(self.points_of(numbers[:_NAMED]))}{more}"

    def points_of(self, numbers: Sequence[int]) -> list[str]:
        """Returns "seed=3" for each task, with its place where these repeat or are not known."""
        points = [self.point(number) for number in numbers]
        return [
            f"task {number}"
            if not point
            else f"{point} (task {number})"
            if points.count(point) > 1
            else point
            for number, point in zip(numbers, points, strict=True)
        ]

    def point(self, number: int) -> str:
        """Returns "seed=3" for a task, "" if its values are not known."""
        given = self.known_point(number)
        if given:
            return given
        swept = facts(self._futures[number]).get("swept") or {}
        return ", ".join(f"{name}={value}" for name, value in swept.items())

    def known_point(self, number: int) -> str:
        """Returns the same for a task of this kernel, "" for one that was reloaded; looks into no result."""
        return ", ".join(f"{name}={_short(value)}" for name, value in self._points[number].items())

    def to_frame(self) -> Any:
        """Returns a pandas DataFrame: parameters, value, error, state, times (UTC), seconds that it ran.

        Raises:
            ComputeError: pandas is not installed here.
        """
        try:
            import pandas as pd  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            raise ComputeError("`to_frame` needs pandas: `%pip install pandas`") from None
        rows = [self._row(number) for number in range(len(self))]
        frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*self._parameters, *_COLUMNS])
        for name in ("submitted_at", "started_at", "ended_at"):
            if name in frame:
                frame[name] = pd.to_datetime(frame[name].astype(float), unit="s", utc=True).dt.round("ms")
        return frame

    def _row(self, number: int) -> dict[str, Any]:
        future = self._futures[number]
        error = error_of(future) if future.done() else None
        begun, ended = future.started_at, future.ended_at
        return {
            **self._values(number),
            "value": future.result(0) if future.done() and error is None else None,
            "error": None if error is None else repr(error),
            "state": future.state.word,
            "duration_s": None if begun is None or ended is None else round(ended - begun, 3),
            "submitted_at": future.submitted_at,
            "started_at": begun,
            "ended_at": ended,
        }


def error_of(future: ComputeFuture) -> BaseException | None:
    """Returns why a future that has ended gives no value, also if it was cancelled or can't be read."""
    import concurrent.futures

    try:
        return future.exception(0)
    except concurrent.futures.CancelledError as error:
        return error


def _how(future: ComputeFuture, error: BaseException) -> str:
    """Returns in what way a task has no value here."""
    if isinstance(error, SerializationError):
        return "could not come back"
    return "can't be read here" if future.state is TaskState.SUCCEEDED else future.state.word


def _value_or_error(future: ComputeFuture) -> Any:
    error = error_of(future)
    return future.result(0) if error is None else error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
