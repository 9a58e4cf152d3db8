"""What pyplot draws on a worker."""
# ruff: noqa: E501 - a body is one line, so that a case is one line

import pytest


def test_figures_come_back_as_png_in_order(shell):
    pytest.importorskip("matplotlib")
    result = shell.there(
        "import matplotlib.pyplot as plt\nprint('one')\nplt.plot([1, 2]); plt.show()\nprint('two')\nfig, ax = plt.subplots()\nax.plot([2, 1])"
    )
    kinds = [item.get("stream") or sorted(item["data"]) for item in result.items]
    assert kinds == ["stdout", ["image/png", "text/plain"], "stdout", ["image/png", "text/plain"]]
    assert result.value(shell.notebook.home) is None  # drawn things are not values
