"""This module is the run: one submit of a compute cell, from the notebook's side."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from compute_nb.errors import ComputeError
from compute_nb.future import ComputeFuture
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.runs.group import ComputeGroup
from compute_nb.notebook.runs.results import cell_result, facts, losses
from compute_nb.tasks import TaskState

if TYPE_CHECKING:
    from compute_nb.notebook.runs.debug import TaskInputs
    from compute_nb.notebook.runs.record import Entry

LOOKED_AT = 500  # tasks whose results are opened unasked
_TOLD = 5
_SLICE_S = 0.25
_COMING_S = 5.0  # an endpoint that starts by itself is not away
_SAID = (
    TaskState.RUNNING,
    TaskState.DELIVERED,
    TaskState.WAITING,
    TaskState.FAILED,
    TaskState.CANCELLED,
    TaskState.LOST,
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a run stands, frozen, for whoever draws it.

    Attributes:
        counts: Tasks by state.
        started_at: When the first task began, seconds since the epoch; None before.
        ended_at: When the last one ended; None before.
        exits: Exit code -> how many commands ended with it, of those that SUCCEEDED with another than 0.
        unsent: How many of those that SUCCEEDED could not send back all that they gave.
    """

    counts: Mapping[TaskState, int]
    total: int
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    exits: Mapping[int, int] = field(default_factory=dict)
    unsent: int = 0

    @property
    def done(self) -> int:
        """Tasks that have ended in whatever way."""
        return sum(count for state, count in self.counts.items() if state.ended)

    @property
    def failed(self) -> int:
        """Tasks that ended without a value and were not cancelled."""
        return self.counts.get(TaskState.FAILED, 0) + self.counts.get(TaskState.LOST, 0)

    @property
    def ended(self) -> bool:
        """Whether no task is open."""
        return self.done == self.total

    @property
    def state(self) -> str:
        """One word for all tasks together."""
        if not self.ended:
            return "running" if self.done or self.counts.get(TaskState.RUNNING) else "waiting"
        if self.failed:
            return "failed"
        return "cancelled" if self.counts.get(TaskState.CANCELLED) else "done"

    def progress(self) -> str:
        """Returns "31 of 40 done", and how many ended otherwise."""
        return ", ".join(text for state, text in self.parts() if state is None or state.ended)

    def sentence(self) -> str:
        """Returns the counts as people read them."""
        return ", ".join(text for _, text in self.parts())

    def parts(self) -> list[tuple[TaskState | None, str]]:
        """Returns the counts one by one: "31 of 40 done", each other state, exit codes (of None)."""
        done = f"{self.counts.get(TaskState.SUCCEEDED, 0):,} of {self.total:,} done"
        others = [state for state in _SAID if self.counts.get(state)]
        return [
            (TaskState.SUCCEEDED, done),
            *((state, f"{self.counts[state]:,} {state.word}") for state in others),
            *((None, text) for text in (*self._exits_told(), *self._unsent_told())),
        ]

    def _unsent_told(self) -> list[str]:
        told = f"{self.unsent:,} could not come back" if self.total > 1 else "its value could not come back"
        return [told] if self.unsent else []

    def _exits_told(self) -> list[str]:
        """Returns "exit 3" for one command, "2 with exit 3" for each code of several."""
        codes = sorted(self.exits.items())
        return [f"exit {code}" if self.total == 1 else f"{count} with exit {code}" for code, count in codes]


@dataclass(slots=True, eq=False)
class Run:
    """One submit of a cell.

    Attributes:
        cell: What the cell is called, "In[7]".
        name: What `-n` binds, "" if nothing.
        endpoint: As the user names it.
        futures: In map order.
        group: The future group of `--map`; None for one task.
        outputs: Names that come back.
        shows: Whether the last expression is the value.
        is_command: Whether its body is a command for the shell.
        key: The same for a run of the same source, inputs, map and options; "" if that can't be told.
        entry: What the notebook's record has of it; None before that is known.
        cell_id: Of the cell in its notebook, if the front end has told it.
        earlier: Open runs of the same cell or the same name, which this one has taken over.
        outage: Says why no news can come now, None while it can.
        waited_for: Whether its cell waits, and shows what its tasks gave.
        blocks: Whether the main thread waits for it, so that no click can do anything.
        wake: Starts its service if that is the home's own and was stopped; blocks.
        send_again: Has the tasks in some places run again; returns the futures of what is there now.
        retry: Sends again what ended without a value, of some places or all (None); returns how many.
            Blocks; for the main thread. Raises ComputeError if the service can't do it.
        reused: How many of its tasks had been computed before and were not sent (`--cache`).
        on_left_alone: Called, on the main thread, after an output did not take a name that means something
            else by now.
        arrive: Puts outputs that are here under their names, if that may be done on this thread.
        inputs: Returns what the task in a place was sent with; asks the service if this kernel has it not.
        on_reopen: Called, on the main thread, after tasks were sent again: the run is open once more.
    """

    cell: str
    name: str
    endpoint: str
    label: str
    futures: Sequence[ComputeFuture]
    home: Home
    group: ComputeGroup | None = None
    outputs: tuple[str, ...] = ()
    shows: bool = True
    is_command: bool = False
    notes: tuple[str, ...] = ()
    cancel_all: Callable[[], None] = lambda: None
    cell_id: str | None = None
    key: str = ""
    entry: Entry | None = None
    earlier: Sequence[Run] = ()
    outage: Callable[[], str | None] = lambda: None
    wake: Callable[[], None] = lambda: None
    send_again: Callable[[Sequence[int]], Sequence[ComputeFuture]] = lambda _: ()
    retry: Callable[[Sequence[int] | None], int] = lambda _: 0
    on_reopen: list[Callable[[], None]] = field(default_factory=list)
    on_left_alone: list[Callable[[], None]] = field(default_factory=list)
    arrive: Callable[[], None] = lambda: None
    inputs: Callable[[int], TaskInputs] | None = None
    reused: int = 0
    waited_for: bool = False
    blocks: bool = False
    submitted_at: float = field(default_factory=time.time)
    left_alone: list[str] = field(default_factory=list)
    _codes: dict[UUID, int] = field(default_factory=dict, repr=False)
    _losses: dict[UUID, tuple[str, ...]] = field(default_factory=dict, repr=False)
    _lost: tuple[Sequence[ComputeFuture], dict[int, tuple[str, ...]]] = field(default=((), {}), repr=False)
    _seen: tuple[Sequence[ComputeFuture], int] = field(default=((), 0), repr=False)

    @property
    def thing(self) -> ComputeFuture | ComputeGroup:
        """What the user gets: the future of one task, or the group."""
        return self.group if self.group is not None else self.futures[0]

    @property
    def title(self) -> str:
        """What people call it."""
        return self.label or self.name or self.cell

    @property
    def handle(self) -> str:
        """A name for the line magic: `%compute wait HANDLE`."""
        if not self.name and self.cell.startswith("group "):  # reloaded; groups of one minute begin alike
            return self.task_group_id or self.cell
        return self.name or self.cell

    @property
    def task_group_id(self) -> str | None:
        """The task group as the service knows it."""
        return self.futures[0].task_group_id if self.futures else None

    @property
    def ended(self) -> bool:
        """Whether no task is open. Asked at each news: what has been seen ended is not looked at again."""
        futures = self.futures
        looked_at, place = self._seen
        place = place if looked_at is futures else 0
        while place < len(futures) and futures[place].done():
            place += 1
        self._seen = futures, place
        return place == len(futures)

    def replace(self, futures: Mapping[int, ComputeFuture]) -> None:
        """Puts other futures in some places; whoever looks at `futures` sees all of them or none."""
        changed = list(self.futures)
        for place, future in futures.items():
            changed[place] = future
        if self.group is not None:
            self.group.replace(changed)
        self.futures = changed

    def snapshot(self) -> Snapshot:
        """Returns how it stands; for any thread."""
        counts = Counter(future.state for future in self.futures)
        ended = all(state.ended for state in counts)
        started = [f.started_at for f in self.futures if f.started_at is not None]
        ends = [f.ended_at for f in self.futures if f.ended_at is not None] if ended else []
        return Snapshot(
            counts,
            len(self.futures),
            self.submitted_at,
            min(started, default=None),
            max(ends, default=None),
            self.exits(),
            len(self.losses()),
        )

    def losses(self) -> dict[int, tuple[str, ...]]:
        """Returns what tasks that SUCCEEDED could not send back, by place; each result is looked at once.

        Of many tasks it is looked for when all have ended.
        """
        futures = self.futures
        looked_at, found = self._lost
        if looked_at is futures:
            return found
        if len(futures) > LOOKED_AT and not self.ended:
            return {}
        unread = 0
        for future in futures:
            if future.state is TaskState.SUCCEEDED and future.id not in self._losses:
                if future.fetched:
                    self._losses[future.id] = losses(future)
                else:
                    unread += 1
        known = ((place, self._losses.get(future.id)) for place, future in enumerate(futures))
        found = {place: lines for place, lines in known if lines}
        if self.ended and not unread:
            self._lost = futures, found
        return found

    def loss_lines(self) -> list[str]:
        """Returns what could not come back, a line for each of the first tasks, and of how many more."""
        found = self.losses()
        several = len(self.futures) > 1
        lines = [
            f"{self.place(place)}: {line}" if several else line
            for place in list(found)[:_TOLD]
            for line in found[place]
        ]
        if len(found) > _TOLD:
            lines.append(f"and of {len(found) - _TOLD:,} more: `%compute tb {self.handle}[i]` tells each")
        return lines

    def fetch(self) -> None:
        """Has what came of its first tasks fetched if they were reloaded; may block, raises nothing."""
        for future in self.futures[:LOOKED_AT]:
            if future.done() and not future.fetched:
                try:
                    _ = future.raw
                except ComputeError:  # whoever needs it will say so
                    return

    def exits(self) -> dict[int, int]:
        """Returns how many commands ended with each code that is not 0; each result is read once."""
        if not self.is_command:
            return {}
        for future in self.futures:
            if future.state is TaskState.SUCCEEDED and future.done() and future.id not in self._codes:
                result = cell_result(future)
                self._codes[future.id] = (result.exit_code or 0) if result is not None else 0
        here = Counter(self._codes.get(future.id, 0) for future in self.futures)
        return {code: count for code, count in here.items() if code}

    def live(self, index: int) -> str:
        """Returns what the open task at a place has printed so far, "" if nothing; for any thread."""
        future = self.futures[index]
        return "" if future.done() else future.live_text

    def progress(self) -> str:
        """Returns "31 of 40 done", and how many ended otherwise."""
        return self.snapshot().progress()

    def wait(self, say: Callable[[str], None], futures: Sequence[ComputeFuture] | None = None) -> None:
        """Blocks until some of its tasks, or all, have ended; sees an Interrupt in 0.25 s.

        Args:
            say: Told once why no news can come, if so.
        """
        self.blocks = True
        try:
            self._wait(say, self.futures if futures is None else futures)
        finally:
            self.blocks = False

    def _wait(self, say: Callable[[str], None], futures: Sequence[ComputeFuture]) -> None:
        told = None
        for future in futures:
            while not future.done():
                wait_for(future, _SLICE_S)
                outage = self.standstill(future)
                if outage and outage != told and not future.done():
                    say(f"{self.handle}: {outage}")
                told = outage

    def standstill(self, future: ComputeFuture) -> str | None:
        """Returns why an open task can't move on now, None while it may."""
        outage = self.outage()
        came = future.started_at is not None or time.time() - self.submitted_at > _COMING_S
        if outage or not came or future.endpoint_online is not False:
            return outage
        return (
            f"endpoint {self.endpoint} is offline: tasks that have not begun run when it is back, nothing "
            "need be submitted again; those that were running may end as lost"
        )

    def earlier_lines(self) -> list[str]:
        """Returns a line for each earlier run of the same cell or name that still goes on."""
        return [
            f"earlier run {run.cell}, {run.progress()}, still going: `%compute cancel {run.cell}`"
            for run in self.earlier
            if not run.ended
        ]

    def point(self, index: int) -> str:
        """Returns "seed=3" for a task, "" if it has no values of its own."""
        if self.group is not None:
            return self.group.point(index)
        swept = facts(self.futures[index]).get("swept") or {}
        return ", ".join(f"{name}={value}" for name, value in swept.items())

    def known_place(self, index: int) -> str:
        """Returns "task 3 (seed=3)" with the values that are at hand; looks into no result."""
        point = self.group.known_point(index) if self.group is not None else ""
        return f"task {index:,} ({point})" if point else f"task {index:,}"

    def place(self, index: int) -> str:
        """Returns "seed=3" for a task, "task 3" if it has no values that are known."""
        return self.point(index) or f"task {index}"


def wait_for(future: ComputeFuture, timeout_s: float) -> None:
    """Blocks until a future has ended, at most `timeout_s` seconds; reads nothing."""
    import concurrent.futures

    concurrent.futures.wait([future], timeout_s)
