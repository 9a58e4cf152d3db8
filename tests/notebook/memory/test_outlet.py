"""The outlet by itself: what goes to outputs of the cell, what to pages, of new runs and those of before."""

from __future__ import annotations

from typing import Any

import pytest

from compute_nb.notebook.memory.outlet import LIVE_MIME, PANEL_MIME, WIDGET_MIME, Outlet
from compute_nb.notebook.memory.page import SNAPSHOT_PACE_S, Page

GROUP = "0b1c7f52-96a1-4f0f-8b0f-0f5a3f1c2d10"
STILL = {PANEL_MIME: {"version": 1, "counts": {"RUNNING": 1, "SUCCEEDED": 3}}, "text/plain": "3 of 4 done"}
END = {PANEL_MIME: {"version": 1, "counts": {"SUCCEEDED": 4}}, "text/plain": "4 of 4 done"}
VIEW = {LIVE_MIME: {"id": GROUP}, WIDGET_MIME: {"model_id": "71ab"}, "text/plain": ""}
NOTHING = {WIDGET_MIME: {"model_id": ""}, "text/plain": ""}
PICTURE = {"image/png": "iVBO", "text/plain": "a picture"}


class Both:
    """The cell's outputs and a page, recorded."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.outputs: list[tuple[str, str, bool]] = []
        self.ended = False
        self.page = Page(lambda _: None, self.open, lambda page: page.draw())

    def open(self, on_message: Any) -> Any:
        self.on_message = on_message
        return self

    def send(self, data: Any) -> None:
        self.sent.append(data)

    def greet(self) -> None:
        self.page.bind("other", "1")
        said = {"kind": "notebook", "path": "a.ipynb", "cells": [], "client": "c1"}
        self.on_message({"content": {"data": said}})
        self.sent.clear()

    def outlet(self, *, resumed: bool = False) -> Outlet:
        def publish(data: Any, _: Any, display_id: str, update: bool) -> None:
            self.outputs.append((display_id, next(iter(data)), update))

        return Outlet(GROUP, publish, self.page, lambda: STILL, lambda: self.ended, resumed=resumed)

    def kinds(self) -> list[str]:
        return [said["kind"] for said in self.sent]


@pytest.fixture
def both() -> Both:
    return Both()


def shown(outlet: Outlet) -> None:
    outlet(STILL, {}, "bundle", False)
    outlet(VIEW, {}, "view", False)
    outlet(NOTHING, {}, "results", False)


def test_without_the_plugin_the_widget_has_an_output_of_its_own(both: Both) -> None:
    shown(both.outlet())
    assert both.outputs == [
        ("bundle", PANEL_MIME, False),
        ("view", LIVE_MIME, False),
        ("results", WIDGET_MIME, False),
    ]


def test_a_page_with_the_plugin_is_told_the_widget_and_gets_no_output_for_it(both: Both) -> None:
    both.greet()
    outlet = both.outlet()
    shown(outlet)
    outlet(VIEW, {}, "view", True)
    assert [display_id for display_id, _, _ in both.outputs] == ["bundle", "results"]
    assert both.sent[0]["live"] == {"other": "1", GROUP: "71ab"}
    outlet(NOTHING, {}, "view", True)
    assert both.sent[-1]["live"] == {"other": "1"}


def test_a_run_of_before_has_its_outputs_and_pages_put_its_end_there(both: Both) -> None:
    both.greet()
    outlet = both.outlet(resumed=True)
    shown(outlet)
    assert both.kinds() == ["live"]
    both.ended = True
    outlet(END, {}, "bundle", True)
    outlet(PICTURE, {}, "results", True)
    assert not both.outputs
    assert both.kinds() == ["live", "snapshots", "results"]
    assert both.sent[-1]["results"] == {GROUP: PICTURE}


def test_where_tasks_gave_nothing_to_see_nothing_is_put(both: Both) -> None:
    both.greet()
    outlet = both.outlet(resumed=True)
    shown(outlet)
    outlet(NOTHING, {}, "results", True)
    assert both.kinds() == ["live"]


def test_pages_hear_how_an_open_run_stands_until_it_has_ended(both: Both) -> None:
    both.greet()
    outlet = both.outlet()
    assert outlet.next_draw_s() == SNAPSHOT_PACE_S
    outlet.draw()
    assert both.kinds() == ["snapshots"]
    both.ended = True
    outlet.draw()
    assert both.kinds() == ["snapshots"]
    assert outlet.next_draw_s() is None


def test_what_was_drawn_before_the_end_is_not_told_as_the_end(both: Both) -> None:
    both.greet()
    outlet = both.outlet()
    both.ended = True
    outlet(STILL, {}, "bundle", False)
    assert not both.sent
    outlet(END, {}, "bundle", True)
    assert [(said["ended"], said["bundles"]) for said in both.sent] == [([GROUP], {GROUP: END})]
