"""The error of a cell as people and programs read it."""
# ruff: noqa: E501 - a body is one line, so that a case is one line

import base64
import json
import pickle
import re
import subprocess
import sys
import zlib

import pytest

from compute_nb.failure import failure
from compute_nb.serialize.serializer import ComputeSerializer


def test_traceback_reads_as_cells(shell):
    shell.here("def area(r):\n    return r * None")
    with pytest.raises(Exception, match="compute_nb:1:") as caught:
        shell.there("x = 1\n\n\narea(x)")
    text, tail = str(caught.value).rsplit("\n", 1)
    assert re.sub(r"\n\s+[\^~]+", "", text) == (
        "Traceback (most recent call last):\n"
        "  Cell In[2], line 4\n"
        "    area(x)\n"
        "  Cell In[1], line 2, in area\n"
        "    return r * None\n"
        "TypeError: unsupported operand type(s) for *: 'int' and 'NoneType'"
    )
    assert tail.startswith("compute_nb:1:")


@pytest.mark.parametrize(
    ("body", "last"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("input()", "EOFError: EOF when reading a line\na worker has no keyboard: ask in a cell"),
        ("open('/no/such/file')", "FileNotFoundError"),
        ("import no_such_module_x", "ModuleNotFoundError"),
    ],
)
def test_failures(shell, body, last):
    with pytest.raises(Exception, match="compute_nb:1:") as caught:
        shell.there(body)
    assert type(caught.value).__name__ == "CellFailed"
    assert last in str(caught.value)


def test_half_a_character_in_an_error_is_spelled_out_so_that_its_text_can_be_sent(shell):
    with pytest.raises(Exception, match="compute_nb:1:") as caught:
        shell.there("raise ValueError('sur ' + chr(0xD800))")
    assert r"ValueError: sur \ud800" in str(caught.value).encode().decode()


def test_place_is_named_for_missing_files(shell):
    with pytest.raises(Exception, match=r"on host .*, in folder .*, with Python 3"):
        shell.there("open('/no/such/file')")


def test_error_travels_without_running_init(shell):
    shell.here(
        "class Oops(Exception):\n    def __init__(self, a, b):\n        super().__init__(a)\n        self.b = b"
    )
    with pytest.raises(Exception, match="compute_nb:1:") as caught:
        shell.there("print('before')\nraise Oops('a', 3)")
    facts = json.loads(zlib.decompress(base64.b64decode(str(caught.value).rsplit(":", 1)[1])))
    error = pickle.loads(base64.b64decode(facts["exception"].split("\n", 1)[1]))
    assert (type(error), error.args, error.b) == (shell.names["Oops"], ("a",), 3)
    assert facts["type"] == "Oops"
    assert facts["outputs"] == [{"stream": "stdout", "text": "before\n"}]


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ("open('/no/such/file')", "filename", "/no/such/file"),
        ("open('/no/such/file')", "errno", 2),
        ("import no_such_module_x", "name", "no_such_module_x"),
        ("def f():\n    return eval('nowhere')\nf()", "name", "nowhere"),
    ],
)
def test_attributes_of_errors_travel(shell, body, name, value):
    with pytest.raises(Exception, match="compute_nb:1:") as caught:
        shell.there(body)
    assert getattr(failure(str(caught.value), ComputeSerializer()), name) == value


@pytest.mark.parametrize(
    ("ends", "code"), [("pass", 0), ("raise SystemExit(3)", 3), ("1 / 0", 1), ("raise SystemExit('x')", 1)]
)
def test_a_forked_child_that_comes_back_ends_with_a_true_code(shell, ends, code):
    source, _, _ = shell.source(
        f"import os\nchild = os.fork()\nif not child:\n    {ends}\nelse:\n"
        "    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\ncode if child else None"
    )
    program = source + "\nprint(compute_cell(0, {})['display'][0]['text/plain'])"
    done = subprocess.run([sys.executable, "-"], input=program, text=True, capture_output=True, check=True)
    assert done.stdout == f"{code}\n"
    assert ("ZeroDivisionError" in done.stderr) == (ends == "1 / 0")
