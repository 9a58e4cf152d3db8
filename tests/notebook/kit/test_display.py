"""Display data as a notebook would make it."""

import json
import subprocess
import sys

import pytest

from compute_nb.notebook.kit.items import SHOWN, SHOWN_LIMIT

PNG = "b'\\x89PNG\\r\\n\\x1a\\n'"


def shown(result):
    """What a task printed and displayed, in order: text, or the types of a display."""
    return [item.get("text") or sorted(item["data"]) for item in result.items]


def plain_texts(result):
    return [item.get("text") or item["data"]["text/plain"] for item in result.items]


def test_a_bundle_is_asked_for_as_ipython_does(shell):
    result = shell.there(
        "class A:\n    def _repr_mimebundle_(self, include, exclude):\n"
        "        return {'text/html': '<b>x</b>'}\nA()"
    )
    assert result.display[0]["text/html"] == "<b>x</b>"
    assert result.items == []


OBJECTS = [
    ("HTML('<b>x</b>')", "text/html", "<b>x</b>"),
    ("Markdown('**x**')", "text/markdown", "**x**"),
    ("Math('x^2')", "text/latex", "$\\displaystyle x^2$"),
    ("Latex('$x$')", "text/latex", "$x$"),
    ("SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')", "image/svg+xml", None),
    ("JSON({'a': [1]})", "application/json", {"a": [1]}),
    (f"Image({PNG}, format='png')", "image/png", "iVBORw0KGgo="),
    ("Image(b'\\xff\\xd8\\xff', format='jpeg')", "image/jpeg", "/9j/"),
    ("Pretty('as it is')", "text/plain", None),
    ("Code('x = 1')", "text/html", None),
    ("GeoJSON({'type': 'Point', 'coordinates': [1, 2]})", "application/geo+json", None),
]


@pytest.mark.parametrize(("made", "mime", "data"), OBJECTS)
def test_objects_of_ipython_show_what_they_are(shell, made, mime, data):
    name = made.partition("(")[0]
    result = shell.there(f"from IPython.display import display, {name}\nprint(1)\ndisplay({made})\nprint(2)")
    before, item, after = result.items
    assert (before["text"], after["text"]) == ("1\n", "2\n")
    assert mime in item["data"]
    assert data is None or item["data"][mime] == data


def test_sizes_of_images_come_along(shell):
    result = shell.there(f"from IPython.display import Image\nImage({PNG}, width=30)")
    assert result.display[1] == {"image/png": {"width": 30}}


def test_javascript_does_not_leave_the_worker(shell):
    result = shell.there("from IPython.display import Javascript, display\ndisplay(Javascript('alert(1)'))")
    assert shown(result) == [["text/plain"]]


def test_displays_are_updated_and_cleared_within_the_cell(shell):
    body = (
        "handle = display('old', display_id=True)\ndisplay('between', display_id='b')\nhandle.update('new')\n"
        "from IPython.display import update_display\nupdate_display('BETWEEN', display_id='b')\n"
        "update_display('nowhere', display_id='c')\nprint('end')"
    )
    assert plain_texts(shell.there(body)) == ["'new'", "'BETWEEN'", "end\n"]
    body = "from IPython.display import clear_output\nprint('a')\ndisplay(1)\nclear_output({})\nprint('b')"
    assert plain_texts(shell.there(body.format("")))[-1] == "b\n"
    assert plain_texts(shell.there(body.format("wait=True"))) == ["b\n"]
    kept = "from IPython.display import clear_output\nprint('a')\nclear_output(wait=True)"
    assert plain_texts(shell.there(kept)) == ["a\n"]


def test_display_functions_that_another_cell_imported_are_ours_there(shell):
    shell.here(
        "from IPython.display import clear_output, display, update_display\n"
        "from IPython.display import clear_output as wipe, display as show\n"
        "def step(i):\n    clear_output(wait=True)\n    print('step', i)"
    )
    body = (
        "display('old', display_id='b')\nupdate_display('new', display_id='b')\nshow('also')\n"
        "print('x')\nclear_output()\nstep(1)\nstep(2)\nshow('last')"
    )
    assert plain_texts(shell.there(body)) == ["step 2\n", "'last'"]
    assert plain_texts(shell.there("print('a')\nwipe()\nprint('b')")) == ["b\n"]
    assert shell.names["clear_output"].__module__ == shell.names["show"].__module__


def test_the_handle_of_a_display_as_value_is_shown_and_stays_there(shell):
    result = shell.there("display('x', display_id='b')")
    assert result.display[0]["text/plain"] == "<DisplayHandle display_id=b>"
    assert result.value(shell.notebook.home) is None


def test_a_thing_that_displays_itself_does(shell):
    body = (
        "class Own:\n    def _ipython_display_(self):\n        print('mine')\n"
        "class Not:\n    def _ipython_display_(self):\n        raise NotImplementedError\n"
        "    def __repr__(self):\n        return 'plain'\n"
        "display(Own(), Not())\nOwn()"
    )
    result = shell.there(body)
    assert plain_texts(result) == ["mine\n", "plain", "mine\n"]
    assert result.display is None


def test_raw_data_filters_and_metadata(shell):
    body = (
        "display({'text/plain': 'x', 'application/vnd.vegalite.v5+json': {'mark': 'bar'}}, raw=True, "
        "metadata={'a': 1})\n"
        "class Two:\n    def _repr_html_(self):\n        return 'h'\n    def _repr_markdown_(self):\n"
        "        return 'm'\n"
        "display(Two(), include=['text/html'])\ndisplay(Two(), exclude=['text/html'])"
    )
    result = shell.there(body)
    assert shown(result) == [
        ["application/vnd.vegalite.v5+json", "text/plain"],
        ["text/html"],
        ["text/markdown", "text/plain"],
    ]
    assert result.items[0]["metadata"] == {"a": 1}


def test_what_is_too_large_is_said(shell):
    body = "class Big:\n    def _repr_html_(self):\n        return 'x' * 5_000_000\ndisplay(Big())"
    said, item = shell.there(body).items
    assert said["text"].startswith("text/html of a `Big` has 5,000,002 characters and 4,000,000 can be shown")
    assert sorted(item["data"]) == ["text/plain"]


def test_many_displays_are_bounded_and_the_value_still_comes(shell):
    result = shell.there(f"for i in range({SHOWN + 7}): display(i)\nprint('end')\n41 + 1")
    told, end = (item["text"] for item in result.items[SHOWN:])
    assert end == "end\n"
    assert told.startswith("[... 7 more displays left out: a task can show 100")
    body = (
        "class Big:\n    def _repr_html_(self):\n        return 'x' * 2_500_000\n"
        "for i in range(5): display(Big())\n'y' * 5_000_000"
    )
    result = shell.there(body)
    assert len(json.dumps(result.items)) < SHOWN_LIMIT + 1_000
    with pytest.raises(Exception, match="can be sent"):
        result.value(shell.notebook.home)


def test_a_worker_without_ipython_in_memory_gets_ours_at_the_first_import(shell):
    source, _, _ = shell.source(
        "from IPython.display import display, HTML, clear_output\ndisplay(HTML('<i>'))\n"
        "import IPython.core.display_functions as f\nprint(f.display is display)"
    )
    program = (
        source
        + "\nprint([item.get('text') or sorted(item['data']) for item in compute_cell(0, {})['items']])\n"
        "import sys, IPython.display as d\nprint(d.display.__module__)\n"
        "print([finder for finder in sys.meta_path if 'compute_nb' in str(type(finder))])"
    )
    done = subprocess.run([sys.executable, "-"], input=program, text=True, capture_output=True, check=True)
    assert done.stdout == ("[['text/html', 'text/plain'], 'True\\n']\nIPython.core.display_functions\n[]\n")


def test_a_styled_table_comes_as_it_is_styled(shell):
    pytest.importorskip("pandas")
    pytest.importorskip("jinja2")
    result = shell.there(
        "import pandas as pd\ndisplay(pd.DataFrame({'a': [1, 2]}).style.highlight_max(color='red'))"
    )
    assert "background-color: red" in result.items[0]["data"]["text/html"]
