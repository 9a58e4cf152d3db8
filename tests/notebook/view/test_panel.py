"""The panel: what its widgets and the output that stays say of runs in every state."""

import html
import json
import os
import re
import sys
from typing import Any

import nbconvert
import nbformat
import pytest
from made_runs import GROUP, end, published, run_of, start

from compute_nb.errors import ServiceUnreachable
from compute_nb.future import ComputeFuture
from compute_nb.notebook.runs.run import Run
from compute_nb.notebook.view import panel as panels
from compute_nb.notebook.view.bundle import PANEL_MIME
from compute_nb.notebook.view.panel import LIVE_MIME, WIDGET_MIME, Panel
from compute_nb.tasks import Printed, TaskState, new_id
from compute_nb.tasks import Run as Attempt
from compute_nb.terms import Terms

TRACEBACK = (
    "Traceback (most recent call last):\n  Cell In[7], line 2\n    1 / <b>0</b>\n"
    'ZeroDivisionError: division <by> "zero"'
)


class Shown:
    """A panel that was drawn for the first time, and all that a front end got of it."""

    def __init__(self, run: Run) -> None:
        self.got, publish = published()
        self.panel = Panel(run, publish, 200)
        self.panel.show()
        self.panel.draw()

    @property
    def widgets(self) -> Any:
        return self.panel._widgets

    def part(self, name: str) -> str:
        found = self.widgets._parts.get(name)
        return "" if found is None else str(found.value)

    def line(self, name: str) -> str:
        """A line below the buttons."""
        found = self.widgets._opened.get(name)
        return "" if found is None else str(found.value)

    def button(self, name: str) -> Any:
        (found,) = [one for one in self.widgets._row.children if one.description.startswith(name)]
        return found

    @property
    def buttons(self) -> list[str]:
        return [one.description for one in self.widgets._row.children if one.layout.display != "none"]

    def kept(self) -> dict[str, Any]:
        """The output that stays, as it was sent last."""
        return [data for data, *_ in self.got if PANEL_MIME in data][-1]


def words(markup: str) -> str:
    """Returns HTML as text on one line, without the style."""
    text = re.sub("<style>.*?</style>", "", markup, flags=re.DOTALL)
    text = re.sub("</?(div|pre|details|summary)[^>]*>", " ", text)
    return " ".join(html.unescape(re.sub("<[^>]*>", "", text)).split())


def test_a_run_in_the_middle():
    run = run_of(8)
    start(run.futures[0], 3)
    for place in (1, 2, 3):
        end(run.futures[place], TaskState.SUCCEEDED, after_s=3 + place, ran_s=1)
    end(run.futures[4], TaskState.FAILED, data=TRACEBACK)
    shown = Shown(run)
    assert words(shown.part("head")) == "sims on local: ✓ 3 of 8 done, ▸ 1 running, ○ 3 waiting, ✗ 1 failed"
    bar = re.search("<div role=[^>]*>", shown.part("head"))
    assert bar is not None
    assert (
        'role="progressbar" aria-label="sims" aria-valuemin="0" aria-valuemax="8" aria-valuenow="4"' in bar[0]
    )
    assert 'aria-valuetext="3 of 8 done, 1 running, 3 waiting, 1 failed"' in bar[0]
    assert words(shown.part("aside")).startswith("waited 3.0 s and ran 1.0 s (medians), ")
    assert words(shown.part("aside")).endswith("so far · no estimate: 1 task runs longer than any before")
    assert words(shown.part("notes")) == 's=4: ZeroDivisionError: division <by> "zero"'
    assert shown.part("squares").count("<i ") == 8
    assert shown.buttons == ["cancel", "retry failed", "details", "id"]
    assert all(
        "takes effect when the running cell has ended" in one.tooltip for one in shown.widgets._row.children
    )


def test_a_run_that_is_over_before_it_was_drawn_is_drawn_whole_by_one_message():
    run = run_of(2)
    end(run.futures[0], TaskState.SUCCEEDED, after_s=1, ran_s=1)
    end(run.futures[1], TaskState.FAILED, data=TRACEBACK)
    panel = Panel(run, published()[1], 200)
    panel._show()
    panel._shown = True  # by hand, so that the pulse does not draw it before
    assert panel.weight() == 1
    assert panel.draw() == 1
    assert panel._widgets is not None
    row = panel._widgets._row.children
    assert [one.description for one in row if one.layout.display != "none"] == [
        "retry failed",
        "details",
        "id",
    ]
    assert row[0].disabled
    assert panel.draw() == 0


def test_only_parts_that_have_changed_are_sent():
    run = run_of(8)
    shown = Shown(run)
    shown.panel.draw()
    start(run.futures[0], 1)
    before = {name: shown.part(name) for name in shown.widgets._parts}
    assert shown.panel.draw() <= 3
    changed = {name for name in before if shown.part(name) != before[name]}
    assert changed <= {"head", "squares", "aside"}


def test_a_screen_reader_is_told_of_few_moments():
    run = run_of(10)
    shown = Shown(run)
    said = [shown.part("said")]
    for place, future in enumerate(run.futures):
        end(future, TaskState.FAILED if place == 7 else TaskState.SUCCEEDED)
        shown.panel.draw()
        said.append(shown.part("said"))
    told = list(dict.fromkeys(map(words, said)))
    assert told == [
        "",
        "sims: half done",
        "sims: s=7: failed for a reason",
        "sims on local: 9 of 10 done, 1 failed",
    ]
    assert all('role="status" aria-live="polite"' in one for one in said if one)


def test_the_output_that_stays_says_all_without_a_widget():
    run = run_of(500)
    for place, future in enumerate(run.futures):
        bad = place % 42 == 7
        end(future, TaskState.FAILED if bad else TaskState.SUCCEEDED, data=TRACEBACK if bad else "")
    shown = Shown(run)
    shown.panel.draw()
    kept = shown.kept()
    assert set(kept) == {PANEL_MIME, "text/html", "text/plain"}
    assert kept["text/plain"] == "sims on local: 488 of 500 done, 12 failed"
    told = words(kept["text/html"])
    assert "✓ 488 of 500 done, ✗ 12 failed" in told
    assert 's=7, s=49, s=91 and 9 more: ZeroDivisionError: division <by> "zero" Traceback' in told
    assert "<details" in kept["text/html"]
    assert "<by>" not in kept["text/html"]
    assert "<script" not in kept["text/html"]
    facts = json.loads(json.dumps(kept[PANEL_MIME]))
    assert facts["counts"] == {"SUCCEEDED": 488, "FAILED": 12}
    assert facts["times"] == {"waited_s": 1.0, "ran_s": 1.0, "elapsed_s": 2.0}
    assert facts["failures"] == [
        {
            "reason": 'ZeroDivisionError: division <by> "zero"',
            "tasks": 12,
            "places": "s=7, s=49, s=91 and 9 more",
        }
    ]
    assert facts["squares"]["tasks_each"] == 2
    assert facts["squares"]["states"].count("f") == 12
    assert len(json.dumps(kept)) < 60_000


def test_the_end_of_100_000_is_small():
    run = run_of(100_000)
    for future in run.futures:
        end(future, TaskState.FAILED)
    shown = Shown(run)
    shown.panel.draw()
    assert "✗ 100,000 failed" in words(shown.kept()["text/html"])
    assert "and 99,500 more: %compute tb sims" in words(shown.kept()["text/html"])
    assert len(json.dumps(shown.kept())) < 20_000


def test_after_the_end_only_what_helps_is_left():
    run = run_of(4)
    for future in run.futures:
        end(future, TaskState.SUCCEEDED)
    shown = Shown(run)
    shown.panel.draw()
    assert shown.buttons == ["details", "id"]
    view = [data for data, _, display_id, _ in shown.got if display_id == shown.panel._ids[1]][-1]
    assert view[WIDGET_MIME]["model_id"] == shown.widgets.tail.model_id
    assert view[LIVE_MIME] == {"id": run.task_group_id}


def test_where_output_areas_are_jupyterlabs_the_widget_stays_and_keeps_the_focus():
    run = run_of(4, cell_id="abc")
    shown = Shown(run)
    for future in run.futures:
        end(future, TaskState.SUCCEEDED)
    shown.panel.draw()
    (view,) = [data for data, _, display_id, _ in shown.got if display_id == shown.panel._ids[1]]
    assert view[WIDGET_MIME]["model_id"] == shown.widgets.box.model_id
    assert 'class="cnb-panel cnb-final"' in shown.kept()["text/html"]


@pytest.mark.parametrize("state", [TaskState.CANCELLED, TaskState.LOST, TaskState.FAILED])
def test_what_has_no_value_can_be_retried_and_the_panel_moves_again(state):
    run = run_of(3)
    for future in run.futures[1:]:
        end(future, TaskState.SUCCEEDED)
    end(run.futures[0], state)
    asked: list[Any] = []

    def send_again(places: Any) -> int:
        asked.append(places)
        run.replace({0: ComputeFuture(new_id())})
        for reopened in run.on_reopen:
            reopened()
        return 1

    run.retry = send_again
    shown = Shown(run)
    shown.panel.draw()
    assert shown.buttons == [
        f"retry {'cancelled' if state is TaskState.CANCELLED else 'failed'}",
        "details",
        "id",
    ]
    shown.button("retry").click()
    shown.panel.draw()
    assert asked == [None]
    assert shown.buttons == ["cancel", "details", "id"]
    assert "cnb-final" not in shown.kept()["text/html"].partition("<style>")[0]
    end(run.futures[0], TaskState.SUCCEEDED)
    shown.panel.draw()
    assert shown.buttons == ["details", "id"]
    assert "✓ 3 of 3 done" in words(shown.kept()["text/html"])


def test_what_a_click_can_not_do_is_said_in_the_panel():
    def retry(_: Any) -> int:
        raise ServiceUnreachable("the service <there> does not answer")

    run = run_of(1, retry=retry)
    end(run.futures[0], TaskState.FAILED)
    shown = Shown(run)
    shown.panel.draw()
    shown.button("retry").click()
    assert words(shown.line("trouble")) == "the service <there> does not answer"
    assert 'role="alert"' in shown.line("trouble")
    shown.button("details").click()
    assert shown.line("trouble") == ""


def test_cancel_says_so_at_once_and_cancels_all():
    run = run_of(3)
    run.cancel_all = lambda: [future.withdraw() for future in run.futures] and None
    shown = Shown(run)
    shown.button("cancel").click()
    shown.panel.draw()
    assert words(shown.part("head")) == "sims on local: 0 of 3 done, – 3 cancelled"
    assert shown.button("cancel").disabled


def test_details_of_a_task():
    run = run_of(5)
    end(run.futures[0], TaskState.SUCCEEDED)
    end(run.futures[1], TaskState.FAILED, after_s=7, ran_s=3, data=TRACEBACK)
    end(run.futures[3], TaskState.LOST)
    shown = Shown(run)
    shown.button("details").click()
    chooser, told = shown.widgets._opened["details"].children
    number, after = chooser.children
    assert number.value == 1
    assert re.match(
        r"task 1 of 0 to 4 parameters s=1 state ✗ failed task id \S{36} endpoint local times submitted "
        r"\S+, waited 4.0 s, ran 3.0 s ZeroDivisionError: division <by> \"zero\" Traceback",
        words(told.value),
    )
    after.click()
    assert (number.value, "state ? lost" in words(told.value)) == (3, True)
    after.click()
    assert number.value == 1
    number.value = 4
    assert "state ○ waiting" in words(told.value)
    start(run.futures[4], 9)
    shown.panel.draw()
    assert re.search("state ▸ running .* has run for", words(told.value))
    shown.button("details").click()
    assert shown.widgets.inspected is None


def test_the_id_can_be_selected_and_not_lost():
    shown = Shown(run_of(2))
    shown.button("id").click()
    field = shown.widgets._opened["id"]
    given = field.value
    field.value = "typed over it"
    assert field.value == given
    assert not field.disabled


def test_an_open_run_shows_the_id_that_a_reload_needs():
    run = run_of(2)
    group = new_id()
    for future in run.futures:
        future.terms = Terms(new_id(), group)
    shown = Shown(run)
    assert words(shown.part("aside")).endswith(f"so far · task group {group}")
    assert "user-select:all" in shown.part("aside")


def test_while_the_cell_waits_no_button_is_offered_that_does_nothing():
    run = run_of(2, blocks=True)
    shown = Shown(run)
    assert shown.widgets._row.layout.display == "none"
    assert words(shown.line("blocked")) == (
        "the cell waits: interrupt (■) stops the waiting; %compute cancel sims then ends the tasks"
    )
    run.blocks = False  # interrupted
    shown.panel.draw()
    assert (shown.widgets._row.layout.display, shown.line("blocked")) == (None, "")
    assert shown.buttons == ["cancel", "details", "id"]
    run.blocks = True
    shown.panel.draw()
    assert shown.widgets._row.layout.display == "none"
    for future in run.futures:
        end(future, TaskState.SUCCEEDED)
    shown.panel.draw()
    assert (shown.widgets._row.layout.display, shown.line("blocked")) == (None, "")


def unsent(value_error: str | None, **output_errors: str) -> str:
    """What a task gives back whose value or outputs could not travel."""
    facts = {"compute_nb_cell": 1, "values": "", "value_error": value_error, "output_errors": output_errors}
    return "11\n" + json.dumps(facts)


def test_a_value_that_could_not_come_back_is_said_beside_what_is_done():
    run = run_of(4)
    size = "it has 16,000,000 bytes packed: give back less, or write it to a file there and return the path"
    for place, future in enumerate(run.futures):
        end(future, TaskState.SUCCEEDED, data=unsent(size if place == 2 else None))
    shown = Shown(run)
    shown.panel.draw()
    kept = shown.kept()
    assert kept["text/plain"] == "sims on local: 4 of 4 done, 1 could not come back"
    told = words(kept["text/html"])
    assert "✓ 4 of 4 done, ! 1 could not come back" in told
    assert f"! s=2: its value could not come back and is gone: {size}" in told
    assert shown.buttons == ["details", "id"]
    assert run.snapshot().state == "done"
    shown.button("details").click()
    shown.widgets._number.value = 2
    assert "its value could not come back" in words(shown.widgets._told.value)


def test_outputs_that_could_not_come_back_are_counted_once_for_a_task():
    run = run_of(1)
    end(run.futures[0], TaskState.SUCCEEDED, data=unsent("it is a lock", arr="it is a lock", x="too long"))
    shown = Shown(run)
    shown.panel.draw()
    assert shown.kept()["text/plain"] == "sims on local: 1 of 1 done, its value could not come back"
    lines = run.loss_lines()
    mend = "; give back what can travel, or write it to a file there and return the path"
    assert lines[1] == f"`arr` could not come back and is gone: it is a lock{mend}"
    assert len(lines) == 3


def test_of_many_lost_values_the_first_are_told():
    run = run_of(700)
    for future in run.futures[1:]:
        end(future, TaskState.SUCCEEDED, data=unsent("no"))
    assert run.losses() == {}
    end(run.futures[0], TaskState.SUCCEEDED, data=unsent(None))
    assert (len(run.losses()), len(run.loss_lines())) == (699, 6)
    assert run.loss_lines()[-1] == "and of 694 more: `%compute tb sims[i]` tells each"


def test_a_sweep_that_has_printed_says_where_its_text_is():
    run = run_of(2)
    item = {"stream": "stdout", "text": "epoch 1\n"}
    for future in run.futures:
        facts = {"compute_nb_cell": 1, "items": [item], "value_error": None, "output_errors": {}}
        end(future, TaskState.SUCCEEDED, data="11\n" + json.dumps(facts))
    shown = Shown(run)
    shown.panel.draw()
    assert "what the tasks printed: %compute logs sims" in words(shown.kept()["text/html"])


def test_notes_stand_in_the_panel_from_its_beginning_with_code_as_code():
    shown = Shown(run_of(2, notes=("`lock` stays here", "<i>8 of 12</i> reused")))
    assert words(shown.part("notes")) == "lock stays here <i>8 of 12</i> reused"
    assert "<code" in shown.part("notes")


def test_what_the_only_task_prints_is_open():
    run = run_of(1)
    start(run.futures[0], 1)
    run.futures[0].hear(Printed(Attempt(run.futures[0].id, 0), GROUP, 0, "epoch 1\n"))
    shown = Shown(run)
    assert " open>" in shown.part("fold")


def test_details_of_the_only_task_of_a_run_without_failures():
    run = run_of(1)
    end(run.futures[0], TaskState.SUCCEEDED)
    shown = Shown(run)
    shown.button("details").click()
    assert words(shown.widgets._told.value).startswith("state ✓ done")
    several = run_of(3)
    shown = Shown(several)
    shown.button("details").click()
    assert shown.widgets._after.layout.display == "none"
    end(several.futures[1], TaskState.LOST)
    shown.panel.draw()
    assert shown.widgets._after.layout.display is None


def test_a_reason_of_one_line_stands_in_the_panel_of_the_only_task_once():
    run = run_of(1)
    end(run.futures[0], TaskState.FAILED, data="the engine mpi can't start this task: ask for less")
    shown = Shown(run)
    shown.panel.draw()
    assert words(shown.kept()["text/html"]).count("ask for less") == 1


def test_a_lost_task_has_the_name_of_its_error():
    run = run_of(3)
    end(run.futures[0], TaskState.SUCCEEDED)
    end(run.futures[1], TaskState.LOST, data="the agent was killed")
    end(run.futures[2], TaskState.FAILED, data="no reason")
    shown = Shown(run)
    shown.panel.draw()
    assert "s=1: TaskLost: the agent was killed" in words(shown.kept()["text/html"])
    assert run.group.first_error().__notes__ == [
        "1 of 3 lost: s=1; 1 of 3 failed: s=2",
        "the other one has its value: `sims.result(return_exceptions=True)`",
    ]


def test_an_endpoint_that_is_away_is_told_with_what_it_means_for_running_tasks():
    class Away:
        process_id = os.getpid()

        def online(self, _: Any) -> bool:
            return False

    run = run_of(2)
    for future in run.futures:
        future.terms, future._keeper = Terms(new_id(), GROUP), Away()
    shown = Shown(run)
    told = words(shown.part("notes"))
    assert told.startswith("endpoint local is offline: tasks that have not begun run when it is back")
    assert told.endswith("those that were running may end as lost")


def test_what_the_service_says_when_it_is_away():
    run = run_of(2, outage=lambda: "no connection to the local service for 7 s, trying again")
    shown = Shown(run)
    assert words(shown.part("notes")) == "no connection to the local service for 7 s, trying again"


@pytest.mark.parametrize("label", ["Wellen 🌊", "סדרה עם שם ארוך", "<b>x</b>&amp;", "n" * 300, "a\u202eb"])
def test_names_of_every_kind(label):
    run = run_of(2, label=label, name="", endpoint=label)
    shown = Shown(run)
    assert f"<bdi>{html.escape(label)}</bdi>" in shown.part("head")
    assert "overflow-wrap:anywhere" in shown.part("head")
    assert words(shown.part("head")) == f"{label} on {label}: 0 of 2 done, ○ 2 waiting"


def test_a_run_without_tasks_has_ended():
    run = run_of(0)
    shown = Shown(run)
    shown.panel.draw()
    assert words(shown.kept()["text/html"]).startswith("sims on local: 0 of 0 done")
    shown.button("details").click()
    assert not shown.line("trouble")


def test_without_ipywidgets_the_output_itself_moves(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    run = run_of(2)
    got, publish = published()
    panel = Panel(run, publish, 200)
    panel.show()
    end(run.futures[0], TaskState.SUCCEEDED)
    panel.draw()
    end(run.futures[1], TaskState.SUCCEEDED)
    panel.draw()
    told = [words(data["text/html"]) for data, *_ in got if PANEL_MIME in data]
    assert [re.sub(r"as of \S+ \S+", "", one).strip()[:40] for one in told] == [
        "sims on local: 0 of 2 done, ○ 2 waiting",
        "sims on local: ✓ 1 of 2 done, ○ 1 waitin",
        "sims on local: ✓ 2 of 2 done waited 1.0 ",
    ]
    assert [update for data, _, _, update in got if PANEL_MIME in data] == [False, True, True]


def test_the_oldest_ended_panels_give_their_widgets_back(monkeypatch):
    monkeypatch.setattr(panels, "_KEPT", 2)
    shown = []
    for _ in range(3 + len(panels._ended)):
        run = run_of(1)
        end(run.futures[0], TaskState.SUCCEEDED)
        shown.append(Shown(run))
        shown[-1].panel.draw()
    first = [data for data, _, display_id, _ in shown[0].got if display_id == shown[0].panel._ids[1]][-1]
    assert first[WIDGET_MIME]["model_id"] == ""
    assert shown[-1].widgets.box.comm is not None


def test_it_reads_the_same_in_a_page_and_in_markdown_without_a_kernel():
    run = run_of(6)
    for place, future in enumerate(run.futures):
        end(
            future,
            TaskState.FAILED if place == 2 else TaskState.SUCCEEDED,
            data=TRACEBACK if place == 2 else "",
        )
    shown = Shown(run)
    shown.panel.draw()
    widget = {WIDGET_MIME: {"version_major": 2, "version_minor": 0, "model_id": "gone"}, "text/plain": ""}
    made = nbformat.v4.new_notebook()
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in (shown.kept(), widget)]
    made.cells = [nbformat.v4.new_code_cell("%%compute -m s=range(6) -n sims", outputs=outputs)]
    for exporter in (nbconvert.HTMLExporter(), nbconvert.MarkdownExporter()):
        page, _ = exporter.from_notebook_node(made)
        told = words(page)
        assert "sims on local: ✓ 5 of 6 done, ✗ 1 failed" in told
        assert 's=2: ZeroDivisionError: division <by> "zero"' in told
        assert "waited 1.0 s and ran 1.0 s (medians), 2.0 s in all" in told
        assert "gone" not in page


def test_at_first_there_is_only_the_box():
    got, publish = published()
    panel = Panel(run_of(3), publish, 200)
    panel.show()
    widgets = panel._widgets
    (view,) = [data for data, *_ in got if LIVE_MIME in data]
    assert view[WIDGET_MIME]["model_id"] == widgets.box.model_id
    assert (widgets.box.children, widgets._parts) == ((), {})
    panel.draw()
    assert list(widgets._parts) == ["head", "aside", "squares"]


def test_what_is_made_later_leaves_the_open_fold_and_the_buttons_as_they_are():
    run = run_of(3)
    start(run.futures[0], 1)
    run.futures[0].hear(Printed(Attempt(run.futures[0].id, 0), GROUP, 0, "epoch 1\n"))
    shown = Shown(run)
    box, upper = shown.widgets.box.children, shown.widgets._upper.children
    assert shown.part("fold")
    end(run.futures[1], TaskState.FAILED)
    shown.panel.draw()
    assert "failed for a reason" in shown.part("notes")
    assert (shown.widgets.box.children, shown.widgets._upper.children[: len(upper)]) == (box, upper)


def test_panels_share_what_looks_alike_also_after_all_widgets_were_closed():
    first, second = Shown(run_of(2)), Shown(run_of(2))
    cancels = [shown.button("cancel") for shown in (first, second)]
    assert cancels[0].layout is cancels[1].layout
    assert cancels[0].style is cancels[1].style
    first.widgets.close()
    assert cancels[1].layout.comm is not None
    cancels[1].layout.close()
    cancels[1].style.close()
    third = Shown(run_of(2)).button("cancel")
    assert third.layout.comm is not None
    assert third.style.comm is not None
