"""What a cell prints and displays."""

import sys
import threading
import types


class _Gates(types.ModuleType):
    def __init__(self):
        super().__init__("gates_of_a_test")
        self.begun, self.go, self.done = threading.Event(), threading.Event(), threading.Event()


def test_endless_printing_keeps_head_and_tail(shell):
    result = shell.there("for i in range(400_000):\n    print('line', i)")
    (item,) = result.items
    assert len(item["text"]) < 2_200_000
    assert item["text"].startswith("line 0\n")
    assert item["text"].endswith("line 399999\n")
    assert "left out" in item["text"]


def test_endless_printing_to_both_streams_is_cut_as_one(shell):
    result = shell.there(
        "import sys\nfor i in range(25_000):\n    print(i, 'x' * 100)\n"
        "    print(i, 'y' * 100, file=sys.stderr)"
    )
    texts = [item["text"] for item in result.items]
    assert sum(map(len, texts)) < 2_200_000
    assert texts[0] == "0 " + "x" * 100 + "\n"
    assert texts[-1] == "24999 " + "y" * 100 + "\n"
    assert [text for text in texts if "1 characters" in text] == []
    assert sum("left out" in text for text in texts) == 1


def test_a_handler_of_an_earlier_cell_writes_to_the_cell_that_runs(shell):
    body = (
        "import logging\nlog = logging.getLogger('of.a.test')\n"
        "if not log.handlers:\n    log.addHandler(logging.StreamHandler())\nlog.warning('once')"
    )
    for _ in range(2):
        assert shell.there(body).items == [{"stream": "stderr", "text": "once\n"}]


def test_threads_that_outlive_their_cell_write_nowhere(shell, monkeypatch):
    monkeypatch.setitem(sys.modules, "gates_of_a_test", _Gates())
    first = shell.there(
        "import gates_of_a_test as g, threading\ndef late():\n    print('early')\n    g.begun.set()\n"
        "    g.go.wait(60)\n    print('late')\n    g.done.set()\n"
        "threading.Thread(target=late).start()\ng.begun.wait(60);"
    )
    second = shell.there(
        "import gates_of_a_test as g, threading\ng.go.set()\ng.done.wait(60)\nprint('main')\n"
        "t = threading.Thread(target=lambda: print('own'))\nt.start()\nt.join()"
    )
    assert first.items == [{"stream": "stdout", "text": "early\n"}]
    assert second.items == [{"stream": "stdout", "text": "main\nown\n"}]
