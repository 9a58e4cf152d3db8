"""Compute cells in a real kernel: with nobody at it, and with a person at it."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from own_home import own_home

PANEL = "application/vnd.compute-nb.panel+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
WAIT_S = 60


@pytest.fixture(scope="module", autouse=True)
def _own_service() -> Iterator[None]:
    with own_home():
        yield


def notebook(*cells: str) -> Any:
    made = nbformat.v4.new_notebook()
    made.cells = [nbformat.v4.new_code_cell(cell) for cell in ("%load_ext compute_nb", *cells)]
    return made


def text_of(cell: Any, name: str) -> str:
    return "".join(out.text for out in cell.outputs if out.get("name") == name)


def test_with_nobody_at_it_cells_wait_and_print_plain_text():
    nb = notebook(
        "%%compute local --map s=range(3) -n sims\nprint('task', s)\ns * 2", "sims.done(), sims.result()"
    )
    NotebookClient(nb, timeout=2 * WAIT_S).execute()
    sweep, after = nb.cells[1:]
    assert text_of(sweep, "stdout") == "task 0\ntask 1\ntask 2\nsims on local: 3 of 3 done\n"
    assert text_of(sweep, "stderr") == "sims: 3 tasks submitted to local\nsims: done\n"
    (panel,) = [out for out in sweep.outputs if PANEL in out.get("data", {})]
    assert panel.data["text/plain"] == ""
    assert not re.search(r"[0-9a-f]{8}-|\d\d:\d\d| s<", panel.data["text/html"])
    assert panel.metadata["compute_nb"]["id"] == panel.data[PANEL]["entry"]["id"]
    assert after.outputs[0].data["text/plain"] == "(True, [0, 2, 4])"


def test_with_nobody_at_it_a_failure_fails_the_cell():
    nb = notebook("%%compute local --map s=range(3)\n1 / s", "print('never')")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        NotebookClient(nb, timeout=2 * WAIT_S).execute()
    assert "s=0: ZeroDivisionError: division by zero\n" in text_of(nb.cells[1], "stderr")
    assert nb.cells[2].outputs == []


def test_a_refusal_stops_run_all_with_one_line():
    nb = notebook("%%compute local\nnot_there", "print('never')")
    with pytest.raises(CellExecutionError):
        NotebookClient(nb, timeout=2 * WAIT_S).execute()
    (error,) = nb.cells[1].outputs
    assert error.traceback == [
        "CellRefused: line 1: `not_there` exists neither here nor in the cell: define it first"
    ]


class Person:
    """A front end that can be asked for input."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager, self.client = manager, client

    def run(self, code: str, *, until: str = "idle", interrupt_on: str = "") -> list[Any]:
        """Runs a cell; returns its messages up to the idle status, or further up to one of type `until`."""
        asked = self.client.execute(code, allow_stdin=True)
        messages, idle = [], False

        def is_one(message: Any, kind: str) -> bool:
            # Not the extension's own messages to pages, which `%load_ext` sends too.
            if message["msg_type"] != kind:
                return False
            return kind != "comm_msg" or message["content"]["data"].get("method") == "update"

        while not (idle and (until == "idle" or any(is_one(m, until) for m in messages))):
            message = self.client.get_iopub_msg(timeout=WAIT_S)
            own = message["parent_header"].get("msg_id") == asked
            messages.append(message)
            if is_one(message, interrupt_on):
                self.manager.interrupt_kernel()
                interrupt_on = ""
            if own and message["content"].get("execution_state") == "idle":
                idle = True
        return messages


class Gate:
    """What keeps tasks running until it is opened; as text, the lines of a body that wait for it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return f"import os, time\nwhile not os.path.exists({str(self._path)!r}): time.sleep(0.02)"

    def open(self) -> None:
        self._path.touch()


@pytest.fixture
def person() -> Iterator[Person]:
    manager, client = start_new_kernel(env=dict(os.environ))
    person = Person(manager, client)
    person.run("%load_ext compute_nb")
    yield person
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def of_type(messages: list[Any], *kinds: str) -> list[Any]:
    return [message["content"] for message in messages if message["msg_type"] in kinds]


def test_a_panel_follows_the_tasks_at_a_bounded_rate(person):
    messages = person.run(
        "%%compute local -m s=range(300) -n g\nimport time\ntime.sleep(0.01)\ns", until="update_display_data"
    )
    first, live, results = of_type(messages, "display_data")
    assert "300 tasks submitted to local" in first["data"]["text/html"]
    assert live["data"][WIDGET]["model_id"]
    assert results["data"] == {WIDGET: {**live["data"][WIDGET], "model_id": ""}, "text/plain": ""}
    final = of_type(messages, "update_display_data")[0]
    assert final["transient"] == first["transient"]
    assert 'aria-valuenow="300"' in final["data"]["text/html"]
    took = messages[-1]["header"]["date"] - messages[0]["header"]["date"]
    moves = of_type(messages, "comm_msg")
    assert 1 <= len(moves) <= 10 * max(took.total_seconds(), 1)
    assert not of_type(messages, "stream", "execute_result")


def test_a_panel_is_a_box_that_is_filled_by_one_message(person):
    cell = "%%compute local -m s=range(4) -n g\nimport time\ntime.sleep(0.5)\ns"
    person.run(cell, until="comm_msg")  # what all panels share is made once
    messages = person.run(cell.replace("-n g", "-n h"), until="comm_open")
    opened = of_type(messages, "comm_open")
    box = next(one["comm_id"] for one in opened if one["data"]["state"].get("children") == [])
    while box not in [one["comm_id"] for one in of_type(messages, "comm_msg")]:
        messages.append(person.client.get_iopub_msg(timeout=WAIT_S))
    states = [one["data"]["state"] for one in of_type(messages, "comm_open")]
    assert [one["description"] for one in states if one.get("description")] == [
        "cancel",
        "retry failed",
        "details",
        "id",
    ]
    assert len(states) <= 13
    assert not [one for one in states if one["_model_name"].endswith(("LayoutModel", "StyleModel"))]


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def test_an_interrupt_stops_the_waiting_only(person, gate):
    messages = person.run(f"%%compute local -w -n f\n{gate}\n'end'", interrupt_on="comm_msg")
    (error,) = of_type(messages, "error")
    assert error["traceback"] == [
        "StoppedWaiting: stopped waiting, 0 of 1 done; the tasks go on: `%compute wait f` waits again, "
        "`%compute cancel f` ends them"
    ]
    gate.open()
    (shown,) = of_type(person.run("f.result(60)"), "execute_result")
    assert shown["data"]["text/plain"] == "'end'"


def test_after_an_interrupt_the_panel_tells_what_the_cell_would_have(person, gate):
    person.run(f"%%compute local -w -n f\n{gate}\nprint('said')\n1 / 0", interrupt_on="comm_msg")
    gate.open()
    updates = of_type(person.run("%compute wait f", until="update_display_data"), "update_display_data")
    assert "said" in updates[0]["data"]["text/html"]
    assert "ZeroDivisionError" in updates[0]["data"]["text/html"]


def test_a_failure_is_told_once(person):
    messages = person.run("%%compute local -m s=range(3) -w\n1 / s", until="update_display_data")
    (error,) = of_type(messages, "error")
    assert error["traceback"][-2] == "1 of 3 failed: s=0"
    shown = [*of_type(messages, "display_data", "update_display_data"), *of_type(messages, "stream")]
    assert "ZeroDivisionError" not in str(shown)


def test_the_widget_keeps_the_end_and_no_button(person, gate):
    messages = person.run(f"%%compute local -m s=range(4) -n g\nif s == 1: 1 / 0\n{gate}\ns")

    def until(right: Callable[[Any], bool]) -> None:
        while not any(map(right, messages)):
            messages.append(person.client.get_iopub_msg(timeout=WAIT_S))

    until(lambda m: "1 failed" in str(m["content"]) and " running" in str(m["content"]))
    gate.open()
    until(lambda m: m["msg_type"] == "update_display_data")
    shown = of_type(messages, "comm_open", "comm_msg")
    states = [m["data"]["state"] for m in shown if "state" in m["data"]]
    texts = [state["value"] for state in states if "value" in state]
    assert "3 of 4 done, 1 failed" in texts[-1]
    (failed, *_) = [place for place, text in enumerate(texts) if "g: s=1: ZeroDivisionError" in text]
    (ended, *_) = [place for place, text in enumerate(texts) if "3 of 4 done, 1 failed" in text]
    assert failed < ended
    assert any("1 failed" in text and " running" in text for text in texts[:ended])
    (unshown, *_) = [m["comm_id"] for m in shown if m["data"].get("state", {}).get("display") == "none"]
    assert {"disabled": True, "layout": f"IPY_MODEL_{unshown}"} in states
    assert not of_type(messages, "comm_close")


def test_a_running_group_that_is_shown_again_does_not_look_live(person, gate):
    person.run(f"%%compute local -n g -m s=[1]\n{gate}\ns")
    (shown,) = of_type(person.run("g"), "execute_result")
    assert re.search(r"as of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", shown["data"]["text/html"])
    assert "progressbar" not in shown["data"]["text/html"]
    gate.open()
    (shown,) = of_type(person.run("%compute wait\ng"), "execute_result")
    assert "progressbar" in shown["data"]["text/html"]


def test_tables_are_html_for_a_person_and_out_stays_empty(person):
    person.run("%%compute local -n sims -w\n1")
    for line in ("%compute tasks", "%compute endpoints", "%%compute local --dry-run\n1"):
        messages = person.run(line)
        (shown,) = of_type(messages, "display_data")
        assert shown["data"].keys() == {"text/html", "text/plain"}
        assert "<table" in shown["data"]["text/html"]
        assert "local" in shown["data"]["text/plain"]
        assert not of_type(messages, "execute_result", "stream", "error")


def test_a_running_run_that_is_shown_again_is_live(person, gate):
    person.run(f"%%compute local -n g\n{gate}")
    messages = person.run("%compute show g")
    gate.open()
    while not of_type(messages, "update_display_data"):
        messages.append(person.client.get_iopub_msg(timeout=WAIT_S))
    _, live, _ = of_type(messages, "display_data")
    assert "application/vnd.jupyter.widget-view+json" in live["data"]
    (shown,) = of_type(person.run("%compute show g"), "display_data")
    assert 'aria-valuenow="1"' in shown["data"]["text/html"]


def test_a_name_bound_anew_after_the_end_was_drawn_is_told_too(person, tmp_path):
    for name in ("gate", "drawn"):
        os.mkfifo(tmp_path / name)
    person.run(f"%%compute local -n f -o z\nopen('{tmp_path}/gate').read()\nz = 7")
    cell = f"open('{tmp_path}/gate', 'w').close()\nopen('{tmp_path}/drawn').read()\nz = 'mine'"
    asked = person.client.execute(cell, allow_stdin=True)
    updates, idle = [], False
    while not (idle and len(updates) >= 2):
        message = person.client.get_iopub_msg(timeout=WAIT_S)
        own = message["parent_header"].get("msg_id") == asked
        idle = idle or (own and message["content"].get("execution_state") == "idle")
        if message["msg_type"] == "update_display_data" and PANEL in message["content"]["data"]:
            updates.append(message["content"]["data"]["text/html"])
            if len(updates) == 1:
                (tmp_path / "drawn").write_text("go")
    assert "left alone" not in updates[0]
    assert "z was bound anew meanwhile and left alone" in re.sub(r"</?code[^>]*>", "", updates[-1])
    (shown,) = of_type(person.run("z"), "execute_result")
    assert shown["data"]["text/plain"] == "'mine'"


def test_await_gives_the_value(person):
    person.run("%%compute local -m s=range(3) -n g\ns")
    (shown,) = of_type(person.run("await g"), "execute_result")
    assert shown["data"]["text/plain"] == "[0, 1, 2]"


def test_an_interrupt_during_the_first_import_breaks_nothing(person):
    person.run(
        "import sys, _thread\n"
        "class _Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'compute_nb.watcher':\n"
        "            _thread.interrupt_main()\n"
        "sys.meta_path.insert(0, _Interrupts())"
    )
    (error,) = of_type(person.run("%%compute -w\n1"), "error")
    assert error["ename"] == "KeyboardInterrupt"
    assert "compute_nb.notebook.desk" not in error["traceback"][-1]
    (shown,) = of_type(
        person.run("import compute_nb.notebook.desk\n'compute_nb.watcher' in sys.modules"), "execute_result"
    )
    assert shown["data"]["text/plain"] == "True"


def click(person: Person, messages: list[Any], name: str) -> None:
    """A page's user presses the newest button of that name."""
    (*_, button) = [
        message["content"]["comm_id"]
        for message in messages
        if message["msg_type"] == "comm_open"
        and message["content"]["data"]["state"].get("description", "").startswith(name)
    ]
    said = {"comm_id": button, "data": {"method": "custom", "content": {"event": "click"}}}
    session = person.client.session
    person.client.shell_channel.send(session.msg("comm_msg", said))


def test_what_failed_is_sent_again_by_a_button_and_the_panel_moves_on(person, tmp_path):
    messages = person.run(
        f"%%compute local -m s=range(3) -n g\nimport os\nif s == 1: os.stat({str(tmp_path / 'gate')!r})\ns",
        until="update_display_data",
    )
    (final,) = of_type(messages, "update_display_data")[:1]
    assert "FileNotFoundError" in final["data"]["text/html"]
    (tmp_path / "gate").touch()
    click(person, messages, "retry")
    told = ""
    while "3 of 3 done" not in told:
        message = person.client.get_iopub_msg(timeout=WAIT_S)
        if message["msg_type"] == "update_display_data":
            told = message["content"]["data"].get("text/html", "")
    (shown,) = of_type(person.run("g.result()"), "execute_result")
    assert shown["data"]["text/plain"] == "[0, 1, 2]"


def test_details_of_a_running_task_show_what_it_has_printed(person, gate):
    messages = person.run(f"%%compute local -n f\nprint('half', 'way', flush=True)\n{gate}", until="comm_msg")
    click(person, messages, "details")
    told = ""
    while "half way" not in told or "has run for" not in told:
        message = person.client.get_iopub_msg(timeout=WAIT_S)
        data = message["content"].get("data", {}) if message["msg_type"].startswith("comm_") else {}
        value = data.get("state", {}).get("value")
        told = value if isinstance(value, str) and "task id" in value else told
    assert "running" in told
    gate.open()


def test_panels_share_ten_messages_a_second(person):
    messages = person.run(
        "for name in 'abc':\n"
        "    get_ipython().run_cell_magic('compute', f'local -m s=range(150) -n {name}',"
        " 'import time\\ntime.sleep(0.02)\\ns')\n"
        "%compute wait\n"
    )
    moves = [m["header"]["date"].timestamp() for m in messages if m["msg_type"] == "comm_msg"]
    assert len(moves) > 10
    assert max(sum(at <= other < at + 1 for other in moves) for at in moves) <= 10


BODY = """%%compute local -n {name}
import sys, time
from IPython.display import HTML, Markdown, display
print('before <b>')
display(HTML('<table><tr><td>cell</td></tr></table>'))
print('\\r 10%\\r100%|####|', file=sys.stderr)
display(Markdown('**strong**'))
{end}"""


def test_nothing_of_an_asynchronous_cell_stands_in_another(person):
    asked = person.client.execute(BODY.format(name="first", end="1 + 1"), allow_stdin=True)
    busy = person.client.execute(
        "import time, concurrent.futures\nconcurrent.futures.wait([first], 60)\n"
        "for i in range(20): print('busy', i); time.sleep(0.05)",
        allow_stdin=True,
    )
    own_ids, idle, ends, strange = set(), set(), [], []
    while not (busy in idle and len(ends) == 3):
        message = person.client.get_iopub_msg(timeout=WAIT_S)
        content, parent = message["content"], message["parent_header"].get("msg_id")
        kind = message["msg_type"]
        if content.get("execution_state") == "idle":
            idle.add(parent)
        if kind == "display_data":
            assert parent == asked
            own_ids.add(content["transient"]["display_id"])
        elif kind == "update_display_data":
            assert content["transient"]["display_id"] in own_ids
            ends.append(content["data"])
        elif kind in ("stream", "execute_result", "error") and parent != asked:
            strange.append(content["text"])
    assert all(line.startswith("busy ") for line in "".join(strange).splitlines())
    shown = "".join(end.get("text/html", "") for end in ends)
    places = [shown.index(part) for part in ("before &lt;b&gt;", "<td>cell</td>", "100%|####|", "**strong**")]
    assert places == sorted(places)
    assert " 10%" not in shown
    assert shown.count("before &lt;b&gt;") == 1


def test_what_a_running_task_prints_stands_in_its_panel(person):
    body = "print('half way <i>')\nopen(gate).read()"
    person.run("import os, tempfile; gate = tempfile.mktemp(); os.mkfifo(gate)")
    asked = person.client.execute(f"%%compute local -n talks\n{body}", allow_stdin=True)
    parts = []
    while "half way &lt;i&gt;" not in "".join(parts):
        message = person.client.get_iopub_msg(timeout=WAIT_S)
        if message["msg_type"] in ("comm_open", "comm_msg"):
            parts.append(str(message["content"]["data"].get("state", {}).get("value", "")))
        assert message["msg_type"] != "stream"
    person.client.execute("open(gate, 'w').close()", allow_stdin=True)
    final = ""
    while "half way" not in final:
        message = person.client.get_iopub_msg(timeout=WAIT_S)
        if message["msg_type"] == "update_display_data":
            final = message["content"]["data"].get("text/html", "")
    assert final.count("half way &lt;i&gt;") == 1
    assert asked
