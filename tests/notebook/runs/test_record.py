"""The record by itself; `record.json` is read by the tests of its twin in `js/` too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from entries import SHARED, entry

from compute_nb.notebook.runs.record import MAX_BYTES, MAX_GROUPS, Entry, Record, source_hash

CASES = SHARED["cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_shared_cases(case: Any) -> None:
    record = Record(case["metadata"])
    assert [one.id for one in record] == case["reads"]
    assert record.writable == case["writable"]
    assert record.to_json() == case["metadata"]
    if not case["writable"]:
        assert record.adding(entry(1)).to_json() == case["metadata"]
        assert record.without(entry(1).id).to_json() == case["metadata"]


@pytest.mark.parametrize(
    "case", SHARED["source_hashes"], ids=[repr(c["source"]) for c in SHARED["source_hashes"]]
)
def test_the_shared_hashes(case: Any) -> None:
    assert source_hash(case["source"]) == case["hash"]


def test_an_entry_is_read_back_as_it_was_written() -> None:
    for raw in CASES[0]["metadata"]["task_groups"]:
        read = Entry.read(raw)
        assert read is not None
        assert list(read.to_json().items()) == list(raw.items())


def test_entries_are_in_the_order_of_their_submit_and_what_is_none_keeps_its_place() -> None:
    record = Record({"version": 1, "task_groups": ["?"]}).adding(entry(3)).adding(entry(1)).adding(entry(2))
    assert [one.submitted_at[14:16] for one in record] == ["01", "02", "03"]
    assert record.to_json()["task_groups"][0] == "?"


def test_the_same_group_again_takes_its_place() -> None:
    record = Record().adding(entry(1)).adding(entry(2)).adding(entry(1, name="other"))
    assert [(one.id, one.name) for one in record] == [(entry(1).id, "other"), (entry(2).id, "sims")]


def test_what_else_stands_there_is_kept() -> None:
    record = Record({"version": 1, "task_groups": [], "note": "mine"}).adding(entry(1)).without(entry(1).id)
    assert record.to_json() == {"version": 1, "task_groups": [], "note": "mine"}


def test_the_oldest_finished_go_first_when_there_are_too_many() -> None:
    finished = {entry(number).id for number in (5, 7)}
    record = Record()
    for number in range(MAX_GROUPS + 3):
        record = record.adding(entry(number), finished.__contains__)
    assert len(record) == MAX_GROUPS
    gone = {entry(number).id for number in range(MAX_GROUPS + 3)} - {one.id for one in record}
    assert gone == finished | {entry(0).id}


def test_the_newest_entry_stays_however_large_it_is() -> None:
    record = Record().adding(entry(1)).adding(entry(2, label="é" * MAX_BYTES))
    assert [one.id for one in record] == [entry(2).id]


def test_bytes_are_bounded_too() -> None:
    record = Record()
    for number in range(20):
        record = record.adding(entry(number, label="x" * 4000))
    assert len(json.dumps(record.to_json())) <= MAX_BYTES + 1000
    assert record.get(entry(19).id) is not None


def test_removing_from_nothing_makes_no_record() -> None:
    assert Record().without(entry(1).id).to_json() is None
