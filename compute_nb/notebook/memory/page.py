"""This module is the page: how this kernel speaks with JupyterLab pages that have the plugin.

The comm is never opened: front ends without the plugin pass over messages of a comm that they don't know,
where an unknown target would be an error in their log. A page with the plugin hears them, takes the comm up
and tells of its notebook; one that was loaded again finds the comm, and then gets all that it may have
missed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compute_nb.notebook.memory.backlog import queued
from compute_nb.notebook.memory.messages import TARGET, ChangesAsked, Message, NotebookSeen
from compute_nb.notebook.runs.record import Entry
from compute_nb.notebook.view.pulse import MESSAGES, Drawn, pulse

SNAPSHOT_PACE_S = 2.0

Bundle = Mapping[str, Any]


class Page:
    """The pages of one kernel's notebook. For any thread; `draw` is for the pulse's, which alone sends.

    Args:
        heard: Called with what a page has told, on whatever thread the kernel reads comms.
        comm: Makes the kernel's end of the comm, without a word to anybody, and has it call its argument.
        ask: Has it drawn when its turn comes.
        clock: Seconds that only grow.
        changes: Says how a source differs from what a group ran, None if nobody knows.
    """

    def __init__(
        self,
        heard: Callable[[NotebookSeen], None],
        comm: Callable[[Callable[[Any], None]], Any],
        ask: Callable[[Drawn], None] = pulse.ask_soon,
        clock: Callable[[], float] = time.monotonic,
        *,
        changes: Callable[[str, str], Sequence[str] | None] = lambda *_: None,
    ) -> None:
        self._heard, self._make = heard, comm
        self._ask, self._clock, self._changes = ask, clock, changes
        self._queue: list[Message] = []
        self._lock = threading.RLock()
        self._comm: Any = None
        self._known = False
        self._writer: str | None = None
        self._live: dict[str, str] = {}
        self._recorded: dict[str, Entry] = {}
        self._sent_at: dict[str, float] = {}
        self._counts: dict[str, Mapping[str, int]] = {}
        self._called_at = 0.0
        self._ended: dict[str, Bundle] = {}
        self._results: dict[str, Bundle] = {}
        self._notes: dict[str, str] = {}

    @property
    def known(self) -> bool:
        """Whether a page with the plugin has answered, so that panels need no output for their widget."""
        return self._known

    def written_by(self, client: str | None) -> None:
        """Takes the page whose cell runs now as the one that may change the notebook."""
        if client:
            self._writer = client

    def bind(self, group_id: str, model_id: str) -> None:
        """Has a group's panels show a widget."""
        self.bind_all({group_id: model_id})

    def bind_all(self, models: Mapping[str, str]) -> None:
        """Has the panels of several groups show widgets, in one message."""
        with self._lock:
            if all(self._live.get(group_id) == model for group_id, model in models.items()):
                return
            self._live.update(models)
            self._say({"kind": "live", "live": dict(self._live)})

    def unbind(self, group_id: str, model_id: str | None = None) -> None:
        """Has a group's panels show their last snapshot, if it is this widget that they show."""
        with self._lock:
            shown = self._live.get(group_id)
            if shown is not None and model_id in (None, shown):
                del self._live[group_id]
                self._say({"kind": "live", "live": dict(self._live)})

    def record(self, entry: Entry) -> None:
        """Has a group put into the notebook's record."""
        with self._lock:
            self._recorded[entry.id] = entry
            self._say({"kind": "record", "entries": [entry.to_json()], "writer": self._writer})

    def forget(self, group_id: str) -> None:
        """Has a group dropped from the notebook's record."""
        with self._lock:
            self._recorded.pop(group_id, None)
            self._say({"kind": "forget", "id": group_id, "writer": self._writer})

    def snapshot(self, group_id: str, bundle: Callable[[], Bundle | None], *, ended: bool = False) -> None:
        """Tells how a group stands: at once if it has ended, otherwise every 2 s at most.

        Args:
            bundle: Its display data, made when it is told; None if there is nothing to tell any more.
        """
        with self._lock:
            now = self._clock()
            if not ended and not self._known:
                self._call_again(now)
                return
            if not ended and now - self._sent_at.get(group_id, 0) < SNAPSHOT_PACE_S:
                return
            data = bundle()
            if data is None:
                return
            self._sent_at[group_id] = now
            made = dict(data)
            if ended:
                self._counts.pop(group_id, None)
                self._ended[group_id] = made
            else:
                self._ended.pop(group_id, None)
                self._results.pop(group_id, None)
            if self._known:
                self._say(self._snapshots({group_id: made}, [group_id] if ended else []))

    def counts(self, group_id: str, counts: Mapping[str, int]) -> None:
        """Tells how many tasks of an open group are in which state, if that has changed."""
        with self._lock:
            if self._counts.get(group_id) != counts:
                self._counts[group_id] = dict(counts)
                if self._known:
                    self._say({"kind": "counts", "counts": {group_id: self._counts[group_id]}})

    def shown(self, group_id: str) -> None:
        """Notes that pages have just got how a group stands, as display data."""
        with self._lock:
            self._sent_at[group_id] = self._clock()

    def _call_again(self, now: float) -> None:
        """Says once more which widgets draw: a page loaded amid a restart may have missed it."""
        if self._live and now - self._called_at >= SNAPSHOT_PACE_S:
            self._called_at = now
            self._say({"kind": "live", "live": dict(self._live)})

    def results(self, group_id: str, data: Bundle) -> None:
        """Tells what the tasks of a group gave, for the output that its cell keeps for that."""
        with self._lock:
            self._results[group_id] = dict(data)
            if self._known:
                self._say(self._given([group_id]))

    def notes(self, notes: Mapping[str, str]) -> None:
        """Tells why some groups are not followed; groups that are not named have no such reason any more."""
        with self._lock:
            if notes != self._notes:
                self._notes = dict(notes)
                self._say({"kind": "notes", "notes": self._notes})

    def _given(self, groups: Sequence[str]) -> Message:
        given = {group_id: self._results[group_id] for group_id in groups}
        return {"kind": "results", "results": given, "writer": self._writer}

    def _snapshots(self, bundles: Mapping[str, Bundle], ended: Sequence[str]) -> Message:
        return {"kind": "snapshots", "bundles": bundles, "ended": ended, "writer": self._writer}

    def draw(self) -> int:
        """Sends what has come up; returns how many messages that took."""
        with self._lock:
            said, self._queue = self._queue[:MESSAGES], self._queue[MESSAGES:]
            if self._comm is None:
                self._comm = self._make(self._on_message)
            for message in said:
                self._comm.send({**message, "target": TARGET})
        return len(said)

    def weight(self) -> int:
        """Returns how many messages wait."""
        return len(self._queue)

    def next_draw_s(self) -> float | None:
        """Returns 0 while messages wait; None: nothing is to be sent."""
        return 0.0 if self._queue else None

    def _say(self, message: Message) -> None:
        self._queue = queued(self._queue, message)
        self._ask(self)

    def _on_message(self, message: Any) -> None:
        data = message.get("content", {}).get("data")
        asked = ChangesAsked.read(data)
        if asked is not None:
            lines = self._changes(asked.id, asked.source)
            with self._lock:
                self._say({"kind": "changes", "id": asked.id, "lines": lines})
        seen = NotebookSeen.read(data)
        if seen is None:
            return
        with self._lock:
            self._known = True
            if self._writer is None or self._writer == seen.previous:
                self._writer = seen.client
            self._say({"kind": "live", "live": dict(self._live)})
            if self._recorded:
                entries = [entry.to_json() for entry in self._recorded.values()]
                self._say({"kind": "record", "entries": entries, "writer": self._writer})
            if self._counts:
                self._say({"kind": "counts", "counts": dict(self._counts)})
            if self._ended:
                self._say(self._snapshots(dict(self._ended), list(self._ended)))
            if self._results:
                self._say(self._given(list(self._results)))
            if self._notes:
                self._say({"kind": "notes", "notes": self._notes})
            self._say({"kind": "heard", "client": seen.client})
        self._heard(seen)


def silent_comm(on_message: Callable[[Any], None]) -> Any:
    """Returns the kernel's end of a comm; nobody is told of it, pages ask for it or are told its id."""
    import comm

    made = comm.create_comm(target_name=TARGET, primary=False)
    made.on_msg(on_message)
    comm.get_comm_manager().register_comm(made)
    return made
