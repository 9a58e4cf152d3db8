"""Entries of a notebook's record, as tests need them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from compute_nb.notebook.runs.record import Entry

SHARED = json.loads((Path(__file__).parent / "notebook" / "record.json").read_text(encoding="utf-8"))


def entry(number: int, **changes: Any) -> Entry:
    """Returns an entry of its own for each number, later for a higher one."""
    found = Entry.read(SHARED["cases"][0]["metadata"]["task_groups"][0])
    assert found is not None
    changes = {"id": str(UUID(int=number)), "submitted_at": f"2026-11-22T10:{number:02d}:00Z", **changes}
    return replace(found, **changes)
