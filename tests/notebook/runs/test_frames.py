"""The error of a cell that waited looks as IPython draws one of its own."""
# ruff: noqa: E501 - a body is one line, so that a case is one line

import base64
import json
import re
import zlib

import pytest

from compute_nb.notebook.runs.frames import colours_of, drawn, listed


def trace_of(shell, body):
    with pytest.raises(Exception, match="compute_nb:1:") as caught:
        shell.there(body)
    return json.loads(zlib.decompress(base64.b64decode(str(caught.value).rsplit(":", 1)[1])))["trace"]


def as_ipython(shell, body):
    """Returns what IPython draws for the same cell here."""
    shown = []
    before, shell.ip.colors = shell.ip.colors, "nocolor"
    shell.ip._showtraceback = lambda kind, value, lines: shown.append("\n".join(lines))
    try:
        shell.ip.run_cell(body, store_history=True)
    finally:
        del shell.ip._showtraceback
        shell.ip.colors = before
    return shown[0]


def without_carets(text):
    return re.sub(r"\n +\^+(?=\n)", "", text)


def without_context(text):
    """Returns a traceback without carets and lines that were not running, of which IPython shows whole pieces."""
    kept = [line for line in without_carets(text).splitlines() if not re.match(r" +\d+ ", line)]
    return "\n".join(line.rstrip() for line in kept).strip()


@pytest.mark.parametrize(
    "body",
    [
        "x = 1\n\narea(x)\ny = 2\nz = 3",
        "[area(i) for i in (1, 2)]",
        "def inner(a, *b, c=1, **d):\n    return area(a)\nclass K:\n    def m(self):\n        return inner(1)\nK().m()",
        "try:\n    area(1)\nexcept TypeError as e:\n    raise ValueError('outer') from e",
        "try:\n    area(1)\nexcept TypeError:\n    {}['k']",
        "try:\n    area(1)\nexcept TypeError:\n    raise KeyError('k') from None",
        "e = ValueError('a')\ne.add_note('note one')\nraise e",
        "assert 1 == 2",
        "(lambda q: q.nope)(3)",
        "next(iter([]))",
    ],
)
def test_it_looks_as_ipythons_own(shell, body):
    shell.here("def area(r):\n    return r * None")
    there = drawn(trace_of(shell, body), "")
    here = (
        as_ipython(shell, body)
        .replace("AssertionError: ", "AssertionError")
        .replace("StopIteration: ", "StopIteration")
    )
    assert without_context(there) == without_context(here)


def test_carets_stand_under_what_was_running(shell):
    shell.here("größe = {'a': None}")
    text = drawn(trace_of(shell, "if größe:\n    y = 1 + größe['a'] + 2"), "")
    (line,) = re.findall(r".*> 2 (.*)\n", text)
    (mark,) = re.findall(r"\n {8}( +\^+)\n", text)
    assert line[mark.index("^") :][: mark.count("^")] == "1 + größe['a']"


def test_deep_recursion_is_folded(shell):
    shell.here("def f(n):\n    return g(n)\ndef g(n):\n    return f(n + 1)")
    trace = trace_of(shell, "f(0)")
    text = drawn(trace, "")
    assert len(text.splitlines()) < 45
    assert "skipping similar frames: " in text
    assert text.endswith("RecursionError: maximum recursion depth exceeded")
    assert re.search(r"\[\.\.\. \d{3} more like these\]", listed(trace))


def test_frames_of_libraries_are_few_and_all_are_listed(shell):
    body = "import json\nclass E(json.JSONEncoder):\n    def default(self, o):\n        return {}['k']\n"
    trace = trace_of(shell, body + "json.dumps([[{1: [object()]}]], cls=E, indent=1)")
    text = drawn(trace, "`%compute tb f` shows them")
    assert re.search(r"\[\.\.\. \d frames of libraries: `%compute tb f` shows them\]", text)
    assert "harness" not in text
    whole = listed(trace)
    assert whole.count('json/encoder.py", line') > text.count("json/encoder.py:")
    assert "harness" not in whole


def test_a_group_of_errors_is_told_by_its_text(shell):
    assert trace_of(shell, "raise ExceptionGroup('g', [ValueError('a')])") is None


def test_colours_are_the_themes(shell):
    shell.here("def area(r):\n    return 1 + r * None")
    colours = colours_of("linux")
    text = drawn(trace_of(shell, "area(1)"), "", colours)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert plain == without_carets(drawn(trace_of(shell, "area(1)"), ""))
    assert re.search(r"\x1b\[[0-9;]*43", text)  # what was running, on yellow


@pytest.mark.parametrize("junk", [None, 5, [], [{}], [{"frames": [{"file": 3}], "type": 1}], "x", [[]]])
def test_what_is_no_trace_is_left_to_the_text(junk):
    assert drawn(junk, "") is None
    assert listed(junk) is None


def test_a_list_of_all_frames_has_none_of_ours(shell):
    text = listed(trace_of(shell, "import json\njson.loads('x')"))
    assert "_compute_nb_" not in text
    assert re.match(r"Traceback \(most recent call last\):\n  Cell In\[\d+\], line 2\n", text)
    assert "raw_decode" in text
