"""What pyplot draws on a worker."""
# ruff: noqa: E501 - a body is one line, so that a case is one line

import base64
import struct
import subprocess
import sys

import pytest


def test_figures_come_back_as_png_in_order(shell):
    pytest.importorskip("matplotlib")
    result = shell.there(
        "import matplotlib.pyplot as plt\nprint('one')\nplt.plot([1, 2]); plt.show()\nprint('two')\nfig, ax = plt.subplots()\nax.plot([2, 1])"
    )
    kinds = [item.get("stream") or sorted(item["data"]) for item in result.items]
    assert kinds == ["stdout", ["image/png", "text/plain"], "stdout", ["image/png", "text/plain"]]
    assert result.value(shell.notebook.home) is None  # drawn things are not values


def test_programs_that_a_cell_starts_can_draw(shell):
    pytest.importorskip("matplotlib")
    program = (
        "import io; import matplotlib.pyplot as plt; plt.plot([1]); plt.savefig(io.BytesIO(), format='png')"
    )
    result = shell.there(
        f"import subprocess, sys\ndone = subprocess.run([sys.executable, '-c', {program!r}], "
        "capture_output=True, text=True)\ndone.returncode, done.stderr"
    )
    assert result.value(shell.notebook.home) == (0, "")


def test_first_import_of_pyplot_in_a_worker(shell):
    pytest.importorskip("matplotlib")
    source, _, _ = shell.source(
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()\nprint(plt.get_backend())"
    )
    program = (
        source + "\nprint([sorted(item.get('data', item)) for item in compute_cell(0, {})['items']])\n"
        "import sys\nprint([finder for finder in sys.meta_path if 'compute_nb' in str(type(finder))])"
    )
    done = subprocess.run([sys.executable, "-"], input=program, text=True, capture_output=True, check=True)
    assert done.stdout == "[['image/png', 'text/plain'], ['stream', 'text']]\n[]\n"


START = "import matplotlib.pyplot as plt\nimport numpy as np\n"


def size(png):
    return struct.unpack("!II", base64.b64decode(png)[16:24])


def pictures(result):
    found = [item["data"] for item in result.items if "data" in item]
    found += [result.display[0]] if result.display else []
    return [data["image/png"] for data in found if "image/png" in data]


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("fig, ax = plt.subplots(); ax.plot([1]); fig", 1),
        ("fig, ax = plt.subplots(); ax.plot([1]); ax", 1),
        ("fig, axs = plt.subplots(2, 2); axs", 1),
        ("plt.plot([1, 2])", 1),
        ("plt.hist([1, 2, 2]);", 1),
        ("for i in range(3): plt.figure(); plt.plot([i])", 3),
        ("plt.plot([1]); plt.show(); plt.plot([2]); plt.show()", 2),
        ("plt.plot([1]); plt.savefig(__import__('io').BytesIO()); plt.close()", 0),
        ("plt.plot([1]); plt.savefig(__import__('io').BytesIO())", 1),
        ("fig = plt.figure(); plt.close(fig); display(fig)", 1),
        ("from matplotlib.figure import Figure\nFigure()", 1),
        ("fig = plt.figure(); display(fig); plt.close()", 1),
    ],
)
def test_each_figure_is_shown_as_often_as_in_a_notebook(shell, body, count):
    pytest.importorskip("matplotlib")
    assert len(pictures(shell.there(START + body))) == count


def test_pictures_have_the_resolution_of_the_figure_and_no_other(shell):
    pytest.importorskip("matplotlib")
    body = START + "plt.rcParams['savefig.dpi'] = 300\nplt.figure(figsize=(3, 2), dpi={}); plt.plot([1, 2])"
    small, large = (size(pictures(shell.there(body.format(dpi)))[0]) for dpi in (50, 100))
    assert small[0] < 160
    assert large[0] < 320
    assert large[0] > 1.8 * small[0]


def test_a_figure_too_large_to_send_is_said_and_the_value_comes(shell):
    pytest.importorskip("matplotlib")
    result = shell.there(
        START
        + "plt.figure(figsize=(20, 20), dpi=110)\nplt.imshow(np.random.default_rng(0).random((2200, 2200)), "
        "interpolation='nearest'); plt.axis('off'); plt.show()\n7"
    )
    said = [item["text"] for item in result.items if "text" in item]
    assert len(said) == 1
    assert said[0].startswith("image/png of a `Figure` has ")
    assert result.value(shell.notebook.home) == 7
