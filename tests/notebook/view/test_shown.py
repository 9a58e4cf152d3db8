"""What a run shows at its end: one output, in order, bounded, nothing of it run where it must not be."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from types import SimpleNamespace
from uuid import uuid4

import pytest

from compute_nb.future import ComputeFuture
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.runs.group import ComputeGroup
from compute_nb.notebook.runs.results import CellSerializer
from compute_nb.notebook.runs.run import Run
from compute_nb.notebook.view import shown
from compute_nb.serialize import JSONData
from compute_nb.tasks import TaskResult, TaskState

HTML = {"text/html": "<i>own</i>", "text/plain": "own"}
PNG = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}


def text(words, stream="stdout"):
    return {"stream": stream, "text": words}


def display(data, metadata=None):
    return {"data": data, "metadata": metadata or {}}


def ended(*items, value=None):
    """The future of a cell that gave this."""
    home = Home({})
    future = ComputeFuture(
        uuid4(), SimpleNamespace(serializer=CellSerializer(home), label="", task_group_id=uuid4())
    )
    told = {"compute_nb_cell": 1, "items": list(items), "display": value, "swept": {"k": "1"}, "values": ""}
    raw = JSONData().serialize(told)
    future.take(TaskResult(future.id, uuid4(), TaskState.SUCCEEDED, raw, None, 0, 1.0, 1.0, 2.0))
    return future


def run_of(*futures, group=False):
    points = [{"k": index} for index in range(len(futures))]
    made = ComputeGroup(futures, points, "sims") if group else None
    return Run("In[1]", "sims", "local", "", futures, Home({}), made)


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def tags(markup):
    reader = Reader()
    reader.feed(markup)
    return reader.tags


def test_text_alone_is_the_panels():
    run = run_of(ended(text("hello")))
    assert shown.results_bundle(run) is None
    assert not shown.holds_text(run)


def test_a_lone_display_is_shown_as_it_is():
    chart = {"application/vnd.vegalite.v5+json": {"mark": "bar"}, "text/plain": "chart"}
    run = run_of(ended(text("before"), display(chart)))
    assert shown.results_bundle(run) == chart
    assert not shown.holds_text(run)
    assert shown.results_bundle(run_of(ended(value=[HTML, {}]))) == HTML


@pytest.mark.parametrize("items", [[display(HTML), text("after")], [display(HTML), display(PNG)]])
def test_several_things_are_shown_in_order_with_their_text(items):
    run = run_of(ended(text("first"), *items))
    assert shown.holds_text(run)
    markup = shown.results_bundle(run)["text/html"]
    last = "after" if "text" in items[-1] else "data:image/png;base64,iVBORw0KGgo="
    assert markup.index("first") < markup.index("<i>own</i>") < markup.index(last)


def test_each_type_has_its_form_and_no_more():
    items = [
        display({"image/svg+xml": "<svg onload='x()'/>", "text/plain": "s"}),
        display({"text/latex": "$x<y$"}),
        display({"text/markdown": "**<b>**"}),
        display({"application/json": {"a": "<b>"}}),
        display({"image/jpeg": '"><script>'}),
        display({"application/javascript": "x()", "text/plain": "<p>"}),
        display({"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "w"}),
    ]
    data = shown.results_bundle(run_of(ended(*items)))
    assert set(data) == {"text/html", "text/plain"}
    markup = data["text/html"]
    assert {tag for tag, _ in tags(markup)} == {"div", "img", "span", "pre"}
    assert "$x&lt;y$" in markup
    assert "model_id" not in markup
    assert "x()" not in markup


def test_sizes_of_pictures_are_kept_and_checked():
    retina = display(PNG, {"image/png": {"width": 320, "height": '1" onload="x'}})
    ((_, picture),) = [
        tag for tag in tags(shown.results_bundle(run_of(ended(retina)))["text/html"]) if tag[0] == "img"
    ]
    assert picture["width"] == "320"
    assert "onload" not in picture


def test_where_markup_would_be_run_there_is_none_of_a_task():
    evil = display({"text/html": "<script>x()</script>", "text/plain": "<script>"})
    plain = shown.plain_results(run_of(ended(text("<b>\x1b[31m"), evil, display(PNG), text("end"))))
    assert {tag for tag, _ in tags(plain)} == {"pre", "div", "img"}
    assert shown.plain_results(run_of(ended(evil))).count("&lt;script&gt;") == 1


def test_of_a_group_some_are_shown_and_a_line_says_how_to_see_the_others():
    futures = [ended(text("t"), display(PNG), value=[{"text/plain": str(n)}, {}]) for n in range(40)]
    data = shown.results_bundle(run_of(*futures, group=True))
    assert data["text/html"].count("<img ") == shown.MOST_OF_GROUP
    assert "k=0" in data["text/html"]
    assert "and 34 more: `%compute show sims[i]`" in data["text/plain"]
    assert "%compute show sims[i]</code>" in data["text/html"]
    assert shown.results_bundle(run_of(*[ended(value=[HTML, {}])] * 3, group=True)) is None
    figures = shown.results_bundle(run_of(*[ended(value=[PNG, {}])] * 3, group=True))
    assert figures["text/html"].count("<img ") == 3


def test_what_is_large_is_named_only():
    large = display({"text/html": "x" * 3_000_000, "text/plain": "a large table"})
    data = shown.results_bundle(run_of(ended(large)))
    assert len(json.dumps(data)) < 2_000
    assert "a large table (3,000,013 characters)" in data["text/plain"]
    many = [display({"text/html": "x" * 1_900_000, "text/plain": "table"})] * 11
    assert len(json.dumps(shown.results_bundle(run_of(ended(*many))))) < shown.MAX_CHARS_IN_ALL + 10_000


def test_all_displays_of_a_task_are_yielded_for_those_who_ask():
    future = ended(text("t"), *[display(PNG)] * 30, value=[HTML, {}])
    assert [piece.data for piece in shown.displays(future)] == [PNG] * 30 + [HTML]


def test_half_a_character_of_a_task_can_be_sent_to_a_front_end():
    run = run_of(ended(text("a\ud800b\n"), display({"text/html": "\udcff"}), display(PNG)))
    shown_now = json.dumps(shown.results_bundle(run), ensure_ascii=False).encode()
    assert rb"a\\ud800b" in shown_now
    assert rb"\\udcff" in shown_now
