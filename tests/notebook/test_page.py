"""The kernel's end of the conversation with pages; `messages.json` is read by the page's twin too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from entries import entry

from compute_nb.notebook.memory.messages import TARGET, NotebookSeen
from compute_nb.notebook.memory.page import Page

SHARED = json.loads((Path(__file__).parent / "messages.json").read_text(encoding="utf-8"))
GROUP = "0b1c7f52-96a1-4f0f-8b0f-0f5a3f1c2d10"


class Wire:
    """Both ends of the way to the pages, recorded."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.seen: list[NotebookSeen] = []
        self.now, self.drawn = 100.0, list[int]()
        self.asked: list[tuple[str, str]] = []
        self.page = Page(
            self.seen.append,
            self.open,
            lambda page: self.drawn.append(page.draw()),
            lambda: self.now,
            changes=self.changes,
        )

    def changes(self, group_id: str, source: str) -> list[str]:
        self.asked.append((group_id, source))
        return ["-steps = 10", "+steps = 20"]

    def open(self, on_message: Any) -> Any:
        self.on_message = on_message
        return self

    def send(self, data: Any) -> None:
        assert data.pop("target") == TARGET
        self.sent.append(data)

    def hello(self, client: str = "c1", previous: str | None = None) -> list[Any]:
        said = {"kind": "notebook", "path": "a.ipynb", "record": None, "cells": [], "client": client}
        before = len(self.sent)
        self.on_message({"content": {"data": {**said, "previous": previous}}})
        return self.sent[before:]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.mark.parametrize("data", SHARED["from_page"])
def test_what_pages_tell_is_read(data: Any) -> None:
    seen = NotebookSeen.read(data)
    assert seen is not None
    told = {"path": seen.path, "record": seen.record, "cells": list(seen.cells), "client": seen.client}
    assert {"kind": "notebook", **told, "previous": seen.previous} == data


@pytest.mark.parametrize("data", [None, [], {}, {"kind": "notebook"}, {"kind": "other", "path": "a"}])
def test_what_is_not_known_is_passed_over(data: Any, wire: Wire) -> None:
    wire.page.bind(GROUP, "71ab")
    wire.on_message({"content": {"data": data}})
    assert not wire.page.known
    assert not wire.seen


def test_the_messages_are_as_the_shared_file_has_them(wire: Wire) -> None:
    live, record, forget, snapshots, counts, results, notes, changes, heard = SHARED["from_kernel"]
    wire.page.bind(GROUP, "71ab")
    wire.page.written_by("c1")
    wire.page.record(entry(1))
    wire.page.forget(GROUP)
    wire.page.unbind(GROUP)
    assert wire.hello("c1")[-1] == heard
    wire.page.written_by(None)
    wire.page.snapshot(GROUP, lambda: snapshots["bundles"][GROUP], ended=True)
    assert wire.sent[0] == live
    assert wire.sent[1] == {**record, "entries": [entry(1).to_json()]}
    assert wire.sent[2] == forget
    assert wire.sent[3] == {"kind": "live", "live": {}}
    assert wire.sent[-1] == {**snapshots, "writer": "c1"}
    wire.page.counts(GROUP, counts["counts"][GROUP])
    assert wire.sent[-1] == counts
    wire.page.results(GROUP, results["results"][GROUP])
    assert wire.sent[-1] == results
    wire.page.notes(notes["notes"])
    assert wire.sent[-1] == notes
    (asked,) = SHARED["asked_by_page"]
    wire.on_message({"content": {"data": asked}})
    assert wire.asked == [(GROUP, "steps = 20")]
    assert wire.sent[-1] == changes


def test_a_page_that_has_answered_is_known_and_told_what_there_is(wire: Wire) -> None:
    wire.page.bind("a", "1")
    assert not wire.page.known
    assert wire.hello("c1") == [{"kind": "live", "live": {"a": "1"}}, {"kind": "heard", "client": "c1"}]
    wire.page.bind("b", "2")
    assert wire.sent[-1] == {"kind": "live", "live": {"a": "1", "b": "2"}}
    assert wire.page.known
    assert [seen.path for seen in wire.seen] == ["a.ipynb"]


def test_a_page_that_was_loaded_again_gets_what_it_missed_and_writes_on(wire: Wire) -> None:
    wire.page.written_by("c1")
    wire.page.bind("a", "1")
    wire.page.record(entry(1))
    wire.hello("c1")
    wire.page.snapshot("a", lambda: {"text/plain": "end"}, ended=True)
    again = wire.hello("c2", previous="c1")
    assert [(said["kind"], said.get("writer")) for said in again] == [
        ("live", None),
        ("record", "c2"),
        ("snapshots", "c2"),
        ("heard", None),
    ]
    assert again[0]["live"] == {"a": "1"}


def test_a_page_that_missed_the_first_message_hears_another_while_a_run_is_open(wire: Wire) -> None:
    wire.page.bind("a", "1")
    for wire.now in (100.0, 101.0, 101.9, 102.1):
        wire.page.snapshot("a", dict)
    assert wire.sent == [{"kind": "live", "live": {"a": "1"}}] * 3
    wire.hello()
    for wire.now in (110.0, 120.0):
        wire.page.snapshot("a", dict)
    assert [said["kind"] for said in wire.sent[3:]] == ["live", "heard", "snapshots", "snapshots"]


def test_results_and_notes_are_told_to_pages_that_come_later_too(wire: Wire) -> None:
    wire.page.results("a", {"text/plain": "3.2"})
    wire.page.notes({"b": "run elsewhere"})
    wire.page.notes({"b": "run elsewhere"})
    assert [said["kind"] for said in wire.sent] == ["notes"]
    given = {"kind": "results", "results": {"a": {"text/plain": "3.2"}}, "writer": "c1"}
    assert wire.hello()[-3:-1] == [given, {"kind": "notes", "notes": {"b": "run elsewhere"}}]
    wire.page.snapshot("a", dict)  # it is open again
    assert "results" not in {said["kind"] for said in wire.hello()}


def test_a_second_page_does_not_take_the_writing_over(wire: Wire) -> None:
    wire.page.written_by("c1")
    wire.page.record(entry(1))
    wire.hello("c1")
    assert {said.get("writer") for said in wire.hello("c9")} == {None, "c1"}


def test_snapshots_of_open_groups_are_few_and_only_for_pages_that_read_them(wire: Wire) -> None:
    made: list[int] = []

    def bundle() -> Any:
        made.append(1)
        return {"text/plain": "still"}

    wire.page.bind("a", "1")
    wire.page.snapshot("a", bundle)
    assert not made
    wire.hello()
    for wire.now in (100.0, 101.0, 101.9, 102.1):
        wire.page.snapshot("a", bundle)
    assert len(made) == 2
    wire.page.snapshot("a", bundle, ended=True)
    assert len(made) == 3
    assert wire.sent[-1]["ended"] == ["a"]


def test_how_tasks_stand_is_told_as_often_as_it_changes_and_at_once_to_a_page_that_comes(wire: Wire) -> None:
    wire.page.bind("a", "1")
    wire.page.counts("a", {"RUNNING": 2})
    assert [said["kind"] for said in wire.sent] == ["live"]
    assert wire.hello()[-2] == {"kind": "counts", "counts": {"a": {"RUNNING": 2}}}
    wire.page.counts("a", {"RUNNING": 2})
    wire.page.counts("a", {"RUNNING": 1, "SUCCEEDED": 1})
    assert [said["counts"] for said in wire.sent if said["kind"] == "counts"][1:] == [
        {"a": {"RUNNING": 1, "SUCCEEDED": 1}}
    ]
    wire.page.snapshot("a", dict, ended=True)
    assert "counts" not in {said["kind"] for said in wire.hello()}


def test_counts_that_wait_to_be_sent_go_in_one_message() -> None:
    wire = Wire()
    wire.page.bind("a", "1")
    wire.hello()
    wire.page._ask = lambda _: None  # the pulse is busy
    for number in range(3):
        wire.page.counts("a", {"SUCCEEDED": number + 1})
        wire.page.counts("b", {"RUNNING": number + 1})
    while wire.page.weight():
        wire.page.draw()
    assert wire.sent[-1] == {"kind": "counts", "counts": {"a": {"SUCCEEDED": 3}, "b": {"RUNNING": 3}}}
    assert [said["kind"] for said in wire.sent].count("counts") == 1


def test_of_many_runs_in_a_row_each_kind_is_one_message_and_that_all_was_said_the_last() -> None:
    wire = Wire()
    wire.page.written_by("c1")
    wire.page.record(entry(1))
    wire.page._ask = lambda _: None  # the pulse is busy
    before = len(wire.sent)
    for number in range(2, 200):
        wire.page.record(entry(number))
        wire.page.bind(entry(number).id, f"m{number}")
    wire.hello("c1")
    wire.hello("c1")  # it asks again, as nothing has come yet
    for number in range(1, 200):
        wire.page.snapshot(entry(number).id, lambda: {"text/plain": "end"}, ended=True)
    wire.page.draw()
    said = {one["kind"]: one for one in wire.sent[before:]}
    assert [one["kind"] for one in wire.sent[before:]] == ["live", "record", "snapshots", "heard"]
    assert {one["id"] for one in said["record"]["entries"]} == {entry(n).id for n in range(1, 200)}
    assert len(said["record"]["entries"]) == 199
    assert len(said["live"]["live"]) == 198
    assert len(said["snapshots"]["bundles"]) == len(said["snapshots"]["ended"]) == 199
    assert not wire.page.weight()


def test_what_is_said_together_is_as_new_as_what_was_said_last() -> None:
    wire = Wire()
    wire.page.bind("a", "1")
    wire.hello("c1")
    wire.page._ask = lambda _: None
    before = len(wire.sent)
    wire.page.snapshot("a", lambda: {"text/plain": "end"}, ended=True)
    wire.now += 10
    wire.page.snapshot("a", lambda: {"text/plain": "again"})  # its tasks were sent again
    wire.page.record(entry(1))
    wire.page.record(entry(2))
    wire.page.forget(entry(1).id)
    wire.page.draw()
    snapshots, record, forget = wire.sent[before:]
    assert (snapshots["bundles"], snapshots["ended"]) == ({"a": {"text/plain": "again"}}, [])
    assert [one["id"] for one in record["entries"]] == [entry(2).id]
    assert forget["id"] == entry(1).id
