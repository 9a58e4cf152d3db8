"""This module is the record: the task groups that a notebook has in its metadata, under the key `compute_nb`.

It is the kernel's only owner of that key; `js/src/metadata.ts` is its twin in the page, tested with the same
file. What can't be read counts as none and stays where it is; what a newer version wrote is shown and never
rewritten. There is no code, no value and no token in it.
"""

from __future__ import annotations

import calendar
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

KEY = "compute_nb"
VERSION = 1
MAX_GROUPS = 50
MAX_BYTES = 32 * 1024

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TIME = re.compile(r"([12]\d{3})-(0[1-9]|1[0-2])-([0-3]\d)T([0-2]\d):([0-5]\d):([0-5]\d)Z", re.ASCII)
_TEXTS = ("service", "endpoint", "name", "label", "source_hash", "key")
_LISTS = ("outputs", "map")
_MOST_TASKS = 2**53 - 1  # what JavaScript can count
_HALF = re.compile(r"[\ud800-\udfff]")
_WHITE = " \t\n\f\v"


@dataclass(frozen=True, slots=True)
class Entry:
    """One task group of a notebook.

    Attributes:
        service: Its name here, "" if it is not known.
        service_id: Which service that is, so that another user's `local` is not taken for one's own.
        cell_id: Of the cell that submitted it; a hint for jumping, and one condition of attaching.
        name: What `-n` bound.
        outputs: Names that come back.
        map: Names that are swept; empty for one task.
        source_hash: Of the cell's source, as `source_hash` gives it.
        key: Says whether a run is the same again; "" if that can't be told.
        submitted_at: UTC, to the second.
    """

    id: str
    service: str
    service_id: str | None
    endpoint: str
    endpoint_id: str | None
    cell_id: str | None
    name: str
    label: str
    tasks: int
    outputs: Sequence[str]
    map: Sequence[str]
    source_hash: str
    key: str
    submitted_at: str

    @property
    def group_id(self) -> UUID:
        """The task group as the service knows it."""
        return UUID(self.id)

    @property
    def submitted_s(self) -> float:
        """When it was submitted, seconds since the epoch."""
        read = _TIME.fullmatch(self.submitted_at)
        return 0.0 if read is None else float(calendar.timegm(tuple(map(int, read.groups()))))

    @property
    def title(self) -> str:
        """What people call it."""
        return self.label or self.name or f"group {self.id[:8]}"

    @classmethod
    def read(cls, value: object) -> Entry | None:
        """Returns an entry, None if it is none; what is missing counts as empty."""
        if not isinstance(value, dict) or not (
            _matches(value.get("id"), _ID) and _matches(value.get("submitted_at"), _TIME)
        ):
            return None
        given = {name: found for name, found in value.items() if found is not None}
        tasks = given.get("tasks")
        wrong = (
            any(not _is_text(given.get(name, "")) for name in _TEXTS)
            or any(not _texts(given.get(name, [])) for name in _LISTS)
            or any(name in given and not _matches(given[name], _ID) for name in ("service_id", "endpoint_id"))
            or not isinstance(tasks, int)
            or isinstance(tasks, bool)
            or not 0 <= tasks <= _MOST_TASKS
        )
        if wrong:
            return None
        return cls(
            id=given["id"],
            service_id=given.get("service_id"),
            endpoint_id=given.get("endpoint_id"),
            cell_id=given["cell_id"] if _matches(given.get("cell_id"), _CELL_ID) else None,
            tasks=given["tasks"],
            submitted_at=given["submitted_at"],
            service=given.get("service", ""),
            endpoint=given.get("endpoint", ""),
            name=given.get("name", ""),
            label=given.get("label", ""),
            outputs=tuple(given.get("outputs", ())),
            map=tuple(given.get("map", ())),
            source_hash=given.get("source_hash", ""),
            key=given.get("key", ""),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns it as it stands in the file."""
        return {**asdict(self), "outputs": list(self.outputs), "map": list(self.map)}


class Record:
    """What stands under the key in one notebook; never changed, but copied with a change.

    Args:
        value: Whatever is there; None if nothing is.
    """

    def __init__(self, value: object = None) -> None:
        self._value = value
        self._slots: Sequence[object] = _slots(value)

    def __iter__(self) -> Iterator[Entry]:
        """Yields the entries that can be read, in their order."""
        return (entry for entry in map(Entry.read, self._slots) if entry is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def get(self, group_id: str) -> Entry | None:
        """Returns the entry of a group, None if it has none."""
        return next((entry for entry in self if entry.id == group_id), None)

    @property
    def writable(self) -> bool:
        """Whether it is ours to change: there is none yet, or one of this version."""
        return self._value is None or (
            isinstance(self._value, dict)
            and self._value.get("version") == VERSION
            and isinstance(self._value.get("task_groups"), list)
        )

    def to_json(self) -> Any:
        """Returns what is to stand under the key."""
        return self._value

    def adding(self, entry: Entry, finished: Callable[[str], bool] = lambda _: False) -> Record:
        """Returns it with an entry, in the place of one with the same id.

        Args:
            finished: Says whether a group is known to have ended; those go first when there are too many.
        """
        others = self._others(entry.id)
        return self._with(_capped(_sorted([*others, entry.to_json()]), finished, entry.id))

    def without(self, group_id: str) -> Record:
        """Returns it without a group."""
        return self._with(self._others(group_id))

    def _others(self, group_id: str) -> list[object]:
        return [slot for slot in self._slots if not _is(slot, group_id)]

    def _with(self, slots: Sequence[object]) -> Record:
        if not self.writable or (self._value is None and not slots):
            return self
        kept: Mapping[str, Any] = self._value if isinstance(self._value, dict) else {}
        return Record({**kept, "version": VERSION, "task_groups": list(slots)})


def source_hash(source: str) -> str:
    """Returns the hash of a cell's source that does not change when it is saved or reformatted at its end."""
    text = source.replace("\r\n", "\n").replace("\r", "\n").rstrip(_WHITE)
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _slots(value: object) -> Sequence[object]:
    if not isinstance(value, dict) or not isinstance(value.get("version"), int):
        return ()
    groups = value.get("task_groups")
    return groups if isinstance(groups, list) else ()


def _sorted(slots: Sequence[object]) -> list[object]:
    """Orders entries by their submit; what is no entry keeps its place."""
    readable = sorted(
        (slot for slot in slots if isinstance(slot, dict) and Entry.read(slot) is not None),
        key=lambda slot: str(slot["submitted_at"]),
    )
    taken = iter(readable)
    return [slot if Entry.read(slot) is None else next(taken) for slot in slots]


def _capped(slots: Sequence[object], finished: Callable[[str], bool], keep: str) -> Sequence[object]:
    while True:
        readable = [(slot, entry) for slot in slots if (entry := Entry.read(slot)) is not None]
        others = [entry.id for _, entry in readable if entry.id != keep]
        fits = len(readable) <= MAX_GROUPS and _bytes([slot for slot, _ in readable]) <= MAX_BYTES
        if fits or not others:
            return slots
        gone = next(filter(finished, others), others[0])
        slots = [slot for slot in slots if not _is(slot, gone)]


def _is(slot: object, group_id: str) -> bool:
    entry = Entry.read(slot)
    return entry is not None and entry.id == group_id


def _bytes(value: object) -> int:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "surrogatepass"))


def _matches(value: object, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_text(value: object) -> bool:
    """Returns whether it is text that can be sent: JSON may hold halves of surrogate pairs."""
    return isinstance(value, str) and not _HALF.search(value)
