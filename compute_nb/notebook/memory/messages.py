"""This module is the messages between a kernel and the pages that show its notebook.

Their twin is `js/src/messages.ts`; both are tested with the same file. Every message has a `kind`; kinds that
are not known are passed over, so that a kernel and a page of different versions get along. `writer` is the
client id of the one page that may change the notebook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

TARGET = "compute_nb.meta"


class Live(TypedDict):
    """Which widget draws which group now; groups that are not named have none."""

    kind: Literal["live"]
    live: Mapping[str, str]


class Recorded(TypedDict):
    """Groups were submitted: their entries belong into the record, and the notebook is to be saved."""

    kind: Literal["record"]
    entries: Sequence[Mapping[str, Any]]
    writer: str | None


class Forgotten(TypedDict):
    """A group is to be dropped from the record."""

    kind: Literal["forget"]
    id: str
    writer: str | None


class Snapshots(TypedDict):
    """How groups stand, as display data for their outputs; `ended` names those that change no more."""

    kind: Literal["snapshots"]
    bundles: Mapping[str, Mapping[str, Any]]
    ended: Sequence[str]
    writer: str | None


class Counted(TypedDict):
    """How many tasks of open groups are in which state: little, and so told as often as a panel moves."""

    kind: Literal["counts"]
    counts: Mapping[str, Mapping[str, int]]


class Results(TypedDict):
    """What tasks gave that a cell of before has submitted, as display data for the output kept for it."""

    kind: Literal["results"]
    results: Mapping[str, Mapping[str, Any]]
    writer: str | None


class Notes(TypedDict):
    """Why the kernel does not follow some groups; groups that are not named have no such reason."""

    kind: Literal["notes"]
    notes: Mapping[str, str]


class Changes(TypedDict):
    """How the source of a group's cell differs from what ran; `lines` is None if that is not known here."""

    kind: Literal["changes"]
    id: str
    lines: Sequence[str] | None


class HeardOf(TypedDict):
    """What a page has told of its notebook has come, and all that it may have missed is said."""

    kind: Literal["heard"]
    client: str


Message = Live | Recorded | Forgotten | Snapshots | Counted | Results | Notes | Changes | HeardOf


@dataclass(frozen=True, slots=True)
class NotebookSeen:
    """What a page tells of its notebook.

    Attributes:
        path: From the server's root folder, as the page has it.
        record: What stands under the key, unread.
        cells: Ids of all cells.
        client: The page's client id.
        previous: The one that the same browser tab had before it was loaded again.
    """

    path: str
    record: Any
    cells: Sequence[str]
    client: str
    previous: str | None

    @classmethod
    def read(cls, data: object) -> NotebookSeen | None:
        """Returns what a page has sent, None if it is nothing that is known."""
        if not isinstance(data, dict) or data.get("kind") != "notebook":
            return None
        path, client, cells = data.get("path"), data.get("client"), data.get("cells")
        if not isinstance(path, str) or not isinstance(client, str) or not isinstance(cells, list):
            return None
        previous = data.get("previous")
        return cls(
            path,
            data.get("record"),
            tuple(cell for cell in cells if isinstance(cell, str)),
            client,
            previous if isinstance(previous, str) else None,
        )


@dataclass(frozen=True, slots=True)
class ChangesAsked:
    """A page asks how the source of a group's cell differs from what ran."""

    id: str
    source: str

    @classmethod
    def read(cls, data: object) -> ChangesAsked | None:
        """Returns what a page has sent, None if it is something else."""
        if not isinstance(data, dict) or data.get("kind") != "changes":
            return None
        group_id, source = data.get("id"), data.get("source")
        return cls(group_id, source) if isinstance(group_id, str) and isinstance(source, str) else None
