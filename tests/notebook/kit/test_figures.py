"""What pyplot draws on a worker."""
# ruff: noqa: E501 - a body is one line, so that a case is one line

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
